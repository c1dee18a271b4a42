"""Plans reports into the control store: read, decide and write in one transaction."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from sqlalchemy import Connection, and_, func, insert, select, update

from billing.intents import REPORT_COLUMNS, report_of
from billing.meters import Declaration, Meter, hold_meaning
from billing.outbox import Stamp, closed_until
from billing.periods import open_from
from billing.planner import Balance, Ground, Plan, Terms, Used, plan
from billing.restore import is_read_only
from billing.stops import planned_until
from billing.store import Store
from billing.tables import customers as customers_table
from billing.tables import intents, lanes
from pipeline.errors import StoreError
from pipeline.event import UNATTRIBUTED
from pipeline.outbox import UNCOUNTED, Lane, Measure, Report, State, UsageReader

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Planning:
    """What one planning needs to know."""

    declaration: Declaration
    customer_of: Callable[[str], str]
    """Tenant -> Stripe customer by the accounts file, or empty; then what setup adopted counts."""
    stamp: Stamp
    now: int
    running: bool = False

    @property
    def terms(self) -> Terms:
        """The terms for the planner."""
        held = self.declaration
        return Terms(self.now, held.finalizes_after_s, held.namespace, self.running)


def plan_reports(store: Store, reader: UsageReader, planning: Planning, *, write: bool) -> Plan:
    """Plan all meters; with `write` the reports are in the outbox when this returns.

    The ledger is read before the outbox is, so what two planners plan at once is never more than it holds.
    """
    hold_meaning(store, planning.declaration, write=write)
    plans = [
        _plan_meter(store, reader, planning, meter, write=write) for meter in planning.declaration.meters
    ]
    reports = tuple(report for one in plans for report in one.reports)
    balances = tuple(balance for one in plans for balance in one.balances)
    return Plan(reports, balances)


def unsent(store: Store) -> list[Report]:
    """List the reports that are planned and were never tried, in the order of their windows."""
    order = (intents.c.window_start, intents.c.event_name, intents.c.customer, intents.c.slot)
    with store.read() as connection:
        rows = connection.execute(
            select(*REPORT_COLUMNS).where(intents.c.state == State.PLANNED).order_by(*order)
        )
        return [report_of(row) for row in rows]


def _plan_meter(store: Store, reader: UsageReader, planning: Planning, meter: Meter, *, write: bool) -> Plan:
    declaration = planning.declaration
    hourly_from = open_from(planning.now, declaration.finalizes_after_s)
    usage = reader.totals(meter.measure, declaration.bill_from, hourly_from)
    with store.write() if write else store.read() as connection:
        if write and is_read_only(connection):
            msg = (
                "the control store was restored from an older copy, so nothing may be planned or sent: "
                "run `millrace stripe reconcile --restored` first"
            )
            raise StoreError(msg)
        adopted = adopted_customers(connection)
        tenants = {row.tenant for row in usage}
        mapping = {tenant: planning.customer_of(tenant) or adopted.get(tenant, "") for tenant in tenants}
        made = plan(meter, usage, _ground(connection, meter, hourly_from), mapping, planning.terms)
        if write:
            _insert(connection, made.reports, planning)
    return made


def customers_of(store: Store, declared: Mapping[str, str]) -> dict[str, str]:
    """Give the customers of all tenants: what the accounts file declares, else what setup adopted."""
    with store.read() as connection:
        named = {tenant: customer for tenant, customer in declared.items() if customer}
        return {**adopted_customers(connection), **named}


def adopted_customers(connection: Connection) -> dict[str, str]:
    """Give the customers that setup created or adopted, by tenant."""
    rows = connection.execute(select(customers_table.c.tenant, customers_table.c.customer))
    return {row.tenant: row.customer for row in rows}


def _ground(connection: Connection, meter: Meter, hourly_from: int) -> Ground:
    of_meter = intents.c.event_name == meter.event_name
    units = func.sum(intents.c.value)
    counted: dict[str, dict[int, int]] = {}
    query = select(intents.c.tenant, intents.c.origin_start, units).where(
        of_meter, intents.c.state.not_in(UNCOUNTED)
    )
    for tenant, origin, value in connection.execute(query.group_by(intents.c.tenant, intents.c.origin_start)):
        counted.setdefault(tenant, {})[origin] = int(value)
    window = (intents.c.customer, intents.c.window_start)
    slots = select(*window, func.max(intents.c.slot) + 1, func.max(intents.c.created_at))
    rows = connection.execute(slots.where(of_meter, intents.c.window_start >= hourly_from).group_by(*window))
    used = {(customer, start): Used(count, newest) for customer, start, count, newest in rows.all()}
    return Ground(counted, used, closed_until(connection), planned_until(connection))


def _insert(connection: Connection, reports: Sequence[Report], planning: Planning) -> None:
    made_with = {
        "api_version": planning.stamp.api_version,
        "sdk_version": planning.stamp.sdk_version,
        "created_at": planning.now,
        "state": State.PLANNED,
    }
    for batch in _batches(reports):
        rows = [{**_values(report), **made_with} for report in batch]
        connection.execute(insert(intents), rows)
    for lane in {report.lane for report in reports}:
        _wake(connection, lane)


def _values(report: Report) -> dict[str, object]:
    values: dict[str, object] = {column.name: getattr(report, column.name) for column in REPORT_COLUMNS}
    return {**values, "identifier": report.identifier}


def _wake(connection: Connection, lane: Lane) -> None:
    where = and_(lanes.c.customer == lane.customer, lanes.c.event_name == lane.event_name)
    if connection.execute(update(lanes).where(where).values(due_at=0)).rowcount == 0:
        connection.execute(insert(lanes).values(customer=lane.customer, event_name=lane.event_name))


def _batches(reports: Sequence[Report]) -> Iterator[list[Report]]:
    rest = iter(reports)
    while batch := list(islice(rest, _BATCH)):
        yield batch


class SumsReader(Protocol):
    """Reads the sums of metered rows from the ledger."""

    def sums(self, measure: Measure, since: int) -> Mapping[str, int]:
        """Each tenant's exact total from `since` on (epoch seconds), as `UsageReader` gives them by window."""


