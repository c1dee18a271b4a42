"""The close of a billing period: what was owed, what was told, and whether an invoice may become final.

A period is a calendar month in UTC. For one customer and meter, in whole units,

    due = told for hours before its end + owed

where `due` is the ledger's total before the end, rounded down for each tenant; and Stripe's sum over the period
must be what was told in it, all of it verified. What is owed when the cut-off has passed is late: the next
period tells it, in a report that names this one as its origin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from billing.meters import Meter
from billing.outbox import closed_until
from billing.periods import next_month_start, told_until
from billing.planning import Planning, customers_of
from billing.resolve import note
from billing.store import Store
from billing.tables import intents
from pipeline.errors import UsageError
from pipeline.outbox import HOLDING, HOUR_S, UNCOUNTED, Lane, State, UsageReader


@dataclass(frozen=True, slots=True)
class Period:
    """A billing period, from its first second to the first of the next."""

    start: int
    end: int
    cut_off: int
    """From here on nothing is sent for it any more."""


@dataclass(slots=True)
class Position:
    """One customer's meter in one period, in whole units."""

    lane: Lane
    due: int = 0
    """Of all hours before the period's end."""
    told_for: int = 0
    """Told for all hours before the period's end, in whatever period."""
    told_in: int = 0
    """Told with a timestamp in the period: what its invoice has to bill."""
    unproven: int = 0
    """Of these, not verified yet."""
    held: int = 0
    """Of these, in reports that wait for a decision."""
    late_in: int = 0
    """Of these, owed by earlier periods."""
    late_out: int = 0
    """Owed by this period, and told in a later one."""
    stripe: int = 0
    """Stripe's sum over the period."""
    is_past_cut_off: bool = False

    @property
    def owed(self) -> int:
        """Not told yet; below 0: more was told than the ledger holds now, after corrections."""
        return self.due - self.told_for

    @property
    def obstacles(self) -> list[str]:
        """Say why the invoice may not become final; empty: it may."""
        found = []
        if self.stripe != self.told_in:
            found.append(
                f"Stripe's sum is {self.stripe}, told were {self.told_in}: `millrace stripe reconcile`"
            )
        if self.held:
            found.append(f"{self.held} units are held: `millrace stripe quarantine list`")
        elif self.unproven:
            found.append(f"{self.unproven} units are not proven: `millrace stripe reconcile`, or wait for it")
        if self.owed > 0 and not self.is_past_cut_off:
            found.append(f"{self.owed} units can still be told: `millrace stripe push`")
        if self.owed < 0:
            found.append(
                f"{-self.owed} units more were told than the ledger holds now: credit them on this invoice in Stripe"
            )
        return found


def period_of(text: str, finalizes_after_s: int) -> Period:
    """Read `YYYY-MM`; raises `UsageError` for anything else."""
    try:
        start = int(datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).timestamp())
    except ValueError:
        msg = f"the period {text!r} is not a month: give it as 2026-11"
        raise UsageError(msg) from None
    end = next_month_start(start)
    return Period(start, end, told_until(end - HOUR_S, finalizes_after_s))


def positions(
    store: Store, reader: UsageReader, planning: Planning, period: Period, declared: Mapping[str, str]
) -> list[Position]:
    """Take the position of every customer and meter that the period concerns; `stripe` is still to be read."""
    customers = customers_of(store, declared)
    found: dict[Lane, Position] = {}
    with store.read() as connection:
        closed = closed_until(connection)
    for meter in planning.declaration.meters:
        for tenant, total in _totals(reader, planning, meter, period).items():
            customer = customers.get(tenant, "")
            if customer:
                lane = Lane(customer, meter.event_name)
                found.setdefault(lane, Position(lane)).due += max(total, 0) // meter.unit
    for lane, state, value, window, origin in _reports(store):
        _count(found.setdefault(lane, Position(lane)), State(state), value, window, origin, period)
    for position in found.values():
        cut_off = period.end <= closed.get(position.lane.customer, 0) or planning.now >= period.cut_off
        position.is_past_cut_off = cut_off
    return sorted(found.values(), key=lambda p: (p.lane.customer, p.lane.event_name))


def note_step(store: Store, who: str, action: str, invoice_id: str, now: int) -> None:
    """Keep in the audit who held or finalised an invoice."""
    with store.write() as connection:
        note(connection, who=who, action=action, subject=invoice_id, detail="close", now=now)


def _totals(reader: UsageReader, planning: Planning, meter: Meter, period: Period) -> dict[str, int]:
    totals: dict[str, int] = {}
    for row in reader.totals(meter.measure, planning.declaration.bill_from, period.end):
        if row.window_start < period.end:
            totals[row.tenant] = totals.get(row.tenant, 0) + row.total
    return totals


def _reports(store: Store) -> Sequence[tuple[Lane, str, int, int, int]]:
    columns = (intents.c.customer, intents.c.event_name, intents.c.state, intents.c.value)
    counted = intents.c.state.not_in(UNCOUNTED)
    query = select(*columns, intents.c.window_start, intents.c.origin_start).where(counted)
    with store.read() as connection:
        return [(Lane(row[0], row[1]), *row[2:]) for row in connection.execute(query)]


def _count(  # noqa: PLR0913, PLR0917 - the columns of a report
    position: Position, state: State, value: int, window: int, origin: int, period: Period
) -> None:
    if origin < period.end:
        position.told_for += value
    if period.start <= window < period.end:
        position.told_in += value
        position.unproven += value if state is not State.VERIFIED else 0
        position.held += value if state in HOLDING else 0
        position.late_in += value if origin < period.start else 0
    elif period.start <= origin < period.end <= window:
        position.late_out += value


def check_ended(period: Period, now: int) -> None:
    """Raise `UsageError` while the period still runs."""
    if now < period.end:
        msg = "the period has not ended, so there is no invoice to hold or to finalise: leave the flag out"
        raise UsageError(msg)
