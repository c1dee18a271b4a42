"""Credits: lots of prepaid money, minted once, burned earliest expiry first, never below nothing.

Every change of a lot is an entry that is only ever added; what remains of a lot is the sum of its entries, and the
store's own constraints hold it between nothing and the lot's amount.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from billing.accounts import lock
from billing.asks import AMOUNT_MICRO_MAX, Method
from billing.audit import By, Note, append, text_of
from billing.book import NEVER_MS, OPEN
from billing.cap_tables import entries, lots, reservations
from billing.store import Store
from pipeline.errors import UsageError

_NAME_MAX = 64
_KEY_MAX = 255
_PRIORITY_MAX = 1_000_000
_LAPSE_TOGETHER = 200


class KeyConflictError(UsageError):
    """The key has minted another lot."""


@dataclass(frozen=True, slots=True)
class Lot:
    """Prepaid money of a tenant in a pool."""

    id: str
    tenant: str
    pool: str
    source: str
    """Where it comes from: `purchase`, `grant`, ..."""
    amount_micro: int
    remaining_micro: int
    priority: int
    """Of lots that expire together, the lower is burned first."""
    expires_at_ms: int | None
    minted_at_ms: int


@dataclass(frozen=True, slots=True)
class Pool:
    """What a tenant has in one pool."""

    pool: str
    balance_micro: int
    """In lots that have not expired."""
    held_micro: int
    """Of it, in open reservations."""
    lots: tuple[Lot, ...]

    @property
    def free_micro(self) -> int:
        """What may still be reserved or spent."""
        return max(0, self.balance_micro - self.held_micro)


@dataclass(frozen=True, slots=True)
class Minted:
    """A lot, and whether it was there already under the same key."""

    lot: Lot
    is_replay: bool


def mint(  # noqa: PLR0913 - what a lot is
    store: Store,
    tenant: str,
    amount_micro: int,
    *,
    key: str,
    pool: str = "default",
    source: str = "grant",
    priority: int = 0,
    expires_at_ms: int | None = None,
    by: By,
    random_hex: Callable[[int], str],
) -> Minted:
    """Mint a lot once for each (tenant, key).

    Raises `KeyConflictError` where the key minted another lot, `UsageError` for an amount or expiry that cannot be.
    """
    wanted = {
        "tenant": tenant, "pool": pool, "source": source, "amount_micro": amount_micro, "priority": priority,
        "expires_at_ms": expires_at_ms, "key": key,
    }  # fmt: skip
    _check(wanted, by.now_ms)
    with store.write() as connection:
        lock(connection, tenant, by.now_ms)
        found = connection.execute(select(lots).where(lots.c.tenant == tenant, lots.c.key == key)).first()
        if found is not None:
            if any(getattr(found, name) != value for name, value in wanted.items()):
                raise KeyConflictError(f"the key {key!r} has minted another lot: give each lot its own key")
            return Minted(_lot(found), is_replay=True)
        lot_id = f"lot_{random_hex(12)}"
        values = {**wanted, "id": lot_id, "remaining_micro": amount_micro, "minted_at_ms": by.now_ms}
        connection.execute(insert(lots).values(values))
        connection.execute(
            insert(entries).values(_entry(tenant, "mint", pool, amount_micro, lot_id, by.now_ms))
        )
        append(connection, [(Note(tenant, "credits_minted", lot_id, "", "", text_of(wanted)), by)])
        row = connection.execute(select(lots).where(lots.c.id == lot_id)).one()
        return Minted(_lot(row), is_replay=False)


def pools_of(store: Store, tenant: str, now_ms: int, pool: str | None = None) -> list[Pool]:
    """List a tenant's pools by name, each with its lots in the order in which they burn; or the one named.

    Lots that are used up or have expired are left out.
    """
    query = select(lots).where(
        lots.c.tenant == tenant,
        lots.c.remaining_micro > 0,
        func.coalesce(lots.c.expires_at_ms, NEVER_MS) > now_ms,
    )
    held = select(reservations.c.pool, func.sum(reservations.c.amount_micro).label("held")).where(
        reservations.c.tenant == tenant,
        reservations.c.state == OPEN,
        reservations.c.method == Method.CREDIT,
        reservations.c.expires_at_ms > now_ms,
    )
    if pool is not None:
        query, held = query.where(lots.c.pool == pool), held.where(reservations.c.pool == pool)
    with store.read() as connection:
        rows = connection.execute(query.order_by(*_BURN_ORDER)).all()
        holds = {row.pool: int(row.held) for row in connection.execute(held.group_by(reservations.c.pool))}
    of: dict[str, list[Lot]] = defaultdict(list)
    for row in rows:
        of[row.pool].append(_lot(row))
    names = sorted({*of, *holds, *([] if pool is None else [pool])})
    return [
        Pool(name, sum(lot.remaining_micro for lot in of[name]), holds.get(name, 0), tuple(of[name]))
        for name in names
    ]


def lapse(store: Store, now_ms: int) -> int:
    """Take out what expired lots still hold, each with its entry; returns how many lots ended."""
    due = select(lots.c.id, lots.c.tenant).where(lots.c.remaining_micro > 0, lots.c.expires_at_ms <= now_ms)
    with store.write() as connection:
        found = connection.execute(due.order_by(lots.c.tenant, lots.c.id).limit(_LAPSE_TOGETHER)).all()
        for tenant in sorted({row.tenant for row in found}):
            lock(connection, tenant, now_ms)
        for row in found:
            _lapse_one(connection, row.id, now_ms)
    return len(found)


def _lapse_one(connection: Connection, lot_id: str, now_ms: int) -> None:
    row = connection.execute(select(lots).where(lots.c.id == lot_id)).one()
    if row.remaining_micro:
        connection.execute(update(lots).where(lots.c.id == lot_id).values(remaining_micro=0))
        values = _entry(row.tenant, "lapse", row.pool, -row.remaining_micro, lot_id, now_ms)
        connection.execute(insert(entries).values(values))


def _check(wanted: dict[str, Any], now_ms: int) -> None:
    if not 0 < wanted["amount_micro"] <= AMOUNT_MICRO_MAX:
        raise UsageError(f"a lot has 1 to {AMOUNT_MICRO_MAX} micro-USD, not {wanted['amount_micro']}")
    for name, most in (("tenant", 128), ("pool", _NAME_MAX), ("source", _NAME_MAX), ("key", _KEY_MAX)):
        if not 1 <= len(wanted[name]) <= most or not wanted[name].isprintable():
            raise UsageError(
                f"the {name} of a lot has 1 to {most} printable characters, not {wanted[name]!r}"
            )
    if abs(wanted["priority"]) > _PRIORITY_MAX:
        raise UsageError(f"a priority is from -{_PRIORITY_MAX} to {_PRIORITY_MAX}, not {wanted['priority']}")
    if wanted["expires_at_ms"] is not None and wanted["expires_at_ms"] <= now_ms:
        msg = "the lot would be expired from the start: give a later moment"
        raise UsageError(msg)


def _entry(  # noqa: PLR0913, PLR0917 - the columns
    tenant: str, entry_type: str, pool: str, amount_micro: int, lot_id: str, now_ms: int
) -> dict[str, Any]:
    return {
        "tenant": tenant, "entry_type": entry_type, "pool": pool, "amount_micro": amount_micro, "lot_id": lot_id,
        "made_at_ms": now_ms,
    }  # fmt: skip


def _lot(row: Any) -> Lot:
    return Lot(
        row.id, row.tenant, row.pool, row.source, row.amount_micro, row.remaining_micro, row.priority,
        row.expires_at_ms, row.minted_at_ms,
    )  # fmt: skip


_BURN_ORDER = (func.coalesce(lots.c.expires_at_ms, NEVER_MS), lots.c.priority, lots.c.id)
