"""`POST /api/v1/events`: usage events in, taken when they are durable and not before.

The wire is the one that OpenMeter's clients speak: one CloudEvent, or an array of them, as JSON. 204 says that every
event of the request is in the log, synced. 422 names each event that is refused; all others of the request are as
durable as if they had come alone. Any other answer promises nothing: the sender sends the request again, and what
was taken before is then a duplicate.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.doors import Caller, CallerKind, tenant_or_service
from api.ingest_metrics import IngestMetrics
from api.limits import Limit, count
from api.problems import Code, Problem, responses
from api.services import Services, services_of
from pipeline.errors import LogAwayError
from pipeline.intake import Intake, MalformedBodyError, Sender, Taken, TooManyEventsError

PATH = "/api/v1/events"
SCOPE = "ingest"
BODY_MAX = 16 << 20
MEDIA_TYPES = ("application/cloudevents+json", "application/cloudevents-batch+json", "application/json")
_AT_ONCE_MAX = 16 << 10
"""Bodies up to so many bytes are judged faster than they are handed to another thread."""
_WAIT_S = 20
"""A log that takes longer is told as away: the sender must not wait for ever."""
_TOO_SLOW = "the log did not confirm the events in time; they may be durable or not: send them again"


def ingest_router(intake: Intake, metrics: IngestMetrics, monotonic_ns: Callable[[], int]) -> APIRouter:
    """Make the route."""
    router = APIRouter(tags=["ingest"])

    @router.post(
        PATH,
        summary="Send usage events",
        status_code=204,
        response_class=Response,
        openapi_extra={"requestBody": _BODY},
        responses={
            204: {"description": "Every event of the request is durable."},
            **responses(
                Code.INVALID_EVENTS, Code.LOG_UNAVAILABLE, Code.UNSUPPORTED_MEDIA_TYPE, Code.BODY_TOO_LARGE
            ),
        },
    )
    async def ingest(
        request: Request,
        caller: Annotated[Caller, Depends(tenant_or_service)],
        services: Annotated[Services, Depends(services_of)],
    ) -> Response:
        """Take one CloudEvent or a batch of up to 10 000. An event without `tenant` takes that of the key.

        422 `invalid_events` names each event that is refused, by its place and reason; the others are durable.
        """
        caller.need(SCOPE)
        count(request, Limit.INGEST, caller.tenant or caller.name)
        _check_type(request)
        body, arrived_at_ms = await request.body(), services.clock.now_ms()
        taken = await _judged(intake, body, _sender(caller), arrived_at_ms)
        if taken.lines:
            begun_ns = monotonic_ns()
            await _made_durable(services, taken, arrived_at_ms)
            metrics.appended(len(taken.lines), (monotonic_ns() - begun_ns) / 1e9)
        if taken.refused:
            metrics.refused(one.reason for one in taken.refused)
            raise _refusal(taken)
        return Response(status_code=204)

    return router


def _sender(caller: Caller) -> Sender:
    if caller.kind is CallerKind.TENANT:
        return Sender(caller.tenant, from_subject=caller.tenant_from_subject)
    return Sender()


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"Content-Type is one of {', '.join(MEDIA_TYPES)}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "the body is taken as it is, not compressed")


async def _judged(intake: Intake, body: bytes, sender: Sender, arrived_at_ms: int) -> Taken:
    try:
        if len(body) <= _AT_ONCE_MAX:
            return intake.take(body, sender, arrived_at_ms)
        return await run_in_threadpool(intake.take, body, sender, arrived_at_ms)
    except MalformedBodyError as error:
        raise Problem(Code.MALFORMED_REQUEST, str(error)) from error
    except TooManyEventsError as error:
        raise Problem(Code.BODY_TOO_LARGE, str(error)) from error


async def _made_durable(services: Services, taken: Taken, arrived_at_ms: int) -> None:
    if services.log is None:
        raise Problem(Code.LOG_UNAVAILABLE, "this process has no log: send the events to one that has")
    try:
        async with asyncio.timeout(_WAIT_S):
            await asyncio.wrap_future(services.log.append(taken.lines, arrived_at_ms, taken.tenants))
    except TimeoutError as error:
        raise LogAwayError(_TOO_SLOW, 5) from error


def _refusal(taken: Taken) -> Problem:
    refused = [
        {"index": one.index, "id": one.event_id, "reason": one.reason, "detail": one.detail}
        for one in taken.refused
    ]
    detail = f"{len(refused)} of {len(refused) + len(taken.lines)} events are refused, all others are durable"
    return Problem(Code.INVALID_EVENTS, detail, members={"accepted": len(taken.lines), "refused": refused})


_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "A CloudEvent 1.0 in JSON; what `data` holds depends on its type.",
    "required": ["specversion", "id", "source", "type", "data"],
    "properties": {
        "specversion": {"type": "string", "enum": ["1.0"]},
        "id": {"type": "string", "minLength": 1, "maxLength": 256},
        "source": {"type": "string", "minLength": 1, "maxLength": 255},
        "type": {"type": "string"},
        "tenant": {
            "type": "string",
            "minLength": 1,
            "maxLength": 128,
            "description": "Default: that of the key.",
        },
        "subject": {"type": "string", "description": "Who caused it."},
        "time": {"type": "string", "format": "date-time", "description": "Default: the moment of arrival."},
        "idempotencykey": {"type": "string", "minLength": 1, "maxLength": 512},
        "data": {"type": "object"},
    },
}
_EXAMPLE = {
    "specversion": "1.0",
    "id": "01J9Z6Q3T4",
    "source": "checkout",
    "type": "compute",
    "tenant": "acme",
    "subject": "amy",
    "data": {"operation": "ask", "units": 1},
}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        MEDIA_TYPES[0]: {"schema": _EVENT, "example": _EXAMPLE},
        MEDIA_TYPES[1]: {"schema": {"type": "array", "items": _EVENT}, "example": [_EXAMPLE]},
        MEDIA_TYPES[2]: {
            "schema": {"anyOf": [_EVENT, {"type": "array", "items": _EVENT}]},
            "example": [_EXAMPLE],
        },
    },
}
