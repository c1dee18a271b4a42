"""What Stripe tells by webhook: stored before it is acknowledged, handled once, later, and as often as needed.

Deliveries come twice, in any order, and again for days. An event is a hint: what it changes is fetched again
(`billing/webhook_types.py`). Types that nothing here owns are stored and acknowledged.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Connection, delete, insert, select, true, update

from billing.resolve import note
from billing.signatures import Verdict, judge
from billing.stops import tenant_of
from billing.store import Store
from billing.tables import attempts, intents, provider_events
from billing.webhook_types import EVENT_TYPES, Provider, customer_of, moment_of
from pipeline.outbox import UNCOUNTED, State

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
    tenant: str = ""
    """Whose customer it is about, as far as that is known."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored event and how it fares."""

    event_id: str
    type: str
    created_at: int
    received_at: int
    handled_at: int | None
    attempts: int
    error: str
    is_owned: bool
    """Whether its type changes anything here."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Some of the stored events: all that is given must hold."""

    event_ids: Collection[str] = ()
    type: str = ""
    since: int | None = None
    """Received from this moment on."""
    until: int | None = None
    failed: bool = False
    """Only those that failed and were not handled since."""

    def clause(self) -> ColumnElement[bool]:
        """Give the condition."""
        columns, clause = provider_events.c, true() & (provider_events.c.provider == PROVIDER)
        if self.event_ids:
            clause &= columns.event_id.in_(self.event_ids)
        if self.type:
            clause &= columns.type == self.type
        if self.since is not None:
            clause &= columns.received_at >= self.since
        if self.until is not None:
            clause &= columns.received_at < self.until
        if self.failed:
            clause &= columns.handled_at.is_(None) & (columns.attempts > 0)
        return clause


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
            "created_at": moment_of(event["created"]),
            "received_at": now,
            "body": body.decode(),
        }
    except (ValueError, KeyError, TypeError):
        return Receipt(400, "the body is not an event")
    with store.write() as connection:
        if _known(connection, row["event_id"]):
            return Receipt(200, "known already", row["event_id"])
        connection.execute(insert(provider_events).values(row))
        tenant = tenant_of(connection, customer_of(event))
    return Receipt(200, "stored", row["event_id"], tenant)


def handle_stored(
    store: Store, provider: Provider, now: int, *, limit: int = 1000, only: Selection | None = None
) -> dict[str, int]:
    """Handle what is stored and due, each event in a transaction of its own; return what became of them.

    One that fails is tried again after 15 minutes, for as long as it is kept. With `only` those of a selection
    that are not handled, due or not.
    """
    open_ = provider_events.c.handled_at.is_(None)
    due = open_ & (only.clause() if only else provider_events.c.retry_at <= now)
    columns = (provider_events.c.event_id, provider_events.c.type, provider_events.c.body)
    done = {"handled": 0, "failed": 0}
    with store.read() as connection:
        order = (provider_events.c.created_at, provider_events.c.event_id)
        rows = connection.execute(select(*columns).where(due).order_by(*order).limit(limit)).all()
    for row in rows:
        event = json.loads(row.body)
        with store.read() as connection:
            tenant = tenant_of(connection, customer_of(event))
        said = {"event_id": row.event_id, "type": row.type, "tenant": tenant, "identifier": ""}
        try:
            _handle(store, provider, row.type, event, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the event stays and is tried again
            _failed(store, row.event_id, f"{type(error).__name__}: {error}", now)
            done["failed"] += 1
            _log.warning("webhook_failed", error=type(error).__name__, **said)
        else:
            done["handled"] += 1
            _log.info("webhook_handled", **said)
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


def list_stored(store: Store, selection: Selection, limit: int) -> list[Stored]:
    """List stored events, the newest first."""
    c = provider_events.c
    columns = (c.event_id, c.type, c.created_at, c.received_at, c.handled_at, c.attempts, c.error)
    query = select(*columns).where(selection.clause()).order_by(c.received_at.desc(), c.event_id).limit(limit)
    with store.read() as connection:
        return [Stored(*row, row.type in EVENT_TYPES) for row in connection.execute(query)]


def replay(store: Store, selection: Selection, who: str, now: int) -> int:
    """Let stored events be handled again, with an entry in the audit; return how many."""
    with store.write() as connection:
        again = update(provider_events).where(selection.clause()).values(handled_at=None, retry_at=0)
        count = connection.execute(again).rowcount
        if count:
            subject = next(iter(selection.event_ids), selection.type or "webhooks")
            detail = f"{count} stored webhooks, to be handled again"
            note(connection, who=who, action="replay_webhooks", subject=subject[:255], detail=detail, now=now)
    return count


def _handle(store: Store, provider: Provider, kind: str, event: Mapping[str, Any], now: int) -> None:
    owner = EVENT_TYPES.get(kind)
    fetched = owner.fetch(provider, event) if owner else None
    with store.write() as connection:
        if owner:
            owner.apply(connection, event, fetched, now)
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


def _known(connection: Connection, event_id: str) -> bool:
    of_event = (provider_events.c.provider == PROVIDER, provider_events.c.event_id == event_id)
    return connection.execute(select(provider_events.c.event_id).where(*of_event)).first() is not None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value
