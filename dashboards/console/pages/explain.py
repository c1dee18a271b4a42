"""Explain: one event from its key to its money and what Stripe was told, as a chain to be followed both ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from nicegui import ui

from dashboards.console.chain import EventChain, read_chain, show_chain, show_missing
from dashboards.console.desk import Desk
from dashboards.console.frame import ANSWER_S, Visit, arrive, page
from dashboards.console.markup import Markup, link, tag, together
from dashboards.console.parts import Column, card, empty, facts, field, form, mark, money, table
from dashboards.console.plain import refused
from dashboards.console.reading import Filter, read_events
from dashboards.console.reports import kind_of, report_facts
from dashboards.console.services import Told
from dashboards.console.spend import HOUR_S, Stretch
from dashboards.console.text import Zone, grouped

EVENTS = 50


def add(desk: Desk) -> None:
    """Put the page on the application."""

    @ui.page("/explain", response_timeout=ANSWER_S)
    async def explain(request: Request, tenant: str = "", key: str = "", report: str = "") -> Response | None:
        visit = await arrive(desk, request)
        if not isinstance(visit, Visit):
            return visit
        asked = tenant or visit.viewer.tenant
        if asked and not visit.viewer.may_see(asked):
            return refused("Explain", "This tenant is not yours: a key shows its own tenant only.")
        with page(visit, "Explain", "From a key to its money, and back", asked) as live:
            ui.html(_forms(visit, asked, key, report).html, sanitize=False).classes("cols")
            if report:
                _report(visit, live, report)
            elif asked and key:
                _event(visit, live, asked, key)
            else:
                said = empty(
                    "What do you want to know?",
                    "Give the idempotency key of an event, or the identifier of a report to Stripe.",
                )
                ui.html(said.html, sanitize=False)
            await live.first()
        return None


def _forms(visit: Visit, tenant: str, key: str, report: str) -> Markup:
    whose = field("Tenant", "tenant", tenant, required=True) if visit.viewer.is_operator else None
    by_key = form(
        "/explain",
        whose,
        field("Idempotency key", "key", key, wide=True, required=True),
        label="Explain a key",
        button="Explain",
    )
    by_report = form(
        "/explain",
        field("Identifier at Stripe", "report", report, wide=True, required=True),
        label="Explain a report",
        button="Explain",
    )
    by_principal = form(
        "/events",
        whose and field("Tenant", "tenant", tenant),
        field("Principal", "principal", "", required=True),
        label="Events of a principal",
        button="Events",
        range="month",
    )
    boxes = [("An event", by_key), ("A report to Stripe", by_report), ("A principal", by_principal)]
    return together(
        [
            tag("section", card(title, _renamed(box, number)), class_="card w4")
            for number, (title, box) in enumerate(boxes)
        ]
    )


def _renamed(box: Markup, number: int) -> Markup:
    """Keep the ids of several forms on one page apart."""
    return Markup(box.html.replace('"f-', f'"f{number}-'))


def _event(visit: Visit, live: Any, tenant: str, key: str) -> None:
    desk, zone = visit.desk, visit.zone(tenant)

    async def read() -> EventChain:
        return await read_chain(desk, visit.viewer, tenant, key)

    def show(found: EventChain) -> Markup:
        if not found.rows:
            return show_missing(found, zone)
        return card(f"The chain of {key}", show_chain(found, zone, found.catalog))

    live.panel(f"The chain of {key}", read, show)


@dataclass(frozen=True, slots=True)
class ReportFound:
    """A report and the events whose usage it holds."""

    told: Told | None
    rows: Sequence[Mapping[str, Any]] = ()


def _report(visit: Visit, live: Any, identifier: str) -> None:
    desk, zone, reader = visit.desk, visit.zone(), visit.services.stripe

    async def read() -> ReportFound:
        told = await desk.work(lambda: reader.find(identifier.strip())) if reader else None
        if told is None or not visit.viewer.may_see(told.report.tenant):
            return ReportFound(None)
        begin = told.report.origin_start
        over = Stretch("", begin, begin + HOUR_S, HOUR_S, zone)
        rows = await desk.ask(lambda at: read_events(at, over, Filter(told.report.tenant), None, EVENTS + 1))
        return ReportFound(told, [row for row in rows if row["settlement"] == "metered"])

    def show(found: ReportFound) -> Markup:
        if found.told is None:
            said = "The outbox has no report of this identifier." if reader else "This server has no outbox."
            return card(
                "The report",
                empty(said, together("All reports are listed on the page ", link("/stripe", "Stripe"), ".")),
            )
        return _report_card(found, zone)

    live.panel("The report", read, show)


def _report_card(found: ReportFound, zone: Zone) -> Markup:
    told = found.told
    assert told is not None  # noqa: S101 - shown only where there is one
    steps = [
        tag(
            "li",
            tag("h3", "Report to Stripe ", mark(told.state, kind_of(told.state))),
            facts(report_facts(told, zone)),
        ),
        tag(
            "li",
            tag("h3", "Rollup"),
            tag(
                "p",
                "Metered usage of ",
                link("/tenant", told.report.tenant, tenant=told.report.tenant),
                f" in the hour from {zone.stamp(told.report.origin_start)}",
            ),
        ),
        tag("li", tag("h3", "Events"), _rows(found, zone)),
    ]
    return card("The report and what it holds", tag("ol", steps, class_="chain"))


def _rows(found: ReportFound, zone: Zone) -> Markup:
    if not found.rows:
        return empty(
            "No metered event in this hour.", "The amount was carried from earlier, or is of a whole month."
        )
    lines = [
        [
            zone.stamp(r["occurred_at"]),
            r["principal"],
            r["operation"],
            money(r["pico_usd"]),
            link(
                "/explain",
                tag("code", r["voids"] or r["idempotency_key"]),
                tenant=r["tenant"],
                key=r["voids"] or r["idempotency_key"],
            ),
        ]
        for r in found.rows[:EVENTS]
    ]
    more = (
        tag("p", f"The first {grouped(EVENTS)} are shown.", class_="note")
        if len(found.rows) > EVENTS
        else None
    )
    columns = [
        Column("Occurred", "when"),
        Column("Principal"),
        Column("Operation"),
        Column("Cost", "num"),
        Column("Key", "long"),
    ]
    return together(table("Metered events of the report's hour", columns, lines), more)