def books(store: Store, reader: SumsReader, planning: Planning) -> list[Balance]:
    """Say of every tenant and meter what the ledger has, what is in reports, and so what is in none yet.

    Nothing is planned, so windows do not matter and are not read: what the next plan will take is owed still.
    """
    balances: list[Balance] = []
    for meter in planning.declaration.meters:
        totals = reader.sums(meter.measure, planning.declaration.bill_from)
        with store.read() as connection:
            balances += _books(connection, meter, totals, planning)
    return balances


def _books(
    connection: Connection, meter: Meter, totals: Mapping[str, int], planning: Planning
) -> Iterator[Balance]:
    adopted, stopped = adopted_customers(connection), planned_until(connection)
    query = select(intents.c.tenant, func.sum(intents.c.value)).where(
        intents.c.event_name == meter.event_name, intents.c.state.not_in(UNCOUNTED)
    )
    counted = {tenant: int(units) for tenant, units in connection.execute(query.group_by(intents.c.tenant))}
    for tenant in sorted(totals.keys() | counted.keys()):
        named = planning.customer_of(tenant) or adopted.get(tenant, "")
        customer = "" if tenant == UNATTRIBUTED else named
        _, why = stopped.get(customer, (0, ""))
        balance = Balance(
            tenant=tenant,
            customer=customer,
            event_name=meter.event_name,
            unit=meter.unit,
            ledger=totals.get(tenant, 0),
            counted=counted.get(tenant, 0),
            planned=0,
        )
        yield replace(balance, waiting=why) if balance.rest >= meter.unit else balance


def owed_without_customer(balances: Sequence[Balance]) -> list[Balance]:
    """Select the books of tenants that have no customer and owe at least one unit."""
    return [balance for balance in balances if not balance.customer and balance.rest >= balance.unit]
