"""`GET /api/billing/pricing`: what things cost, for everyone to see, always.

Prices come from the catalog in force; where it cannot be read now, from its last copy, and where it never could,
from the catalog that is shipped. The store adds pools, tiers and the mode; where it is away, what it said last.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeVar

import structlog
from fastapi import APIRouter, Depends
from pydantic import Field
from sqlalchemy import Connection, Select, select

from api.models import Model, Moment, moment
from api.services import Services, services_of
from billing.accounts import global_mode
from billing.asks import Mode
from billing.cap_tables import lots, tenants
from billing.store import Store
from pipeline.catalog import SINCE_EVER_MS, Catalog, Component, Entry, Quantity, Version, default_catalog
from pipeline.errors import MillraceError
from pipeline.event import MICRO

DEFAULT_POOL = "default"
_log = structlog.get_logger("millrace.http")
T = TypeVar("T")


class Origin(StrEnum):
    """Where a part of the answer comes from."""

    CURRENT = "current"
    LAST_COPY = "last_copy"
    DEFAULTS = "defaults"


class Rate(Model):
    """One line of what an operation costs."""

    source: str = Field(description="Who or what costs this.", examples=["compute"])
    basis: str = Field(examples=["per-1k-tokens"])
    quantity: str = Field(description="What is priced.", examples=["usage.openai"])
    micro_usd: str = Field(description="For one unit of the basis: a decimal, as text.", examples=["16.666"])


class Price(Model):
    """What the events of a type cost: those of one operation, or all that name no other."""

    type: str | None = Field(
        description="traffic, compute, storage or webhook; null: whatever the event's type is.",
        examples=["compute"],
    )
    operation: str | None = Field(description="null: the type's default.", examples=["ask"])
    pricing: str = Field(description="priced, free or unpriced.", examples=["priced"])
    settlement: str = Field(description="metered, credit, rate-limited or free.", examples=["metered"])
    credits: str | None = Field(
        description="Credits for one event, where the catalog names them.", examples=[None]
    )
    weight: int = Field(examples=[1])
    rates: list[Rate]


class Pricing(Model):
    """What things cost."""

    catalog_version: str = Field(description="As the ledger's rows name it.", examples=["2026-11"])
    effective_from: Moment | None = Field(description="null: since ever.")
    prices: list[Price]
    pools: list[str] = Field(description="Credit pools.", examples=[["default"]])
    tiers: list[str] = Field(description="Tiers of tenants.", examples=[["standard"]])
    mode: Mode = Field(
        description="What becomes of a request beyond a cap, where a tenant has no mode of its own."
    )
    prices_from: Origin = Field(description="Whether the catalog could be read now.")
    accounts_from: Origin = Field(description="Whether the control store could be read now.")


@dataclass(frozen=True, slots=True)
class _Known:
    """What the store says of all tenants together."""

    pools: tuple[str, ...] = (DEFAULT_POOL,)
    tiers: tuple[str, ...] = ()
    mode: Mode = Mode.LIVE


@dataclass(slots=True)
class _Kept:
    """What was read last."""

    catalog: Catalog | None = None
    known: _Known | None = None


def pricing_router() -> APIRouter:
    """Make the route; it needs no credential."""
    router = APIRouter(tags=["reading"])
    kept = _Kept()

    @router.get("/api/billing/pricing", summary="What things cost, for everyone")
    def pricing(services: Annotated[Services, Depends(services_of)]) -> Pricing:
        """Give pools, rates, tiers and mode, from the catalog in force. It answers also while a store is away."""
        catalog, prices_from = _read(services.catalog, kept.catalog, default_catalog())
        known, accounts_from = _read(lambda: _known_of(services.store), kept.known, _Known())
        kept.catalog = catalog if prices_from is Origin.CURRENT else kept.catalog
        kept.known = known if accounts_from is Origin.CURRENT else kept.known
        index = catalog.version_at(services.clock.now_ms())
        version = catalog.versions[index] if index >= 0 else None
        return Pricing(
            catalog_version=catalog.name(index),
            effective_from=_start(version),
            prices=list(_prices(version)) if version else [],
            pools=list(known.pools),
            tiers=list(known.tiers),
            mode=known.mode,
            prices_from=prices_from,
            accounts_from=accounts_from,
        )

    return router


def _read(now: Callable[[], T], last: T | None, shipped: T) -> tuple[T, Origin]:
    try:
        return now(), Origin.CURRENT
    except (MillraceError, OSError) as error:
        _log.warning("pricing_from_copy", detail=type(error).__name__)
        return (shipped, Origin.DEFAULTS) if last is None else (last, Origin.LAST_COPY)


def _known_of(store: Store) -> _Known:
    with store.read() as connection:
        pools = _distinct(connection, select(lots.c.pool).distinct())
        tiers = _distinct(connection, select(tenants.c.tier).where(tenants.c.tier != "").distinct())
    return _Known(tuple(sorted({DEFAULT_POOL, *pools})), tuple(sorted(tiers)), global_mode(store))


def _distinct(connection: Connection, statement: Select[tuple[str]]) -> list[str]:
    return [str(row[0]) for row in connection.execute(statement)]


def _start(version: Version | None) -> str | None:
    if version is None or version.effective_from_ms == SINCE_EVER_MS:
        return None
    return moment(version.effective_from_ms)


def _prices(version: Version) -> Iterator[Price]:
    for kind, entry in version.kinds.items():
        yield _price(kind.name.lower(), None, entry)
    for operation, entries in version.operations.items():
        first = next(iter(entries.values()))
        if all(entry == first for entry in entries.values()):
            yield _price(None, operation, first)
            continue
        for kind, entry in entries.items():
            yield _price(kind.name.lower(), operation, entry)


def _price(kind: str | None, operation: str | None, entry: Entry) -> Price:
    return Price(
        type=kind,
        operation=operation,
        pricing=entry.pricing,
        settlement=entry.settlement,
        credits=None if entry.credits is None else str(entry.credits),
        weight=entry.weight,
        rates=[_rate(component) for component in entry.components],
    )


_QUANTITIES = {
    Quantity.ONE: "calls",
    Quantity.REQUEST_BYTES: "request_bytes",
    Quantity.RESPONSE_BYTES: "response_bytes",
    Quantity.BYTES: "bytes",
    Quantity.UNITS: "units",
    Quantity.BASE_UNITS: "base_units",
    Quantity.STORED_BYTES: "stored_bytes",
}


def _rate(component: Component) -> Rate:
    quantity = _QUANTITIES.get(component.quantity, f"usage.{component.usage_source}")
    whole, rest = divmod(component.price_e6, MICRO)
    micro_usd = f"{whole}.{rest:06}".rstrip("0").rstrip(".") if rest else str(whole)
    return Rate(source=component.source, basis=component.basis, quantity=quantity, micro_usd=micro_usd)
