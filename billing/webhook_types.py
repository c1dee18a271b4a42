"""Which type of event owns which state here, and what it does: one table; a type that is not in it changes nothing.

Whatever changes something is fetched again first, so neither order nor copies matter; of two events about the same
thing the later one counts, by (created, event id).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, insert, select, update

from billing.intents import REPORT_COLUMNS, STANDING_COLUMNS, report_of, standing_of, write_standing
from billing.reconcile import refresh_lane
from billing.stops import Seen, note_customer, note_meter, note_subscriptions, tenant_of
from billing.store import Store
from billing.tables import intents, invoices
from pipeline.outbox import OPEN_FOR_PROOF, State

DUPLICATE = "duplicate_meter_event"
"""The stream's word for an identifier that is there already: the report arrived, this was its repetition."""
_log = structlog.get_logger(__name__)
Event = Mapping[str, Any]


class Provider(Protocol):
    """Asks the provider again."""

    def event(self, event_id: str) -> Event:
        """Return a thin event with its data."""
        ...

    def invoice(self, invoice_id: str) -> Event:
        """Return an invoice as it is now."""
        ...

    def customer(self, customer: str) -> Event:
        """Return a customer as it is now; one that is deleted says so."""
        ...

    def subscriptions(self, customer: str) -> Sequence[Event]:
        """Return all subscriptions of a customer, ended ones too."""
        ...

    def meter(self, meter_id: str) -> Event:
        """Return a meter as it is now."""
        ...


@dataclass(frozen=True, slots=True)
class EventType:
    """What a type of event owns."""

    owns: str
    fetch: Callable[[Provider, Event], Any]
    apply: Callable[[Connection, Event, Any, int], None]
    """With the event, what was fetched, and the moment."""


def moment_of(created: object) -> int:
    """Read seconds of a snapshot event, or the time of a thin one."""
    return int(datetime.fromisoformat(created).timestamp()) if isinstance(created, str) else int(str(created))


def customer_of(event: Event) -> str:
    """Name the customer that a snapshot event is about; empty: none."""
    data = event.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    if not isinstance(thing, dict):
        return ""
    named = thing.get("id") if thing.get("object") == "customer" else thing.get("customer")
    return named if isinstance(named, str) else ""


def reports_named(event: Event) -> list[tuple[str, str]]:
    """Give the identifiers that an error report names, each with its code; it names samples only.

    The name is the identifier, or the idempotency key, which begins with it.
    """
    reason = (event.get("data") or {}).get("reason") or {}
    found = []
    for kind in reason.get("error_types") or ():
        for sample in kind.get("sample_errors") or ():
            request = sample.get("request") or {}
            named = str(request.get("identifier") or request.get("idempotency_key") or "")
            found.append((".".join(named.split(".")[:2]), str(kind.get("code", ""))))
    return found


def note_invoice(store: Store, fetched: Event, now: int) -> None:
    """Keep where an invoice stands that was fetched without an event."""
    with store.write() as connection:
        _invoice(connection, {"created": now, "id": ""}, fetched, now)


def _meter_errors(connection: Connection, event: Event, fetched: Any, now: int) -> None:
    """Mark the reports that an error report names; the comparison finds those that it does not."""
    named = reports_named(fetched)
    for identifier, code in named:
        _reject(connection, identifier, code, str(event["id"]), now)
    if not named:
        _log.warning(
            "meter_errors_unnamed", event_id=str(event["id"]), identifier="", tenant="", type=event["type"]
        )


def _reject(connection: Connection, identifier: str, code: str, event_id: str, now: int) -> None:
    columns = (intents.c.id, *REPORT_COLUMNS, *STANDING_COLUMNS)
    row = connection.execute(select(*columns).where(intents.c.identifier == identifier)).first()
    said = {"event_id": event_id, "identifier": identifier, "code": code}
    if row is None or State(row.state) not in OPEN_FOR_PROOF or code == DUPLICATE:
        _log.info("report_not_rejected", tenant="" if row is None else row.tenant, **said)
        return
    detail = f"Stripe received it and then refused it: {code}"
    standing = replace(standing_of(row), state=State.ASYNC_REJECTED, detail=detail, settled_at=now)
    write_standing(connection, row.id, standing)
    refresh_lane(connection, report_of(row).lane)
    _log.warning("report_rejected", tenant=row.tenant, **said)


