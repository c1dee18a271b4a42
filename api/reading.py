"""What a tenant may read of its own money: credit pools, their history, and what was used, by what and when."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from api.doors import Caller, tenant_or_service
from api.limits import Limit, count
from api.models import Micro, Model, Moment, TenantName, moment
from api.problems import Code, Problem, responses
from api.services import Services, services_of
from billing.accounts import get
from billing.credits import Lot, pools_of
from billing.history import LIMIT_DEFAULT, LIMIT_MAX, Entry, EntryType, history

SCOPE = "read"
LINES_MAX = 1000
POOL_MAX = 64

Offered = Annotated[Services, Depends(services_of)]
Asker = Annotated[Caller, Depends(tenant_or_service)]
TenantQuery = Annotated[
    str | None,
    Query(
        min_length=1, max_length=128, description="Who pays. A key's own tenant by default; a service must name it.",
        examples=["acme"],
    ),
]  # fmt: skip
PoolQuery = Annotated[
    str | None,
    Query(alias="poolId", min_length=1, max_length=POOL_MAX, description="Only this pool.", examples=["default"]),
]  # fmt: skip


class LotView(Model):
    """A lot of credits; lots burn in the order in which they stand."""

    lot_id: str = Field(examples=["lot_5f0c"])
    source: str = Field(examples=["purchase"])
    amount: Micro
    remaining: Micro
    priority: int = Field(examples=[0])
    expires_at: Moment | None
    minted_at: Moment


class PoolView(Model):
    """What a tenant has in one pool."""

    pool_id: str = Field(examples=["default"])
    balance: Micro
    held: Micro = Field(description="Of it, in open reservations.", examples=["0"])
    available: Micro
    lots: list[LotView]


class Balance(Model):
    """A tenant's credits."""

    tenant: TenantName
    total: Micro
    pools: list[PoolView]


class EntryView(Model):
    """One line of history; entries are only ever added."""

    id: str = Field(examples=["4711"])
    entry_type: EntryType = Field(examples=["settle"])
    pool_id: str = Field(examples=["default"])
    amount: Micro
    lot_id: str | None = Field(examples=[None])
    reservation_id: str | None = Field(examples=["res_1"])
    settlement_id: str | None = Field(examples=["set_1"])
    made_at: Moment


class History(Model):
    """Some entries, newest first."""

    tenant: TenantName
    entries: list[EntryView]
    total: int = Field(description="How many entries fit the question.", examples=[1])
    limit: int = Field(examples=[50])
    offset: int = Field(examples=[0])
    next_cursor: str | None = Field(
        description="Give it as `cursor` for what is older; null: there is nothing older.", examples=[None]
    )


class By(StrEnum):
    """What usage is summed by."""

    PRINCIPAL = "principal"
    OPERATION = "operation"
    SOURCE = "source"
    DAY = "day"


class UsageLine(Model):
    """What one principal, operation, source or day cost: `cost` and `residualPicoUsd` together are exact."""

    key: str = Field(description="The principal, operation, source or day.", examples=["2026-11-21"])
    events: int = Field(examples=[2])
    cost: Micro
    residual_pico_usd: str = Field(
        description="0 to 999999 pico-USD that `cost` leaves out.", examples=["450000"]
    )


class Usage(Model):
    """What a tenant used, as the ledger has it."""

    tenant: TenantName
    by: By
    zone: str = Field(description="Where days begin: the tenant's time zone.", examples=["UTC"])
    since: Moment | None = Field(serialization_alias="from")
    until: Moment | None = Field(serialization_alias="to")
    lines: list[UsageLine]
    is_complete: bool = Field(description="false: there are more lines than were asked for.", examples=[True])


QUERIES = {
    By.PRINCIPAL: ("spend_by_principal", "principal"),
    By.OPERATION: ("spend_by_operation", "operation"),
    By.SOURCE: ("spend_by_source", "cost_source"),
    By.DAY: ("spend_by_day", "day"),
}
"""How each sum is asked of the ledger: the query's name, and the column of the key."""

router = APIRouter(tags=["reading"])


async def reader(request: Request, caller: Asker, tenant: TenantQuery = None) -> str:
    """Let keys with the scope `read` and services in, and give the tenant that is meant."""
    caller.need(SCOPE)
    meant = caller.tenant_or_refuse(tenant)
    count(request, Limit.READ, caller.tenant or caller.name)
    return meant


Tenant = Annotated[str, Depends(reader)]


@router.get("/api/billing/balance", summary="Credit pools and their lots")
def balance(services: Offered, tenant: Tenant, pool: PoolQuery = None) -> Balance:
    """Give what is left of a tenant's credits, by pool; lots stand in the order in which they burn."""
    pools = [
        PoolView(
            pool_id=found.pool,
            balance=str(found.balance_micro),
            held=str(found.held_micro),
            available=str(found.free_micro),
            lots=[_lot(lot) for lot in found.lots],
        )
        for found in pools_of(services.store, tenant, services.clock.now_ms(), pool)
    ]
    return Balance(tenant=tenant, total=str(sum(int(one.balance) for one in pools)), pools=pools)


