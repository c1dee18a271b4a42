"""What services alone may do: settle a reservation with what the work really cost."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from api.amounts import MicroIn
from api.billing import HEADERS, PAID_HEADERS, TEXT_MAX, Offered, Settled, ask, paid_headers, said, settled
from api.doors import Caller, service_token
from api.limits import Limit, count
from api.models import Model
from api.once import KeyHeader, once_of
from api.problems import Code
from api.quick import QuickAnswer, QuickRoute
from api.spend_headers import spend_headers
from billing.asks import Finalize


class FinalizeBody(Model):
    """What a reservation really cost."""

    reservation_id: str = Field(min_length=1, max_length=64, examples=["res_1"])
    actual_cost_micro: MicroIn
    facilitator_tx: str = Field(
        default="", max_length=TEXT_MAX, description="The payment elsewhere; for the audit."
    )


router = APIRouter(tags=["internal"], route_class=QuickRoute)


@router.post(
    "/api/internal/billing/finalize",
    summary="Settle a reservation",
    response_model=Settled,
    responses=said(
        200,
        {**HEADERS, **PAID_HEADERS},
        Code.RESERVATION_UNKNOWN,
        Code.RESERVATION_FINALIZED,
        Code.RESERVATION_RELEASED,
        Code.RESERVATION_EXPIRED,
    ),
)
async def finalize(
    request: Request,
    services: Offered,
    caller: Annotated[Caller, Depends(service_token)],
    body: FinalizeBody,
    key: KeyHeader = None,
) -> QuickAnswer:
    """Settle with the actual cost: once for each reservation, the same amount again gets the first answer.

    What is left of the reservation is free again; what goes beyond is an overrun, a ledger row of its own.
    """
    count(request, Limit.FINALIZE, caller.service)
    once = once_of("finalize", caller.name, key, body.model_dump(mode="json"))
    wanted = Finalize(body.reservation_id, body.actual_cost_micro, body.facilitator_tx)
    outcome = await ask(services, wanted, caller, once)
    return QuickAnswer(settled(outcome), headers={**spend_headers(outcome), **paid_headers(outcome)})
