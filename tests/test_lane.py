"""A lane counts each key once, in the order of the input, whatever comes when and whatever is cut where."""

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog import Catalog
from pipeline.chunk import Origin
from pipeline.errors import LedgerFencedError
from pipeline.lane import Lane
from pipeline.ports import Keep, Tally
from pipeline.spend import SpendFilter
from tests.lines import event_of, written
from tests.memory_ledger import FILE, KEEP_ALL, CutError, Disk, MemoryLane, World, chunk_of, commit, loaded
from tests.model import Model

NOW_MS = 1_793_600_600_000
CATALOG = """
[operations.ask]
components = [{ source = "compute", basis = "per-unit", micro_usd = "50.000001" }]
[operations.put]
components = [{ source = "disk", basis = "per-unit", micro_usd = "0.7", quantity = "stored_bytes" }]
settlement = { method = "credit" }
[operations.given]
components = [{ source = "gift", basis = "per-call", micro_usd = "3" }]
settlement = { method = "free" }
"""
CATALOG_TABLE = {
    "operations": {
        "ask": {"components": [{"source": "compute", "basis": "per-unit", "micro_usd": "50.000001"}]},
        "put": {
            "components": [
                {"source": "disk", "basis": "per-unit", "micro_usd": "0.7", "quantity": "stored_bytes"}
            ],
            "settlement": {"method": "credit"},
        },
        "given": {
            "components": [{"source": "gift", "basis": "per-call", "micro_usd": "3"}],
            "settlement": {"method": "free"},
        },
    }
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    return loaded(CATALOG, tmp_path_factory.mktemp("catalog"))


@pytest.fixture
def world(catalog) -> World:
    return World(catalog)


def ask(
    key: str, units: int = 1, tenant: str = "acme", time: str = "2026-11-02T06:13:20Z", operation: str = "ask"
) -> bytes:
    kept = [m for m in event_of(b"compute") if m[0] not in {b"tenant", b"time", b"data", b"source"}]
    more = {"tenant": tenant, "time": time, "idempotencykey": key, "source": "/svc"}
    texts = [(name.encode(), b'"%b"' % value.encode()) for name, value in more.items()]
    data = written([(b"operation", b'"%b"' % operation.encode()), (b"units", b"%d" % units)])
    return written([*kept, *texts, (b"data", data)])


def void(key: str, tenant: str = "acme", own: str = "fix") -> bytes:
    kept = [m for m in event_of(b"correction") if m[0] not in {b"tenant", b"data"}]
    names = [(b"tenant", b'"%b"' % tenant.encode()), (b"idempotencykey", b'"%b"' % own.encode())]
    return written([*kept, *names, (b"data", b'{"voids":"%b"}' % key.encode())])


def tally(lane: Lane, origin: Origin = FILE) -> Tally:
    return lane._commit.tallies[origin]


def take(world: World, lane: Lane, *batches: list[bytes]) -> None:
    """Hand one batch after the other to a lane that is alone."""
    number = 1
    for sequence, lines in enumerate(batches):
        chunk = chunk_of(list(enumerate(lines, number)), world.now_ms, sequence)
        number += len(lines)
        lane.take(world.shares(chunk, 1)[0])


def outcome(world: World, *batches: list[bytes]) -> tuple[list[int], list[tuple[int, str]], Tally]:
    """The accepted lines, the rejected ones with their reasons, and the counts."""
    lane = world.lane()
    take(world, lane, *batches)
    counts = tally(lane)
    commit(lane)
    rejects = [(reject.offset, reject.reason) for reject, _ in world.disk.rejects]
    return [row.offset for row in world.disk.rows], rejects, counts


# One lane, by hand.


def test_the_first_of_a_key_counts_and_the_same_content_again_is_a_duplicate(world):
    later = ask("k", time="2026-11-02T06:14:00Z")
    rows, rejects, counts = outcome(world, [ask("k"), ask("k"), ask("j")], [later, ask("k", tenant="other")])

    assert (rows, rejects) == ([1, 3, 5], [])
    assert counts == Tally(accepted=3, duplicates=2)


def test_other_content_under_a_key_is_a_conflict_that_shows_both(world):
    rows, rejects, counts = outcome(world, [ask("k")], [ask("k", 2), ask("k")])

    assert (rows, rejects) == ([1], [(2, "idempotency_conflict")])
    assert counts == Tally(accepted=1, duplicates=1, conflicts=1, rejected=1)
    first = world.disk.rows[0].fingerprint
    other = World(world.catalog)
    outcome(other, [ask("k", 2)])
    [(reject, _)] = world.disk.rejects
    assert f"the first has fingerprint {first:016x}" in reject.detail
    assert f"this one {other.disk.rows[0].fingerprint:016x}" in reject.detail
    assert reject.raw == ask("k", 2)


def test_a_line_that_cannot_be_read_is_rejected_and_claims_nothing(world):
    broken = ask("k").replace(b'"units":1', b'"units":"1"')
    rows, rejects, counts = outcome(world, [broken, ask("k"), b"{", ask("j")])

    assert (rows, rejects) == ([2, 4], [(1, "invalid_data"), (3, "unreadable")])
    assert counts == Tally(accepted=2, rejected=2)


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_a_correction_voids_what_stands_before_it_and_nothing_that_follows(world, cut):
    lines = [void("k"), ask("k"), void("k")]
    rows, rejects, counts = outcome(world, *(part for part in (lines[:cut], lines[cut:]) if part))

    assert (rows, rejects) == ([2, 3], [(1, "voids_unknown")])
    assert counts == Tally(accepted=2, rejected=1)
    assert [row.pico_usd for row in world.disk.rows] == [50_000_001, -50_000_001]


def test_voiding_twice_is_a_duplicate_whatever_the_correction_calls_itself(world):
    rows, rejects, counts = outcome(
        world, [ask("k"), void("k"), void("k", own="again")], [void("k", own="k")]
    )

    assert (rows, rejects) == ([1, 2], [])
    assert counts == Tally(accepted=2, duplicates=2)


def test_a_voided_key_stays_spent(world):
    rows, rejects, _ = outcome(world, [ask("k"), void("k")], [ask("k"), ask("k", 2), ask("k2", 2)])

    assert (sorted(rows), rejects) == ([1, 2, 5], [(4, "idempotency_conflict")])


def test_the_key_of_a_correction_claims_nothing_and_cannot_be_voided(world):
    rows, rejects, _ = outcome(
        world, [ask("k"), void("k", own="mine"), void("mine"), ask("mine"), void("mine", own="m")]
    )

    assert (sorted(rows), rejects) == ([1, 2, 4, 5], [(3, "voids_unknown")])


def test_a_correction_reaches_only_its_own_tenant(world):
    rows, rejects, _ = outcome(world, [ask("k"), void("k", tenant="other")], [void("k")])

    assert (sorted(rows), rejects) == ([1, 3], [(2, "voids_unknown")])


def test_shares_are_judged_in_the_order_of_their_stream_whenever_they_come(world):
    batches = [[ask("k", n)] for n in range(5)]
    shares = [world.shares(chunk_of([(n + 1, batch[0])], NOW_MS, n), 1)[0] for n, batch in enumerate(batches)]
    lane = world.lane()
    for number in (3, 1, 4):
        lane.take(shares[number])
    assert (lane.has_pending, lane._commit.tallies) == (False, {})
    lane.take(shares[0])
    assert tally(lane) == Tally(accepted=1, rejected=1, conflicts=1)
    lane.take(shares[2])

    delivered = commit(lane)

    assert delivered.below == {"files": 5}
    assert [row.offset for row in world.disk.rows] == [1]
    assert [reject.offset for reject, _ in world.disk.rejects] == [2, 3, 4, 5]


def test_streams_do_not_wait_for_each_other(world):
    lane = world.lane()
    chunks = [
        chunk_of([(1, ask("k"))], NOW_MS, 1, FILE),
        chunk_of([(1, ask("k"))], NOW_MS, 0, Origin("t", 7)),
    ]
    chunks[1].stream = "t-7"
    for chunk in chunks:
        lane.take(world.shares(chunk, 1)[0])

    assert lane._commit.tallies == {Origin("t", 7): Tally(accepted=1)}
    assert commit(lane).below == {"files": 0, "t-7": 1}


def test_a_share_without_rows_moves_the_position_too(world):
    lane = world.lane(1, 2)
    shares = world.shares(chunk_of([(9, b"{")], NOW_MS), 2)  # a rejected line goes by its number: lane 1
    lane.take(world.shares(chunk_of([(8, b"{")], NOW_MS), 2)[1])

    assert (lane.has_pending, lane.pending_rows) == (True, 0)
    commit(lane)
    assert {world.disk.positions[FILE, slot] for slot in range(1, 256, 2)} == {9}
    assert (FILE, 0) not in world.disk.positions
    assert len(shares[1].batch.rows_of(1)) == 1


def test_a_commit_empties_what_is_pending_and_says_what_it_cost(world):
    lane = world.lane()
    take(world, lane, [ask("k"), ask("j", 2, operation="given"), void("k")])
    assert (lane.pending_rows, lane.pending_bytes(), lane.has_pending) == (3, 200, True)

    delivered = commit(lane)

    assert delivered.pico_usd == 3_000_000
    assert (lane.pending_rows, lane.pending_bytes(), lane.has_pending, lane._commit.tallies) == (
        0,
        0,
        False,
        {},
    )
    assert lane.keys_held() == 3


def test_an_error_of_the_ledger_goes_through(world, monkeypatch):
    def fenced(_self, _commit):
        raise LedgerFencedError

    lane = world.lane()
    take(world, lane, [ask("k")])
    monkeypatch.setattr(MemoryLane, "commit", fenced)
    with pytest.raises(LedgerFencedError):
        commit(lane)


# Runs that know of earlier ones.


def test_a_key_of_an_earlier_run_is_known(world):
    outcome(world, [ask("k"), void("k"), ask("j")])
    other = Origin("g", 0)
    lane = world.lane(origin=other)
    lines = [ask("k"), ask("j", 7), void("k"), void("j"), void("x")]
    lane.take(world.shares(chunk_of(list(enumerate(lines, 1)), NOW_MS, 0, other), 1)[0])

    assert tally(lane, other) == Tally(accepted=1, duplicates=2, conflicts=1, rejected=2)


def test_a_lane_loads_the_keys_of_its_own_slots_only(world):
    outcome(world, [ask(f"k{n}") for n in range(100)])
    held = [world.lane(n, 3, Origin("g", 0)).keys_held() for n in range(3)]

    assert sum(held) == 100
    assert min(held) > 15


def test_old_events_and_corrections_are_looked_up_and_no_others(world):
    outcome(world, [ask("old"), ask("young"), void("old")])
    stored = {(row.key, row.voids): row.key_hash for row in world.disk.rows}
    hot_since = NOW_MS + 1
    other = Origin("g", 0)
    ledger_of = lambda: MemoryLane(world.disk, 0, 1, [other], hot_since=hot_since)
    before, after = "2026-11-02T06:13:20Z", "2026-11-02T06:28:20.001Z"  # five minutes behind hot_since
    world.now_ms = NOW_MS + 10**6
    world.disk.run += 1

    ledger = ledger_of()
    lane = Lane(0, ledger, SpendFilter(world.accounts))
    assert lane.keys_held() == 0
    lines = [
        ask("new", time=after),
        ask("old", time=before),
        ask("young", 5, time=before),
        void("old"),
        void("young"),
    ]
    lane.take(world.shares(chunk_of(list(enumerate(lines, 1)), world.now_ms, 0, other), 1)[0])

    assert tally(lane, other) == Tally(accepted=2, duplicates=2, conflicts=1, rejected=1)
    assert set(stored.values()) <= set(ledger.looked_up)
    assert len(ledger.looked_up) == 4

    world.disk.run += 1
    ledger = ledger_of()
    lane = Lane(0, ledger, SpendFilter(world.accounts))
    lane.take(world.shares(chunk_of([(1, ask("old", time=after))], world.now_ms, 0, other), 1)[0])
    assert (ledger.looked_up, tally(lane, other)) == ([], Tally(accepted=1))


def test_nothing_is_looked_up_when_all_keys_are_held(world):
    outcome(world, [ask("k")])
    world.disk.run += 1
    ledger = MemoryLane(world.disk, 0, 1, [Origin("g", 0)])
    lane = Lane(0, ledger, SpendFilter(world.accounts))
    lane.take(world.shares(chunk_of([(1, ask("k")), (2, void("k"))], NOW_MS, 0, Origin("g", 0)), 1)[0])

    assert (tally(lane, Origin("g", 0)), ledger.looked_up) == (Tally(accepted=1, duplicates=1), [])


def test_records_with_an_outcome_are_replayed_and_keep_it(world):
    lines = [ask("a"), b"{", ask("a"), ask("b"), ask("a", 2), void("b")]
    outcome(world, lines)
    rows, rejects, counts = outcome(world, lines)

    assert counts == Tally(replayed=6)
    assert (rows, [offset for offset, _ in rejects]) == ([1, 4, 6], [2, 5])


def test_a_file_that_is_read_again_adds_no_second_reject_of_a_line(world):
    lines = [b"{", ask("a"), ask("a", 2), b"[", void("x")]
    outcome(world, lines)
    again = Origin("f", 0, 2)
    lane = world.lane(origin=again)
    changed = [b"{", ask("a"), ask("a", 3), b"[", void("x"), b"{"]
    lane.take(world.shares(chunk_of(list(enumerate(changed, 1)), NOW_MS, 0, again), 1)[0])
    counts = tally(lane, again)
    commit(lane)

    assert counts == Tally(duplicates=1, conflicts=1, rejected=5)
    assert [(r.origin.pass_number, r.offset) for r, _ in world.disk.rejects] == [
        (1, 1), (1, 3), (1, 4), (1, 5), (2, 3), (2, 6),
    ]  # fmt: skip
    written_again = {hashlib.sha256(r.raw).digest() for r, _ in world.disk.rejects if r.origin == again}
    assert written_again == {hashlib.sha256(raw).digest() for raw in (ask("a", 3), b"{")}


# Any input, any number of lanes, any arrival, any commits, any cuts: as the dumb model says.


def lines_of(plan: random.Random, count: int) -> list[bytes]:
    """Lines of few keys, so that all meet."""
    keys = ["a", "b", "c", "d"]

    def line() -> bytes:
        key, tenant = plan.choice(keys), plan.choice(["acme", "other"])
        kind = plan.random()
        if kind < 0.1:
            return plan.choice([b"{", b"[]", b"{}", ask(key).replace(b"compute", b"compost")])
        if kind < 0.35:
            return void(key, tenant, plan.choice(keys))
        minute = plan.randrange(60)
        operation = plan.choice(["ask", "ask", "given"])
        return ask(
            key,
            plan.choice([1, 1, 1, 2]),
            tenant,
            f"2026-11-0{plan.choice('12')}T05:{minute:02}:00Z",
            operation,
        )

    return [line() for _ in range(count)]


def model_of(lines: list[bytes], accounts: dict | None = None) -> Model:
    model = Model(CATALOG_TABLE, accounts)
    model.feed_lines(lines, "f", NOW_MS)
    return model


def assert_disk_is(disk: Disk, model: Model) -> None:
    assert Counter(row.offset for row in disk.rows) == Counter(row.origin[2] for row in model.rows)
    rejects = Counter((reject.reason, reject.offset) for reject, _ in disk.rejects)
    assert rejects == Counter((reason, origin[2]) for reason, origin in model.rejects)
    assert disk.duplicates == model.counts["duplicate"]
    stored = sorted((row.offset, row.tenant, row.key, row.voids, row.pico_usd) for row in disk.rows)
    assert stored == sorted((r.origin[2], r.tenant, r.key, r.voids, r.pico) for r in model.rows)


@given(st.integers(0, 2**32), st.integers(1, 50), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_lanes_in_any_number_and_order_do_what_one_after_the_other_would(catalog, seed, count, lanes):
    plan = random.Random(seed)
    lines = lines_of(plan, count)
    world, model = World(catalog), model_of(lines)

    delivered = world.run(lines, plan, lanes)

    assert_disk_is(world.disk, model)
    assert sum(d.pico_usd for d in delivered) == sum(row.pico for row in model.rows)


@given(
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 3)), max_size=4),
    st.sampled_from([0, NOW_MS + 1]),
    st.sampled_from([KEEP_ALL, Keep(0, 0), Keep(3, 0)]),
)
@settings(deadline=None, max_examples=150)
def test_runs_that_are_cut_anywhere_end_as_if_never_cut(catalog, seed, count, cuts, hot_since, keep):
    """Also where lanes let keys go after each commit, and look them up again."""
    plan = random.Random(seed)
    lines = lines_of(plan, count)
    world, model = World(catalog, hot_since=hot_since, keep=keep), model_of(lines)
    for steps, lanes in cuts:
        try:
            world.run(lines, plan, lanes, steps=steps)
        except CutError:
            continue
    world.run(lines, plan, plan.randrange(1, 4))

    assert_disk_is(world.disk, model)
