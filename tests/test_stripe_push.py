"""The push against the stand-in: whatever fails, Stripe has the ledger's sum, or a report says why not."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import stripe
from sqlalchemy import select
from stripe_double.stage import HOUR, KEY, NOON, Inline

from billing.outbox import LEASE_S, Stamp
from billing.tables import attempts, lanes
from pipeline.errors import ProviderError
from pipeline.outbox import Outcome, Result, Settled, State
from sinks.stripe import API_VERSION, SDK_VERSION, Sender, make_client
from sinks.stripe_errors import TABLE, outcome_of
from sinks.stripe_fake_http import Fault
from sinks.stripe_fake_server import FakeServer
from sinks.stripe_push import Clock, Pace, Pusher

pytest_plugins = ["stripe_double.fixtures"]

DAY = 24 * HOUR


@pytest.fixture
def owing(stage):
    """A tenant that owes seven units of the last hour."""
    stage.add_tenant("acme")
    stage.ledger.add("acme", NOON - HOUR, 7)
    stage.plan()
    return stage


def attempts_of(stage):
    with stage.store.read() as connection:
        return connection.execute(select(attempts).order_by(attempts.c.id)).all()


def test_every_error_of_the_sdk_is_in_the_table():
    def below(cls):
        for child in cls.__subclasses__():
            yield child
            yield from below(child)

    missing = {error.__name__ for error in below(stripe.StripeError) if error not in TABLE}
    assert missing == set(), (
        "the SDK has errors that nobody has judged: add them to sinks.stripe_errors.TABLE"
    )


def test_a_report_arrives_once_with_its_exact_parameters(owing):
    tally = owing.push()
    assert dict(tally.results) == {Result.APPLIED: 1}
    assert owing.states() == [State.ACCEPTED]
    (call,) = owing.wire.calls
    row = owing.intents()[0]
    assert call.params == {
        "event_name": "millrace_micro_usd",
        "identifier": row.identifier,
        "timestamp": str(NOON - HOUR + 30),
        "payload": {"stripe_customer_id": owing.customers["acme"], "value": "7"},
    }
    assert call.headers["idempotency-key"] == f"{row.identifier}.k1"
    assert call.headers["stripe-version"] == API_VERSION
    assert owing.push().results == {}


def test_an_attempt_is_durable_before_its_bytes_leave(owing):
    seen = []

    def send(_attempt):
        seen.append((owing.states(), len(attempts_of(owing))))
        return Outcome(Result.APPLIED)

    owing.pusher(send=send).run()
    assert seen == [([State.SENDING], 1)]


@pytest.mark.parametrize(
    ("fault", "after_one", "applied"),
    [
        (Fault.REFUSED, State.DEFERRED, 0),
        (Fault.DROP_BEFORE, State.UNKNOWN, 0),
        (Fault.DROP_AFTER, State.UNKNOWN, 7),
        (Fault.TIMEOUT_BEFORE, State.UNKNOWN, 0),
        (Fault.TIMEOUT_AFTER, State.UNKNOWN, 7),
        (Fault.TRUNCATED, State.UNKNOWN, 7),
        (Fault.ERROR_BEFORE, State.UNKNOWN, 0),
        (Fault.ERROR_AFTER, State.UNKNOWN, 7),
        (Fault.HTML_502, State.UNKNOWN, 0),
        (Fault.CONFLICT, State.UNKNOWN, 0),
        (Fault.RATE_LIMITED, State.DEFERRED, 0),
        (Fault.LANE_LIMITED, State.DEFERRED, 0),
        (Fault.ZOMBIE, State.UNKNOWN, 0),
    ],
)
def test_after_any_fault_the_next_attempts_bring_exactly_the_sum(owing, fault, after_one, applied):
    owing.next_fault(fault)
    owing.push()
    assert (owing.states(), owing.at_stripe("acme")) == ([after_one], applied)
    owing.push(patience_s=HOUR)
    assert (owing.states(), owing.at_stripe("acme")) == ([State.ACCEPTED], 7)
    owing.time.now += 2 * HOUR
    owing.wire.raise_zombies()
    assert owing.at_stripe("acme") == 7


def test_a_stored_failure_is_left_behind_by_a_new_key_under_the_same_identifier(owing):
    owing.next_fault(Fault.ERROR_BEFORE)
    owing.push(patience_s=HOUR)
    results = [row.result for row in attempts_of(owing)]
    keys = [row.idempotency_key[-3:] for row in attempts_of(owing)]
    assert results == ["unknown", "replayed_failure", "applied"]
    assert keys == [".k1", ".k1", ".k2"]
    assert {call.params["identifier"] for call in owing.wire.calls} == {owing.intents()[0].identifier}


def test_a_duplicate_on_the_very_first_attempt_is_someone_elses_and_goes_into_quarantine(owing):
    row = owing.intents()[0]
    owing.account.identifiers[row.identifier] = NOON
    owing.push()
    assert owing.states() == [State.QUARANTINED]
    assert "An event already exists with identifier" in owing.intents()[0].detail


def test_a_duplicate_after_attempts_that_surely_failed_is_not_taken_for_ours(owing):
    owing.next_fault(Fault.RATE_LIMITED)
    owing.push()
    owing.account.identifiers[owing.intents()[0].identifier] = NOON
    owing.push(patience_s=HOUR)
    assert owing.states() == [State.QUARANTINED]


def test_what_is_unknown_for_23_hours_is_never_sent_again(owing):
    owing.next_fault(Fault.DROP_AFTER)
    owing.push()
    owing.time.now += 23 * HOUR
    owing.push(patience_s=HOUR)
    assert owing.states() == [State.FROZEN]
    assert len(owing.wire.calls) == 1


def test_the_23_hours_run_from_the_first_attempt_whatever_is_tried_in_between(owing):
    owing.wire.fault_for = lambda _request: Fault.TIMEOUT_AFTER
    for _ in range(30):
        owing.time.now += HOUR
        owing.push()
    last = max(row.started_at for row in attempts_of(owing))
    assert last < attempts_of(owing)[0].started_at + 23 * HOUR
    assert owing.states() == [State.FROZEN]


def test_a_definite_refusal_holds_its_lane_and_no_other(stage):
    for tenant in ("acme", "beta"):
        stage.add_tenant(tenant)
        stage.ledger.add(tenant, NOON - 2 * HOUR, 1)
        stage.ledger.add(tenant, NOON - HOUR, 1)
    stage.plan()
    del stage.account.objects[stage.customers["acme"]]
    stage.push()
    assert sorted(stage.states()) == sorted([State.REJECTED, State.PLANNED, State.ACCEPTED, State.ACCEPTED])
    assert "No such customer" in next(row.detail for row in stage.intents() if row.state == State.REJECTED)
    stage.time.now += HOUR
    assert stage.push().results == {}


def test_a_host_that_slept_between_record_and_call_does_not_send(owing):
    class Sleepy(Inline):
        def submit(self, fn, /, *args, **kwargs):
            owing.time.now += LEASE_S
            return super().submit(fn, *args, **kwargs)

    clock = Clock(owing.time, owing.time.sleep)
    tally = Pusher(owing.outbox(), Sender(owing.client()), Sleepy(), clock, Pace(patience_s=0)).run()
    assert (dict(tally.results), owing.wire.calls) == ({Result.NOT_APPLIED: 1}, [])


def test_a_refusal_after_an_unknown_outcome_stays_unknown(owing):
    owing.next_fault(Fault.DROP_AFTER)
    owing.push()
    owing.time.now += 60
    del owing.account.objects[owing.customers["acme"]]
    owing.account.identifiers.clear()
    owing.wire._cache.clear()
    owing.push()
    assert owing.states() == [State.UNKNOWN]
    assert "No such customer" in owing.intents()[0].detail


def test_a_crash_between_the_record_and_the_answer_is_taken_over_when_the_lease_has_run_out(owing):
    crashed = owing.outbox()
    (attempt,) = crashed.exchange([], 8, owing.time())
    Sender(owing.client())(attempt)
    assert owing.push().results == {}, "the lane is leased to the one that crashed"
    owing.time.now += LEASE_S
    owing.push(patience_s=HOUR)
    assert (owing.states(), owing.at_stripe("acme")) == ([State.ACCEPTED], 7)
    with owing.store.read() as connection:
        assert connection.execute(select(lanes.c.fence)).scalar_one() > attempt.fence


def test_an_owner_whose_lease_was_taken_over_changes_nothing_any_more(owing):
    slow = owing.outbox()
    (attempt,) = slow.exchange([], 8, owing.time())
    owing.time.now += LEASE_S
    other = owing.outbox()
    (again,) = other.exchange([], 8, owing.time())
    slow.exchange([Settled(attempt, Outcome(Result.REFUSED, "no"))], 0, owing.time())
    assert owing.states() == [State.SENDING]
    other.exchange([Settled(again, Outcome(Result.DUPLICATE))], 0, owing.time())
    assert owing.states() == [State.ACCEPTED]
    assert [row.result for row in attempts_of(owing)] == ["refused (fenced)", "duplicate"]


def test_two_pushers_at_once_send_each_report_once(stage):
    for number in range(12):
        stage.add_tenant(f"tenant-{number}")
        for hour in range(1, 6):
            stage.ledger.add(f"tenant-{number}", NOON - hour * HOUR, number + hour)
    stage.plan()
    clock = Clock(stage.time, lambda _seconds: None)
    with FakeServer(stage.wire) as server, ThreadPoolExecutor(8) as calls, ThreadPoolExecutor(2) as runs:
        sender = Sender(make_client_at(server.url))
        pace = Pace(in_flight_max=4, per_second_max=10**6)
        pushers = [Pusher(stage.outbox(), sender, calls, clock, pace) for _ in range(2)]
        for tally in runs.map(Pusher.run, pushers):
            assert set(tally.results) <= {Result.APPLIED}
    assert set(stage.states()) == {State.ACCEPTED}
    assert len(stage.wire.calls) == 60
    for tenant in stage.customers:
        assert stage.at_stripe(tenant) * 10**6 == stage.ledger.of(tenant)


def make_client_at(url):
    return make_client(KEY, url)


@pytest.mark.parametrize("fault", list(Fault))
def test_each_fault_over_a_real_connection_is_judged_as_without_one(owing, fault):
    (attempt,) = owing.outbox().exchange([], 1, owing.time())
    owing.next_fault(fault)
    inside = Sender(owing.client())(attempt)
    owing.account.identifiers.clear()
    owing.wire._cache.clear()
    owing.next_fault(fault)
    if fault is Fault.REFUSED:
        outside = Sender(make_client_at("http://127.0.0.1:9"))(attempt)
    else:
        with FakeServer(owing.wire) as server:
            outside = Sender(make_client_at(server.url))(attempt)
    assert (outside.result, outside.http_status) == (inside.result, inside.http_status)


def test_one_call_is_in_flight_for_each_lane_and_lanes_take_turns(stage):
    for tenant in ("acme", "beta"):
        stage.add_tenant(tenant)
        for hour in range(1, 4):
            stage.ledger.add(tenant, NOON - hour * HOUR, 1)
    stage.plan()
    outbox = stage.outbox()
    first = outbox.exchange([], 8, NOON)
    assert {a.report.tenant for a in first} == {"acme", "beta"}
    assert outbox.exchange([], 8, NOON) == []
    done = [Settled(attempt, Outcome(Result.APPLIED)) for attempt in first]
    second = outbox.exchange(done, 8, NOON + 1)
    assert [a.report.window_start for a in second] == [NOON - 2 * HOUR] * 2


def test_too_many_requests_in_all_pause_all_lanes_as_long_as_stripe_says(stage):
    for tenant in ("acme", "beta", "gamma"):
        stage.add_tenant(tenant)
        stage.ledger.add(tenant, NOON - HOUR, 1)
    stage.plan()
    stage.next_fault(Fault.RATE_LIMITED)
    stage.push(in_flight_max=1)
    assert len(stage.wire.calls) == 1
    stage.push(in_flight_max=1, patience_s=HOUR)
    assert set(stage.states()) == {State.ACCEPTED}


def test_a_key_that_is_not_accepted_stops_everything_and_harms_nothing(stage):
    for tenant in ("acme", "beta"):
        stage.add_tenant(tenant)
        stage.ledger.add(tenant, NOON - HOUR, 1)
    stage.plan()
    stage.wire.fault_for = lambda _request: Fault.UNAUTHORIZED
    with pytest.raises(ProviderError, match="Stripe does not take the key") as caught:
        stage.push(in_flight_max=1)
    assert "sk_test_" not in str(caught.value).replace("sk_...", "")
    assert sorted(stage.states()) == [State.DEFERRED, State.PLANNED]
    stage.wire.fault_for = lambda _request: None
    stage.push(patience_s=HOUR)
    assert stage.states() == [State.ACCEPTED] * 2


def test_a_clock_that_is_far_from_stripes_stops_the_run(owing):
    clock = Clock(lambda: NOON + 3 * HOUR, lambda _seconds: None)
    pusher = Pusher(
        owing.outbox(), Sender(owing.client()), owing.pusher()._executor, clock, Pace(patience_s=0)
    )
    with pytest.raises(ProviderError, match="clock is 10800 seconds away from Stripe's"):
        pusher.run()


def test_what_a_clock_far_ahead_was_sending_is_only_read_once_the_clock_is_right(owing):
    """Its first attempt seems to be in the future: when it seems 23 hours old, Stripe has long forgotten it."""
    owing.time.now = NOON + 48 * HOUR
    assert len(owing.outbox().exchange([], 1, owing.time())) == 1
    assert owing.states() == [State.SENDING]
    owing.time.now = NOON
    owing.outbox().exchange([], 0, owing.time())
    assert owing.states() == [State.FROZEN]
    owing.time.now = NOON + 49 * HOUR
    assert owing.outbox().exchange([], 1, owing.time()) == []


def test_a_clock_that_goes_back_lets_nothing_uncertain_be_sent_again(owing):
    owing.next_fault(Fault.DROP_AFTER)
    owing.push()
    owing.time.now -= 2 * HOUR
    owing.push(patience_s=DAY)
    assert owing.states() == [State.FROZEN]
    assert len(owing.wire.calls) == 1


def test_what_was_not_sent_before_its_invoice_is_final_is_carried_into_the_open_period(stage):
    stage.add_tenant("acme")
    october = NOON - 25 * DAY
    stage.time.now = october + 2 * HOUR
    stage.ledger.add("acme", october, 7)
    stage.plan()
    stage.time.now = NOON
    stage.push()
    assert stage.states() == [State.CARRIED]
    stage.plan()
    stage.push()
    assert stage.states() == [State.CARRIED, State.ACCEPTED]
    assert stage.intents()[1].window_start == NOON - HOUR
    assert stage.at_stripe("acme") == 7


def test_an_unknown_report_of_a_closed_period_is_only_read(stage):
    stage.add_tenant("acme")
    last_hour = NOON - 20 * DAY + 11 * HOUR
    stage.time.now = last_hour + HOUR
    stage.ledger.add("acme", last_hour, 7)
    stage.plan()
    stage.next_fault(Fault.DROP_BEFORE)
    stage.push()
    stage.time.now = last_hour + HOUR + 50 * 60
    stage.push(patience_s=DAY)
    assert stage.states() == [State.FROZEN]


def test_a_repetition_with_another_api_version_or_sdk_major_is_held(owing):
    owing.next_fault(Fault.DROP_AFTER)
    owing.push()
    owing.time.now += HOUR
    for stamp in (Stamp("2099-01-01.other", SDK_VERSION), Stamp(API_VERSION, "99.0.0")):
        assert owing.outbox(stamp=stamp).exchange([], 8, owing.time()) == []
    owing.push(patience_s=HOUR)
    assert owing.states() == [State.ACCEPTED]


def test_the_retry_budget_of_a_report_that_never_gets_through_ends(owing):
    owing.wire.fault_for = lambda _request: Fault.LANE_LIMITED
    owing.push(patience_s=DAY)
    assert owing.states() == [State.REJECTED]
    assert "retry budget spent" in owing.intents()[0].detail
    assert len(owing.wire.calls) == 100


def test_something_that_is_no_error_of_stripe_may_have_been_applied():
    assert outcome_of(RuntimeError("sk_test_abc123 broke")) == Outcome(
        Result.UNKNOWN, "RuntimeError: sk_... broke"
    )
