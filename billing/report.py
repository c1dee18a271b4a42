"""What the modes did and would have done: the refusals of the last days, by tenant and mode.

Counts and sums are of requests that exceeded a cap. Under `live` they were refused; under `shadow` and `soft` they
went through, so what they cost is in the figures that the later ones were held against. A stricter mode would have
refused them, and perhaps not all of the later ones.
"""

from dataclasses import dataclass

from sqlalchemy import func, select

from billing.asks import Mode
from billing.cap_tables import refusals, tenants
from billing.store import Store


@dataclass(frozen=True, slots=True)
class Line:
    """One tenant under one mode."""

    tenant: str
    mode: Mode
    """The mode when it was decided."""
    asked: str
    """authorize, reserve or settle."""
    window: str
    requests: int
    amount_micro: int
    first_at_ms: int
    last_at_ms: int


@dataclass(frozen=True, slots=True)
class Compared:
    """What changing a tenant's mode would have done."""

    tenant: str
    mode: Mode
    """The mode in force now."""
    refused_requests: int
    refused_micro: int
    """Refused: `shadow` and `soft` would have let them through."""
    passed_requests: int
    passed_micro: int
    """Over a cap and let through: `live` would have refused them."""


def refusals_since(store: Store, since_ms: int, tenant: str | None = None) -> list[Line]:
    """Sum what exceeded caps since a moment."""
    keys = (refusals.c.tenant, refusals.c.mode, refusals.c.asked, refusals.c.window)
    sums = (
        func.count(), func.sum(refusals.c.amount_micro), func.min(refusals.c.decided_at_ms),
        func.max(refusals.c.decided_at_ms),
    )  # fmt: skip
    query = select(*keys, *sums).where(refusals.c.decided_at_ms >= since_ms).group_by(*keys).order_by(*keys)
    if tenant is not None:
        query = query.where(refusals.c.tenant == tenant)
    with store.read() as connection:
        return [
            Line(r[0], Mode(r[1]), r[2], r[3], int(r[4]), int(r[5]), int(r[6]), int(r[7]))
            for r in connection.execute(query)
        ]


def compare(store: Store, since_ms: int, tenant: str | None = None) -> list[Compared]:
    """Say for each tenant what another mode would have done with what exceeded its caps."""
    lines = refusals_since(store, since_ms, tenant)
    with store.read() as connection:
        rows = {row.tenant: row.mode for row in connection.execute(select(tenants.c.tenant, tenants.c.mode))}
    compared = []
    for name in sorted({line.tenant for line in lines}):
        mine = [line for line in lines if line.tenant == name]
        live = [line for line in mine if line.mode is Mode.LIVE]
        other = [line for line in mine if line.mode is not Mode.LIVE]
        compared.append(
            Compared(
                name, Mode(rows.get(name) or rows[""]), sum(line.requests for line in live),
                sum(line.amount_micro for line in live), sum(line.requests for line in other),
                sum(line.amount_micro for line in other),
            )
        )  # fmt: skip
    return compared
