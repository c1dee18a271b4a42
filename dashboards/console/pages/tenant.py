"""Tenant: its day and month against its limits, what its spend is made of, reservations and credits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from nicegui import ui

from dashboards.console.breakdown import KINDS, After, Kind, Line, read_lines, shares
from dashboards.console.caps import Window, crossings_table, gauges, windows_of
from dashboards.console.charts import Chart, below, draw, redraw
from dashboards.console.desk import Desk, Ledger
from dashboards.console.frame import ANSWER_S, Visit, arrive, page
from dashboards.console.markup import Child, Markup, address, link, tag, together
from dashboards.console.money import add_money
from dashboards.console.parts import Column, bar, card, empty, field, form, money, pager, segments, table
from dashboards.console.plain import refused
from dashboards.console.spend import (
    RANGES,
    Span,
    Stretch,
    read_spend,
    running_chart,
    seconds_of,
    spend_chart,
    stretch,
)
from dashboards.console.text import Zone, grouped
from pipeline.accounts import Account

ROWS = 15


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of the page asks for."""

    tenant: str
    range: str
    kind: Kind
    after: After | None

    def address(self, **changed: str | int) -> str:
        """Write the address of this page with something changed."""
        return address(
            "/tenant", **{"tenant": self.tenant, "range": self.range, "by": self.kind.name, **changed}
        )


def add(desk: Desk) -> None:
    """Put the page on the application."""

    @ui.page("/tenant", response_timeout=ANSWER_S)
    async def one(  # noqa: PLR0913, PLR0917 - what the address says
        request: Request,
        tenant: str = "",
        span: Span = "month",
        by: str = "principal",
        after: str = "",
        last: str = "",
        last2: str = "",
    ) -> Response | None:
        visit = await arrive(desk, request)
        if not isinstance(visit, Visit):
            return visit
        asked = tenant or visit.viewer.tenant
        if not asked:
            _choose(visit)
            return None
        if not visit.viewer.may_see(asked):
            return refused("Tenant", "This tenant is not yours: a key shows its own tenant only.")
        kind = KINDS.get(by, KINDS["principal"])
        place = After(int(after), (last, last2)[: len(kind.key)]) if _is_number(after) else None
        account = desk.services.accounts.get(asked)
        with page(visit, account.display_name, _about(account), asked) as live:
            _build(visit, live, Asked(asked, span, kind, place), account)
            await live.first()
        return None


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdecimal() and len(text) < 39  # noqa: PLR2004 - fits 128 bits


def _choose(visit: Visit) -> None:
    asked = form("/tenant", field("Tenant", "tenant", required=True), label="Choose a tenant", button="Open")
    with page(visit, "Tenant", "Choose one"):
        said = card(
            "Which tenant?",
            asked,
            tag("p", "Or look for it among ", link("/tenants", "all tenants"), ".", class_="empty"),
        )
        ui.html(said.html, sanitize=False, tag="section").classes("card")


def _about(account: Account) -> Markup:
    stripe = (
        f" · Stripe customer {account.stripe_customer}"
        if account.stripe_customer
        else " · no Stripe customer"
    )
    return together(tag("code", account.tenant), f" · days and months of {account.time_zone}{stripe}")


def _build(visit: Visit, live: Any, asked: Asked, account: Account) -> None:
    zone = visit.zone(asked.tenant)
    with ui.element("div").classes("cols"):
        _windows(visit, live, account, zone)
        _running(visit, live, account, "day")
        _running(visit, live, account, "month")
        _over_time(visit, live, asked, zone)
        _made_of(visit, live, asked, zone)
        _crossings(visit, live, asked.tenant, zone)
        add_money(visit, live, asked.tenant, zone)


def _windows(visit: Visit, live: Any, account: Account, zone: Zone) -> None:
    desk = visit.desk

    async def read() -> list[Window]:
        found: list[Window] = await desk.shared(
            ("windows", account.tenant), lambda at: windows_of(at, [account], desk.now_s)
        )
        return found

    def show(found: Sequence[Window]) -> Markup:
        more: list[Child] = [
            link("/events", "Events", tenant=account.tenant),
            " · ",
            link("/explain", "Explain an event", tenant=account.tenant),
        ]
        return card("Against its limits", gauges(found, zone, with_tenant=False), note=more)

    live.panel("Against its limits", read, show, classes="card w4")


def _running(visit: Visit, live: Any, account: Account, window: str) -> None:
    """Draw a window of the tenant in its own zone, with its limit as a line and its crossings as marks."""
    desk, own = visit.desk, Zone(account.time_zone, "the tenant's zone")
    limit = account.daily_limit_micro_usd if window == "day" else account.monthly_limit_micro_usd
    title = "Today" if window == "day" else "This month"

    async def read() -> Chart:
        over = stretch("today" if window == "day" else "month", desk.now_s, own)

        def both(ledger: Ledger) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
            decided = ledger.rows("cap_decisions_of", tenant=account.tenant, window=window, limit=50)
            return read_spend(ledger, over, account.tenant), decided

        rows, decided = await desk.shared(("running", account.tenant, over), both)
        caption = f"{title}: spend that counts in caps, added up, times in {own.name}"
        return _marked(running_chart(over, rows, caption, limit), over, decided)

    with ui.element("section").classes("card w4"):
        ui.html(card(title, note=f"in {own.name}").html, sanitize=False)
        chart = draw(small=True)
        live.panel(title, read, below, classes="", draw=lambda found: redraw(chart, found))


