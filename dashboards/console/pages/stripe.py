"""Stripe: reports by where they stand, what is owed and carried, what waits for a person, the difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from nicegui import ui

from billing.planner import Balance
from billing.status import GROUPS, Status
from dashboards.console.desk import Desk
from dashboards.console.frame import ANSWER_S, Visit, arrive, page
from dashboards.console.markup import Markup, address, tag, together
from dashboards.console.parts import (
    Column,
    card,
    choice,
    empty,
    field,
    figures,
    form,
    mark,
    notice,
    pager,
    table,
    tenant_link,
)
from dashboards.console.plain import refused
from dashboards.console.reports import identifier_link, kind_of
from dashboards.console.services import Comparison, StripeReader, Told
from dashboards.console.text import Zone, grouped
from pipeline.outbox import State
from queries.totals import MICRO, exact

ROWS = 25
NEWEST = 2**62
OWED = 12
DIGITS = 18


@dataclass(frozen=True, slots=True)
class Books:
    """The outbox as it stands, and the last comparison."""

    status: Status
    comparison: Comparison | None


def add(desk: Desk) -> None:
    """Put the page on the application."""

    @ui.page("/stripe", response_timeout=ANSWER_S)
    async def stripe(
        request: Request, state: str = "", tenant: str = "", before: str = ""
    ) -> Response | None:
        visit = await arrive(desk, request, operators=True)
        if visit is None:
            return refused("Stripe", "The reports of all tenants are the operator's.")
        if not isinstance(visit, Visit):
            return visit
        with page(visit, "Stripe", "What was told, what is owed, and whether both agree") as live:
            if desk.services.stripe is None:
                advice = together(
                    "Name one with ", tag("code", "--state"), " or ", tag("code", "--control"), "."
                )
                ui.html(
                    card("Reports", empty("This server has no outbox.", advice)).html,
                    sanitize=False,
                    tag="section",
                ).classes("card")
            else:
                asked = state if state in {one.value for one in State} else ""
                number = int(before) if before.isdecimal() and len(before) < DIGITS else NEWEST
                _build(visit, live, desk.services.stripe, (asked, tenant.strip(), number))
            await live.first()
        return None


def _build(visit: Visit, live: Any, reader: StripeReader, asked: tuple[str, str, int]) -> None:
    desk, zone = visit.desk, visit.zone()

    async def books() -> Books:
        return await desk.work(lambda: Books(reader.status(), reader.comparison()))

    live.panel("Does Stripe agree?", books, lambda found: _agreement(found, zone), classes="stack")

    async def balances() -> Sequence[Balance]:
        return await desk.work(reader.books)

    with ui.element("div").classes("cols"):
        with ui.element("div").classes("w5 stack"):
            live.panel("By state", books, _states)
            live.panel("Differences", books, lambda found: _differences(found, zone))
        live.panel(
            "Owed and carried", balances, lambda found: _owed(visit, found), classes="card w7", live=False
        )
    state, tenant, before = asked

    async def reports() -> Sequence[Told]:
        return await desk.work(lambda: reader.reports(state, tenant, before, ROWS + 1))

    live.panel("Reports", reports, lambda found: _reports(visit, found, asked, zone), live=before == NEWEST)


def _agreement(found: Books, zone: Zone) -> Markup:
    status, compared = found.status, found.comparison
    units = dict.fromkeys(GROUPS.values(), 0)
    for state, count in status.units.items():
        group = GROUPS.get(State(state))
        if group is not None:
            units[group] += count
    said = []
    if status.read_only:
        said.append(
            notice(
                "bad",
                "The store was restored and only reads: run ",
                tag("code", "millrace stripe reconcile --restored"),
                ".",
            )
        )
    if compared is None:
        said.append(
            notice(
                "warn",
                "Nothing was compared with Stripe yet: run ",
                tag("code", "millrace stripe reconcile"),
                ".",
            )
        )
    elif compared.differences:
        said.append(
            notice(
                "bad",
                tag("b", f"Stripe does not agree in {grouped(compared.differences)} hours."),
                f" Compared {zone.stamp(compared.made_at)}; the differences are below.",
            )
        )
    else:
        said.append(
            notice(
                "ok",
                tag("b", "Stripe agrees: the difference is zero."),
                f" {grouped(compared.windows)} hours were compared {zone.stamp(compared.made_at)}.",
            )
        )
    if status.next_deadline_at is not None:
        said.append(
            notice(
                "warn",
                f"A report of unknown outcome can be sent again until {zone.stamp(status.next_deadline_at)}.",
            )
        )
    shown = figures(
        ("Verified", grouped(units["verified"]), "units that Stripe's sums prove"),
        ("Reported", grouped(units["reported"]), "units accepted, not proven yet"),
        ("Planned", grouped(units["owed"]), "units that wait to be sent"),
        ("Unknown", grouped(units["unknown"]), "units whose outcome is open"),
        ("For a person", grouped(units["rejected"] + units["quarantined"]), "units refused or quarantined"),
    )
    return together(said, shown)


def _states(found: Books) -> Markup:
    reports, units = found.status.reports, found.status.units
    if not reports:
        return card(
            "By state",
            empty(
                "No report was planned yet.",
                together("Plan and send with ", tag("code", "millrace stripe push"), "."),
            ),
        )
    columns = [Column("State"), Column("Reports", "num"), Column("Units", "num")]
    ordered = [state for state in State if state in reports]
    lines = [
        [mark(state, kind_of(state)), grouped(reports[state]), grouped(units[state])] for state in ordered
    ]
    return card("By state", table("Reports by state", columns, lines))


def _owed(visit: Visit, balances: Sequence[Balance]) -> Markup:
    """Show what is owed beyond the outbox: whole units, the remainder that is carried, and why it waits."""
    owed = sorted((one for one in balances if one.rest), key=lambda one: -one.rest)
    if not owed:
        return card("Owed and carried", empty("Nothing is owed.", "All metered usage is in reports."))
    columns = [
        Column("Tenant"),
        Column("Meter"),
        Column("Units owed", "num"),
        Column("Carried", "num"),
        Column("Why it waits", "long"),
    ]
    lines = [
        [
            tenant_link(one.tenant, visit.services.accounts.get(one.tenant).display_name),
            one.event_name,
            grouped(one.rest // one.unit),
            exact(one.rest % one.unit, MICRO),
            one.waiting or ("no Stripe customer" if not one.customer else "for the next plan"),
        ]
        for one in owed[:OWED]
    ]
    rest = (
        tag("p", f"The largest {OWED} of {grouped(len(owed))} are shown.", class_="note")
        if len(owed) > OWED
        else None
    )
    return card(
        "Owed and carried",
        table("Owed and not in a report yet, the most first", columns, lines),
        rest,
        note="whole units, and what is less than one",
    )


def _differences(found: Books, zone: Zone) -> Markup:
    compared = found.comparison
    if compared is None or not compared.findings:
        return card(
            "Differences",
            empty("There is none.", "Each hour's sum at Stripe is compared with what it was told."),
        )
    columns = [
        Column("Hour", "when"),
        Column("Customer"),
        Column("Meter"),
        Column("Stripe", "num"),
        Column("Told", "num"),
        Column("Difference", "num"),
        Column("Way out", "long"),
    ]
    lines = [
        [
            zone.stamp(one.window_start, seconds=False),
            one.customer,
            one.event_name,
            grouped(one.stripe),
            grouped(one.told),
            grouped(one.difference),
            one.way_out,
        ]
        for one in compared.findings[:50]
    ]
    return card("Differences", table("Hours in which Stripe's sum differs", columns, lines))


def _reports(visit: Visit, found: Sequence[Told], asked: tuple[str, str, int], zone: Zone) -> Markup:
    state, tenant, before = asked
    states = [("", "All states"), *((one.value, one.value) for one in State)]
    asks = form(
        "/stripe",
        choice("State", "state", states, state),
        field("Tenant", "tenant", tenant),
        label="Which reports",
    )
    if not found:
        return card("Reports", asks, empty("No report is found.", "Choose another state or tenant."))
    columns = [
        Column("Hour", "when"),
        Column("Tenant"),
        Column("Meter", "tight"),
        Column("Units", "num"),
        Column("State", "tight"),
        Column("Identifier", "cut"),
        Column("Detail", "long"),
    ]
    lines = [
        [
            zone.stamp(one.report.origin_start, seconds=False),
            tenant_link(one.report.tenant, visit.services.accounts.get(one.report.tenant).display_name),
            one.report.event_name,
            grouped(one.report.value),
            mark(one.state, kind_of(one.state)),
            identifier_link(one),
            one.detail,
        ]
        for one in found[:ROWS]
    ]
    following = (
        address("/stripe", state=state, tenant=tenant, before=found[ROWS - 1].intent_id)
        if len(found) > ROWS
        else None
    )
    first = address("/stripe", state=state, tenant=tenant) if before != NEWEST else None
    return card("Reports", asks, table("Reports, the newest first", columns, lines), pager(first, following))
