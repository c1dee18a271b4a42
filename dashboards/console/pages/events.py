"""Events: the newest and any range, by tenant, principal, operation, type and context; volume over time."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from fastapi import Query, Request, Response
from nicegui import ui

from dashboards.console.charts import Chart, below, draw, redraw
from dashboards.console.desk import Desk
from dashboards.console.frame import ANSWER_S, Visit, arrive, page
from dashboards.console.markup import Child, Markup, address, link, tag, together
from dashboards.console.parts import (
    Column,
    card,
    choice,
    empty,
    field,
    form,
    mark,
    moment,
    money,
    pager,
    table,
)
from dashboards.console.plain import refused
from dashboards.console.reading import Cursor, Filter, read_events
from dashboards.console.spend import Span, Stretch, counts_chart, read_spend, seconds_of, stretch
from dashboards.console.text import Zone, aware, context_word

ROWS = 50
RANGES = (
    ("1h", "1 hour"),
    ("3h", "3 hours"),
    ("today", "Today"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("month", "Month"),
    ("90d", "90 days"),
)
TYPES = ("traffic", "compute", "storage", "webhook", "correction")
OUTCOMES = {"duplicates": "--warn", "conflicts": "--bad"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of the page asks for."""

    range: str
    tenant: str
    principal: str = ""
    operation: str = ""
    type: str = ""
    context: str = ""

    @property
    def filter(self) -> Filter:
        """What the rows must match."""
        return Filter(self.tenant, self.principal, self.operation, self.type, self.context)

    def address(self, path: str = "/events", **more: str | int) -> str:
        """Write the address of this page, or of its download, with something more."""
        return address(path, **{**asdict(self), **more})


def add(desk: Desk) -> None:
    """Put the page on the application."""

    @ui.page("/events", response_timeout=ANSWER_S)
    async def events(  # noqa: PLR0913, PLR0917 - what the address says
        request: Request,
        span: Span = "24h",
        tenant: str = "",
        principal: str = "",
        operation: str = "",
        type_: Annotated[str, Query(alias="type")] = "",
        context: str = "",
        after: str = "",
        last: str = "",
        key: str = "",
    ) -> Response | None:
        visit = await arrive(desk, request)
        if not isinstance(visit, Visit):
            return visit
        asked = Asked(
            span,
            tenant or visit.viewer.tenant,
            principal,
            operation,
            type_ if type_ in TYPES else "",
            context,
        )
        if not visit.viewer.may_see(asked.tenant):
            return refused("Events", "This tenant is not yours: a key shows its own tenant only.")
        cursor = Cursor(int(after), last, key) if after.isdecimal() and len(after) < 19 else None  # noqa: PLR2004
        with page(visit, "Events", "The newest first", asked.tenant) as live:
            _build(visit, live, asked, cursor)
            await live.first()
        return None


def _build(visit: Visit, live: Any, asked: Asked, cursor: Cursor | None) -> None:
    desk, zone = visit.desk, visit.zone(asked.tenant)
    ui.html(_filters(visit, asked).html, sanitize=False).classes("card")
    with ui.element("div").classes("cols"):
        _volume(visit, live, asked, zone)
        if visit.viewer.is_operator:
            _outcomes(visit, live, asked, zone)

    async def read() -> list[dict[str, Any]]:
        over = stretch(asked.range, desk.now_s, zone)
        rows: list[dict[str, Any]] = await desk.ask(
            lambda at: read_events(at, over, asked.filter, cursor, ROWS + 1)
        )
        return rows

    def show(rows: Sequence[Mapping[str, Any]]) -> Markup:
        return _listed(visit, asked, cursor, rows, zone)

    live.panel("Events", read, show, live=cursor is None)


def _filters(visit: Visit, asked: Asked) -> Markup:
    types = [("", "All types"), *((name, name) for name in TYPES)]
    tenant = field("Tenant", "tenant", asked.tenant) if visit.viewer.is_operator else None
    return form(
        "/events",
        tenant,
        field("Principal", "principal", asked.principal),
        field("Operation", "operation", asked.operation),
        choice("Type", "type", types, asked.type),
        field("Context", "context", asked.context, placeholder="type, name or display name"),
        choice("Time", "range", RANGES, asked.range),
        label="Which events",
    )


