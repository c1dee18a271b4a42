"""Probes and metrics: `/healthz` (is it well), `/readyz` (may it be asked), `/metrics`."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from sqlalchemy import text

from api.metrics import HttpMetrics
from api.services import Services, services_of
from pipeline.errors import StoreError

Offered = Annotated[Services, Depends(services_of)]
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_SICK: dict[int | str, dict[str, Any]] = {
    503: {"description": "It is not, and why, a sentence in each line.", "content": {"text/plain": {}}}
}


def health_router(metrics: HttpMetrics) -> APIRouter:
    """Make the routes; they need no credential and tell no secret."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", response_class=PlainTextResponse, responses=_SICK)
    def healthz(services: Offered) -> Response:
        """Say whether the process is well: it makes progress. It may wait for a store that is away."""
        return _told(services.sick())

    @router.get("/readyz", response_class=PlainTextResponse, responses=_SICK)
    async def readyz(services: Offered) -> Response:
        """Say whether requests can be answered now: the control store answers, the input is being read."""
        if not services.is_ready():
            return _told(["not ready yet"])
        return _told([*services.sick(), *await run_in_threadpool(_store_away, services)])

    @router.get("/metrics", response_class=PlainTextResponse)
    def shown(services: Offered) -> Response:
        """Give all metrics in Prometheus' text format."""
        texts = [metrics.text(), *(more() for more in services.more_metrics)]
        return Response(b"".join(texts), media_type=PROMETHEUS)

    return router


def _store_away(services: Services) -> list[str]:
    try:
        with services.store.read() as connection:
            connection.execute(text("SELECT 1"))
    except StoreError:
        return ["the control store does not answer"]
    return []


def _told(wrong: Sequence[str]) -> Response:
    return PlainTextResponse("".join(f"{line}\n" for line in wrong) or "ok\n", 503 if wrong else 200)
