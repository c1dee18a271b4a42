"""Overview: what is being spent now, by whom, how near caps are, and whether all is well."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from nicegui import ui

from dashboards.console.caps import CANDIDATES, Window, crossings_table, gauges, nearest, windows_of
from dashboards.console.charts import Chart, below, draw, redraw
from dashboards.console.desk import Desk, Ledger
from dashboards.console.frame import ANSWER_S, Visit, arrive, page
from dashboards.console.health import show_health, view_health
from dashboards.console.markup import Markup, link, tag, together
from dashboards.console.parts import (
    Column,
    bar,
    bars_of,
    card,
    empty,
    figures,
    money,
    segments,
    table,
    tenant_link,
)
from dashboards.console.spend import (
    DAY_S,
    HOUR_S,
    RANGES,
    Span,
    Stretch,
    read_spend,
    seconds_of,
    spend_chart,
    stretch,
)
from dashboards.console.text import grouped

TOP = 8
NEXT, OVER = 4, 2
COUNTED = frozenset({"metered", "credit"})


def add(desk: Desk) -> None:
    """Put the page on the application."""

    @ui.page("/", response_timeout=ANSWER_S)
    async def overview(request: Request, span: Span = "today") -> Response | None:
        visit = await arrive(desk, request)
        if not isinstance(visit, Visit):
            return visit
        with page(visit, "Overview", _whose(visit)) as live:
            _build(visit, live, span)
            await live.first()
        return None


def _whose(visit: Visit) -> str:
    tenant = visit.viewer.tenant
    return (
        f"What {visit.services.accounts.get(tenant).display_name} spends"
        if tenant
        else "What all tenants spend"
    )


def _build(visit: Visit, live: Any, chosen: str) -> None:
    desk, zone, tenant = visit.desk, visit.zone(), visit.viewer.tenant
    accounts, is_operator = visit.services.accounts, visit.viewer.is_operator

    async def now_figures() -> dict[str, Any]:
        def read(ledger: Ledger) -> dict[str, Any]:
            month, hours = stretch("month", desk.now_s, zone), stretch("3h", desk.now_s, zone)
            days, quarters = read_spend(ledger, month, tenant), read_spend(ledger, hours, tenant)
            return {"days": days, "quarters": quarters, "month": month}

        found: dict[str, Any] = await desk.shared(("figures", tenant, zone.name), read)
        return found

    live.panel("Spend", now_figures, lambda found: _figures(found, desk.now_s), classes="")

    over = stretch(chosen, desk.now_s, zone)
    with ui.element("div").classes("cols"):
        with ui.element("section").classes("card grow w8"):
            head = segments("How far back", RANGES, over.name, "/")
            ui.html(card("Spend over time", note=head).html, sanitize=False)
            chart = draw()
            _chart_panel(visit, live, chosen, chart)
        _caps_panel(visit, live)
        if is_operator:
            _tops(visit, live, chosen)
        else:
            _principals(visit, live, chosen)

        async def crossings() -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = await desk.shared(
                ("crossings", tenant),
                lambda ledger: ledger.rows("console_crossings", tenant=tenant, limit=TOP),
            )
            return rows

        def show(rows: Sequence[Mapping[str, Any]]) -> Markup:
            return card("Caps crossed", crossings_table(rows, zone, accounts, with_tenant=is_operator))

        live.panel("Caps crossed", crossings, show, classes="card w7")
        if is_operator:
            with ui.element("div").classes("w5 stack"):
                live.panel("Health", lambda: view_health(desk), lambda found: show_health(found, zone))
                _rejects(visit, live)


def _chart_panel(visit: Visit, live: Any, chosen: str, chart: ui.echart) -> None:
    desk, zone, tenant = visit.desk, visit.zone(), visit.viewer.tenant

    async def read() -> Chart:
        over = stretch(chosen, desk.now_s, zone)
        rows = await desk.shared(("chart", tenant, over), lambda ledger: read_spend(ledger, over, tenant))
        return spend_chart(over, rows, f"Spend by settlement, {_step(over)}, times in {zone.name}")

    live.panel("Spend over time", read, below, classes="", draw=lambda found: redraw(chart, found))


def _step(over: Stretch) -> str:
    hours = over.step_s // HOUR_S
    if over.step_s >= DAY_S:
        return "by day"
    return f"in steps of {hours} hours" if hours > 1 else "by hour" if hours else "by quarter hour"


def _figures(found: Mapping[str, Any], now_s: int) -> Markup:
    days, quarters, month = found["days"], found["quarters"], found["month"]
    today = month.places()[-1]
    seconds = [(seconds_of(row["bucket"]), row) for row in quarters]
    hour = [row for at, row in seconds if at >= now_s - now_s % 900 - 2700]
    of_today = [row for row in days if seconds_of(row["bucket"]) == today]
    whole = _sum(days)
    counted = _sum([row for row in days if row["settlement"] in COUNTED])
    return figures(
        ("Last hour", money(_sum(hour)), f"{_events(hour)} events"),
        ("Today", money(_sum(of_today)), f"{_events(of_today)} events"),
        ("This month", money(whole), f"{_events(days)} events"),
        ("Counts in caps, this month", money(counted), together(money(whole - counted), " absorbed")),
    )


def _sum(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(row["pico_usd"] for row in rows)


def _events(rows: Sequence[Mapping[str, Any]]) -> str:
    return grouped(sum(row["events"] for row in rows))


def _caps_panel(visit: Visit, live: Any) -> None:
    desk, tenant, zone, accounts = visit.desk, visit.viewer.tenant, visit.zone(), visit.services.accounts

    def read(ledger: Ledger) -> tuple[list[Window], list[Window]]:
        if tenant:
            return windows_of(ledger, [accounts.get(tenant)], desk.now_s), []
        month = stretch("month", desk.now_s, zone)
        dear = [row["tenant"] for row in ledger.rows("console_tenants", **month.between, limit=CANDIDATES)]
        return nearest(ledger, accounts, dear, desk.now_s, NEXT)

    def show(found: tuple[Sequence[Window], Sequence[Window]]) -> Markup:
        coming, over = found
        if tenant:
            return card("Limits", gauges(coming, zone, with_tenant=False))
        if not coming and not over:
            said = empty(
                "No tenant has a limit.", "Limits stand in the accounts: a daily or a monthly spend limit."
            )
            return card("Caps: who is next", said)
        title = f"Over the limit: {len(over)}" if over else "Nobody is over a limit."
        rest = tag("div", tag("h3", title), gauges(over[:OVER], zone, with_tenant=True), class_="apart")
        first = (
            gauges(coming, zone, with_tenant=True)
            if coming
            else tag("p", "No other window is near.", class_="note")
        )
        return card("Caps: who is next", first, rest)

    live.panel("Caps", lambda: desk.shared(("caps", tenant), read), show, classes="card w4")


def _tops(visit: Visit, live: Any, chosen: str) -> None:
    desk, zone, accounts = visit.desk, visit.zone(), visit.services.accounts

    async def read() -> dict[str, Any]:
        over = stretch(chosen, desk.now_s, zone)

        def both(ledger: Ledger) -> dict[str, Any]:
            return {
                "tenants": ledger.rows("console_tenants", **over.between, limit=TOP),
                "operations": ledger.rows("console_operations", **over.between, limit=TOP),
            }

        found: dict[str, Any] = await desk.shared(("tops", over), both)
        return found

    words = dict(RANGES).get(chosen, "Today").lower()

    def show(found: Mapping[str, Any]) -> Markup:
        rows = found["tenants"]
        if not rows:
            return card("Top tenants", nothing_yet())
        lines = [
            [
                tenant_link(r["tenant"], accounts.get(r["tenant"]).display_name),
                grouped(r["events"]),
                together(money(r["pico_usd"]), bar(s)),
            ]
            for r, s in zip(rows, bars_of([row["pico_usd"] for row in rows]), strict=True)
        ]
        columns = [Column("Tenant"), Column("Events", "num"), Column("Spend", "num")]
        more = link("/tenants", "All tenants")
        return card(
            "Top tenants",
            table(f"Tenants that spent most, {words}", columns, lines),
            note=together(f"{words} · ", more),
        )

    def operations(found: Mapping[str, Any]) -> Markup:
        return card("Top operations", operations_table(found["operations"], words), note=words)

    live.panel("Top tenants", read, show, classes="card w7")
    live.panel("Top operations", read, operations, classes="card w5")


def operations_table(rows: Sequence[Mapping[str, Any]], words: str) -> Markup:
    """List what operations cost."""
    if not rows:
        return nothing_yet()
    lines = [
        [r["operation"] or "(none named)", grouped(r["events"]), together(money(r["pico_usd"]), bar(s))]
        for r, s in zip(rows, bars_of([row["pico_usd"] for row in rows]), strict=True)
    ]
    columns = [Column("Operation", "long"), Column("Events", "num"), Column("Spend", "num")]
    return table(f"Operations that cost most, {words}", columns, lines)


def nothing_yet() -> Markup:
    """Say that there are no events, and how to get some."""
    return empty(
        "No events in this time.",
        together("Choose a longer time, or feed events: ", tag("code", "millrace run PATH"), "."),
    )


def _principals(visit: Visit, live: Any, chosen: str) -> None:
    desk, zone, tenant = visit.desk, visit.zone(), visit.viewer.tenant

    async def read() -> list[dict[str, Any]]:
        over = stretch(chosen, desk.now_s, zone)
        rows: list[dict[str, Any]] = await desk.shared(
            ("operations", tenant, over),
            lambda ledger: ledger.rows("console_operations", **over.between, tenant=tenant, limit=TOP),
        )
        return rows

    def show(rows: Sequence[Mapping[str, Any]]) -> Markup:
        return card(
            "Top operations",
            operations_table(rows, "in this time"),
            note=link("/tenant", "Everything by principal, action, source"),
        )

    live.panel("Top operations", read, show, classes="card w5")


def _rejects(visit: Visit, live: Any) -> None:
    desk, zone = visit.desk, visit.zone()

    async def read() -> dict[str, int]:
        over: Stretch = stretch("24h", desk.now_s, zone)
        rows = await desk.shared(
            ("rejects", over),
            lambda ledger: ledger.rows("console_rejects_by_time", **over.between, step=86_400),
        )
        totals: dict[str, int] = {}
        for row in rows:
            totals[row["reason"]] = totals.get(row["reason"], 0) + row["rejects"]
        return totals

    def show(totals: Mapping[str, int]) -> Markup:
        more = link("/rejects", "All rejects")
        if not totals:
            return card(
                "Rejects",
                empty("Nothing was rejected in 24 hours.", "What is refused is kept with its bytes."),
                note=more,
            )
        ordered = sorted(totals.items(), key=lambda item: -item[1])
        lines = [
            [link("/rejects", reason, reason=reason), together(grouped(count), bar(share))]
            for (reason, count), share in zip(ordered, bars_of([count for _, count in ordered]), strict=True)
        ]
        columns = [Column("Reason"), Column("Inputs", "num")]
        return card(
            "Rejects",
            table("Rejects by reason in 24 hours", columns, lines),
            note=together("24 hours · ", more),
        )

    live.panel("Rejects", read, show)
