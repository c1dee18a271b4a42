"""Usage for locked billing periods: billed in the first open one or refused, held to the dumb model."""

import json
import random
import subprocess
import sys
import time
import tomllib

import pytest

from cli.main import run as millrace
from cli.run import RunOptions, run_files
from pipeline.errors import UsageError
from pipeline.lane import Lane
from pipeline.locks import Locks, month_of, period_name, read_period
from pipeline.spend import SpendFilter
from sinks.locks import Change, list_locks, lock, locks_of_run, unlock
from tests.hostile import hostile_accounts, hostile_catalogs, hostile_locks, hostile_stream
from tests.lines import event_of, written
from tests.memory_ledger import FILE, CutError, MemoryLane, World, chunk_of, commit, loaded
from tests.model import Model
from tests.model.ledger import Settings
from tests.test_end_to_end import assert_ledger_is, assert_rows_are, crossings_of, decisions_of

MODES = pytest.mark.parametrize("refuse", [False, True], ids=["adjust", "refuse"])
CATALOG = """
[operations.ask]
components = [{ source = "compute", basis = "per-unit", micro_usd = "50" }]
"""
OCTOBER, NOVEMBER = "2026-10-05T00:00:00Z", "2026-11-02T00:00:00Z"


def months(*names):
    return frozenset(map(read_period, names))


def ask(key, moment, tenant="acme", units=1):
    kept = [m for m in event_of(b"compute") if m[0] not in {b"tenant", b"time", b"data"}]
    texts = {"tenant": tenant, "time": moment, "idempotencykey": key}
    named = [(name.encode(), b'"%b"' % value.encode()) for name, value in texts.items()]
    data = written([(b"operation", b'"ask"'), (b"units", b"%d" % units)])
    return written([*kept, *named, (b"data", data)])


def void(key, moment, tenant="acme"):
    kept = [m for m in event_of(b"correction") if m[0] not in {b"tenant", b"time", b"data"}]
    named = [(b"tenant", b'"%b"' % tenant.encode()), (b"time", b'"%b"' % moment.encode())]
    return written([*kept, *named, (b"data", b'{"voids":"%b"}' % key.encode())])


@pytest.fixture
def world(tmp_path):
    return World(loaded(CATALOG, tmp_path))


def outcomes(world, lines, locks):
    """The rows as (line, period, month of occurrence) and the rejects as (line, reason), of one run."""
    world.disk.run += 1
    first = 1 + max((row.offset for row in world.disk.rows), default=0)
    ledger = MemoryLane(world.disk, 0, 1, [FILE], run_locks=locks)
    lane = Lane(0, ledger, SpendFilter(world.accounts))
    lane.take(world.shares(chunk_of(list(enumerate(lines, first)), world.now_ms), 1)[0])
    commit(lane)
    rows = [(r.offset, r.period, period_name(month_of(r.occurred_at_ms))) for r in world.disk.rows]
    return rows, [(r.offset, r.reason) for r, _ in world.disk.rejects]


# Which month a row is billed in.


def test_a_period_is_a_month_and_nothing_else():
    assert period_name(read_period("2026-11")) == "2026-11"
    assert month_of(1_793_491_199_999) == read_period("2026-10")
    for text in ("2026-13", "2026-00", "2026-1", "26-11", "2026-11-01", "", "2026_11", "²026-11"):
        with pytest.raises(UsageError, match="is not a month"):
            read_period(text)


def test_the_first_open_period_lies_behind_all_that_are_locked_for_all_or_for_the_tenant():
    locks = Locks(months("2026-10", "2026-12"), {"acme": months("2026-11")})
    assert period_name(locks.first_open("acme", read_period("2026-10"))) == "2027-01"
    assert period_name(locks.first_open("beta", read_period("2026-10"))) == "2026-11"
    assert period_name(locks.first_open("acme", read_period("2026-09"))) == "2026-09"


# One lane, by hand.


