"""Caps over HTTP: authorize before the work, hold money while it runs, give it back, or settle in one step.

Thin: each route makes an ask of its body, waits for its one atomic outcome, and writes that down as an answer.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from api.amounts import MicroIn
from api.doors import Caller, tenant_or_service
from api.limits import Limit, count
from api.models import Micro, Model, Moment, TenantName, moment
from api.once import KeyHeader, checked, once_of
from api.problems import Code, problem_of_outcome, responses
from api.quick import QuickAnswer, QuickRoute
from api.services import Services, services_of
from api.spend_headers import NAMES, spend_headers
from billing import asks
from billing.asks import Authorize, Context, Method, Mode, Once, Outcome, Release, Reserve, Settle
from billing.book import Piece
from billing.once import settlement_key
from pipeline.errors import StoreError

KEY_HEADER, DEDUPED_HEADER = "x-payment-idempotency-key", "x-payment-deduped"
POOL_MAX = 64
TEXT_MAX = 256
ATTRIBUTES_MAX = 20

Offered = Annotated[Services, Depends(services_of)]
Asker = Annotated[Caller, Depends(tenant_or_service)]
PoolName = Annotated[
    str, Field(min_length=1, max_length=POOL_MAX, description="The credit pool.", examples=["default"])
]
ReservationId = Annotated[
    str, Path(min_length=1, max_length=64, description="Of the reservation.", examples=["res_1"])
]


class ContextBody(Model):
    """What the money is spent for; it goes into the ledger with the settlement."""

    principal: str = Field(
        default="", max_length=TEXT_MAX, description="Who causes the cost.", examples=["ann"]
    )
    operation: str = Field(
        default="", max_length=TEXT_MAX, description="The work that is paid for.", examples=["ask"]
    )
    action: str = Field(default="", max_length=TEXT_MAX, description="What the user did.")
    type: str = Field(default="", pattern="^(|project|workspace|admin|other)$", description="Of the context.")
    name: str = Field(default="", max_length=TEXT_MAX)
    display: str = Field(default="", max_length=TEXT_MAX)
    attributes: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=TEXT_MAX)]] = (
        Field(default_factory=dict, max_length=ATTRIBUTES_MAX, description="Kept with the ledger's row.")
    )

    def context(self) -> Context:
        """The same for the caps."""
        return Context(**self.model_dump())


class AuthorizeBody(Model):
    """Whether the tenant may spend so much now."""

    tenant: TenantName | None = Field(
        default=None, description="A key's own by default; a service must name it."
    )
    estimated_micro: MicroIn


class ReserveBody(Model):
    """Hold an amount."""

    tenant: TenantName | None = Field(
        default=None, description="A key's own by default; a service must name it."
    )
    amount_micro: MicroIn
    expires_in_s: int | None = Field(
        default=None, ge=1, le=86_400, description="Seconds; none: the policy's.", examples=[300]
    )
    method: Method = Field(default=Method.METERED, description="`credit`: the pool's lots pay.")
    pool_id: PoolName = "default"
    context: ContextBody = ContextBody()


class SettleBody(Model):
    """Authorize and settle in one step."""

    tenant: TenantName | None = Field(
        default=None, description="A key's own by default; a service must name it."
    )
    amount_micro: MicroIn
    method: Method = Field(default=Method.METERED, description="`credit`: the pool's lots pay.")
    pool_id: PoolName = "default"
    context: ContextBody = ContextBody()
    facilitator_tx: str = Field(
        default="", max_length=TEXT_MAX, description="The payment elsewhere; for the audit."
    )


class WindowView(Model):
    """One window of a tenant before what was asked for."""

    starts_at: Moment
    ends_at: Moment
    limit: Micro | None
    current: Micro
    counted: Micro = Field(description="Of `current`: what the ledger has, rounded up.", examples=["100"])
    pending: Micro = Field(description="Of `current`: settled, not yet in the ledger.", examples=["20"])
    held: Micro = Field(description="Of `current`: in open reservations.", examples=["0"])
    remaining: Micro | None


class SpendView(Model):
    """Both windows."""

    day: WindowView
    month: WindowView
    as_of: Moment | None = Field(description="The ledger was read at this moment; null: never.")


class Decided(Model):
    """What every decision tells."""

    tenant: TenantName
    mode: Mode = Field(description="What becomes of a request beyond a cap.", examples=["live"])
    exceeded: str | None = Field(
        description="`day` or `month`: the cap that this goes beyond, let through by the mode.",
        examples=[None],
    )
    spend: SpendView


class Authorized(Decided):
    """It may be spent. Nothing is held: reserve, where others spend at the same time."""

    allowed: bool = Field(description="Always true here; a refusal is a 402.", examples=[True])
    estimated_micro: Micro


class Reserved(Decided):
    """Held until it is settled, given back, or expires."""

    reservation_id: str = Field(examples=["res_1"])
    amount_micro: Micro
    state: str = Field(examples=["open"])
    created_at: Moment
    expires_at: Moment


class Settled(Model):
    """A settlement: `finalizedMicro` = reserved - `releasedMicro` + `overrunMicro`."""

    settlement_id: str = Field(examples=["set_1"])
    reservation_id: str | None = Field(examples=["res_1"])
    tenant: TenantName
    finalized_micro: Micro
    released_micro: Micro
    overrun_micro: Micro
    credit_micro: Micro = Field(description="Paid from credit lots.", examples=["0"])
    shortfall_micro: Micro = Field(
        description="Credits were to pay it and could not: it is metered.", examples=["0"]
    )
    billing_mode: Mode = Field(examples=["live"])
    finalized_at: Moment
    idempotency_key: str = Field(examples=["order-4711"])


HEADERS: dict[str, Any] = {
    name: {"description": "docs/http.md says what it is.", "schema": {"type": "string"}} for name in NAMES
}
PAID_HEADERS: dict[str, Any] = {
    KEY_HEADER: {"description": "The key that this was settled under.", "schema": {"type": "string"}},
    DEDUPED_HEADER: {"description": "`true` on a replay.", "schema": {"type": "string"}},
}
_ONCE = (Code.IDEMPOTENCY_CONFLICT, Code.REQUEST_IN_PROGRESS, Code.LEDGER_UNAVAILABLE)


def said(ok: int, headers: Mapping[str, Any], *codes: Code) -> dict[int | str, dict[str, Any]]:
    """Describe a route's answers: the headers on what was done, and the problems."""
    described = responses(*_ONCE, *codes)
    for status in (402,):
        if status in described:
            described[status]["headers"] = {**described[status].get("headers", {}), **HEADERS}
    return {ok: {"headers": dict(headers)}, **described}


