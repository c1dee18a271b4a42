"""What must be true of accounts and caps at any quiet moment; each check gives a sentence for each violation."""

from collections.abc import Callable, Iterator

from sqlalchemy import Connection, and_, case, func, select

from billing import audit
from billing.book import OPEN
from billing.cap_tables import entries, lots, reservations, settlements, spend_windows, tenants, usage_events
from billing.store import Store

SEEN_WITHIN_MS = 3_600_000
"""A settlement that the ledger does not hold after so long is told."""
Check = Callable[[Connection, int], Iterator[str]]


def check_caps(store: Store, now_ms: int) -> list[str]:
    """Run all checks; nothing found: all holds."""
    with store.read() as connection:
        found = [sentence for check in CHECKS for sentence in check(connection, now_ms)]
    return found + [f"audit chain {f.chain!r}, entry {f.number}: {f.why}" for f in audit.verify(store)]


def holds_equal_open_reservations(connection: Connection, _now_ms: int) -> Iterator[str]:
    """What a tenant's row says is held is the sum of its open reservations."""
    held = func.coalesce(
        func.sum(case((reservations.c.state == OPEN, reservations.c.amount_micro), else_=0)), 0
    )
    query = (
        select(tenants.c.tenant, tenants.c.held_micro, held.label("open_micro"))
        .outerjoin(reservations, reservations.c.tenant == tenants.c.tenant)
        .group_by(tenants.c.tenant, tenants.c.held_micro)
        .having(tenants.c.held_micro != held)
    )
    for row in connection.execute(query):
        yield f"tenant {row.tenant!r} holds {row.held_micro} micro-USD, its open reservations {row.open_micro}"


def pending_equals_unseen_settlements(connection: Connection, _now_ms: int) -> Iterator[str]:
    """What a window has pending is what was settled in it and is not in the ledger's sum."""
    missing = case(
        (usage_events.c.seen_at_ms.is_(None), usage_events.c.amount_micro),
        (
            usage_events.c.seen_micro < usage_events.c.amount_micro,
            usage_events.c.amount_micro - usage_events.c.seen_micro,
        ),
        else_=0,
    )  # fmt: skip
    for window, start in (("day", usage_events.c.day_start_s), ("month", usage_events.c.month_start_s)):
        sums = (
            select(usage_events.c.tenant, start.label("start_s"), func.sum(missing).label("missing_micro"))
            .group_by(usage_events.c.tenant, start)
            .subquery()
        )
        same = and_(
            sums.c.tenant == spend_windows.c.tenant,
            sums.c.start_s == spend_windows.c.start_s,
        )
        wanted = func.coalesce(sums.c.missing_micro, 0)
        query = (
            select(spend_windows.c.tenant, spend_windows.c.start_s, spend_windows.c.pending_micro, wanted)
            .outerjoin(sums, same)
            .where(spend_windows.c.window == window, spend_windows.c.pending_micro != wanted)
        )
        for tenant, start_s, pending, sum_micro in connection.execute(query):
            what = f"tenant {tenant!r}, {window} from {start_s}"
            yield f"{what}: pending are {pending} micro-USD, unseen settlements {sum_micro}"


def lots_equal_their_entries(connection: Connection, _now_ms: int) -> Iterator[str]:
    """What remains of a lot is the sum of its entries."""
    total = func.coalesce(func.sum(entries.c.amount_micro), 0)
    query = (
        select(lots.c.id, lots.c.remaining_micro, total)
        .outerjoin(entries, entries.c.lot_id == lots.c.id)
        .group_by(lots.c.id, lots.c.remaining_micro)
        .having(lots.c.remaining_micro != total)
    )
    for lot, remaining, sum_micro in connection.execute(query):
        yield f"lot {lot} has {remaining} micro-USD left, its entries add up to {sum_micro}"


def settlements_equal_their_events(connection: Connection, _now_ms: int) -> Iterator[str]:
    """What was settled is what goes to the ledger, and what credits paid is what lots lost."""
    emitted = (
        select(usage_events.c.settlement_id, func.sum(usage_events.c.amount_micro).label("micro"))
        .group_by(usage_events.c.settlement_id)
        .subquery()
    )
    query = (
        select(settlements.c.id, settlements.c.amount_micro, emitted.c.micro)
        .outerjoin(emitted, emitted.c.settlement_id == settlements.c.id)
        .where(func.coalesce(emitted.c.micro, -1) != settlements.c.amount_micro)
    )
    for ident, amount, micro in connection.execute(query):
        yield f"settlement {ident} is of {amount} micro-USD, its events of {micro}"
    burned = (
        select(entries.c.settlement_id, func.sum(-entries.c.amount_micro).label("micro"))
        .where(entries.c.entry_type == "burn")
        .group_by(entries.c.settlement_id)
        .subquery()
    )
    paid = func.coalesce(burned.c.micro, 0)
    query = (
        select(settlements.c.id, settlements.c.credit_micro, paid)
        .outerjoin(burned, burned.c.settlement_id == settlements.c.id)
        .where(paid != settlements.c.credit_micro)
    )
    for ident, credit, micro in connection.execute(query):
        yield f"settlement {ident} was paid {credit} micro-USD from credits, lots lost {micro}"


def settlements_arrive(connection: Connection, now_ms: int) -> Iterator[str]:
    """A settlement is in the ledger within an hour, with the amount that was settled."""
    late = and_(usage_events.c.seen_at_ms.is_(None), usage_events.c.occurred_at_ms < now_ms - SEEN_WITHIN_MS)
    wrong = and_(
        usage_events.c.seen_at_ms.is_not(None), usage_events.c.seen_micro != usage_events.c.amount_micro
    )
    for row in connection.execute(select(usage_events).where(late).order_by(usage_events.c.id).limit(100)):
        where = "the event log" if row.sent_at_ms is None else "the ledger"
        yield f"settlement event {row.key} of tenant {row.tenant!r} has not come to {where} within an hour"
    for row in connection.execute(select(usage_events).where(wrong).order_by(usage_events.c.id).limit(100)):
        yield (
            f"settlement event {row.key} of tenant {row.tenant!r} is of {row.amount_micro} micro-USD, the ledger has "
            f"{row.seen_micro}: let the catalog price the operation settlement at 1 micro-USD a unit"
        )


CHECKS: tuple[Check, ...] = (
    holds_equal_open_reservations,
    pending_equals_unseen_settlements,
    lots_equal_their_entries,
    settlements_equal_their_events,
    settlements_arrive,
)
