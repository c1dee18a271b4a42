"""Customers that go, subscriptions that end, meters that stop: what each event does, and what is seen of it."""

import json

import pytest
import structlog
from sqlalchemy import select
from stripe_double.stage import EVENT_NAME, HOUR, NOON, at
from test_stripe_webhooks import deliver, handle

from billing.close import period_of
from billing.gauges import gauges
from billing.status import status
from billing.stops import Kind, stops_of
from billing.tables import audit, provider_events
from billing.webhook_types import EVENT_TYPES
from billing.webhooks import Selection, handle_stored, list_stored, replay
from cli.main import run as millrace
from pipeline.outbox import State
from sinks.stripe_events import StripeEvents
from sinks.stripe_fake_http import Fault
from sinks.stripe_fake_server import FakeServer

pytest_plugins = ["stripe_double.fixtures"]
DAY = 24 * HOUR


def told(stage):
    """Deliver all that the double has to say, and handle it."""
    events, stage.account.outgoing[:] = list(stage.account.outgoing), []
    for event in reversed(events):
        assert deliver(stage, event).status == 200
    return handle(stage)


def stops(stage):
    with stage.store.read() as connection:
        return [(stop.kind, stop.name) for stop in stops_of(connection)]


@pytest.fixture
def acme(stage):
    customer = stage.add_tenant("acme")
    stage.subscription = stage.account.subscribe({"customer": customer, "prices": []})
    stage.account.outgoing.clear()
    stage.ledger.add("acme", NOON - 2 * HOUR, 7)
    return stage


# Customers.


def test_nothing_is_planned_for_a_customer_that_is_deleted_and_what_was_not_sent_goes_to_the_next_one(acme):
    acme.plan()
    gone = acme.customers["acme"]
    acme.account.delete_customer(gone)
    assert told(acme) == {"handled": 2, "failed": 0}
    assert acme.states() == [State.CARRIED]
    plan = acme.plan()
    assert [(b.waiting, b.rest) for b in plan.balances] == [("the customer was deleted at Stripe", 7 * 10**6)]
    assert acme.push().results == {}
    acme.add_tenant("acme")
    acme.time.now += HOUR
    acme.plan()
    acme.push()
    assert (acme.at_stripe("acme"), acme.intents()[-1].customer) == (7, acme.customers["acme"])


def test_what_was_received_for_a_customer_before_it_was_deleted_stays_told(acme):
    acme.plan()
    acme.push()
    acme.account.delete_customer(acme.customers["acme"])
    told(acme)
    assert acme.states() == [State.ACCEPTED]
    assert [b.rest for b in acme.plan().balances] == [0]


def test_what_is_of_unknown_outcome_for_a_deleted_customer_is_proven_absent_and_planned_for_the_next(acme):
    acme.plan()
    acme.next_fault(Fault.DROP_BEFORE)
    acme.push()
    acme.account.delete_customer(acme.customers["acme"])
    told(acme)
    for hours in (0, 1, 22, 2, 2, 2):
        acme.time.now += hours * HOUR
        acme.push()
        acme.reconcile()
    assert acme.states() == [State.ABSENT]
    acme.add_tenant("acme")
    acme.plan()
    acme.push()
    assert acme.at_stripe("acme") == 7


# Subscriptions.


def test_hours_after_the_end_of_all_subscriptions_wait_and_those_before_are_told(acme):
    acme.account.cancel_subscription(acme.subscription["id"])
    acme.ledger.add("acme", NOON, 5)
    told(acme)
    acme.time.now += 2 * HOUR
    plan = acme.plan()
    assert [(r.value, r.window_start) for r in plan.reports] == [(7, NOON - 2 * HOUR)]
    assert [b.waiting for b in plan.balances] == ["its subscriptions have ended, so no invoice bills it"]


def test_a_subscription_that_comes_after_one_that_ended_is_told_what_lies_between(acme):
    acme.account.cancel_subscription(acme.subscription["id"])
    told(acme)
    acme.ledger.add("acme", NOON + HOUR, 5)
    acme.time.now = NOON + 5 * HOUR + 60
    acme.account.subscribe({"customer": acme.customers["acme"], "prices": []})
    assert [r.window_start for r in acme.plan().reports] == [NOON - 2 * HOUR]
    told(acme)
    acme.time.now = NOON + 8 * HOUR
    reports = acme.plan().reports
    first_billed = NOON + 6 * HOUR
    assert [r.value for r in reports] == [5]
    assert all(r.window_start >= first_billed for r in reports)


def test_the_end_of_one_of_two_subscriptions_stops_nothing(acme):
    acme.account.subscribe({"customer": acme.customers["acme"], "prices": []})
    acme.account.cancel_subscription(acme.subscription["id"])
    told(acme)
    assert stops(acme) == []
    assert [r.value for r in acme.plan().reports] == [7]


# Meters.


def test_reports_of_a_deactivated_meter_wait_until_it_is_active_again(acme):
    acme.plan()
    acme.account.set_meter_status(acme.meter["id"], "inactive")
    told(acme)
    assert acme.push().results == {}
    assert acme.outbox().next_due(acme.time()) is None
    assert (acme.states(), stops(acme)) == ([State.PLANNED], [(Kind.METER, EVENT_NAME)])
    acme.time.now += 60
    acme.account.set_meter_status(acme.meter["id"], "active")
    told(acme)
    acme.push()
    assert (acme.at_stripe("acme"), stops(acme)) == (7, [])


def test_an_event_of_a_meter_that_is_not_here_is_of_no_consequence(acme):
    acme.account.set_meter_status(
        acme.account.create_meter({"event_name": "someone_elses"})["id"], "inactive"
    )
    assert told(acme) == {"handled": 1, "failed": 0}
    assert stops(acme) == []


