"""The stream of version 2 behind the same states: many in a request, and the minute's sum as the only proof."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from stripe_double.stage import HOUR, NOON

from pipeline.outbox import Result, State
from sinks.stripe import Key, make_client
from sinks.stripe_fake_http import STREAM, Fault
from sinks.stripe_fake_server import InProcess
from sinks.stripe_push import Clock, Pace, Pusher
from sinks.stripe_stream import EVENTS_MAX, SESSION_S, StreamSender

pytest_plugins = ["stripe_double.fixtures"]


@pytest.fixture
def sender(stage):
    def connect(token):
        return make_client(Key(token), "http://double", InProcess(stage.wire))

    return StreamSender(stage.client(), connect, stage.time)


@pytest.fixture
def owing(stage):
    stage.add_tenant("acme")
    stage.ledger.add("acme", NOON - HOUR, 7)
    stage.plan()
    return stage


def requests_of(stage):
    return [call for call in stage.wire.calls if call.path == STREAM]


def test_a_report_is_accepted_and_then_proven_by_its_sum(owing, sender):
    assert dict(owing.push(send=sender).results) == {Result.APPLIED: 1}
    (event,) = requests_of(owing)[0].params["events"]
    assert event["timestamp"] == "2026-11-20T11:00:30Z"
    assert (owing.states(), owing.at_stripe("acme")) == ([State.ACCEPTED], 7)
    owing.reconcile()
    assert owing.states() == [State.VERIFIED]


def test_reports_that_wait_go_together_and_each_once(stage, sender):
    for number in range(250):
        stage.add_tenant(f"tenant-{number}")
        stage.ledger.add(f"tenant-{number}", NOON - HOUR, number + 1)
    stage.plan()
    with ThreadPoolExecutor(64) as executor:
        clock = Clock(stage.time, stage.time.sleep)
        Pusher(stage.outbox(), sender, executor, clock, Pace(64, 10**6, 0)).run()
    sizes = [len(call.params["events"]) for call in requests_of(stage)]
    assert (sum(sizes), max(sizes) <= EVENTS_MAX, len(sizes) < 250) == (250, True, True)
    assert all(stage.at_stripe(name) * 10**6 == stage.ledger.of(name) for name in stage.customers)


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER, Fault.TIMEOUT_BEFORE, Fault.ERROR_AFTER, Fault.HTML_502])
def test_an_unknown_outcome_is_sent_again_under_its_identifier_and_counted_once(owing, sender, fault):
    owing.next_fault(None, fault)
    owing.push(send=sender)
    assert owing.states() == [State.UNKNOWN]
    owing.push(send=sender, patience_s=HOUR)
    assert (owing.states(), owing.at_stripe("acme")) == ([State.ACCEPTED], 7)


def test_a_session_is_renewed_before_it_ends_and_when_stripe_says_so(owing, sender):
    owing.push(send=sender)
    for wait_s, sessions in ((60, 1), (SESSION_S, 2)):
        owing.time.now += wait_s
        owing.ledger.add("acme", NOON - (sessions + 1) * HOUR, 1)
        owing.plan()
        owing.push(send=sender)
        assert len(owing.account.sessions) == sessions
    owing.account.sessions.clear()
    owing.ledger.add("acme", NOON - 5 * HOUR, 1)
    owing.plan()
    assert Result.NOT_APPLIED in owing.push(send=sender, patience_s=HOUR).results
    assert owing.at_stripe("acme") == 10


def test_what_is_refused_later_is_found_by_its_empty_minute(owing, sender):
    owing.account.identifiers[owing.intents()[0].identifier] = NOON
    owing.push(send=sender)
    assert owing.states() == [State.ACCEPTED], "the stream does not say that the identifier is known"
    for _ in range(2):
        owing.time.now += 25 * HOUR
        owing.reconcile()
    assert owing.states() == [State.ASYNC_REJECTED]


def test_without_a_session_nothing_has_left(owing, sender):
    owing.wire.fault_for = lambda _request: Fault.DROP_AFTER
    owing.push(send=sender)
    assert (owing.states(), requests_of(owing)) == ([State.DEFERRED], [])
