"""Reconciliation: difference zero, or the difference by name; and what follows for each report."""

import shutil

import pytest
from sqlalchemy import select
from stripe_double.stage import EVENT_NAME, HOUR, NOON

from billing.reconcile import VISIBLE_AFTER_S, Reconciler
from billing.resolve import Decision, held_reports, resolve
from billing.restore import check_settled, lift, notice_restore
from billing.store import open_store
from billing.tables import audit, reconciliations
from pipeline.errors import ProviderError, StoreError, UsageError
from pipeline.outbox import Lane, State
from sinks.stripe_fake import Rules
from sinks.stripe_fake_http import Fault

pytest_plugins = ["stripe_double.fixtures"]
DAY = 24 * HOUR


@pytest.fixture
def owing(stage):
    stage.add_tenant("acme")
    stage.ledger.add("acme", NOON - HOUR, 7)
    stage.plan()
    return stage


def test_what_stripe_counts_is_verified_many_hours_in_one_read(stage):
    stage.add_tenant("acme")
    for hour in range(1, 90):
        stage.ledger.add("acme", NOON - hour * HOUR, hour)
    stage.plan()
    stage.push()
    result = stage.reconcile()
    assert (result.difference, result.reads, result.moved) == (0, 1, {"verified": 89})
    assert set(stage.states()) == {State.VERIFIED}
    assert stage.reconcile().windows == 0


def test_what_does_not_show_yet_is_pending_and_no_difference(owing):
    object.__setattr__(owing.account.rules, "summary_lag_s", 120)
    owing.push()
    early = owing.reconcile()
    assert (early.difference, early.pending_units, owing.states()) == (0, 7, [State.ACCEPTED])
    owing.time.now += 120
    assert owing.reconcile().pending_units == 0
    assert owing.states() == [State.VERIFIED]


@pytest.mark.parametrize(
    ("fault", "after"), [(Fault.DROP_AFTER, State.VERIFIED), (Fault.DROP_BEFORE, State.UNKNOWN)]
)
def test_an_unknown_report_is_verified_by_its_minute_alone(owing, fault, after):
    owing.next_fault(fault)
    owing.push()
    assert owing.reconcile().difference == 0
    assert owing.states() == [after]


def test_absence_is_proven_by_two_readings_a_day_after_the_last_attempt_and_the_amount_told_anew(owing):
    owing.next_fault(Fault.DROP_BEFORE)
    owing.push()
    owing.time.now += 23 * HOUR
    owing.push()
    for wait, state in ((0, State.FROZEN), (HOUR, State.FROZEN), (60, State.FROZEN), (600, State.ABSENT)):
        owing.time.now += wait
        owing.reconcile()
        assert owing.states() == [state]
    owing.plan()
    owing.push()
    assert owing.states() == [State.ABSENT, State.ACCEPTED]
    assert owing.intents()[1].slot == 1
    assert owing.at_stripe("acme") == 7


def test_a_report_that_was_received_and_not_counted_holds_its_lane_until_someone_decides(owing):
    owing.next_fault(Fault.ASYNC_REJECT)
    owing.push()
    for _ in range(2):
        owing.time.now += DAY
        owing.reconcile()
    assert owing.states() == [State.ASYNC_REJECTED]
    owing.ledger.add("acme", NOON + HOUR, 5)
    owing.plan()
    assert owing.push().results == {}, "what follows would most likely fare the same"
    (held,) = held_reports(owing.store)
    assert resolve(
        owing.store, held.identifier, Decision.ABSENT, who="kim", why="mended", now=owing.time()
    ) == (State.ABSENT)
    owing.plan()
    owing.push(patience_s=HOUR)
    assert owing.at_stripe("acme") == 12
    with owing.store.read() as connection:
        entry = connection.execute(select(audit)).one()
    assert (entry.who, entry.action, entry.subject) == ("kim", "resolve_absent", held.identifier)


def test_a_foreign_report_in_our_minute_is_quarantined_and_named(owing):
    owing.push()
    row = owing.intents()[0]
    foreign = {
        "event_name": EVENT_NAME,
        "timestamp": NOON - HOUR + 31,
        "payload": {"stripe_customer_id": row.customer, "value": "3"},
    }
    owing.account.receive(foreign)
    owing.time.now += VISIBLE_AFTER_S
    result = owing.reconcile()
    assert owing.states() == [State.QUARANTINED]
    assert "its minute holds 10 instead of 7" in owing.intents()[0].detail
    (finding,) = result.findings
    assert (finding.stripe, finding.difference, finding.identifiers) == (10, 10, (row.identifier,))
    with pytest.raises(UsageError, match="it is either absent or delivered"):
        resolve(owing.store, row.identifier, Decision.RETRY, who="kim", why="", now=owing.time())
    resolve(owing.store, row.identifier, Decision.DELIVERED, who="kim", why="seen", now=owing.time())
    assert owing.reconcile(full=True).findings[0].difference == 3


def test_verified_usage_that_is_cancelled_at_stripe_is_found_by_a_full_comparison(owing):
    owing.push()
    owing.reconcile()
    owing.account.cancel({"event_name": EVENT_NAME, "cancel": {"identifier": owing.intents()[0].identifier}})
    (finding,) = owing.reconcile(full=True).findings
    assert (finding.difference, finding.stripe) == (-7, 0)
    assert "is gone at Stripe" in finding.way_out