router = APIRouter(tags=["caps"], route_class=QuickRoute)


@router.post(
    "/api/billing/authorize",
    summary="Ask before spending",
    response_model=Authorized,
    responses=said(200, HEADERS, Code.CAP_EXCEEDED),
)
async def authorize(
    request: Request, services: Offered, caller: Asker, body: AuthorizeBody, key: KeyHeader = None
) -> QuickAnswer:
    """Say whether an estimate fits under the tenant's caps now. Holds nothing."""
    tenant = admitted(request, caller, body.tenant, "authorize")
    once = once_of("authorize", tenant, key, body.model_dump(mode="json"))
    outcome = await ask(services, Authorize(tenant, body.estimated_micro), caller, once)
    shown = {**decided(outcome), "allowed": True, "estimatedMicro": str(outcome.amount_micro)}
    return QuickAnswer(shown, headers=spend_headers(outcome))


@router.post(
    "/api/billing/reservations",
    summary="Hold money while the work runs",
    status_code=201,
    response_model=Reserved,
    responses=said(
        201,
        HEADERS,
        Code.CAP_EXCEEDED,
        Code.CREDITS_EXHAUSTED,
        Code.AMOUNT_ABOVE_POLICY,
        Code.EXPIRY_ABOVE_POLICY,
    ),
)
async def reserve(
    request: Request, services: Offered, caller: Asker, body: ReserveBody, key: KeyHeader = None
) -> QuickAnswer:
    """Hold an amount under the tenant's caps until it is finalised, released, or expires."""
    tenant = admitted(request, caller, body.tenant, "reserve")
    once = once_of("reserve", tenant, key, body.model_dump(mode="json"))
    wanted = Reserve(
        tenant, body.amount_micro, body.expires_in_s, body.method, body.pool_id, body.context.context()
    )
    outcome = await ask(services, wanted, caller, once)
    return QuickAnswer(reserved(outcome), 201, headers=spend_headers(outcome))


@router.post(
    "/api/billing/reservations/{reservation_id}/release",
    summary="Give held money back",
    response_model=Reserved,
    responses=said(
        200, HEADERS, Code.RESERVATION_UNKNOWN, Code.RESERVATION_FINALIZED, Code.RESERVATION_EXPIRED
    ),
)
async def release(
    request: Request, services: Offered, caller: Asker, reservation_id: ReservationId, key: KeyHeader = None
) -> QuickAnswer:
    """End a reservation without a cost. Releasing twice is answered as the first time."""
    own = caller.tenant or None
    caller.need("reserve")
    count(request, Limit.AUTHORIZE, own or caller.name)
    once = once_of("release", own or caller.name, key, {"reservation": reservation_id})
    outcome = await ask(services, Release(reservation_id, own), caller, once)
    return QuickAnswer(reserved(outcome), headers=spend_headers(outcome))