def test_late_usage_is_billed_in_the_first_open_period_and_keeps_its_time(world):
    locks = Locks(months("2026-10"), {"beta": months("2026-11")})
    lines = [ask("a", OCTOBER), ask("b", OCTOBER, "beta"), ask("c", NOVEMBER), ask("d", NOVEMBER, "beta")]
    rows, rejects = outcomes(world, lines, locks)
    assert rejects == []
    assert rows == [
        (1, "2026-11", "2026-10"),
        (2, "2026-12", "2026-10"),
        (3, "2026-11", "2026-11"),
        (4, "2026-12", "2026-11"),
    ]


def test_where_late_usage_is_refused_it_claims_no_key_and_a_retry_fares_by_the_locks_of_its_own_run(world):
    refusing = Locks(months("2026-10"), refuse=True)
    rows, rejects = outcomes(
        world, [ask("a", OCTOBER), ask("a", OCTOBER, units=2), ask("a", NOVEMBER)], refusing
    )
    assert rows == [(3, "2026-11", "2026-11")]
    assert rejects == [(1, "billing_period_locked"), (2, "billing_period_locked")]
    [row, _] = world.disk.rejects
    assert "the billing period 2026-10 of tenant 'acme' is locked" in row[0].detail
    rows, rejects = outcomes(world, [ask("b", OCTOBER)], Locks(refuse=True))
    assert rows[1:] == [(4, "2026-10", "2026-10")]


def test_duplicates_conflicts_and_unknown_targets_are_found_before_the_lock(world):
    outcomes(world, [ask("a", OCTOBER), ask("b", OCTOBER), void("b", OCTOBER)], Locks())
    lines = [
        ask("a", OCTOBER),
        ask("a", OCTOBER, units=2),
        void("x", OCTOBER),
        void("b", OCTOBER),
        ask("c", OCTOBER),
    ]
    _, rejects = outcomes(world, lines, Locks(months("2026-10"), refuse=True))
    assert rejects == [(5, "idempotency_conflict"), (6, "voids_unknown"), (8, "billing_period_locked")]


@pytest.mark.parametrize(
    ("own_time", "refuse", "row", "reject"),
    [
        pytest.param(NOVEMBER, False, ("2026-11", "2026-11"), None, id="of an open time"),
        pytest.param(NOVEMBER, True, ("2026-11", "2026-11"), None, id="of an open time, late refused"),
        pytest.param(OCTOBER, False, ("2026-11", "2026-10"), None, id="of a locked time"),
        pytest.param(OCTOBER, True, None, "billing_period_locked", id="of a locked time, late refused"),
    ],
)
def test_a_correction_of_a_row_in_a_locked_period_is_of_its_own_time(world, own_time, refuse, row, reject):
    outcomes(world, [ask("a", "2026-10-09T00:00:00Z")], Locks())
    rows, rejects = outcomes(world, [void("a", own_time)], Locks(months("2026-10"), refuse=refuse))
    assert rows[1:] == ([(2, *row)] if row else [])
    assert rejects == ([(2, reject)] if reject else [])


def test_a_late_correction_of_a_row_in_an_open_period_is_of_that_rows_time_even_where_late_usage_is_refused(
    world,
):
    """What this run has taken in is not durable yet when its correction comes by, and is of an open period."""
    lines = [ask("a", NOVEMBER), void("a", OCTOBER)]
    rows, rejects = outcomes(world, lines, Locks(months("2026-10"), refuse=True))
    assert (rows[1], rejects) == ((2, "2026-11", "2026-11"), [])


def test_a_correction_of_adjusted_usage_stays_with_it_until_that_period_is_locked_too(world):
    october = Locks(months("2026-10"))
    outcomes(world, [ask("a", OCTOBER), ask("b", OCTOBER)], october)
    world.now_ms = 1_797_000_000_000  # in December
    rows, _ = outcomes(world, [void("a", "2026-11-09T00:00:00Z")], october)
    assert rows[2] == (3, "2026-11", "2026-10")
    rows, _ = outcomes(world, [void("b", "2026-12-09T00:00:00Z")], Locks(months("2026-10", "2026-11")))
    assert rows[3] == (4, "2026-12", "2026-12")


