"""Rejects: by reason over time, with their bytes, to be handed in again after a confirmation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import Request, Response
from nicegui import ui

from dashboards.console.charts import Chart, Series, below, draw, redraw
from dashboards.console.desk import Desk
from dashboards.console.frame import ANSWER_S, Visit, arrive, page
from dashboards.console.markup import Markup, address, tag, together
from dashboards.console.parts import (
    Column,
    card,
    choice,
    empty,
    facts,
    field,
    form,
    mark,
    moment,
    pager,
    table,
)
from dashboards.console.plain import refused
from dashboards.console.replay import Replaying
from dashboards.console.services import Place
from dashboards.console.spend import Span, Stretch, seconds_of, stretch
from dashboards.console.text import Zone, grouped
from pipeline.event import Reason

ROWS = 25
BYTES_SHOWN = 16_384
RANGES = (
    ("1h", "1 hour"),
    ("today", "Today"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("month", "Month"),
    ("90d", "90 days"),
)
REASONS = tuple(reason.code for reason in Reason if reason is not Reason.NONE)
COLOURS = ("--bad", "--warn", "--metered", "--credit", "--ok", "--rate-limited")
DRAWN = len(COLOURS) - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of the page asks for."""

    range: str
    reason: str
    topic: str
    search: str

    def address(self, **more: str | int) -> str:
        """Write the address of this page with something more."""
        return address("/rejects", **{**asdict(self), **more})


@dataclass(frozen=True, slots=True)
class After:
    """The last row of the page before."""

    ms: int = 2**63 - 1
    topic: str = ""
    partition: int = 0
    offset: int = 0


def add(desk: Desk) -> None:
    """Put the page on the application."""

    @ui.page("/rejects", response_timeout=ANSWER_S)
    async def rejects(  # noqa: PLR0913, PLR0917 - what the address says
        request: Request,
        span: Span = "24h",
        reason: str = "",
        topic: str = "",
        search: str = "",
        after: str = "",
        last: str = "",
    ) -> Response | None:
        visit = await arrive(desk, request, operators=True)
        if visit is None:
            return refused(
                "Rejects",
                "Rejects hold bytes of all tenants. Explain a key of yours to see why it was refused.",
            )
        if not isinstance(visit, Visit):
            return visit
        asked = Asked(span, reason if reason in REASONS else "", topic, search)
        with page(visit, "Rejects", "What was not accepted, and why") as live:
            _build(visit, live, asked, _after(after, last))
            await live.first()
        return None


def _after(after: str, topic: str) -> After:
    parts = after.split(".")
    if len(parts) == 3 and all(part.isdecimal() and len(part) < 19 for part in parts):  # noqa: PLR2004 - three numbers
        ms, partition, offset = map(int, parts)
        return After(ms, topic, partition, offset)
    return After()


def _build(visit: Visit, live: Any, asked: Asked, after: After) -> None:
    desk, zone = visit.desk, visit.zone()
    asks = form(
        "/rejects",
        choice("Reason", "reason", [("", "All reasons"), *((one, one) for one in REASONS)], asked.reason),
        field("Input", "topic", asked.topic, placeholder="topic or source name"),
        field("Bytes hold", "search", asked.search, wide=True),
        choice("Time", "range", RANGES, asked.range),
        label="Which rejects",
    )
    ui.html(asks.html, sanitize=False).classes("card")
    _over_time(visit, live, asked, zone)
    replaying = Replaying(visit, live)

    async def read() -> list[dict[str, Any]]:
        over = stretch(asked.range, desk.now_s, zone)
        given = {"reason": asked.reason, "topic": asked.topic, "search": asked.search, "limit": ROWS + 1}
        start = {
            "after_ms": after.ms,
            "after_topic": after.topic,
            "after_partition": after.partition,
            "after_offset": after.offset,
        }
        rows: list[dict[str, Any]] = await desk.ask(
            lambda at: at.rows("console_rejects", **over.between, **given, **start)
        )
        replaying.offer([_place(row) for row in rows[:ROWS]])
        return rows

    with ui.element("section").classes("card"):
        replaying.controls()
        live.panel(
            "Rejected inputs",
            read,
            lambda rows: _listed(asked, after, rows, zone),
            live=after == After(),
            classes="",
        )


