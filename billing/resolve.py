"""What a person decides about reports that hold their lane, with an entry in the audit for each decision."""

from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Connection, select

from billing.audit import By, Note, append
from billing.intents import REPORT_COLUMNS, STANDING_COLUMNS, report_of, standing_of, write_standing
from billing.machine import Standing
from billing.reconcile import refresh_lane
from billing.store import Store
from billing.tables import intents
from pipeline.errors import UsageError
from pipeline.outbox import HOLDING, Report, State


class Decision(StrEnum):
    """What a report in quarantine is found to be."""

    ABSENT = "absent"
    """It is not at Stripe: its amount is planned again."""
    DELIVERED = "delivered"
    """It is at Stripe: it counts as told."""
    RETRY = "retry"
    """The cause is mended: send the same report again (only one that surely never arrived)."""


@dataclass(frozen=True, slots=True)
class Held:
    """A report that waits for someone."""

    identifier: str
    report: Report
    standing: Standing


def held_reports(store: Store) -> list[Held]:
    """List what holds its lane: rejected, asynchronously rejected, quarantined."""
    columns = (intents.c.identifier, *REPORT_COLUMNS, *STANDING_COLUMNS)
    query = (
        select(*columns).where(intents.c.state.in_(HOLDING)).order_by(intents.c.window_start, intents.c.id)
    )
    with store.read() as connection:
        rows = connection.execute(query).all()
    return [Held(row.identifier, report_of(row), standing_of(row)) for row in rows]


def resolve(  # noqa: PLR0913 - what the audit keeps
    store: Store, identifier: str, decision: Decision, *, who: str, why: str, now: int
) -> State:
    """Decide about one report and return its new state; raises `UsageError` for one that holds nothing."""
    with store.write() as connection:
        columns = (intents.c.id, *REPORT_COLUMNS, *STANDING_COLUMNS)
        row = connection.execute(select(*columns).where(intents.c.identifier == identifier)).first()
        if row is None or State(row.state) not in HOLDING:
            what = (
                "there is no report"
                if row is None
                else f"nothing is to be decided about the {row.state} report"
            )
            msg = f"{what} {identifier}: `millrace stripe quarantine list` shows those that wait"
            raise UsageError(msg)
        standing = _decided(standing_of(row), decision, f"{decision.value} by {who}: {why}", now)
        write_standing(connection, row.id, standing)
        note(connection, who=who, action=f"resolve_{decision.value}", subject=identifier, detail=why, now=now)
        refresh_lane(connection, report_of(row).lane)
    return standing.state


def note(connection: Connection, *, who: str, action: str, subject: str, detail: str, now: int) -> None:  # noqa: PLR0913 - the columns
    """Write an entry of the audit; the connection is the store's only writer."""
    append(connection, [(Note("", action, subject, detail), By(who, now * 1000))])


def _decided(standing: Standing, decision: Decision, detail: str, now: int) -> Standing:
    if decision is Decision.RETRY:
        if standing.state is not State.REJECTED or standing.uncertain_attempt:
            msg = f"a report that is {standing.state} may have arrived, so it is either absent or delivered"
            raise UsageError(msg)
        return replace(
            standing,
            state=State.DEFERRED,
            detail=detail,
            attempts=0,
            key_number=standing.key_number + 1,  # the old key would only repeat the old answer
            retry_at=now,
            settled_at=None,
        )
    state = State.ABSENT if decision is Decision.ABSENT else State.VERIFIED
    return replace(standing, state=state, detail=detail, settled_at=now)