@MODES
def test_a_run_that_died_anywhere_is_taken_up_again_with_the_same_outcomes(tmp_path, refuse):
    catalog = loaded(CATALOG, tmp_path)
    dice = random.Random(5)
    lines = []
    for _ in range(120):
        key, moment = f"k{dice.randrange(40)}", dice.choice([OCTOBER, NOVEMBER])
        tenant = dice.choice(["acme", "beta"])
        lines.append(void(key, moment, tenant) if dice.random() < 0.3 else ask(key, moment, tenant))
    locks = Locks(months("2026-10"), {"beta": months("2026-11")}, refuse)
    whole = World(catalog, run_locks=locks)
    whole.run(lines, random.Random(0))
    wanted = {(r.offset, r.period, r.occurred_at_ms) for r in whole.disk.rows}
    for steps in range(1, 60, 7):
        world = World(catalog, run_locks=locks)
        for seed in range(50):
            try:
                world.run(lines, random.Random(seed), lanes=1 + seed % 3, steps=steps if seed < 2 else -1)
            except CutError:
                continue
            break
        assert {(r.offset, r.period, r.occurred_at_ms) for r in world.disk.rows} == wanted
        assert {r.offset for r, _ in world.disk.rejects} == {r.offset for r, _ in whole.disk.rejects}


# The whole way, held to the model.


def run(ledger, file, folder, *, refuse, workers=2):
    options = RunOptions(
        [str(file)], ledger.url, format_name="cloudevents", catalog=folder / "catalog",
        accounts=folder / "accounts.toml", reject_budget=1.0, workers=workers, block_rows=100, refuse_late=refuse,
    )  # fmt: skip
    return run_files(options)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "catalog").mkdir()
    for number, text in enumerate(hostile_catalogs()):
        (tmp_path / "catalog" / f"{number}.toml").write_text(text)
    (tmp_path / "accounts.toml").write_text(hostile_accounts())
    return tmp_path


@pytest.mark.parametrize(
    ("seed", "workers", "refuse"), [(1, 1, False), (2, 2, True), (3, 3, True), (4, 2, False)]
)
def test_hostile_streams_meet_locks_between_runs_as_the_model_says(ledger, folder, seed, workers, refuse):
    settings = Settings(refuse_late=refuse, locked_periods=set(), locked_for={})
    model = Model([tomllib.loads(t) for t in hostile_catalogs()], tomllib.loads(hostile_accounts()), settings)
    lines = hostile_stream(seed, 2_400)
    for number, part in enumerate((lines[:800], lines[800:1600], lines[1600:])):
        if number:
            everyone, single = hostile_locks(10 * seed + number)
            for tenant, period in [("", p) for p in everyone] + [(t, p) for t in single for p in single[t]]:
                lock(ledger.client, change(tenant, period))
            settings.locked_periods.update(everyone)
            for tenant, periods in single.items():
                settings.locked_for[tenant] = settings.locked_for.get(tenant, frozenset()) | periods
        file = folder / f"{number}.ndjson"
        file.write_bytes(b"\n".join(part))
        model.feed_lines(part, file.name, int(time.time() * 1000))
        run(ledger, file, folder, refuse=refuse, workers=workers)
    assert_ledger_is(ledger, model)
    assert_rows_are(ledger, model)
    assert_moments_are(ledger, model)
    assert decisions_of(ledger) == crossings_of(model)
    late = [row for row in model.rows if period_name(month_of(row.at_ms)) != row.billing_period]
    refused = model.rejects_by_reason().get("billing_period_locked", 0)
    assert (refused > 10, len(late) > 10) == (refuse, not refuse)


