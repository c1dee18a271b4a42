"""Webhooks: nothing unsigned, nothing lost, nothing twice, any order."""

import json
import random

import pytest
import stripe
from sqlalchemy import select
from stripe_double.stage import HOUR, NOON, at

from billing.outbox import closed_until
from billing.signatures import Verdict, judge, sign
from billing.tables import invoices, provider_events
from billing.webhooks import BODY_MAX, RETRY_S, Selection, handle_stored, purge, replay, take
from pipeline.outbox import State
from sinks.stripe_events import StripeEvents
from sinks.stripe_fake_http import Fault

pytest_plugins = ["stripe_double.fixtures"]
SECRET = "whsec_test"


def signed(event, now, secret=SECRET):
    body = json.dumps(event).encode()
    return body, f"t={now},v1={sign(body, str(now), secret)}"


def deliver(stage, event):
    body, header = signed(event, stage.time())
    return take(stage.store, body, header, [SECRET], stage.time())


def handle(stage):
    return handle_stored(stage.store, StripeEvents(stage.client()), stage.time())


@pytest.fixture
def subscribed(stage):
    """A customer with a subscription from the first of November, and usage of its first day, told."""
    stage.time.now = at("2026-11-01T00:00")
    customer = stage.add_tenant("acme")
    price = stage.account.create("price", "price", {"recurring": {"meter": stage.meter["id"]}})
    stage.account.create(
        "subscription",
        "sub",
        {
            "customer": customer,
            "prices": [price["id"]],
            "current_period_start": at("2026-11-01T00:00"),
            "current_period_end": at("2026-12-01T00:00"),
        },
    )
    stage.ledger.add("acme", at("2026-11-30T22:00"), 7)
    stage.time.now = at("2026-11-30T23:30")
    stage.plan()
    stage.push()
    return stage


def test_our_signatures_are_stripes():
    body = b'{"id":"evt_1"}'
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET)
    moment = int(header.split(",")[0].removeprefix("t="))
    assert judge(body, header, [SECRET], moment) is Verdict.GOOD


@pytest.mark.parametrize(
    ("header", "verdict"),
    [
        ("", Verdict.MALFORMED),
        ("t=1,t=2,v1=a", Verdict.MALFORMED),
        ("t=x,v1=a", Verdict.MALFORMED),
        (f"t={NOON}", Verdict.MALFORMED),
        (f"t={NOON},v0={sign(b'{}', str(NOON), SECRET)}", Verdict.MALFORMED),
        (f"t={NOON},v1={sign(b'{}', str(NOON), 'other')}", Verdict.WRONG),
        (f"t={NOON},v1=é", Verdict.WRONG),
        (f"t={NOON - 301},v1={sign(b'{}', str(NOON - 301), SECRET)}", Verdict.TOO_OLD),
        (f"t={NOON + 301},v1={sign(b'{}', str(NOON + 301), SECRET)}", Verdict.IN_FUTURE),
        (f"t={NOON},v1=a,v1={sign(b'{}', str(NOON), SECRET)}", Verdict.GOOD),
    ],
)
def test_signatures_are_judged_before_anything_is_read(header, verdict):
    assert judge(b"{}", header, ["whsec_old", SECRET], NOON) is verdict


def test_what_is_too_long_unsigned_or_no_event_is_refused_and_leaves_nothing(stage):
    assert take(stage.store, b"x" * (BODY_MAX + 1), "", [SECRET], NOON).status == 413
    assert take(stage.store, b"{}", "", [SECRET], NOON).status == 400
    for event in ([], {}, {"id": 1, "type": "x", "created": 1}, {"id": "e", "type": "x", "created": "noon"}):
        assert deliver(stage, event).status == 400
    with stage.store.read() as connection:
        assert connection.execute(select(provider_events)).all() == []


def test_a_delivery_is_stored_once_before_it_is_acknowledged(stage):
    event = {"id": "evt_1", "type": "something.new", "created": NOON}
    assert [deliver(stage, event).detail for _ in range(2)] == ["stored", "known already"]
    assert handle(stage) == {"handled": 1, "failed": 0}
    assert handle(stage) == {"handled": 0, "failed": 0}


def test_an_error_report_marks_the_report_that_it_names(stage):
    stage.add_tenant("acme")
    stage.ledger.add("acme", NOON - HOUR, 7)
    stage.plan()
    stage.next_fault(Fault.ASYNC_REJECT)
    stage.push()
    (thin,) = stage.account.outgoing
    assert "data" not in thin
    deliver(stage, thin)
    handle(stage)
    assert stage.states() == [State.ASYNC_REJECTED]
    assert "meter_event_customer_not_found" in stage.intents()[0].detail


def test_a_final_invoice_closes_its_period_whatever_the_order_of_deliveries(subscribed):
    subscribed.time.now = at("2026-12-01T00:00")
    subscribed.account.advance()
    subscribed.time.now = at("2026-12-01T00:30")
    (invoice,) = subscribed.account.of_kind("invoice")
    subscribed.account.finalize(invoice["id"])
    events = subscribed.account.outgoing * 2
    random.Random(1).shuffle(events)
    for event in events:
        assert deliver(subscribed, event).status == 200
    handle(subscribed)
    with subscribed.store.read() as connection:
        assert closed_until(connection) == {subscribed.customers["acme"]: at("2026-12-01T00:00")}
        assert connection.execute(select(invoices.c.status)).scalars().all() == ["open"]
    assert invoice["lines"]["data"][0]["quantity"] == 7


def test_usage_that_comes_after_its_invoice_is_final_is_told_in_the_next_period(subscribed):
    test_a_final_invoice_closes_its_period_whatever_the_order_of_deliveries(subscribed)
    subscribed.ledger.add("acme", at("2026-11-30T22:00"), 5)
    subscribed.time.now = at("2026-12-01T01:30")
    subscribed.plan()
    subscribed.push()
    late = subscribed.intents()[-1]
    assert (late.window_start, late.value, late.origin_start) == (
        at("2026-12-01T00:00"),
        5,
        at("2026-11-01T00:00"),
    )


def test_an_event_that_cannot_be_handled_stays_and_is_tried_again(subscribed):
    subscribed.time.now = at("2026-12-01T00:00")
    subscribed.account.advance()
    for event in subscribed.account.outgoing:
        deliver(subscribed, event)
    subscribed.next_fault(Fault.DROP_BEFORE, method="GET")
    assert handle(subscribed) == {"handled": 0, "failed": 1}
    assert handle(subscribed) == {"handled": 0, "failed": 0}
    subscribed.time.now += RETRY_S
    assert handle(subscribed) == {"handled": 1, "failed": 0}


def test_stored_events_can_be_handled_again_and_are_forgotten_in_the_end(stage):
    deliver(stage, {"id": "evt_1", "type": "something.new", "created": NOON})
    handle(stage)
    assert replay(stage.store, Selection(["evt_1"]), "me", NOON) == 1
    assert replay(stage.store, Selection(["evt_2"]), "me", NOON) == 0
    assert handle(stage) == {"handled": 1, "failed": 0}
    assert purge(stage.store, NOON + 89 * 86400) == 0
    assert purge(stage.store, NOON + 91 * 86400) == 1
