"""What Stripe tells by webhook: stored before it is acknowledged, handled once, later, and as often as needed.

Deliveries come twice, in any order, and again for days. An event is a hint: what is final, or of the same second
as what is known, is fetched again. Types that nothing here owns are stored and acknowledged.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, delete, insert, select, update

from billing.intents import REPORT_COLUMNS, STANDING_COLUMNS, report_of, standing_of, write_standing
from billing.reconcile import refresh_lane
from billing.signatures import Verdict, judge
from billing.store import Store
from billing.tables import attempts, intents, invoices, provider_events
from pipeline.outbox import OPEN_FOR_PROOF, UNCOUNTED, State

PROVIDER = "stripe"
_log = structlog.get_logger(__name__)
BODY_MAX = 512 * 1024
RETRY_S = 15 * 60
KEPT_S = 90 * 24 * 3600
DETAIL_MAX = 500


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a delivery."""

    status: int
    detail: str
    event_id: str = ""


class Provider(Protocol):
    """Asks the provider again."""

    def event(self, event_id: str) -> Mapping[str, Any]:
        """Return a thin event with its data."""
        ...

    def invoice(self, invoice_id: str) -> Mapping[str, Any]:
        """Return an invoice as it is now."""
        ...


def take(store: Store, body: bytes, signature: str, secrets: Sequence[str], now: int) -> Receipt:
    """Take one delivery in: size, then signature, then form, then the store; only then is it acknowledged."""
    if len(body) > BODY_MAX:
        return Receipt(413, f"the body has more than {BODY_MAX} bytes")
    verdict = judge(body, signature, secrets, now)
    if verdict is not Verdict.GOOD:
        return Receipt(400, f"the signature is {verdict.value}")
    try:
        event = json.loads(body)
        row: dict[str, Any] = {
            "provider": PROVIDER,
            "event_id": _text(event["id"]),
            "type": _text(event["type"]),
            "created_at": _moment(event["created"]),
            "received_at": now,
            "body": body.decode(),
        }
    except (ValueError, KeyError, TypeError):
        return Receipt(400, "the body is not an event")
    with store.write() as connection:
        if _known(connection, row["event_id"]):
            return Receipt(200, "known already", row["event_id"])
        connection.execute(insert(provider_events).values(row))
    return Receipt(200, "stored", row["event_id"])


