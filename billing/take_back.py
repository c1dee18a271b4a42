"""Taking credits back that were minted by mistake: of what is left, by an entry that is only added.

What is spent stays spent, what an open reservation holds stays promised; both are told. How much is to be gone of a
lot is said as a whole, so asking again takes nothing twice, and takes what has become free since.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from billing.accounts import lock
from billing.asks import Method
from billing.audit import By, Note, append, text_of
from billing.book import NEVER_MS, OPEN
from billing.cap_tables import entries, lots, reservations
from billing.history import EntryType
from billing.store import Store
from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What became of a lot that is taken back; all in micro-USD, and they add up to the lot."""

    lot_id: str
    tenant: str
    pool: str
    amount_micro: int
    wanted_micro: int
    """How much of the lot is to be gone, in all."""
    now_micro: int
    """Taken by this call."""
    taken_micro: int
    """Taken in all, by this call and those before."""
    burned_micro: int
    lapsed_micro: int
    left_micro: int
    held_micro: int
    """Of what is left: what open reservations of the pool need, and what therefore was not taken."""

    @property
    def missing_micro(self) -> int:
        """What was wanted and not taken."""
        return max(0, self.wanted_micro - self.taken_micro)


def take_back(store: Store, lot_id: str, amount_micro: int | None, *, reason: str, by: By) -> TakenBack:
    """Take back of a lot until so much of it is taken in all; None: all of it.

    Raises `UsageError` for a lot that is not there, an amount beyond it, and where no reason is given.
    """
    if not reason.strip():
        msg = "taking credits back needs a reason: it stands in the audit"
        raise UsageError(msg)
    with store.write() as connection:
        tenant = connection.execute(select(lots.c.tenant).where(lots.c.id == lot_id)).scalar_one_or_none()
        if tenant is None:
            raise UsageError(
                f"there is no lot {lot_id!r}: `millrace audit list --action credits_minted` shows them"
            )
        lock(connection, tenant, by.now_ms)
        return _take(connection, lot_id, amount_micro, reason, by)


def _take(connection: Connection, lot_id: str, amount_micro: int | None, reason: str, by: By) -> TakenBack:
    lot = connection.execute(select(lots).where(lots.c.id == lot_id)).one()
    wanted = lot.amount_micro if amount_micro is None else amount_micro
    if not 0 < wanted <= lot.amount_micro:
        raise UsageError(f"the lot {lot_id} has {lot.amount_micro} micro-USD: {wanted} cannot be taken back")
    sums = _sums(connection, lot_id)
    before = sums.get(EntryType.TAKE_BACK, 0)
    is_over = lot.expires_at_ms is not None and lot.expires_at_ms <= by.now_ms
    free = 0 if is_over else _free(connection, lot.tenant, lot.pool, by.now_ms)
    now = max(0, min(wanted - before, lot.remaining_micro, free))
    if now:
        left = lot.remaining_micro - now
        connection.execute(update(lots).where(lots.c.id == lot_id).values(remaining_micro=left))
        connection.execute(insert(entries).values(_entry(connection, lot_id, lot, now, by)))
    held = 0 if is_over else max(0, min(wanted - before, lot.remaining_micro) - now)
    found = TakenBack(
        lot_id, lot.tenant, lot.pool, lot.amount_micro, wanted, now, before + now, sums.get(EntryType.BURN, 0),
        sums.get(EntryType.LAPSE, 0), lot.remaining_micro - now, held,
    )  # fmt: skip
    if now:
        note = Note(lot.tenant, "credits_taken_back", lot_id, reason, "", text_of(asdict(found)))
        append(connection, [(note, by)])
    return found


def _sums(connection: Connection, lot_id: str) -> Mapping[str, int]:
    """What left the lot, by kind of entry."""
    query = (
        select(entries.c.entry_type, func.sum(-entries.c.amount_micro))
        .where(entries.c.lot_id == lot_id)
        .group_by(entries.c.entry_type)
    )
    return {kind: int(micro) for kind, micro in connection.execute(query)}


def _free(connection: Connection, tenant: str, pool: str, now_ms: int) -> int:
    """What the pool has beyond what open reservations hold."""
    has = select(func.coalesce(func.sum(lots.c.remaining_micro), 0)).where(
        lots.c.tenant == tenant, lots.c.pool == pool, func.coalesce(lots.c.expires_at_ms, NEVER_MS) > now_ms
    )
    held = select(func.coalesce(func.sum(reservations.c.amount_micro), 0)).where(
        reservations.c.tenant == tenant,
        reservations.c.pool == pool,
        reservations.c.state == OPEN,
        reservations.c.method == Method.CREDIT,
        reservations.c.expires_at_ms > now_ms,
    )
    return max(0, int(connection.execute(has).scalar_one()) - int(connection.execute(held).scalar_one()))


def _entry(connection: Connection, lot_id: str, lot: Any, micro: int, by: By) -> dict[str, Any]:
    """The entry; it is numbered, since a lot may be taken back in parts and each part stands once."""
    query = select(func.count()).where(
        entries.c.lot_id == lot_id, entries.c.entry_type == EntryType.TAKE_BACK
    )
    number = int(connection.execute(query).scalar_one()) + 1
    return {
        "tenant": lot.tenant, "entry_type": EntryType.TAKE_BACK, "pool": lot.pool, "amount_micro": -micro,
        "lot_id": lot_id, "settlement_id": f"take-back-{number}", "made_at_ms": by.now_ms,
    }  # fmt: skip