def _place(row: Mapping[str, Any]) -> Place:
    return Place(row["topic"], row["partition"], row["offset"])


def _over_time(visit: Visit, live: Any, asked: Asked, zone: Zone) -> None:
    desk = visit.desk

    async def read() -> Chart:
        over = stretch(asked.range, desk.now_s, zone)
        step = min(over.step_s, 3600)
        rows = await desk.shared(
            ("rejects", over, step),
            lambda ledger: ledger.rows("console_rejects_by_time", **over.between, step=step),
        )
        return _chart(over, [row for row in rows if asked.reason in {"", row["reason"]}], zone)

    with ui.element("section").classes("card"):
        ui.html(
            card("By reason over time", note=f"by when they were rejected, times in {zone.name}").html,
            sanitize=False,
        )
        chart = draw(small=True)
        live.panel("By reason over time", read, below, classes="", draw=lambda found: redraw(chart, found))


def _chart(over: Stretch, rows: Sequence[Mapping[str, Any]], zone: Zone) -> Chart:
    places = over.places()
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["reason"]] = totals.get(row["reason"], 0) + row["rejects"]
    named = sorted(totals, key=lambda reason: -totals[reason])
    shown = named if len(named) <= len(COLOURS) else [*named[:DRAWN], "others"]
    counts = {name: [0] * len(places) for name in shown or ["rejects"]}
    for row in rows:
        at = max((n for n, place in enumerate(places) if place <= seconds_of(row["bucket"])), default=0)
        counts[row["reason"] if row["reason"] in counts else "others"][at] += row["rejects"]
    series = [
        Series(f"{name} ({grouped(sum(values))})", colour, values, [grouped(v) if v else "" for v in values])
        for (name, values), colour in zip(counts.items(), COLOURS, strict=False)
    ]
    return Chart(f"Rejects by reason over time, times in {zone.name}", over.labels(), series, is_money=False)


def _listed(asked: Asked, after: After, rows: Sequence[Mapping[str, Any]], zone: Zone) -> Markup:
    if not rows:
        return empty("Nothing was rejected in this time.", "Choose a longer time or fewer conditions.")
    columns = [
        Column("Rejected", "when"),
        Column("Reason", "tight"),
        Column("What is wrong", "long"),
        Column("Input", "long"),
        Column("Place", "num"),
        Column("Bytes", "long raws"),
    ]
    lines = [
        [
            moment(zone, r["rejected_at"]),
            mark(r["reason"], "bad" if r["reason"] == "idempotency_conflict" else ""),
            r["detail"],
            together(r["topic"], f" / {r['partition']}" if r["partition"] else ""),
            grouped(r["offset"]),
            _bytes(r),
        ]
        for r in rows[:ROWS]
    ]
    end = rows[ROWS - 1] if len(rows) > ROWS else None
    following = (
        asked.address(after=f"{end['rejected_ms']}.{end['partition']}.{end['offset']}", last=end["topic"])
        if end
        else None
    )
    return together(
        table("Rejected inputs, the newest first", columns, lines),
        pager(asked.address() if after != After() else None, following),
    )


def _bytes(row: Mapping[str, Any]) -> Markup:
    """Show the bytes: as text, and exactly where they are none."""
    cut = (
        tag("p", f"The first {grouped(len(row['shown']))} characters are shown.", class_="note")
        if row["size"] > BYTES_SHOWN
        else None
    )
    exactly = facts([("In hexadecimal", tag("code", row["hex"]))]) if row["hex"] else None
    return tag(
        "details",
        tag("summary", f"{grouped(row['size'])} bytes"),
        tag("pre", row["shown"], class_="raw", tabindex="0"),
        exactly,
        cut,
    )
