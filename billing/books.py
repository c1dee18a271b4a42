"""Invariant 4: what was told, what the outbox still owes and what is carried make up the ledger's metered rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, select

from billing.planner import Balance
from billing.planning import Planning, plan_reports
from billing.reconcile import NEVER_SENT
from billing.store import Store
from billing.tables import intents
from pipeline.findings import Finding, Result
from pipeline.outbox import HOUR_S, Measure, Sums, UsageReader


@dataclass(frozen=True, slots=True)
class Book:
    """One tenant's books for one meter: `ledger = (told + owed) * unit + carried`, exactly."""

    tenant: str
    event_name: str
    unit: int
    ledger: int
    """Scaled by 10^6, as are unit and carried."""
    told: int
    """Whole units that Stripe has, or may have."""
    owed: int
    """Whole units that are planned, or would be now."""
    carried: int
    waiting: str
    """Why whole units of what is carried are not planned yet."""


def books(store: Store, reader: UsageReader, planning: Planning) -> list[Book]:
    """Take stock of all tenants and meters; nothing is written.

    The running hour is taken along, and the next: a stamp may lie five minutes ahead.
    """
    ahead = replace(planning, now=planning.now + HOUR_S, running=True)
    balances = plan_reports(store, reader, ahead, write=False).balances
    query = select(intents.c.tenant, intents.c.event_name, func.sum(intents.c.value)).where(
        intents.c.state.in_(NEVER_SENT)
    )
    with store.read() as connection:
        rows = connection.execute(query.group_by(intents.c.tenant, intents.c.event_name))
        unsent = {(tenant, event_name): int(units) for tenant, event_name, units in rows}
    return [_book(one, unsent.get((one.tenant, one.event_name), 0)) for one in balances]


def _book(balance: Balance, unsent: int) -> Book:
    return Book(
        balance.tenant, balance.event_name, balance.unit, balance.ledger, balance.counted - unsent,
        balance.planned + unsent, balance.rest, balance.waiting,
    )  # fmt: skip


def check_books(
    store: Store, reader: UsageReader, planning: Planning, metered_pico_usd: Mapping[str, int]
) -> Result:
    """Hold the books against the ledger's metered rows, which were added one by one."""
    found = books(store, reader, planning)
    result = Result(len(found), "tenants' meters")
    of_all_cost = {m.event_name for m in planning.declaration.meters if m.measure == Measure(Sums.COST)}
    for book in found:
        result.add(_judged(book))
    for event_name in sorted(of_all_cost):
        result.add(_against_rows(event_name, found, metered_pico_usd))
    return result


def _against_rows(event_name: str, found: Sequence[Book], rows: Mapping[str, int]) -> list[Finding]:
    read = {book.tenant: book.ledger for book in found if book.event_name == event_name}
    return [
        Finding(
            f"{tenant}, {event_name}",
            "what the outbox reads of the ledger is not what its metered rows add up to",
            f"{rows.get(tenant, 0)} pico-USD",
            f"{read.get(tenant, 0)}",
            "see the quarter-hour sums above: the outbox reads them",
        )
        for tenant in sorted(read.keys() | rows.keys())
        if read.get(tenant, 0) != rows.get(tenant, 0)
    ]


def _judged(book: Book) -> list[Finding]:
    where = f"{book.tenant}, {book.event_name}"
    due = book.ledger // book.unit
    if book.carried < 0:
        return [
            Finding(
                where, "Stripe was told more than the ledger has now", f"{due} units at most",
                f"{book.told} told and {book.owed} owed",
                "later usage covers it; before the invoice is final, credit it: `millrace stripe close` says how much",
            )
        ]  # fmt: skip
    if book.carried >= book.unit and not book.waiting:
        return [
            Finding(
                where, "whole units are neither told nor owed", f"less than one unit carried of {due}",
                f"{book.carried // book.unit} units carried", "plan them: `millrace stripe push`",
            )
        ]  # fmt: skip
    return []