def handle_stored(store: Store, provider: Provider, now: int, *, limit: int = 1000) -> dict[str, int]:
    """Handle what is stored and due, each event in a transaction of its own; return what became of them.

    One that fails is tried again after 15 minutes, for as long as it is kept.
    """
    due = select(provider_events.c.event_id, provider_events.c.type, provider_events.c.body).where(
        provider_events.c.handled_at.is_(None), provider_events.c.retry_at <= now
    )
    done = {"handled": 0, "failed": 0}
    with store.read() as connection:
        rows = connection.execute(due.order_by(provider_events.c.created_at).limit(limit)).all()
    for row in rows:
        try:
            _handle(store, provider, row.type, json.loads(row.body), now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the event stays and is tried again
            _failed(store, row.event_id, f"{type(error).__name__}: {error}", now)
            done["failed"] += 1
            said = type(error).__name__
            _log.warning("webhook_failed", event_id=row.event_id, type=row.type, error=said)
        else:
            done["handled"] += 1
            _log.info("webhook_handled", event_id=row.event_id, type=row.type)
    return done


def purge(store: Store, now: int) -> int:
    """Forget handled events, and the attempts of settled reports, after 90 days; return how many events."""
    old = provider_events.c.received_at < now - KEPT_S
    settled = select(intents.c.id).where(intents.c.state.in_((State.VERIFIED, *UNCOUNTED)))
    done = (attempts.c.finished_at < now - KEPT_S, attempts.c.intent_id.in_(settled))
    with store.write() as connection:
        connection.execute(delete(attempts).where(*done))
        return connection.execute(
            delete(provider_events).where(old, provider_events.c.handled_at.is_not(None))
        ).rowcount


def replay(store: Store, event_id: str) -> bool:
    """Let a stored event be handled again; say whether there is one."""
    of_event = provider_events.c.event_id == event_id
    with store.write() as connection:
        changed = connection.execute(
            update(provider_events).where(of_event).values(handled_at=None, retry_at=0)
        )
        return changed.rowcount == 1


def _handle(store: Store, provider: Provider, kind: str, event: Mapping[str, Any], now: int) -> None:
    fetch = FETCHES.get(kind)
    fetched = fetch(provider, event) if fetch else {}
    with store.write() as connection:
        if kind in METER_ERRORS:
            _meter_errors(connection, fetched, now)
        elif kind in INVOICE_EVENTS:
            _invoice(connection, event, fetched, now)
        done = update(provider_events).where(provider_events.c.event_id == event["id"])
        connection.execute(done.values(handled_at=now, error=""))


def _failed(store: Store, event_id: str, error: str, now: int) -> None:
    values = {
        "error": error[:DETAIL_MAX],
        "retry_at": now + RETRY_S,
        "attempts": provider_events.c.attempts + 1,
    }
    with store.write() as connection:
        connection.execute(
            update(provider_events).where(provider_events.c.event_id == event_id).values(values)
        )


def _meter_errors(connection: Connection, event: Mapping[str, Any], now: int) -> None:
    """Mark the reports that an error report names; it names samples only, the comparison finds the others."""
    reason = (event.get("data") or {}).get("reason") or {}
    for kind in reason.get("error_types") or ():
        for sample in kind.get("sample_errors") or ():
            request = sample.get("request") or {}
            named = str(request.get("identifier") or request.get("idempotency_key") or "")
            _reject(connection, named, str(kind.get("code", "")), str(event.get("id", "")), now)


def _reject(connection: Connection, named: str, code: str, event_id: str, now: int) -> None:
    """The name is the identifier, or the idempotency key, which begins with it."""
    identifier = ".".join(named.split(".")[:2])
    columns = (intents.c.id, *REPORT_COLUMNS, *STANDING_COLUMNS)
    row = connection.execute(select(*columns).where(intents.c.identifier == identifier)).first()
    if row is None or State(row.state) not in OPEN_FOR_PROOF:
        return
    said = f"Stripe received it and then refused it: {code}"
    standing = replace(standing_of(row), state=State.ASYNC_REJECTED, detail=said, settled_at=now)
    write_standing(connection, row.id, standing)
    refresh_lane(connection, report_of(row).lane)
    tenant = report_of(row).tenant
    _log.warning("report_rejected", identifier=identifier, tenant=tenant, event_id=event_id, code=code)


def _invoice(connection: Connection, event: Mapping[str, Any], fetched: Mapping[str, Any], now: int) -> None:
    """Keep where an invoice stands; older news than what is known is left out."""
    seen = (int(event["created"]), str(event["id"]))
    row = connection.execute(select(invoices).where(invoices.c.invoice_id == fetched["id"])).first()
    if fetched.get("billing_reason") != "subscription_cycle" or (
        row and (row.seen_created, row.seen_event_id) >= seen
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


def note_invoice(store: Store, fetched: Mapping[str, Any], now: int) -> None:
    """Keep where an invoice stands that was fetched without an event."""
    with store.write() as connection:
        _invoice(connection, {"created": now, "id": ""}, fetched, now)


def _known(connection: Connection, event_id: str) -> bool:
    of_event = (provider_events.c.provider == PROVIDER, provider_events.c.event_id == event_id)
    return connection.execute(select(provider_events.c.event_id).where(*of_event)).first() is not None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _moment(created: object) -> int:
    """Read seconds of a snapshot event, or the time of a thin one."""
    return int(datetime.fromisoformat(created).timestamp()) if isinstance(created, str) else int(str(created))


def _fetch_event(provider: Provider, event: Mapping[str, Any]) -> Mapping[str, Any]:
    return provider.event(str(event["id"]))


def _fetch_invoice(provider: Provider, event: Mapping[str, Any]) -> Mapping[str, Any]:
    return provider.invoice(str(event["data"]["object"]["id"]))


METER_ERRORS = ("v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found")
"""Own the state of reports."""
INVOICE_EVENTS = ("invoice.created", "invoice.updated", "invoice.finalized", "invoice.voided", "invoice.paid")
"""Own the state of invoices."""
FETCHES: Mapping[str, Callable[[Provider, Mapping[str, Any]], Mapping[str, Any]]] = {
    **dict.fromkeys(METER_ERRORS, _fetch_event),
    **dict.fromkeys(INVOICE_EVENTS, _fetch_invoice),
}
"""Which types are fetched again: all that change anything, so order and copies do not matter."""
