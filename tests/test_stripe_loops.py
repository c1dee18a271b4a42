"""`millrace stripe loop`: plans, pushes, handles, verifies and reconciles by itself, as often as it says."""

import threading

import pytest
import structlog
from sqlalchemy import select
from stripe_double.stage import EVENT_NAME, HOUR, NOON, STAMP

from billing.binding import remember_meter
from billing.loops import Scheduler, standings
from billing.meters import hold_meaning
from billing.planning import Planning, plan_reports
from billing.tables import reconciliations
from cli import stripe_loops, stripe_work
from cli.stripe_desk import Desk
from cli.stripe_loops import LoopSettings, in_threads, make_loops
from pipeline.accounts import Accounts
from pipeline.errors import UsageError
from pipeline.outbox import State
from sinks.stripe import Sender
from sinks.stripe_fake_http import Fault
from sinks.stripe_push import Pace

pytest_plugins = ["stripe_double.fixtures"]


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def desk(stage, monkeypatch):
    """A desk on the stage, under its clock; planning reads its ledger."""
    monkeypatch.setattr(stripe_loops, "now", stage.time)
    monkeypatch.setattr(stripe_work, "now", stage.time)

    def plan(of, _ledger, *, running, write):
        planning = Planning(stage.declaration, lambda t: stage.customers.get(t, ""), STAMP, of.now, running)
        return plan_reports(stage.store, stage.ledger, planning, write=write)

    monkeypatch.setattr(stripe_loops, "plan", plan)
    hold_meaning(stage.store, stage.declaration)
    remember_meter(stage.store, EVENT_NAME, {"meter_id": stage.meter["id"]})
    return Desk(stage.store, stage.mark, stage.declaration, Accounts(), stage.client(), stage.time())


def loops_of(desk, reads_a_day=300):
    made = make_loops(
        desk, desk.client, LoopSettings(None, Pace(2, 1000, 0), Sender(desk.client), reads_a_day)
    )
    return {loop.name: loop for loop in made}


def test_the_rhythm_of_each_kind_of_work(desk):
    rhythm = {name: loop.every_s for name, loop in loops_of(desk).items()}
    assert rhythm == {"push": 60, "webhooks": 60, "doubtful": 600, "verify": HOUR, "reconcile": 24 * HOUR}


def test_two_days_by_themselves_bring_the_ledgers_sum_and_prove_it(desk, stage):
    stage.add_tenant("acme")
    loops = loops_of(desk)
    schedulers = [Scheduler(stage.store, name, stage.time) for name in ("a", "b")]
    stage.next_fault(Fault.DROP_AFTER, Fault.ERROR_BEFORE, None, Fault.TIMEOUT_BEFORE)
    for minute in range(0, 2 * 24 * 60, 10):
        stage.time.now = NOON + minute * 60
        if minute % 60 == 0:
            stage.ledger.add("acme", stage.time() // HOUR * HOUR, 7)
        for scheduler in schedulers:
            for loop in loops.values():
                scheduler.turn(loop)
    assert set(stage.states()) <= {State.VERIFIED, State.ACCEPTED}
    assert stage.at_stripe("acme") == stage.ledger.of("acme") // 10**6 - 7, "all hours but the running one"
    assert {one.failures for one in standings(stage.store)} == {0}


def test_what_stays_unknown_is_frozen_read_and_told_anew_without_anyone(desk, stage):
    stage.add_tenant("acme")
    stage.ledger.add("acme", NOON - HOUR, 7)
    stage.wire.fault_for = lambda r: Fault.DROP_BEFORE if r.path.endswith("meter_events") else None
    loops = loops_of(desk)
    scheduler = Scheduler(stage.store, "a", stage.time)
    for _ in range(50 * 6):
        if stage.time() > NOON + 24 * HOUR:
            stage.wire.fault_for = lambda _request: None
        for loop in loops.values():
            scheduler.turn(loop)
        stage.time.now += 600
    assert stage.states()[0] is State.ABSENT
    assert stage.states()[-1] is State.VERIFIED
    assert stage.at_stripe("acme") == 7


def test_the_reads_of_a_day_are_not_exceeded_and_lanes_take_turns(desk, stage):
    for number in range(6):
        stage.add_tenant(f"tenant-{number}")
        stage.ledger.add(f"tenant-{number}", NOON - HOUR, 1)
    loops = loops_of(desk, reads_a_day=2)
    scheduler = Scheduler(stage.store, "a", stage.time)
    scheduler.turn(loops["push"])
    for day in range(3):
        stage.time.now = NOON + day * 24 * HOUR
        before = sum(call.method == "GET" for call in stage.wire.calls)
        for _ in range(3):
            scheduler.turn(loops["reconcile"], at_once=True)
        assert sum(call.method == "GET" for call in stage.wire.calls) - before == 2
    assert stage.states() == [State.VERIFIED] * 6
    with stage.store.read() as connection:
        assert len(connection.execute(select(reconciliations)).all()) == 3


def test_the_loops_end_when_they_are_told_to_and_leave_no_thread(desk, stage):
    stage.add_tenant("acme")
    stage.ledger.add("acme", NOON - HOUR, 7)
    before = threading.active_count()
    with in_threads(desk, tuple(loops_of(desk).values())):
        for _ in range(200):
            if len(standings(stage.store)) == 5 and all(one.succeeded_at for one in standings(stage.store)):
                break
            threading.Event().wait(0.05)
    assert threading.active_count() == before
    assert stage.at_stripe("acme") == 7


def test_loops_need_meters_that_are_set_up(stage):
    desk = Desk(stage.store, stage.mark, stage.declaration, Accounts(), stage.client(), NOON)
    with pytest.raises(UsageError, match="run `millrace stripe setup --yes` first"):
        make_loops(desk, desk.client, LoopSettings(None, Pace(), Sender(desk.client)))


def test_a_store_that_was_restored_plans_nothing_until_it_has_learned(desk, stage):
    stage.add_tenant("acme")
    stage.ledger.add("acme", NOON - HOUR, 7)
    stage.mark.write(5, NOON)
    loops = loops_of(desk)
    scheduler = Scheduler(stage.store, "a", stage.time)
    scheduler.turn(loops["verify"])
    assert "restored from an older copy" in scheduler.turn(loops["push"]).detail
    stage.time.now += 24 * HOUR
    assert "difference 0" in scheduler.turn(loops["reconcile"], at_once=True).detail
    assert "1 applied" in scheduler.turn(loops["push"], at_once=True).detail