def _volume(visit: Visit, live: Any, asked: Asked, zone: Zone) -> None:
    desk = visit.desk

    async def read() -> Chart:
        over = stretch(asked.range, desk.now_s, zone)
        rows = await desk.shared(
            ("chart", asked.tenant, over), lambda ledger: read_spend(ledger, over, asked.tenant)
        )
        counted = [{"bucket": row["bucket"], "events": row["events"]} for row in rows]
        whose = asked.tenant or "all tenants"
        return counts_chart(
            over, {"events": "--metered"}, counted, f"Events of {whose} over time, times in {zone.name}"
        )

    with ui.element("section").classes("card w6" if visit.viewer.is_operator else "card"):
        ui.html(
            card("Volume", note=f"all events of {asked.tenant or 'all tenants'}, by when they occurred").html,
            sanitize=False,
        )
        chart = draw(small=True)
        live.panel("Volume", read, below, classes="", draw=lambda found: redraw(chart, found))


def _outcomes(visit: Visit, live: Any, asked: Asked, zone: Zone) -> None:
    desk = visit.desk

    async def read() -> Chart:
        over = stretch(asked.range, desk.now_s, zone)
        rows = await desk.shared(
            ("outcomes", over),
            lambda ledger: ledger.rows("console_outcomes", **over.between, step=min(over.step_s, 86_400)),
        )
        return counts_chart(
            over, OUTCOMES, _placed(rows, over), f"Duplicates and conflicts over time, times in {zone.name}"
        )

    with ui.element("section").classes("card w6"):
        note = link("/rejects", "The conflicts with their bytes", reason="idempotency_conflict")
        ui.html(
            card("Duplicates and conflicts", note=together("by when they were read · ", note)).html,
            sanitize=False,
        )
        chart = draw(small=True)
        live.panel(
            "Duplicates and conflicts", read, below, classes="", draw=lambda found: redraw(chart, found)
        )


def _placed(rows: Sequence[Mapping[str, Any]], over: Stretch) -> list[Mapping[str, Any]]:
    """Move each bucket to the step of the chart that holds it: days of the zone do not begin with those of UTC."""
    places = over.places()
    return [
        {**row, "bucket": aware(places[max(0, bisect_right(places, seconds_of(row["bucket"])) - 1)])}
        for row in rows
    ]


def _listed(
    visit: Visit, asked: Asked, cursor: Cursor | None, rows: Sequence[Mapping[str, Any]], zone: Zone
) -> Markup:
    download = tag("a", "CSV of all of them", href=asked.address("/events.csv"), download=True, class_="act")
    if not rows:
        advice = together(
            "Choose a longer time or fewer conditions. To see why one is missing, ",
            link("/explain", "explain its key"),
            ".",
        )
        return card("Events", empty("No event is found.", advice))
    with_tenant = not asked.tenant
    columns = [
        Column("Occurred", "when"),
        *([Column("Tenant", "tight")] if with_tenant else []),
        Column("Principal", "cut"),
        Column("Context", "cut"),
        Column("Operation", "cut"),
        Column("Type", "tight"),
        Column("Cost", "num"),
        Column("Key", "cut"),
    ]
    lines = [_line(visit, asked, row, zone, with_tenant=with_tenant) for row in rows[:ROWS]]
    end = rows[ROWS - 1] if len(rows) > ROWS else None
    following = (
        asked.address(after=end["occurred_ms"], last=end["tenant"], key=end["idempotency_key"])
        if end
        else None
    )
    foot = tag("div", download, pager(asked.address() if cursor else None, following), class_="row spread")
    return card(
        "Events", table("Events, the newest first", columns, lines), foot, note=f"times in {zone.name}"
    )


def _line(
    visit: Visit, asked: Asked, row: Mapping[str, Any], zone: Zone, *, with_tenant: bool
) -> list[Child]:
    who = (
        [link("/tenant", visit.services.accounts.get(row["tenant"]).display_name, tenant=row["tenant"])]
        if with_tenant
        else []
    )
    marks: list[Child] = []
    if row["pricing"] == "unpriced":
        marks.append(mark("unpriced", "warn"))
    elif row["settlement"] != "metered":
        marks.append(mark(row["settlement"]))
    if row["voids"]:
        marks.append(mark("correction", "warn"))
    key = row["voids"] or row["idempotency_key"]
    principal = "unattributed" if row["principal"] == "@unattributed" else row["principal"]
    by = replace(asked, tenant=row["tenant"], principal=row["principal"])
    return [
        moment(zone, row["occurred_at"]),
        *who,
        tag("a", principal, href=by.address()),
        context_word(row),
        row["operation"] or "(none)",
        row["type"],
        together(marks and [marks, " "], money(row["pico_usd"])),
        link("/explain", tag("code", _short(key)), tenant=row["tenant"], key=key),
    ]


def _short(key: str) -> str:
    return key if len(key) <= 24 else f"{key[:14]}…{key[-8:]}"  # noqa: PLR2004 - what a cell can hold
