"""Recurring work: due at its time, one run at a time, taken over when stale, and what it says late is not kept."""

import pytest
import structlog
from stripe_double.stage import NOON, Time

from billing.loops import (
    DAY_S,
    LEASE_S,
    LeaseLostError,
    Loop,
    Scheduler,
    keep_lease,
    note_reads,
    reads_left,
    standings,
)
from billing.store import open_store

pytest_plugins = ["stripe_double.fixtures"]


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def store(store_url):
    store = open_store(store_url)
    yield store
    store.close()


@pytest.fixture
def time():
    return Time()


def loop(work=lambda _goes_on: "done", every_s=60):
    return Loop("push", every_s, work)


def test_work_is_done_when_it_is_due_and_not_before(store, time):
    scheduler = Scheduler(store, "a", time)
    assert scheduler.turn(loop()).detail == "done"
    time.now += 59
    assert scheduler.turn(loop()) is None
    assert scheduler.wait_s(loop()) == 1
    time.now += 1
    assert scheduler.turn(loop()).detail == "done"


def test_at_once_does_not_wait_for_its_time(store, time):
    scheduler = Scheduler(store, "a", time)
    scheduler.turn(loop())
    assert scheduler.turn(loop(), at_once=True).detail == "done"


def test_one_run_at_a_time_whoever_asks(store, time):
    other = Scheduler(store, "b", time)
    seen = []

    def work(_goes_on):
        seen.append((other.turn(loop()), other.turn(loop(), at_once=True)))
        return "done"

    Scheduler(store, "a", time).turn(loop(work))
    assert seen == [(None, None)]


def test_different_kinds_of_work_do_not_wait_for_each_other(store, time):
    scheduler = Scheduler(store, "a", time)
    inner = []
    work = Loop("verify", 60, lambda _goes_on: inner.append(scheduler.turn(loop())) or "outer")
    assert scheduler.turn(work).detail == "outer"
    assert inner[0].detail == "done"


def test_a_run_that_stopped_without_a_word_is_taken_over_when_its_lease_is_over(store, time):
    class Killed(BaseException):
        pass

    def die(_goes_on):
        raise Killed

    with pytest.raises(Killed):
        Scheduler(store, "a", time).turn(loop(die))
    time.now += LEASE_S - 1
    assert Scheduler(store, "b", time).turn(loop()) is None
    time.now += 1
    assert Scheduler(store, "b", time).turn(loop()).detail == "done"


def test_who_was_taken_over_is_told_so_and_changes_nothing(store, time):
    told = []

    def slow(goes_on):
        told.append(goes_on())
        time.now += LEASE_S
        Scheduler(store, "b", time).turn(loop(lambda _goes_on: "of b"))
        told.append(goes_on())
        return "of a"

    Scheduler(store, "a", time).turn(loop(slow))
    assert told == [True, False]
    assert [one.detail for one in standings(store)] == ["of b"]


def test_a_long_run_that_asks_keeps_its_lease(store, time):
    def long(goes_on):
        for _ in range(10):
            time.now += LEASE_S * 2 // 3
            assert goes_on()
            assert Scheduler(store, "b", time).turn(loop()) is None
        return "long"

    assert Scheduler(store, "a", time).turn(loop(long)).detail == "long"


def test_a_failure_is_kept_and_the_next_turn_comes_all_the_same(store, time):
    def fail(_goes_on):
        raise RuntimeError("no")

    scheduler = Scheduler(store, "a", time)
    scheduler.turn(loop())
    for number in (1, 2):
        time.now += 60
        assert scheduler.turn(loop(fail)).failed
        (one,) = standings(store)
        assert (one.failures, one.detail, one.succeeded_at) == (number, "RuntimeError: no", NOON)
    time.now += 60
    scheduler.turn(loop())
    assert standings(store)[0].failures == 0


def test_a_clock_that_was_ahead_does_not_stop_the_work(store, time):
    time.now += 10 * DAY_S
    Scheduler(store, "a", time).turn(loop())
    time.now -= 10 * DAY_S
    assert Scheduler(store, "a", time).turn(loop()).detail == "done"


def test_a_program_that_stops_tells_the_run(store, time):
    def work(goes_on):
        keep_lease(goes_on)
        return "went on"

    made = Scheduler(store, "a", time, lambda: True).turn(loop(work))
    assert (made.failed, "program stops" in made.detail) == (True, True)
    with pytest.raises(LeaseLostError):
        keep_lease(lambda: False)


def test_reads_are_counted_by_the_day(store):
    note_reads(store, 200, NOON)
    note_reads(store, 50, NOON + 60)
    assert reads_left(store, 300, NOON + 120) == 50
    assert reads_left(store, 100, NOON + 120) == 0
    assert reads_left(store, 300, NOON + DAY_S) == 300