# What is seen.


def test_what_has_stopped_is_in_the_status_and_in_the_metrics(acme):
    acme.plan()
    acme.account.delete_customer(acme.customers["acme"])
    acme.account.delete_customer(acme.account.create("customer", "cus", {})["id"])
    acme.account.set_meter_status(acme.meter["id"], "inactive")
    told(acme)
    found = status(acme.store, HOUR)
    assert [stop.kind for stop in found.stops] == [Kind.CUSTOMER, Kind.METER, Kind.SUBSCRIPTION]
    assert gauges(acme.store).stops == {"customer": 1, "subscription": 1, "meter": 1}


def test_usage_that_a_later_period_tells_stands_as_carried_where_it_came_from(acme):
    acme.time.now = at("2026-12-02T00:00")
    acme.plan()
    periods = {one.period_start: one for one in status(acme.store, HOUR).periods}
    november, december = (periods[period_of(name, HOUR).start] for name in ("2026-11", "2026-12"))
    assert (november.carried, november.units, december.late, december.units) == (7, {}, 7, {"owed": 7})


# Every type, every line.


def test_the_table_names_what_each_type_owns_and_an_unknown_type_changes_nothing(stage):
    assert all(entry.owns for entry in EVENT_TYPES.values())
    deliver(stage, {"id": "evt_1", "type": "customer.tax_id.created", "created": NOON})
    deliver(stage, {"id": "evt_2", "type": "customer.deleted", "created": NOON, "data": {"object": {}}})
    assert handle(stage) == {"handled": 1, "failed": 1}
    [second, first] = sorted(list_stored(stage.store, Selection(), 9), key=lambda e: e.event_id, reverse=True)
    assert (first.is_owned, first.handled_at, second.attempts) == (False, NOON, 1)


def test_every_line_names_the_tenant_the_report_and_the_providers_event(acme):
    acme.plan()
    with structlog.testing.capture_logs() as lines:
        acme.next_fault(Fault.ASYNC_REJECT)
        acme.push()
        told(acme)
        acme.time.now += 2 * DAY
        acme.ledger.add("acme", acme.time() - HOUR, 3)
        acme.plan()
        acme.reconcile(full=True)
    assert {line["event"] for line in lines} == {"report_attempted", "webhook_handled", "report_rejected"}
    assert all({"tenant", "identifier", "event_id"} <= line.keys() for line in lines)
    rejected = next(line for line in lines if line["event"] == "report_rejected")
    assert (rejected["tenant"], rejected["identifier"]) == ("acme", acme.intents()[0].identifier)
    assert rejected["event_id"].startswith("evt_")


# Replay.


def test_a_selection_takes_what_fits_all_that_is_given(stage):
    for number in range(4):
        kind = "customer.deleted" if number % 2 else "unknown"
        deliver(stage, {"id": f"evt_{number}", "type": kind, "created": NOON, "data": {"object": {}}})
        stage.time.now += HOUR
    handle(stage)
    ids = lambda **fields: {one.event_id for one in list_stored(stage.store, Selection(**fields), 9)}
    assert ids() == {"evt_0", "evt_1", "evt_2", "evt_3"}
    assert ids(failed=True) == ids(type="customer.deleted") == {"evt_1", "evt_3"}
    assert ids(since=NOON + HOUR, until=NOON + 3 * HOUR) == {"evt_1", "evt_2"}
    assert ids(event_ids=["evt_0", "evt_1"], failed=True) == {"evt_1"}


def test_a_replay_handles_at_once_what_failed_and_is_in_the_audit(acme):
    acme.plan()
    acme.account.delete_customer(acme.customers["acme"])
    acme.next_fault(*[Fault.DROP_BEFORE] * 2, method="GET")
    assert told(acme) == {"handled": 0, "failed": 2}
    failed = Selection(failed=True)
    assert replay(acme.store, failed, "ann", acme.time()) == 2
    again = handle_stored(acme.store, StripeEvents(acme.client()), acme.time(), only=failed)
    assert (again, len(stops(acme))) == ({"handled": 2, "failed": 0}, 2)
    with acme.store.read() as connection:
        [entry] = connection.execute(select(audit).where(audit.c.action == "replay_webhooks")).all()
        assert (entry.who, entry.detail) == ("ann", "2 stored webhooks, to be handled again")
        assert connection.execute(select(provider_events.c.error)).scalars().all() == ["", ""]


def test_webhooks_are_listed_and_replayed_by_command(sqlite_stage, capsys, monkeypatch):
    stage = sqlite_stage
    deliver(
        stage,
        {"id": "evt_1", "type": "customer.deleted", "created": NOON, "data": {"object": {"id": "cus_x"}}},
    )
    handle(stage)
    where = ["--state", str(stage.folder)]
    capsys.readouterr()
    assert millrace(["stripe", "webhooks", "list", "--failed", "--format", "json", *where]) == 0
    [shown] = json.loads(capsys.readouterr().out)["webhooks"]
    assert (shown["event_id"], shown["attempts"], shown["handled_at"]) == ("evt_1", 1, None)
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_none")
    with FakeServer(stage.wire, 0) as server:
        replayed = ["stripe", "webhooks", "replay", *where, "--stripe-url", server.url]
        assert millrace([*replayed]) == 2
        assert millrace([*replayed, "--failed"]) == 1
        stage.account.objects["cus_x"] = {"id": "cus_x", "object": "customer", "deleted": True}
        assert millrace([*replayed, "evt_1"]) == 0
        assert millrace([*replayed, "evt_2"]) == 2
    assert "1 handled, 0 failed" in capsys.readouterr().out
    assert millrace(["stripe", "webhooks", "list", "--since", "soon", *where]) == 2
