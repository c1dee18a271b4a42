"""What has stopped at Stripe: customers that are deleted, subscriptions that have ended, meters that take nothing.

    customer is deleted       nothing is planned for it; what was never sent is planned anew for whoever comes next
    subscriptions have ended  hours from then on wait; a new subscription bills from its start, so what lies between
                              is told as of that start, as late usage
    meter is deactivated      its reports wait, planned and not sent, until it is active again

Each is kept as it was fetched after an event, and shown by `millrace stripe status`, `push` and the metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, true, union, update

from billing.periods import hour_start
from billing.tables import customers, intents, meters, stops
from pipeline.outbox import HOUR_S, State

LIVE = frozenset({"active", "trialing", "past_due", "unpaid", "paused", "incomplete"})
"""States of a subscription that still has invoices to come, or may have."""


class Kind(StrEnum):
    """What may stop."""

    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"
    METER = "meter"


@dataclass(frozen=True, slots=True)
class Stop:
    """Something that has stopped."""

    kind: Kind
    name: str
    """The customer's id, or the meter's event name."""
    since: int
    detail: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The event that told it: older ones change nothing."""

    created: int
    event_id: str


def stops_of(connection: Connection) -> tuple[Stop, ...]:
    """List what has stopped and not begun again, of what was ever told or adopted here."""
    ours = union(select(intents.c.customer), select(customers.c.customer), select(meters.c.event_name))
    return _stops(connection, stops.c.name.in_(ours))


def _stops(connection: Connection, where: ColumnElement[bool]) -> tuple[Stop, ...]:
    columns = (stops.c.kind, stops.c.name, stops.c.stopped_at, stops.c.detail)
    query = select(*columns).where(stops.c.stopped_at.is_not(None), where)
    rows = connection.execute(query.order_by(stops.c.kind, stops.c.name))
    return tuple(Stop(Kind(kind), name, since, detail) for kind, name, since, detail in rows)


def planned_until(connection: Connection) -> dict[str, tuple[int, str]]:
    """Give for each customer that has stopped the hour from which nothing is planned, and why."""
    found: dict[str, tuple[int, str]] = {}
    for stop in _stops(connection, true()):
        if stop.kind is Kind.CUSTOMER:
            found[stop.name] = (0, stop.detail)
        elif stop.kind is Kind.SUBSCRIPTION and stop.name not in found:
            found[stop.name] = (hour_start(stop.since + HOUR_S - 1), stop.detail)
    return found


def resumed_at(connection: Connection) -> dict[str, int]:
    """Give for each customer whose subscription began anew the first whole hour that the new one bills."""
    query = select(stops.c.name, stops.c.resumed_at).where(
        stops.c.kind == Kind.SUBSCRIPTION, stops.c.resumed_at.is_not(None)
    )
    return {name: hour_start(moment + HOUR_S - 1) for name, moment in connection.execute(query)}


def stopped_meters(connection: Connection) -> list[str]:
    """Give the event names of meters that take nothing."""
    return [stop.name for stop in _stops(connection, stops.c.kind == Kind.METER)]


def note_customer(connection: Connection, customer: Mapping[str, Any], seen: Seen, now: int) -> None:
    """Keep whether a customer is deleted; what was never sent to one that is, is carried."""
    if not customer.get("deleted"):
        return
    name = str(customer["id"])
    if _note(
        connection,
        Kind.CUSTOMER,
        name,
        seen,
        stopped_at=seen.created,
        detail="the customer was deleted at Stripe",
    ):
        never_sent = (intents.c.customer == name, intents.c.state.in_((State.PLANNED, State.DEFERRED)))
        values = {"state": State.CARRIED, "detail": "its customer was deleted at Stripe", "settled_at": now}
        connection.execute(update(intents).where(*never_sent).values(values))
        connection.execute(delete(customers).where(customers.c.customer == name))


def note_subscriptions(
    connection: Connection, customer: str, subscriptions: Sequence[Mapping[str, Any]], seen: Seen
) -> None:
    """Keep since when a customer has no subscription, or from when on it has one again."""
    live = [one for one in subscriptions if one.get("status") in LIVE]
    before = _row(connection, Kind.SUBSCRIPTION, customer)
    if live:
        if before is not None and before.stopped_at is not None:
            start = min(int(one.get("start_date") or one["created"]) for one in live)
            _note(
                connection,
                Kind.SUBSCRIPTION,
                customer,
                seen,
                stopped_at=None,
                resumed_at=max(start, before.stopped_at),
            )
        return
    ended = max((int(one.get("ended_at") or seen.created) for one in subscriptions), default=seen.created)
    detail = "its subscriptions have ended, so no invoice bills it"
    resumed = None if before is None else before.resumed_at
    _note(connection, Kind.SUBSCRIPTION, customer, seen, stopped_at=ended, resumed_at=resumed, detail=detail)


def note_meter(connection: Connection, meter: Mapping[str, Any], seen: Seen) -> None:
    """Keep whether a meter takes events."""
    event_name, is_active = str(meter["event_name"]), meter.get("status") == "active"
    if is_active and _row(connection, Kind.METER, event_name) is None:
        return
    stopped_at = None if is_active else seen.created
    _note(
        connection,
        Kind.METER,
        event_name,
        seen,
        stopped_at=stopped_at,
        detail="the meter is deactivated at Stripe",
    )


def tenant_of(connection: Connection, customer: str) -> str:
    """Name the tenant that a customer stands for; empty: none that is known here."""
    adopted = select(customers.c.tenant).where(customers.c.customer == customer)
    told = select(intents.c.tenant).where(intents.c.customer == customer).limit(1)
    return str(connection.execute(adopted).scalar() or connection.execute(told).scalar() or "")


def _row(connection: Connection, kind: Kind, name: str) -> Any:
    return connection.execute(select(stops).where(stops.c.kind == kind, stops.c.name == name)).first()


def _note(  # noqa: PLR0913 - the columns
    connection: Connection,
    kind: Kind,
    name: str,
    seen: Seen,
    *,
    stopped_at: int | None,
    resumed_at: int | None = None,
    detail: str = "",
) -> bool:
    """Write what was fetched, unless a newer event has told already; say whether it was written."""
    row = _row(connection, kind, name)
    if row is not None and (row.seen_created, row.seen_event_id) > (seen.created, seen.event_id):
        return False
    values = {
        "stopped_at": stopped_at,
        "resumed_at": resumed_at,
        "detail": detail,
        "seen_created": seen.created,
        "seen_event_id": seen.event_id,
    }
    if row is None:
        connection.execute(insert(stops).values(kind=kind, name=name, **values))
    else:
        connection.execute(update(stops).where(stops.c.kind == kind, stops.c.name == name).values(values))
    return True
