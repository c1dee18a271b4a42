"""Where Stripe's webhooks come in: a route for the service, or an application of its own with nothing else.

A delivery is read as raw bytes up to a limit, its signature is checked, then it is stored, then acknowledged.
Nothing is parsed before the signature is found good, and nothing is handled before the answer: handling is the
work of a loop, and a delivery that is lost in between is not, since it is in the store.
"""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse

from billing.webhooks import BODY_MAX, Receipt
from pipeline.errors import StoreError

PATH = "/api/billing/webhooks/stripe"
SIGNATURE = "stripe-signature"

_SAYS: dict[str, Any] = {
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}
        }
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "It is stored, or was before.", **_SAYS},
    400: {"description": "The signature or the body is not good.", **_SAYS},
    413: {"description": "The body is too large.", **_SAYS},
    503: {"description": "It cannot be stored now.", **_SAYS},
}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object", "description": "An event of Stripe."},
            "example": {"id": "evt_1", "object": "event", "type": "invoice.created"},
        }
    },
}

Take = Callable[[bytes, str], Receipt]
"""Takes a body with its signature header in; raises `StoreError` where it cannot be kept."""


def make_app(take: Take, metrics: Callable[[], bytes] = lambda: b"") -> FastAPI:
    """Make the application: the one route for deliveries, `/healthz`, and `/metrics` with what `metrics` gives."""
    app = FastAPI(title="Millrace webhooks", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(stripe_router(take))

    @app.get("/healthz")
    def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/metrics")
    def shown() -> Response:
        return Response(metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def stripe_router(take: Take) -> APIRouter:
    """Make the route for deliveries; what it answers is for Stripe, which looks at the status alone."""
    router = APIRouter(tags=["stripe"])

    @router.post(
        PATH, summary="A delivery of Stripe", responses=_ANSWERS, openapi_extra={"requestBody": _BODY}
    )
    async def stripe(request: Request) -> Response:
        """Take a delivery in: its signature is checked, then it is stored, then it is acknowledged."""
        body = await _body_of(request)
        if body is None:
            return _answer(Receipt(413, f"the body has more than {BODY_MAX} bytes"))
        if not body or request.headers.get("content-encoding"):
            return _answer(Receipt(400, "the body must be the raw bytes of an event, not compressed"))
        try:
            receipt = await run_in_threadpool(take, body, request.headers.get(SIGNATURE, ""))
        except StoreError:
            return _answer(Receipt(503, "the event cannot be stored now: deliver it again"))
        return _answer(receipt)

    return router


async def _body_of(request: Request) -> bytes | None:
    """Read the body as it comes and stop at the limit, whatever its length was said to be."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > BODY_MAX:
        return None
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_MAX:
            return None
    return bytes(body)


def _answer(receipt: Receipt) -> Response:
    return JSONResponse({"detail": receipt.detail}, status_code=receipt.status)
