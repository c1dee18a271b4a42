"""Credits: lots of prepaid money, minted once, burned earliest expiry first, never below nothing.

Every change of a lot is an entry that is only ever added; what remains of a lot is the sum of its entries, and the
store's own constraints hold it between nothing and the lot's amount.
"""

from collections.abc import Callable
from dataclasses import dataclass

from billing.audit import By
from billing.store import Store


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
    raise NotImplementedError


def pools_of(store: Store, tenant: str, now_ms: int, pool: str | None = None) -> list[Pool]:
    """List a tenant's pools by name, each with its lots in the order in which they burn; or the one named."""
    raise NotImplementedError