@router.get("/api/billing/history", summary="What happened to the money, newest first")
def entries(  # noqa: PLR0913, PLR0917 - the question
    services: Offered,
    tenant: Tenant,
    pool: PoolQuery = None,
    entry_type: Annotated[
        EntryType | None,
        Query(alias="entryType", description="Only entries of this type.", examples=["settle"]),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Entries of a page.")] = LIMIT_DEFAULT,
    offset: Annotated[int, Query(ge=0, le=10**9, description="Entries to leave out; slow far behind.")] = 0,
    cursor: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{1,18}$", description="`nextCursor` of the page before: quick at any depth."),
    ] = None,
) -> History:
    """Give what is older page by page; with a cursor no entry comes twice, whatever is added meanwhile."""
    page = history(
        services.store,
        tenant,
        pool=pool,
        entry_type=entry_type,
        limit=limit,
        offset=offset,
        before=None if cursor is None else int(cursor),
    )
    return History(
        tenant=tenant,
        entries=[_entry(entry) for entry in page.entries],
        total=page.total,
        limit=limit,
        offset=offset,
        next_cursor=None if page.next_cursor is None else str(page.next_cursor),
    )


@router.get(
    "/api/billing/usage",
    summary="What was used, as the ledger has it",
    responses=responses(Code.LEDGER_UNAVAILABLE, Code.INVALID_REQUEST),
)
def usage(  # noqa: PLR0913, PLR0917 - the question
    services: Offered,
    tenant: Tenant,
    by: Annotated[By, Query(description="What to sum by.")] = By.DAY,
    since: Annotated[
        str | None,
        Query(alias="from", max_length=40, description="RFC 3339.", examples=["2026-11-01T00:00:00Z"]),
    ] = None,
    until: Annotated[
        str | None,
        Query(
            alias="to",
            max_length=40,
            description="RFC 3339; not included.",
            examples=["2026-12-01T00:00:00Z"],
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=LINES_MAX, description="Most lines.")] = LINES_MAX,
) -> Usage:
    """Sum a tenant's usage; the dearest comes first, days in their order. Days are those of its caps."""
    first, last = _instant("from", since), _instant("to", until)
    if services.ledger is None:
        raise Problem(Code.LEDGER_UNAVAILABLE, "this service was started without a ledger")
    name, column = QUERIES[by]
    known = get(services.store, tenant)
    zone = known.account.zone if known else ZoneInfo("UTC")
    asked = _between(first, last) if by is not By.DAY else {"zone": zone.key, **_days(first, last, zone)}
    rows = services.ledger.rows(name, {"tenant": tenant, **asked})
    return Usage(
        tenant=tenant,
        by=by,
        zone=zone.key,
        since=None if first is None else moment(first),
        until=None if last is None else moment(last),
        lines=list(_lines(rows[:limit], column)),
        is_complete=len(rows) <= limit,
    )


def _instant(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not 2000 <= found.astimezone(UTC).year < 2106:  # noqa: PLR2004
        detail = f"`{name}` is a moment from 2000 to 2105 with its offset, such as 2026-11-01T00:00:00Z"
        raise Problem(Code.INVALID_REQUEST, detail)
    return int(found.timestamp()) * 1000


def _between(since_ms: int | None, until_ms: int | None) -> dict[str, str]:
    given = {"from": since_ms, "to": until_ms}
    return {name: moment(epoch_ms) for name, epoch_ms in given.items() if epoch_ms is not None}


def _days(since_ms: int | None, until_ms: int | None, zone: ZoneInfo) -> dict[str, str]:
    """The days that hold both moments; a day that begins before the first is whole, as is the last."""
    asked = {}
    if since_ms is not None:
        asked["from"] = f"{datetime.fromtimestamp(since_ms // 1000, zone):%Y-%m-%d}"
    if until_ms is not None:
        last = datetime.fromtimestamp(until_ms // 1000 - 1, zone)
        asked["to"] = f"{last + timedelta(days=1):%Y-%m-%d}"
    return asked


def _lines(rows: list[dict[str, Any]], column: str) -> Iterator[UsageLine]:
    for row in rows:
        yield UsageLine(
            key=str(row[column]),
            events=row["events"],
            cost=str(row["cost_micro_usd"]),
            residual_pico_usd=str(row["residual_pico_usd"]),
        )


def _lot(lot: Lot) -> LotView:
    return LotView(
        lot_id=lot.id,
        source=lot.source,
        amount=str(lot.amount_micro),
        remaining=str(lot.remaining_micro),
        priority=lot.priority,
        expires_at=None if lot.expires_at_ms is None else moment(lot.expires_at_ms),
        minted_at=moment(lot.minted_at_ms),
    )


def _entry(entry: Entry) -> EntryView:
    return EntryView(
        id=str(entry.id),
        entry_type=entry.entry_type,
        pool_id=entry.pool,
        amount=str(entry.amount_micro),
        lot_id=entry.lot_id or None,
        reservation_id=entry.reservation_id or None,
        settlement_id=entry.settlement_id or None,
        made_at=moment(entry.made_at_ms),
    )