def test_a_late_ghost_of_a_report_proven_absent_is_counted_and_covered_by_later_usage(owing):
    owing.wire.zombie_delay_s = 3 * DAY
    owing.next_fault(Fault.ZOMBIE)
    owing.push()
    owing.time.now += 25 * HOUR
    owing.push()
    for _ in range(2):
        owing.reconcile()
        owing.time.now += HOUR
    owing.plan()
    owing.push()
    owing.time.now += 3 * DAY
    owing.wire.raise_zombies()
    assert owing.at_stripe("acme") == 14
    owing.reconcile(full=True)
    assert owing.states() == [State.VERIFIED, State.VERIFIED]
    assert "found at Stripe although it was absent" in owing.intents()[0].detail
    owing.ledger.add("acme", owing.time() // HOUR * HOUR - HOUR, 9)
    owing.plan()
    owing.push()
    assert owing.at_stripe("acme") == 16


def test_a_rejected_report_can_be_sent_again_when_the_cause_is_mended(owing):
    customer = owing.account.objects.pop(owing.customers["acme"])
    owing.push()
    assert owing.states() == [State.REJECTED]
    owing.account.objects[customer["id"]] = customer
    resolve(
        owing.store, owing.intents()[0].identifier, Decision.RETRY, who="kim", why="made", now=owing.time()
    )
    owing.push(patience_s=HOUR)
    assert (owing.states(), owing.at_stripe("acme")) == ([State.ACCEPTED], 7)


def test_a_comparison_does_not_overwrite_what_a_sender_does_meanwhile(owing):
    owing.next_fault(Fault.DROP_AFTER)
    owing.push()
    owing.time.now += HOUR
    summaries = owing.summaries()
    look = summaries.span

    def span(lane, start, end):
        owing.outbox().exchange([], 8, owing.time())
        return look(lane, start, end)

    summaries.span = span
    Reconciler(owing.store, summaries, owing.time()).run()
    assert owing.states() == [State.SENDING]


def test_deciding_about_what_needs_no_decision_is_wrong_use(owing):
    for identifier in (owing.intents()[0].identifier, "mt1.none"):
        with pytest.raises(UsageError, match="quarantine list"):
            resolve(owing.store, identifier, Decision.ABSENT, who="kim", why="", now=NOON)


def test_each_comparison_is_kept(owing):
    owing.push()
    owing.reconcile()
    with owing.store.read() as connection:
        row = connection.execute(select(reconciliations)).one()
    assert (row.made_at, row.windows, row.differences) == (NOON, 1, 0)


def test_reading_stops_at_its_allowance_and_says_what_is_left(stage):
    for number in range(5):
        stage.add_tenant(f"tenant-{number}")
        stage.ledger.add(f"tenant-{number}", NOON - HOUR, 1)
    stage.plan()
    stage.push()
    result = stage.reconcile(reads_max=3)
    assert (result.reads, result.unread_lanes) == (3, 2)


def test_a_sum_that_is_no_whole_number_is_not_ours(owing):
    owing.push()
    foreign = {"event_name": EVENT_NAME, "timestamp": NOON - HOUR, "payload": {"value": "0.5"}}
    foreign["payload"]["stripe_customer_id"] = owing.customers["acme"]
    owing.account.receive(foreign)
    with pytest.raises(ProviderError, match=r"sum 7\.5 is not a whole number"):
        owing.reconcile()


def test_proofs_stop_where_the_clock_is_wrong(owing):
    owing.push()
    summaries = owing.summaries()
    summaries._now = lambda: NOON + DAY
    with pytest.raises(ProviderError, match="86400 seconds away from Stripe's"):
        summaries.span(owing.intents() and _lane(owing), NOON - HOUR, NOON)


def _lane(stage):
    row = stage.intents()[0]
    return Lane(row.customer, row.event_name)


class Restored:
    """A history: tell 7, back the store up, tell 5 more and plan 3 that stay, restore the backup."""

    def __init__(self, stage, tmp_path):
        self.stage = stage
        stage.add_tenant("acme")
        stage.ledger.add("acme", NOON - 2 * HOUR, 7)
        stage.plan()
        stage.push()
        stage.ledger.add("acme", NOON - HOUR, 4)
        stage.plan()
        stage.store.close()
        shutil.copy(stage.store.path, tmp_path / "backup.db")
        stage.ledger.add("acme", NOON - HOUR, 1)
        stage.time.now += 2 * HOUR
        stage.plan()
        stage.push()
        assert stage.at_stripe("acme") == 12
        stage.store.close()
        for leftover in tmp_path.glob("control.db*"):
            leftover.unlink()
        shutil.copy(tmp_path / "backup.db", tmp_path / "control.db")
        stage.store = open_store(stage.url)


def test_a_store_restored_from_an_older_copy_sends_nothing_until_it_has_learnt_what_stripe_has(
    sqlite_stage, tmp_path
):
    stage = sqlite_stage
    Restored(stage, tmp_path)
    assert notice_restore(stage.store, stage.mark, stage.time())
    with pytest.raises(StoreError, match="restored from an older copy"):
        stage.plan()
    assert stage.push().results == {}
    with pytest.raises(UsageError, match="try again in 24 hours"):
        check_settled(stage.mark, stage.time())
    stage.time.now += DAY
    check_settled(stage.mark, stage.time())
    stage.adopt()
    result = stage.reconcile(full=True)
    assert result.difference == 0
    assert lift(stage.store, stage.mark, result, stage.time())
    assert not notice_restore(stage.store, stage.mark, stage.time())
    stage.ledger.add("acme", stage.time() - HOUR, 3)
    stage.plan()
    stage.push()
    assert stage.at_stripe("acme") == 15
    assert stage.reconcile(full=True).difference == 0


def test_a_store_that_was_not_restored_is_not_read_only(owing):
    owing.push()
    assert not notice_restore(owing.store, owing.mark, owing.time())
    assert notice_restore(owing.store, owing.mark, owing.time(), declared=True)


def test_rules_of_the_stand_in_are_its_own():
    assert Rules().finalizes_after_s == HOUR
