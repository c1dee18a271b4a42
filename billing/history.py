"""What happened to a tenant's money, newest first: one line for each entry, and nothing is ever taken back."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select

from billing.cap_tables import entries
from billing.store import Store

LIMIT_MAX = 100
LIMIT_DEFAULT = 50


class EntryType(StrEnum):
    """What an entry says."""

    MINT = "mint"
    """Credits came."""
    RESERVE = "reserve"
    RELEASE = "release"
    EXPIRE = "expire"
    """A reservation ended by itself."""
    SETTLE = "settle"
    OVERRUN = "overrun"
    """The part of a settlement beyond its reservation."""
    BURN = "burn"
    """Credits of a lot paid for a settlement."""
    LAPSE = "lapse"
    """What a lot still held when it expired."""
    TAKE_BACK = "take_back"
    """Credits that were minted by mistake went again; `settlement_id` numbers the parts."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line."""

    id: int
    """Ascending; also the cursor of what is older."""
    entry_type: EntryType
    pool: str
    amount_micro: int
    """Signed where it changes a lot; else the amount that the line is about."""
    lot_id: str
    reservation_id: str
    settlement_id: str
    made_at_ms: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines, and where the older ones begin."""

    entries: Sequence[Entry]
    next_cursor: int | None
    """Give it as `before` for what is older; None: there is nothing older."""
    total: int
    """How many lines there are that fit the question."""


def history(  # noqa: PLR0913 - the question
    store: Store,
    tenant: str,
    *,
    pool: str | None = None,
    entry_type: EntryType | None = None,
    limit: int = LIMIT_DEFAULT,
    offset: int = 0,
    before: int | None = None,
) -> Page:
    """List a tenant's entries, newest first; `before` (a cursor) is quick at any depth, `offset` is not."""
    fits = entries.c.tenant == tenant
    if pool is not None:
        fits &= entries.c.pool == pool
    if entry_type is not None:
        fits &= entries.c.entry_type == entry_type
    older = fits if before is None else fits & (entries.c.id < before)
    query = select(entries).where(older).order_by(entries.c.id.desc()).limit(limit + 1).offset(offset)
    with store.read() as connection:
        rows = connection.execute(query).all()
        total = connection.execute(select(func.count()).select_from(entries).where(fits)).scalar_one()
    shown = [
        Entry(
            r.id, EntryType(r.entry_type), r.pool, r.amount_micro, r.lot_id or "", r.reservation_id, r.settlement_id,
            r.made_at_ms,
        )
        for r in rows[:limit]
    ]  # fmt: skip
    return Page(shown, shown[-1].id if len(rows) > limit else None, int(total))
