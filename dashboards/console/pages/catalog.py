"""Catalog: what costs what, which operations have no price, and what is declared and never used."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request, Response
from nicegui import ui

from dashboards.console.audit import Audit, Undeclared, read_audit
from dashboards.console.desk import Desk
from dashboards.console.frame import ANSWER_S, Visit, arrive, page
from dashboards.console.markup import Markup, link, tag, together
from dashboards.console.parts import Column, card, choice, empty, field, form, mark, money, table
from dashboards.console.plain import refused
from dashboards.console.prices import price_of
from dashboards.console.text import Zone, grouped
from pipeline.catalog import SINCE_EVER_MS, Catalog, Entry, Version
from pipeline.event import EventType

SHOWN = 200
LISTED = 12


def add(desk: Desk) -> None:
    """Put the page on the application."""

    @ui.page("/catalog", response_timeout=ANSWER_S)
    async def catalog(request: Request, version: str = "", search: str = "") -> Response | None:
        visit = await arrive(desk, request, operators=True)
        if visit is None:
            return refused(
                "Catalog", "What things cost is the operator's; your own costs are on your tenant's page."
            )
        if not isinstance(visit, Visit):
            return visit
        with page(visit, "Catalog", "What costs what") as live:
            known = await desk.catalog()
            if known is None:
                said = card(
                    "Prices",
                    empty(
                        "No catalog is loaded.", together("Start with ", tag("code", "--catalog PATH"), ".")
                    ),
                )
                ui.html(said.html, sanitize=False, tag="section").classes("card")
            else:
                _build(visit, live, known, version, search.strip())
            await live.first()
        return None


def _build(visit: Visit, live: Any, catalog: Catalog, version: str, search: str) -> None:
    desk, zone = visit.desk, visit.zone()
    chosen = next((one for one in catalog.versions if one.version == version), catalog.versions[-1])

    async def read() -> Audit:
        audit: Audit = await desk.shared("audit", lambda ledger: read_audit(ledger, catalog, desk.now_s))
        return audit

    names = [(one.version, f"{one.version} (from {_since(one, zone)})") for one in reversed(catalog.versions)]
    asked = form(
        "/catalog",
        choice("Version", "version", names, chosen.version),
        field("Operation or source holds", "search", search, wide=True),
        label="Which prices",
    )
    shown = card("Prices", asked, _prices(chosen, search), note=f"{len(chosen.operations)} operations")
    ui.html(shown.html, sanitize=False, tag="section").classes("card")
    live.panel("Audit", read, lambda found: _audit(found, zone), live=False)


def _since(version: Version, zone: Zone) -> str:
    return (
        "ever"
        if version.effective_from_ms == SINCE_EVER_MS
        else zone.stamp(version.effective_from_ms // 1000, seconds=False)
    )


def _prices(version: Version, search: str) -> Markup:
    entries: list[tuple[str, Entry, bool]] = [
        *((f"every {kind.name.lower()} event", entry, True) for kind, entry in sorted(version.kinds.items())),
        *(
            (_label(name, kinds), entry, False)
            for name, of in sorted(version.operations.items())
            for kinds, entry in _alike(of)
        ),
    ]
    wanted = search.lower()
    found = [
        (name, entry, is_kind) for name, entry, is_kind in entries
        if wanted in name.lower() or any(wanted in part.source.lower() for part in entry.components)
    ]  # fmt: skip
    if not found:
        return empty("No entry is found.", "Search for another part of an operation or a source.")
    lines = []
    for name, entry, is_kind in found[:SHOWN]:
        parts = [tag("div", tag("b", part.source), " ", price_of(part)) for part in entry.components]
        weight = f"weight {entry.weight}" if entry.weight != 1 else ""
        lines.append(
            [
                together(name, " ", mark("default") if is_kind else None),
                parts or mark("free"),
                weight,
                mark(entry.settlement),
            ]
        )
    columns = [
        Column("Operation", "long"),
        Column("Price", "long"),
        Column("Weight", "num"),
        Column("Settled as", "tight"),
    ]
    more = (
        tag("p", f"The first {SHOWN} of {grouped(len(found))} are shown: search for one.", class_="note")
        if len(found) > SHOWN
        else None
    )
    return together(table(f"Prices of version {version.version}", columns, lines), more)


def _alike(of: Mapping[EventType, Entry]) -> list[tuple[list[str], Entry]]:
    """Put the types together that an operation's entry says the same of."""
    found: list[tuple[list[str], Entry]] = []
    for kind, entry in sorted(of.items()):
        same = next((kinds for kinds, known in found if known == entry), None)
        if same is None:
            found.append(([kind.name.lower()], entry))
        else:
            same.append(kind.name.lower())
    return found


def _label(name: str, kinds: Sequence[str]) -> str:
    return name if len(kinds) > 1 else f"{name} ({kinds[0]})"


def _audit(audit: Audit, zone: Zone) -> Markup:
    note = f"what was seen since {zone.day(audit.since_s)}"
    if not audit.undeclared and not audit.never_seen:
        return card(
            "Audit", tag("p", "All that was seen is declared, and all that is declared was seen."), note=note
        )
    unpriced = [one for one in audit.undeclared if one.pricing == "unpriced"]
    if unpriced:
        count = "1 operation has" if len(unpriced) == 1 else f"{len(unpriced)} operations have"
        head = tag(
            "p",
            tag("b", f"{count} no price: "),
            "it is recorded at 0, and unknown is not zero.",
            class_="notice warn",
        )
    else:
        head = tag("p", "Every operation that was seen has a price.", class_="notice ok")
    listed = [*unpriced, *(one for one in audit.undeclared if one.pricing != "unpriced")]
    listed = listed[: max(LISTED, len(unpriced))]
    shown = table("Seen and not declared by name", _COLUMNS, [_line(one, zone) for one in listed])
    left = len(audit.undeclared) - len(listed)
    rest = f"{grouped(left)} more have no entry of their own and are priced by the default of their type."
    more = tag("p", rest, class_="note") if left else None
    never = (
        tag(
            "p",
            tag("b", f"Declared and not seen ({len(audit.never_seen)}): "),
            ", ".join(audit.never_seen[:SHOWN]),
        )
        if audit.never_seen
        else None
    )
    return card("Audit", tag("div", head, shown if listed else None, more, never, class_="stack"), note=note)


_COLUMNS = [
    Column("Operation", "long"),
    Column("Priced by", "tight"),
    Column("Events", "num"),
    Column("Spend", "num"),
    Column("Last seen", "when"),
    Column("At", "tight"),
]


def _line(one: Undeclared, zone: Zone) -> Sequence[Any]:
    by = (
        mark("unpriced", "warn")
        if one.pricing == "unpriced"
        else f"the default of {one.type}"
        if one.type
        else "a default"
    )
    shown = link(
        "/events",
        one.operation or "(none named)",
        operation=one.operation,
        tenant=one.last_tenant or None,
        range="month",
    )
    return [
        shown,
        by,
        grouped(one.events),
        money(one.pico),
        zone.stamp(one.last_s, seconds=False),
        link("/tenant", one.last_tenant, tenant=one.last_tenant) if one.last_tenant else "",
    ]
