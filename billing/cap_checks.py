"""What must be true of accounts and caps at any quiet moment; each check gives a finding for each violation."""

from collections.abc import Callable, Iterator

from sqlalchemy import Connection, and_, case, func, select

from billing import audit
from billing.book import OPEN
from billing.cap_tables import entries, lots, reservations, settlements, spend_windows, tenants, usage_events
from billing.store import Store
from pipeline.findings import Finding, Result

SEEN_WITHIN_MS = 3_600_000
"""A settlement that the ledger does not hold after so long is told."""
_BY_HAND = "someone changed the control store by hand: compare with a backup"
Check = Callable[[Connection, int], Iterator[Finding]]


def check_caps(store: Store, now_ms: int) -> Result:
    """Run all checks, the audit's chains among them."""
    result = Result(of="tenants")
    with store.read() as connection:
        count = select(func.count()).select_from(tenants).where(tenants.c.tenant != "")
        result.compared = int(connection.execute(count).scalar_one())
        for check in CHECKS:
            result.add(check(connection, now_ms))
    result.add(
        Finding(
            f"chain {broken.chain!r}, entry {broken.number}", "the audit is not as it was written", "an unbroken chain",
            broken.why, "compare with a backup: someone changed the control store by hand",
        )
        for broken in audit.verify(store)
    )  # fmt: skip
    return result


def holds_equal_open_reservations(connection: Connection, _now_ms: int) -> Iterator[Finding]:
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
        yield Finding(
            f"tenant {row.tenant}", "what is held is not what open reservations hold", f"{row.open_micro} micro-USD",
            f"{row.held_micro}", _BY_HAND,
        )  # fmt: skip


def pending_equals_unseen_settlements(connection: Connection, _now_ms: int) -> Iterator[Finding]:
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
            yield Finding(
                f"tenant {tenant}, {window} from {start_s}", "what is pending is not what the ledger does not have yet",
                f"{sum_micro} micro-USD", f"{pending}", _BY_HAND,
            )  # fmt: skip


def lots_equal_their_entries(connection: Connection, _now_ms: int) -> Iterator[Finding]:
    """What remains of a lot is the sum of its entries."""
    total = func.coalesce(func.sum(entries.c.amount_micro), 0)
    query = (
        select(lots.c.id, lots.c.remaining_micro, total)
        .outerjoin(entries, entries.c.lot_id == lots.c.id)
        .group_by(lots.c.id, lots.c.remaining_micro)
        .having(lots.c.remaining_micro != total)
    )
    for lot, remaining, sum_micro in connection.execute(query):
        yield Finding(
            f"lot {lot}",
            "what remains is not the sum of the entries",
            f"{sum_micro} micro-USD",
            f"{remaining}",
            _BY_HAND,
        )


def settlements_equal_their_events(connection: Connection, _now_ms: int) -> Iterator[Finding]:
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
        yield Finding(
            f"settlement {ident}",
            "its events are not of its amount",
            f"{amount} micro-USD",
            f"{micro}",
            _BY_HAND,
        )
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
        yield Finding(
            f"settlement {ident}",
            "lots did not lose what credits paid",
            f"{credit} micro-USD",
            f"{micro}",
            _BY_HAND,
        )


def settlements_arrive(connection: Connection, now_ms: int) -> Iterator[Finding]:
    """A settlement is in the ledger within an hour, with the amount that was settled."""
    late = and_(usage_events.c.seen_at_ms.is_(None), usage_events.c.occurred_at_ms < now_ms - SEEN_WITHIN_MS)
    wrong = and_(
        usage_events.c.seen_at_ms.is_not(None), usage_events.c.seen_micro != usage_events.c.amount_micro
    )
    for row in connection.execute(select(usage_events).where(late).order_by(usage_events.c.id).limit(100)):
        where = "the event log" if row.sent_at_ms is None else "the ledger"
        yield Finding(
            f"{row.key} of tenant {row.tenant}", f"a settlement has not come to {where}", "to be there within an hour",
            "nothing", "look whether `millrace serve` and the run that reads its events are at work",
        )  # fmt: skip
    for row in connection.execute(select(usage_events).where(wrong).order_by(usage_events.c.id).limit(100)):
        yield Finding(
            f"{row.key} of tenant {row.tenant}", "the ledger has another amount than was settled",
            f"{row.amount_micro} micro-USD", f"{row.seen_micro}",
            "let the catalog price the operations of settlements at 1 micro-USD a unit",
        )  # fmt: skip


CHECKS: tuple[Check, ...] = (
    holds_equal_open_reservations,
    pending_equals_unseen_settlements,
    lots_equal_their_entries,
    settlements_equal_their_events,
    settlements_arrive,
)
