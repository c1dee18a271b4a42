"""CSV of what pages show: whole, in the order of the page, read page by page while it is sent.

Amounts are exact decimal text in US dollars and moments are in UTC. A text that a spreadsheet would take for a
formula is preceded by an apostrophe.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from dashboards.console.breakdown import KINDS, After, read_lines
from dashboards.console.desk import Desk
from dashboards.console.frame import Visit, arrive
from dashboards.console.markup import ROOT
from dashboards.console.reading import Cursor, Filter, read_events
from dashboards.console.spend import Span, Stretch, stretch
from dashboards.console.text import context_word, iso
from queries.totals import PICO, exact

PAGE = 5_000
FORMULA = ("=", "+", "-", "@", "\t", "\r")
EVENT_COLUMNS = (
    "occurred_at",
    "tenant",
    "principal",
    "context",
    "type",
    "operation",
    "action",
    "pricing",
    "settlement",
    "cost_usd",
    "idempotency_key",
    "voids",
    "source",
)


def make_downloads(desk: Desk) -> APIRouter:
    """Make the routes of the downloads; who may see a page may have its CSV."""
    router = APIRouter(prefix=ROOT, include_in_schema=False)

    @router.get("/events.csv")
    async def events(  # noqa: PLR0913, PLR0917 - what the address says
        request: Request,
        span: Span = "24h",
        tenant: str = "",
        principal: str = "",
        operation: str = "",
        type_: Annotated[str, Query(alias="type")] = "",
        context: str = "",
    ) -> Response:
        visit = await arrive(desk, request)
        if not isinstance(visit, Visit):
            return visit or _not_yours()
        asked = tenant or visit.viewer.tenant
        if not visit.viewer.may_see(asked):
            return _not_yours()
        only = Filter(asked, principal, operation, type_, context)
        over = stretch(span, desk.now_s, visit.zone(asked))
        return _csv("events.csv", EVENT_COLUMNS, _event_rows(desk, over, only))

    @router.get("/tenant.csv")
    async def tenant(
        request: Request, tenant: str = "", span: Span = "month", by: str = "principal"
    ) -> Response:
        visit = await arrive(desk, request)
        if not isinstance(visit, Visit):
            return visit or _not_yours()
        asked = tenant or visit.viewer.tenant
        if not asked or not visit.viewer.may_see(asked) or by not in KINDS:
            return _not_yours()
        over = stretch(span, desk.now_s, visit.zone(asked))
        names = ("tenant", *KINDS[by].key, "events", "cost_usd")
        return _csv(f"spend-by-{by}.csv", names, _line_rows(desk, over, asked, by))

    return router


def _not_yours() -> Response:
    return PlainTextResponse("This is not yours: a key shows its own tenant only.\n", 403)


def _csv(name: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(_written(names, rows), media_type="text/csv; charset=utf-8", headers=headers)


def _written(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    held = io.StringIO()
    writer = csv.writer(held, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(row)
        if held.tell() > 1 << 16:
            yield held.getvalue()
            held.seek(0)
            held.truncate()
    yield held.getvalue()


def _event_rows(desk: Desk, over: Stretch, only: Filter) -> Iterator[list[str]]:
    cursor: Cursor | None = None
    while True:
        rows = read_events(desk.ledger_here(), over, only, cursor, PAGE)
        for row in rows:
            texts = [
                row["tenant"],
                row["principal"],
                context_word(row),
                row["type"],
                row["operation"],
                row["action"],
                row["pricing"],
                row["settlement"],
            ]
            ends = [row["idempotency_key"], row["voids"], row["source"]]
            yield [
                iso(row["occurred_at"]),
                *map(_safe, texts),
                exact(row["pico_usd"], PICO),
                *map(_safe, ends),
            ]
        if len(rows) < PAGE:
            return
        cursor = Cursor(rows[-1]["occurred_ms"], rows[-1]["tenant"], rows[-1]["idempotency_key"])


def _line_rows(desk: Desk, over: Stretch, tenant: str, by: str) -> Iterator[list[str]]:
    after: After | None = None
    while True:
        lines = read_lines(desk.ledger_here(), KINDS[by], tenant, over, after, PAGE)
        for line in lines:
            events = "" if line.events is None else str(line.events)
            yield [_safe(tenant), *map(_safe, line.key), events, exact(line.pico, PICO)]
        if len(lines) < PAGE:
            return
        after = After(lines[-1].pico, lines[-1].key)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