def _invoice(connection: Connection, event: Event, fetched: Any, now: int) -> None:
    """Keep where an invoice stands; older news than what is known is left out."""
    seen = (moment_of(event["created"]), str(event["id"]))
    row = connection.execute(select(invoices).where(invoices.c.invoice_id == fetched["id"])).first()
    if fetched.get("billing_reason") != "subscription_cycle" or (
        row and (row.seen_created, row.seen_event_id) > seen
    ):
        return
    transitions = fetched.get("status_transitions") or {}
    final = fetched["status"] not in {"draft", "deleted"}
    values = {
        "customer": fetched["customer"],
        "period_start": int(fetched["period_start"]),
        "period_end": int(fetched["period_end"]),
        "status": fetched["status"],
        "finalized_at": (transitions.get("finalized_at") or now) if final else None,
        "seen_created": seen[0],
        "seen_event_id": seen[1],
    }
    if row is None:
        connection.execute(insert(invoices).values(invoice_id=fetched["id"], **values))
    else:
        connection.execute(update(invoices).where(invoices.c.invoice_id == fetched["id"]).values(values))


def _customer(connection: Connection, event: Event, fetched: Any, now: int) -> None:
    tenant = tenant_of(connection, str(fetched["id"]))
    note_customer(connection, fetched, _seen(event), now)
    _stopped(event, tenant, str(fetched["id"]))


def _subscriptions(connection: Connection, event: Event, fetched: Any, _now: int) -> None:
    customer = customer_of(event)
    note_subscriptions(connection, customer, fetched, _seen(event))
    _stopped(event, tenant_of(connection, customer), customer)


def _meter(connection: Connection, event: Event, fetched: Any, _now: int) -> None:
    note_meter(connection, fetched, _seen(event))
    _stopped(event, "", str(fetched["event_name"]))


def _stopped(event: Event, tenant: str, name: str) -> None:
    said = {"type": event["type"], "event_id": str(event["id"]), "tenant": tenant, "identifier": ""}
    _log.warning("standing_at_stripe_changed", name=name, **said)


def _seen(event: Event) -> Seen:
    return Seen(moment_of(event["created"]), str(event["id"]))


def _fetch_event(provider: Provider, event: Event) -> Event:
    return provider.event(str(event["id"]))


def _fetch_invoice(provider: Provider, event: Event) -> Event:
    return provider.invoice(str(event["data"]["object"]["id"]))


def _fetch_customer(provider: Provider, event: Event) -> Event:
    return provider.customer(str(event["data"]["object"]["id"]))


def _fetch_subscriptions(provider: Provider, event: Event) -> Sequence[Event]:
    return provider.subscriptions(customer_of(event))


def _fetch_meter(provider: Provider, event: Event) -> Event:
    return provider.meter(str(event["data"]["object"]["id"]))


_METER_ERRORS = EventType("the reports that it names: asynchronously rejected", _fetch_event, _meter_errors)
_INVOICES = EventType("when a customer's period closes", _fetch_invoice, _invoice)
_SUBSCRIPTIONS = EventType("whether a customer's usage is billed", _fetch_subscriptions, _subscriptions)
_CUSTOMERS = EventType("whether a customer is there", _fetch_customer, _customer)
_METERS = EventType("whether a meter takes events", _fetch_meter, _meter)

EVENT_TYPES: Mapping[str, EventType] = {
    "v1.billing.meter.error_report_triggered": _METER_ERRORS,
    "v1.billing.meter.no_meter_found": _METER_ERRORS,
    "invoice.created": _INVOICES,
    "invoice.updated": _INVOICES,
    "invoice.finalized": _INVOICES,
    "invoice.finalization_failed": _INVOICES,
    "invoice.voided": _INVOICES,
    "invoice.paid": _INVOICES,
    "customer.deleted": _CUSTOMERS,
    "customer.subscription.created": _SUBSCRIPTIONS,
    "customer.subscription.updated": _SUBSCRIPTIONS,
    "customer.subscription.deleted": _SUBSCRIPTIONS,
    "customer.subscription.paused": _SUBSCRIPTIONS,
    "customer.subscription.resumed": _SUBSCRIPTIONS,
    "billing.meter.deactivated": _METERS,
    "billing.meter.reactivated": _METERS,
    "billing.meter.updated": _METERS,
}
"""Every other type is stored and acknowledged, and changes nothing."""
