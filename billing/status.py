"""Where reports stand: by state, by tenant and period, and what is pressing."""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import func, select

from billing.machine import RESEND_FOR_S
from billing.periods import month_start, next_month_start, told_until
from billing.restore import is_read_only
from billing.stops import Stop, stops_of
from billing.store import Store
from billing.tables import intents, reconciliations
from pipeline.outbox import HOUR_S, State

GROUPS = {
    State.PLANNED: "owed",
    State.DEFERRED: "owed",
    State.SENDING: "unknown",
    State.UNKNOWN: "unknown",
    State.FROZEN: "unknown",
    State.ACCEPTED: "reported",
    State.VERIFIED: "verified",
    State.REJECTED: "rejected",
    State.ASYNC_REJECTED: "rejected",
    State.QUARANTINED: "quarantined",
}
"""What a state means for the books; carried and absent reports are planned again and count nowhere."""


@dataclass(frozen=True, slots=True)
class PeriodStatus:
    """One tenant's units of one meter in one billing period, by where they stand."""

    tenant: str
    event_name: str
    period_start: int
    units: dict[str, int]
    late: int
    """Of these, units whose own period was closed when they were found."""
    carried: int
    """Units of this period that a later one tells."""
    told_until: int
    """When the last of the period's windows closes."""


@dataclass(frozen=True, slots=True)
class Status:
    """The whole outbox."""

    reports: dict[str, int]
    units: dict[str, int]
    oldest_unresolved_at: int | None
    next_deadline_at: int | None
    """When the first report of unknown outcome may no longer be sent."""
    read_only: bool
    last_reconciled_at: int | None
    last_differences: int | None
    periods: tuple[PeriodStatus, ...]
    stops: tuple[Stop, ...]
    """What has stopped at Stripe."""


def status(store: Store, finalizes_after_s: int) -> Status:
    """Read where everything stands."""
    unresolved = intents.c.state.in_((State.UNKNOWN, State.FROZEN, State.SENDING))
    counts = select(intents.c.state, func.count(), func.sum(intents.c.value)).group_by(intents.c.state)
    last = select(reconciliations).order_by(reconciliations.c.id.desc()).limit(1)
    with store.read() as connection:
        rows = connection.execute(counts).all()
        oldest = connection.execute(select(func.min(intents.c.uncertain_since)).where(unresolved)).scalar()
        resendable = intents.c.state == State.UNKNOWN
        first = connection.execute(select(func.min(intents.c.uncertain_since)).where(resendable)).scalar()
        reconciled = connection.execute(last).first()
        read_only = is_read_only(connection)
        stops = stops_of(connection)
    return Status(
        reports={state: count for state, count, _ in rows},
        units={state: int(units) for state, _, units in rows},
        oldest_unresolved_at=oldest,
        next_deadline_at=None if first is None else first + RESEND_FOR_S,
        read_only=read_only,
        last_reconciled_at=reconciled.made_at if reconciled else None,
        last_differences=reconciled.differences if reconciled else None,
        periods=tuple(_periods(store, finalizes_after_s)),
        stops=stops,
    )


def _periods(store: Store, finalizes_after_s: int) -> list[PeriodStatus]:
    columns = (intents.c.tenant, intents.c.event_name, intents.c.window_start, intents.c.state)
    query = select(*columns, intents.c.origin_start, func.sum(intents.c.value)).group_by(
        *columns, intents.c.origin_start
    )
    units: dict[tuple[str, str, int], dict[str, int]] = defaultdict(dict)
    carried: dict[tuple[str, str, int], int] = defaultdict(int)
    late: dict[tuple[str, str, int], int] = defaultdict(int)
    last: dict[tuple[str, str, int], int] = defaultdict(int)
    with store.read() as connection:
        for tenant, event_name, window, state, origin, value in connection.execute(query):
            group = GROUPS.get(State(state))
            if group is None:
                continue
            key = (tenant, event_name, month_start(window))
            units[key][group] = units[key].get(group, 0) + int(value)
            if month_start(origin) != key[2]:
                late[key] += int(value)
                carried[tenant, event_name, month_start(origin)] += int(value)
            last[key] = max(last[key], told_until(window, finalizes_after_s))
    return [
        PeriodStatus(
            *key, units[key], late[key], carried[key], last[key] or _told_until(key[2], finalizes_after_s)
        )
        for key in sorted(units.keys() | carried.keys())
    ]


def _told_until(period_start: int, finalizes_after_s: int) -> int:
    return told_until(next_month_start(period_start) - HOUR_S, finalizes_after_s)