@router.post(
    "/api/billing/settlements",
    summary="Authorize and settle in one step",
    status_code=201,
    response_model=Settled,
    responses=said(201, {**HEADERS, **PAID_HEADERS}, Code.CAP_EXCEEDED, Code.CREDITS_EXHAUSTED),
)
async def settle(
    request: Request, services: Offered, caller: Asker, body: SettleBody, key: KeyHeader = None
) -> QuickAnswer:
    """Settle a cost under the tenant's caps, without a reservation.

    Without an Idempotency-Key, one is derived from the payload: the same payload is the same settlement.
    """
    tenant = admitted(request, caller, body.tenant, "settle")
    payload = body.model_dump(mode="json")
    once = once_of("settle", tenant, key, payload)
    own_key = settlement_key(tenant, payload) if key is None else checked(key)
    wanted = Settle(
        tenant,
        body.amount_micro,
        body.method,
        body.pool_id,
        body.context.context(),
        body.facilitator_tx,
        own_key,
    )
    outcome = await ask(services, wanted, caller, once)
    return QuickAnswer(settled(outcome), 201, headers={**spend_headers(outcome), **paid_headers(outcome)})


def admitted(request: Request, caller: Caller, tenant: str | None, scope: str) -> str:
    """Check the key's scope and count the request; gives the tenant that it is about."""
    caller.need(scope)
    meant = caller.tenant_or_refuse(tenant)
    count(request, Limit.AUTHORIZE, meant)
    return meant


async def ask(services: Services, wanted: asks.Ask, caller: Caller, once: Once | None) -> Outcome:
    """Ask the caps and wait; raises the problem that a refusal is."""
    who = asks.Caller(caller.name, caller.request_id)
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Outcome] = loop.create_future()
    services.caps.put(
        Piece(wanted, who, once),
        lambda outcome, error: loop.call_soon_threadsafe(_tell, answered, outcome, error),
    )
    outcome = await answered
    problem = problem_of_outcome(outcome)
    if problem is not None:
        problem.headers.update(spend_headers(outcome))
        raise problem
    return outcome


def _tell(answered: asyncio.Future[Outcome], outcome: Outcome | None, error: BaseException | None) -> None:
    """Wake who waits, unless it is gone."""
    if answered.cancelled():
        return
    if outcome is not None:
        answered.set_result(outcome)
    else:
        answered.set_exception(error or StoreError("the caps gave no answer"))


def decided(outcome: Outcome) -> dict[str, Any]:
    """The members that every decision has."""
    spend = outcome.spend
    assert spend is not None  # noqa: S101 - what was decided has figures
    return {
        "tenant": outcome.tenant,
        "mode": outcome.mode,
        "exceeded": None if outcome.exceeded is None else outcome.exceeded.window,
        "spend": {
            "day": _window(spend.day),
            "month": _window(spend.month),
            "asOf": None if spend.as_of_ms is None else moment(spend.as_of_ms),
        },
    }


def reserved(outcome: Outcome) -> dict[str, Any]:
    """The body of an answer about a reservation."""
    view = outcome.reservation
    assert view is not None  # noqa: S101 - an outcome that is ok has it
    return {
        **decided(outcome),
        "reservationId": view.id,
        "amountMicro": str(view.amount_micro),
        "state": view.state,
        "createdAt": moment(view.created_at_ms),
        "expiresAt": moment(view.expires_at_ms),
    }


def settled(outcome: Outcome) -> dict[str, Any]:
    """The body of an answer about a settlement."""
    view = outcome.settlement
    assert view is not None  # noqa: S101 - an outcome that is ok has it
    return {
        "settlementId": view.id,
        "reservationId": view.reservation_id or None,
        "tenant": outcome.tenant,
        "finalizedMicro": str(view.finalized_micro),
        "releasedMicro": str(view.released_micro),
        "overrunMicro": str(view.overrun_micro),
        "creditMicro": str(view.credit_micro),
        "shortfallMicro": str(view.shortfall_micro),
        "billingMode": outcome.mode,
        "finalizedAt": moment(view.finalized_at_ms),
        "idempotencyKey": view.idempotency_key,
    }


def paid_headers(outcome: Outcome) -> dict[str, str]:
    """The headers of an answer about a settlement."""
    view = outcome.settlement
    assert view is not None  # noqa: S101 - an outcome that is ok has it
    return {KEY_HEADER: view.idempotency_key, **({DEDUPED_HEADER: "true"} if outcome.is_replay else {})}


def _window(figures: asks.WindowFigures) -> dict[str, Any]:
    limit, remaining = figures.limit_micro, figures.remaining_micro
    return {
        "startsAt": moment(figures.start_s * 1000),
        "endsAt": moment(figures.end_s * 1000),
        "limit": None if limit is None else str(limit),
        "current": str(figures.current_micro),
        "counted": str(figures.ledger_micro),
        "pending": str(figures.pending_micro),
        "held": str(figures.held_micro),
        "remaining": None if remaining is None else str(remaining),
    }