def assert_moments_are(ledger, model):
    """These streams give every event a time, so all moments are known."""
    found = ledger.client.query(
        "SELECT topic, offset, toUnixTimestamp64Milli(occurred_at) FROM ledger"
    ).result_rows
    assert {(t, o): ms for t, o, ms in found} == {(r.origin[0], r.origin[2]): r.at_ms for r in model.rows}


# The locks themselves.


def change(tenant, period, why="closed"):
    return Change(tenant, read_period(period), "me", why, 1_795_000_000_000)


def test_the_last_that_was_said_of_a_period_counts(ledger):
    assert lock(ledger.client, change("", "2026-10"))
    assert lock(ledger.client, change("acme", "2026-11"))
    assert not lock(ledger.client, change("", "2026-10", "again"))
    unlock(ledger.client, change("", "2026-10"))
    assert lock(ledger.client, change("", "2026-10", "for good"))
    unlock(ledger.client, change("acme", "2026-11"))
    with pytest.raises(UsageError, match="not locked for acme"):
        unlock(ledger.client, change("acme", "2026-10"))
    [held] = list_locks(ledger.client)
    assert (held.tenant, held.period, held.who, held.why) == ("", "2026-10", "me", "for good")


def test_a_run_keeps_what_it_found_when_it_began(ledger):
    lock(ledger.client, change("", "2026-10"))
    lock(ledger.client, change("acme", "2026-11"))
    found = locks_of_run(ledger.client, 7, refuse=True)
    assert found == Locks(months("2026-10"), {"acme": months("2026-11")}, refuse=True)
    kept = ledger.client.query("SELECT run, late, tenant, period FROM run_locks ORDER BY period").result_rows
    assert [tuple(row) for row in kept] == [(7, "refuse", "", "2026-10"), (7, "refuse", "acme", "2026-11")]


def test_periods_are_locked_listed_and_opened_by_command(ledger, capsys, folder):
    assert millrace(["periods", "lock", "2026-10", "--ledger", ledger.url, "--why", "closed"]) == 0
    assert millrace(["periods", "lock", "2026-09", "--tenant", "acme", "--ledger", ledger.url]) == 0
    capsys.readouterr()
    assert millrace(["periods", "list", "--ledger", ledger.url, "--format", "json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert [(one["period"], one["tenant"], one["why"]) for one in held] == [
        ("2026-09", "acme", ""),
        ("2026-10", None, "closed"),
    ]
    file = folder / "events.ndjson"
    file.write_bytes(b"\n".join([ask("a", OCTOBER), ask("b", NOVEMBER)]))
    arguments = [
        "run",
        str(file),
        "--ledger",
        ledger.url,
        "--late",
        "refuse",
        "--json",
        "--reject-budget",
        "1",
    ]
    assert millrace(arguments) == 0
    assert json.loads(capsys.readouterr().out)["rejected"] == 1
    assert millrace(["periods", "open", "2026-10", "--ledger", ledger.url]) == 0
    capsys.readouterr()
    assert millrace(arguments) == 0
    assert json.loads(capsys.readouterr().out)["accepted"] == 1
    assert millrace(["periods", "open", "2026-10", "--ledger", ledger.url]) == 2
    assert "is not locked for all tenants" in capsys.readouterr().err
    assert millrace([*arguments[:4], "--late", "perhaps"]) == 2


def test_a_ledger_may_be_locked_before_it_has_rows(tmp_path):
    """In a process of its own: this one has its ledger open."""
    code = "from cli.main import run; import sys; o = sys.argv[1:]; " + "; ".join(
        f"print(run(['periods', *{words}, *o]))" for words in (["list"], ["lock", "2026-10"], ["list"])
    )
    program = [sys.executable, "-c", code, "--ledger", f"chdb://{tmp_path}/new"]
    said = subprocess.run(program, check=True, capture_output=True, text=True)
    assert said.stdout.splitlines()[0] == "2"
    assert "there is no ledger in" in said.stderr
    assert "2026-10  all tenants  locked " in said.stdout