def _marked(chart: Chart, over: Stretch, decided: Sequence[Mapping[str, Any]]) -> Chart:
    """Mark the step in which each threshold was crossed: where the running sum first comes to it."""
    now = {
        row["threshold_percent"]: row
        for row in reversed(decided)
        if seconds_of(row["window_start"]) == over.from_s
    }
    marks = []
    for percent, row in sorted(now.items()):
        target = row["limit_micro_usd"] * percent // 100
        place = next((at for at, value in enumerate(chart.series[0].values) if value >= target), None)
        if place is not None and row["state"] == "crossed":
            marks.append((place, f"{percent} %"))
    return Chart(chart.caption, chart.labels, chart.series, limits=chart.limits, marks=marks)


def _over_time(visit: Visit, live: Any, asked: Asked, zone: Zone) -> None:
    desk = visit.desk

    async def read() -> Chart:
        over = stretch(asked.range, desk.now_s, zone)
        rows = await desk.shared(
            ("chart", asked.tenant, over), lambda ledger: read_spend(ledger, over, asked.tenant)
        )
        return spend_chart(over, rows, f"Spend of {asked.tenant} by settlement, times in {zone.name}")

    with ui.element("section").classes("card"):
        head = segments(
            "How far back", RANGES, asked.range, "/tenant", tenant=asked.tenant, by=asked.kind.name
        )
        ui.html(card("Spend over time", note=head).html, sanitize=False)
        chart = draw(small=True)
        live.panel("Spend over time", read, below, classes="", draw=lambda found: redraw(chart, found))


def _made_of(visit: Visit, live: Any, asked: Asked, zone: Zone) -> None:
    desk, kind = visit.desk, asked.kind

    async def read() -> list[Line]:
        over = stretch(asked.range, desk.now_s, zone)
        lines: list[Line] = await desk.ask(
            lambda at: read_lines(at, kind, asked.tenant, over, asked.after, ROWS + 1)
        )
        return lines

    tabs = tag(
        "div",
        [
            tag("a", one.title, href=asked.address(by=one.name), aria_current="true" if one is kind else None)
            for one in KINDS.values()
        ],
        class_="segments",
        role="group",
        aria_label="Spend by",
    )
    words = dict(RANGES).get(asked.range, "Today").lower()

    def show(lines: Sequence[Line]) -> Markup:
        download = tag(
            "a", "CSV", href=asked.address().replace("/tenant?", "/tenant.csv?"), download=True, class_="act"
        )
        if not lines:
            return card("Spend by", empty("Nothing in this time.", "Choose a longer time above."), note=tabs)
        shown = [
            [
                _name(asked, one),
                "" if one.events is None else grouped(one.events),
                together(money(one.pico), bar(s)),
            ]
            for one, s in zip(lines[:ROWS], shares(lines[:ROWS]), strict=True)
        ]
        columns = [Column(kind.title, "long"), Column("Events", "num"), Column("Spend", "num")]
        following, end = None, lines[ROWS - 1] if len(lines) > ROWS else None
        if end is not None:
            names = dict(zip(("last", "last2"), end.key, strict=False))
            following = asked.address(after=end.pico, **names)
        foot = tag(
            "div", download, pager(asked.address() if asked.after else None, following), class_="row spread"
        )
        return card(
            "Spend by", table(f"Spend by {kind.title.lower()}, {words}", columns, shown), foot, note=tabs
        )

    live.panel("Spend by", read, show, live=asked.after is None, classes="card w7")


def _name(asked: Asked, line: Line) -> Markup | str:
    """Lead from a line to its events, where events can be asked for by it."""
    if asked.kind.name in {"principal", "operation"} and line.key[0]:
        return link(
            "/events", line.label, tenant=asked.tenant, range=asked.range, **{asked.kind.name: line.key[0]}
        )
    if asked.kind.name == "context" and any(line.key):
        return link(
            "/events", line.label, tenant=asked.tenant, range=asked.range, context=line.key[1] or line.key[0]
        )
    return line.label


def _crossings(visit: Visit, live: Any, tenant: str, zone: Zone) -> None:
    desk, accounts = visit.desk, visit.services.accounts

    async def read() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await desk.shared(
            ("crossings", tenant), lambda ledger: ledger.rows("console_crossings", tenant=tenant, limit=12)
        )
        return rows

    def show(rows: Sequence[Mapping[str, Any]]) -> Markup:
        return card("Crossings", crossings_table(rows, zone, accounts, with_tenant=False))

    live.panel("Crossings", read, show, classes="card w5")
