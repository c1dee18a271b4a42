"""Groups that only authorize: the short way decides what the long way would, and leaves nothing half done."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import wait

import pytest
from caps_stage import NOON_MS, PICO, CapsStage, caps_stage, make_stage, migrated_url
from sqlalchemy import event, func, select, text

from billing import authorizing
from billing.accounts import DEFAULTS, Change, change, set_global_mode
from billing.asks import Authorize, Caller, Mode, Once, Reserve, Settle, Status
from billing.authorizing import authorize
from billing.book import Piece, open_book
from billing.cap_checks import check_caps
from billing.cap_tables import answers, refusals
from billing.moves import Desk, answer
from billing.policy import Policy

__all__ = ["caps_stage", "migrated_url"]

pytest_plugins = ["stripe_double.fixtures"]

ZONES = ("UTC", "Asia/Kathmandu", "America/Santiago", "Pacific/Kiritimati")


def piece(tenant: str, micro: int, key: str = "", fingerprint: str = "f") -> Piece:
    once = Once(f"authorize:{tenant}", key, fingerprint) if key else None
    return Piece(Authorize(tenant, micro), Caller("service:a", "r"), once)


def short(stage: CapsStage, pieces: list[Piece]):
    return authorize(stage.store, desk(stage), stage.clock, pieces, needs_figures=True)


def desk(stage: CapsStage) -> Desk:
    return Desk(Policy(), stage.random_hex)


def count(stage: CapsStage, table) -> int:
    with stage.store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def long(stage: CapsStage, pieces: list[Piece]):
    """What the long way would answer and write; nothing of it stays."""
    with stage.store.engine.connect() as connection:
        book = open_book(connection, stage.store, pieces, stage.clock.ms)
        found = [answer(book, desk(stage), one) for one in pieces]
        connection.rollback()
    return found, {table: len(book.rows[table]) for table in (answers, refusals)}


@pytest.fixture
def pg_url(postgres) -> Iterator[str]:
    """For what cannot be on SQLite, whose writers follow one another and which has no connection to lose."""
    with postgres.database() as url:
        yield url


def some_life(stage: CapsStage, chance: random.Random) -> None:
    """Tenants of several zones and modes who reserve, settle, are counted, and whose reservations end."""
    for number, zone in enumerate(ZONES):
        name = f"t{number}"
        limits = {"day": chance.choice(["none", "0.0003"]), "month": chance.choice(["none", "0.0005"])}
        mode = chance.choice(["global", "shadow", "soft", "live"])
        stage.limit(name, **limits, time_zone=zone, mode=mode)
        stage.ask(Authorize(name, 0))
        for step in range(3):
            stage.ledger.spend(name, chance.randint(0, 90) * PICO + chance.randint(0, 1), stage.clock.ms)
            stage.ask(Reserve(name, chance.randint(0, 90), chance.randint(1, 3_600)))
            stage.ask(Settle(name, chance.randint(0, 90), key=f"{number}-{step}-{stage.clock.ms}"))
    stage.refresh()


@pytest.mark.parametrize("seed", range(3))
def test_the_short_way_decides_and_keeps_what_the_long_way_would(caps_stage, seed):
    chance = random.Random(seed)
    some_life(caps_stage, chance)
    taken = 0
    for turn in range(12):
        caps_stage.clock.ms += chance.choice([1, 1_000, 600_000, 5 * 3_600_000])
        if turn % 4 == 3:
            some_life(caps_stage, chance)
        keys = ["", *(f"{turn}-{n}" for n in range(3)), f"{turn - 1}-1"]
        pieces = [
            piece(f"t{chance.randrange(4)}", chance.randint(0, 300), chance.choice(keys), chance.choice("fg"))
            for _ in range(6)
        ]
        expected, rows = long(caps_stage, pieces)
        before = {table: count(caps_stage, table) for table in (answers, refusals)}
        found = short(caps_stage, pieces)
        if found is None:
            caps_stage.ask(Authorize(pieces[0].ask.tenant, 0))  # ends what is due
            for one in pieces:
                caps_stage.ask(Authorize(one.ask.tenant, 0))
            continue
        taken += 1
        assert found == expected
        for table, old in before.items():
            assert count(caps_stage, table) - old == rows[table]
    assert taken >= 4
    assert check_caps(caps_stage.store, NOON_MS).findings == []


def statements(stage: CapsStage, pieces: list[Piece]) -> list[str]:
    said: list[str] = []

    def note(_connection, _cursor, statement, *_):
        said.append(statement.split()[0])

    event.listen(stage.store.engine, "before_cursor_execute", note)
    try:
        assert short(stage, pieces) is not None
    finally:
        event.remove(stage.store.engine, "before_cursor_execute", note)
    return [one for one in said if one not in {"PRAGMA", "BEGIN"}]


def test_a_group_takes_two_statements_and_one_without_keys_takes_one(caps_stage):
    caps_stage.limit("acme", day="0.001")
    caps_stage.ask(Authorize("acme", 0))
    assert len(statements(caps_stage, [piece("acme", 1, str(n)) for n in range(9)])) == 2
    assert len(statements(caps_stage, [piece("acme", 1) for _ in range(9)])) == 1


def test_what_is_out_of_the_ordinary_is_left_to_the_long_way(caps_stage):
    caps_stage.limit("acme", day="0.001")
    assert short(caps_stage, [piece("acme", 1)]) is None  # its figures were never read
    assert short(caps_stage, [piece("nobody", 1)]) is None
    caps_stage.ask(Reserve("acme", 1_000, 5))
    assert short(caps_stage, [piece("acme", 1)])[0].status is Status.CAP_EXCEEDED
    caps_stage.clock.ms += 5_000
    assert short(caps_stage, [piece("acme", 1)]) is None  # the reservation has to end first
    assert caps_stage.ask(Authorize("acme", 1_000)).is_ok
    caps_stage.limit("acme", day="0.001", time_zone="Pacific/Niue")
    caps_stage.refresh()
    caps_stage.limit("acme", day="0.001", time_zone="Pacific/Kiritimati")
    assert (
        short(caps_stage, [piece("acme", 1)]) is None
    )  # a window that is stored begins after the current one
    assert caps_stage.ask(Authorize("acme", 1_000)).is_ok


def test_a_limit_or_mode_that_changed_counts_for_the_next_ask(caps_stage):
    caps_stage.limit("acme", day="0.001")
    assert caps_stage.ask(Authorize("acme", 500)).is_ok
    caps_stage.limit("acme", day="0.0001")
    assert caps_stage.ask(Authorize("acme", 500)).status is Status.CAP_EXCEEDED
    set_global_mode(caps_stage.store, Mode.SOFT, caps_stage.by())
    soft = caps_stage.ask(Authorize("acme", 500))
    assert (soft.is_ok, soft.exceeded.limit_micro) == (True, 100)


def test_a_key_that_was_used_between_look_and_answer_gets_the_first_answer_and_one_refusal(
    pg_url, monkeypatch
):
    stage, other = make_stage(pg_url), make_stage(pg_url)
    stage.limit("acme", day="0.0001")
    stage.ask(Authorize("acme", 0))
    once = Once("authorize:acme", "k", "f")
    write = authorizing._write

    def late(book, **options):
        monkeypatch.setattr(authorizing, "_write", write)
        assert other.ask(Authorize("acme", 101), once).status is Status.CAP_EXCEEDED
        write(book, **options)

    monkeypatch.setattr(authorizing, "_write", late)
    outcome = stage.ask(Authorize("acme", 101), once)
    assert (outcome.status, outcome.is_replay) == (Status.CAP_EXCEEDED, True)
    assert (count(stage, answers), count(stage, refusals)) == (1, 1)
    for one in (stage, other):
        one.caps.close()
        one.store.close()


def test_a_connection_that_was_lost_is_made_again_and_nobody_is_told(pg_url):
    stage = make_stage(pg_url)
    stage.limit("acme", day="0.001")
    for number in range(3):
        assert stage.ask(Authorize("acme", 1), Once("authorize:acme", str(number), "f")).is_ok
        other = make_stage(pg_url)
        with other.store.write() as connection:
            connection.execute(text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ))  # fmt: skip
        other.caps.close()
        other.store.close()
    assert stage.ask(Authorize("acme", 1)).is_ok
    stage.caps.close()
    stage.store.close()


def test_many_who_ask_the_same_at_once_in_two_processes_are_told_the_same_once(migrated_url):
    """Two services on one store, each asked by four threads with keys that they share, beside one that reserves."""
    stages = [make_stage(migrated_url) for _ in range(2)]
    stages[0].limit("acme", day="0.001")
    stages[0].ask(Authorize("acme", 0))
    before = count(stages[0], refusals)
    futures: list = []
    together = threading.Barrier(9)

    def ask(stage: CapsStage, seed: int) -> None:
        chance = random.Random(seed)
        together.wait()
        for _ in range(60):
            key = chance.randrange(80)
            once = Once("authorize:acme", str(key), "f")
            futures.append((key, stage.caps.ask(Authorize("acme", 200 + 20 * key), Caller(), once)))

    def reserve() -> None:
        together.wait()
        for _ in range(40):
            stages[1].ask(Reserve("acme", 10))

    threads = [threading.Thread(target=ask, args=(stages[n % 2], n)) for n in range(8)]
    threads.append(threading.Thread(target=reserve))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait([future for _, future in futures], 60)
    told: dict[int, set] = {}
    fresh: Counter[int] = Counter()
    for key, future in futures:
        outcome = future.result(1)
        if outcome.status is Status.REQUEST_IN_PROGRESS:
            continue
        told.setdefault(key, set()).add((outcome.status, outcome.spend, outcome.decided_at_ms))
        fresh[key] += not outcome.is_replay
    assert {len(one) for one in told.values()} == {1}
    assert set(fresh.values()) == {1}
    refused = sum(next(iter(one))[0] is Status.CAP_EXCEEDED for one in told.values())
    assert refused
    assert count(stages[0], answers) == len(told)
    assert count(stages[0], refusals) - before == refused
    assert check_caps(stages[0].store, NOON_MS).findings == []
    for stage in stages:
        stage.caps.close()
        stage.store.close()


def test_a_key_that_another_process_works_on_is_in_progress(pg_url):
    stage = make_stage(pg_url)
    stage.limit("acme", day="0.001")
    stage.ask(Authorize("acme", 0))
    mine, free = (Once("authorize:acme", key, "f") for key in "kl")
    with stage.store.write(is_alone=False) as connection:
        open_book(connection, stage.store, [Piece(Authorize("acme", 1), Caller(), mine)], NOON_MS)
        found = short(stage, [piece("acme", 1, "k"), piece("acme", 1, "l")])
        assert [one.status for one in found] == [Status.REQUEST_IN_PROGRESS, Status.ALLOWED]
    assert [stage.ask(Authorize("acme", 1), once).is_replay for once in (mine, free)] == [False, True]
    stage.caps.close()
    stage.store.close()


def test_asks_that_only_question_do_not_wait_for_those_that_move_money(pg_url):
    """Such as behind the lock of another process, or a commit that hangs on a disk."""
    stage = make_stage(pg_url)
    stage.limit("acme", day="0.001")
    stage.ask(Authorize("acme", 0))
    with stage.store.write(is_alone=False) as connection:
        open_book(connection, stage.store, [Piece(Reserve("acme", 1), Caller(), None)], NOON_MS)
        held = stage.caps.ask(Reserve("acme", 1))
        assert stage.ask(Authorize("acme", 1), Once("authorize:acme", "k", "f")).is_ok
        assert not held.done()
    assert held.result(9).is_ok
    stage.caps.close()
    stage.store.close()


def test_defaults_are_in_force_for_who_was_not_declared(caps_stage):
    """The defaults are in force for tenants that were not declared, as they stand at the moment of the ask."""
    caps_stage.ask(Authorize("stray", 0))
    assert caps_stage.ask(Authorize("stray", 10**9)).is_ok
    change(caps_stage.store, DEFAULTS, Change(daily_limit="0.0001"), caps_stage.by())
    assert caps_stage.ask(Authorize("stray", 10**9)).exceeded.limit_micro == 100
