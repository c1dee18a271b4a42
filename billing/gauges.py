"""What the outbox shows of itself to whoever watches it: one moment's numbers, read from the control store."""

import json
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from billing.loops import Standing, standings
from billing.restore import is_read_only
from billing.stops import Kind, stops_of
from billing.store import Store
from billing.tables import intents, loops, provider_events, reconciliations
from pipeline.outbox import HOUR_S, State

_UNTOLD = (State.PLANNED, State.DEFERRED, State.SENDING, State.UNKNOWN, State.FROZEN)
_UNRESOLVED = (State.SENDING, State.UNKNOWN, State.FROZEN)
_SNAPSHOTS = 20


@dataclass(frozen=True, slots=True)
class Gauges:
    """One moment's numbers. Moments are seconds since 1970; None: there is nothing to tell."""

    reports: dict[str, int]
    """State -> reports, for every state, zeros too."""
    units: dict[str, int]
    oldest_unresolved_at: int | None
    """Since when the oldest report is of unknown outcome."""
    told_up_to: int | None
    """Every ended hour before this moment is received by Stripe, as far as planning has run."""
    difference_units: int
    """Of the last comparison: the sum of all differences, each without its sign."""
    reconciled_at: int | None
    account_api_version: str
    """The API version that the account renders its events with; empty while no event has told."""
    events_waiting: int
    """Stored events that are not handled."""
    is_read_only: bool
    stops: dict[str, int]
    """What has stopped at Stripe, by kind, zeros too."""
    loops: tuple[Standing, ...]


def gauges(store: Store) -> Gauges:
    """Read all numbers."""
    counts = select(intents.c.state, func.count(), func.sum(intents.c.value)).group_by(intents.c.state)
    unresolved = intents.c.state.in_(_UNRESOLVED)
    waiting = select(func.count()).where(provider_events.c.handled_at.is_(None))
    last = select(reconciliations).order_by(reconciliations.c.id.desc()).limit(1)
    with store.read() as connection:
        rows = {state: (count, int(units)) for state, count, units in connection.execute(counts)}
        compared = connection.execute(last).first()
        return Gauges(
            reports={state.value: rows.get(state, (0, 0))[0] for state in State},
            units={state.value: rows.get(state, (0, 0))[1] for state in State},
            oldest_unresolved_at=connection.execute(
                select(func.min(intents.c.uncertain_since)).where(unresolved)
            ).scalar(),
            told_up_to=_told_up_to(connection),
            difference_units=_difference(compared.result) if compared else 0,
            reconciled_at=compared.made_at if compared else None,
            account_api_version=_api_version(connection),
            events_waiting=int(connection.execute(waiting).scalar_one()),
            is_read_only=is_read_only(connection),
            stops=_stops(connection),
            loops=tuple(standings(store)),
        )


def _stops(connection: Connection) -> dict[str, int]:
    kinds = [stop.kind for stop in stops_of(connection)]
    return {kind.value: kinds.count(kind) for kind in Kind}


def _told_up_to(connection: Connection) -> int | None:
    """Give the first hour that waits; where none does, the hour up to which the last planning looked."""
    oldest = connection.execute(
        select(func.min(intents.c.origin_start)).where(intents.c.state.in_(_UNTOLD))
    ).scalar()
    looked = connection.execute(select(loops.c.succeeded_at).where(loops.c.name == "push")).scalar()
    if oldest is None:
        return None if looked is None else looked - looked % HOUR_S
    return int(oldest) if looked is None else min(int(oldest), looked - looked % HOUR_S)


def _difference(result: str) -> int:
    return sum(abs(finding["difference"]) for finding in json.loads(result)["findings"])


def _api_version(connection: Connection) -> str:
    """Find the newest event that names a version: thin events do not."""
    newest = select(provider_events.c.body).order_by(provider_events.c.received_at.desc()).limit(_SNAPSHOTS)
    for body in connection.execute(newest).scalars():
        version = json.loads(body).get("api_version")
        if isinstance(version, str):
            return version
    return ""
