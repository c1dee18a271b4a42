"""Where Stripe's webhooks come in: an application of its own, so that nothing else of the program is reachable.

A delivery is read as raw bytes up to a limit, its signature is checked, then it is stored, then acknowledged.
Nothing is parsed before the signature is found good, and nothing is handled before the answer: handling is the
work of a loop, and a delivery that is lost in between is not, since it is in the store.
"""

from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse

from billing.webhooks import BODY_MAX, Receipt
from pipeline.errors import StoreError

PATH = "/api/billing/webhooks/stripe"
SIGNATURE = "stripe-signature"

Take = Callable[[bytes, str], Receipt]
"""Takes a body with its signature header in; raises `StoreError` where it cannot be kept."""


def make_app(take: Take, metrics: Callable[[], bytes] = lambda: b"") -> FastAPI:
    """Make the application: the one route for deliveries, `/healthz`, and `/metrics` with what `metrics` gives."""
    app = FastAPI(title="Millrace webhooks", docs_url=None, redoc_url=None, openapi_url=None)

    @app.post(PATH)
    async def stripe(request: Request) -> Response:
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

    @app.get("/healthz")
    def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/metrics")
    def shown() -> Response:
        return Response(metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


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
