"""Tenants: who spends what this month, to be searched, page by page."""

import json
from typing import Any

from fastapi import Request, Response
from nicegui import ui

from dashboards.console.caps import Window, windows_of
from dashboards.console.desk import Desk, Ledger
from dashboards.console.frame import ANSWER_S, Visit, arrive, page
from dashboards.console.markup import Markup, address, together
from dashboards.console.parts import Column, bar, card, empty, field, form, money, pager, table, tenant_link
from dashboards.console.plain import refused
from dashboards.console.spend import stretch
from dashboards.console.text import grouped

ROWS = 50
NAMED_MAX = 1000
HIGHEST = 2**127 - 1


def add(desk: Desk) -> None:
    """Put the page on the application."""

    @ui.page("/tenants", response_timeout=ANSWER_S)
    async def tenants(request: Request, search: str = "", after: str = "", last: str = "") -> Response | None:
        visit = await arrive(desk, request, operators=True)
        if isinstance(visit, Visit):
            with page(visit, "Tenants", "Who spends what this month") as live:
                _build(visit, live, search.strip(), (after, last))
                await live.first()
            return None
        return visit or refused("Tenants", "A tenant's key shows the tenant itself.")


def _build(visit: Visit, live: Any, search: str, after: tuple[str, str]) -> None:
    desk, zone, accounts = visit.desk, visit.zone(), visit.services.accounts
    asked = form(
        "/tenants",
        field("Name or id holds", "search", search, wide=True),
        label="Search tenants",
        button="Search",
    )
    ui.html(asked.html, sanitize=False)
    place = int(after[0]) if after[0].lstrip("-").isdecimal() and len(after[0]) < 39 else HIGHEST  # noqa: PLR2004

    def read(ledger: Ledger) -> tuple[list[dict[str, Any]], dict[str, list[Window]]]:
        month = stretch("month", desk.now_s, zone)
        names = json.dumps(list(accounts.named(search, NAMED_MAX))) if search else "[]"
        given = {
            "search": search,
            "names": names,
            "after_pico": place,
            "after_tenant": after[1],
            "limit": ROWS + 1,
        }
        rows = ledger.rows("console_tenants", **month.between, **given)
        windows: dict[str, list[Window]] = {}
        for one in windows_of(ledger, [accounts.get(row["tenant"]) for row in rows[:ROWS]], desk.now_s):
            windows.setdefault(one.account.tenant, []).append(one)
        return rows, windows

    def show(found: tuple[list[dict[str, Any]], dict[str, list[Window]]]) -> Markup:
        rows, windows = found
        if not rows:
            return card(
                "This month", empty("No tenant is found.", "Search for another part of its name or id.")
            )
        most = max([row["pico_usd"] for row in rows] + [1])
        lines = []
        for row in rows[:ROWS]:
            share = max(0, row["pico_usd"]) * 100 // most if most > 0 else 0
            limits = [_limit(one) for one in windows[row["tenant"]]]
            name = accounts.get(row["tenant"]).display_name
            lines.append(
                [
                    tenant_link(row["tenant"], name),
                    grouped(row["events"]),
                    together(money(row["pico_usd"]), bar(share)),
                    *limits,
                ]
            )
        columns = [
            Column("Tenant"),
            Column("Events", "num"),
            Column("Spend", "num"),
            Column("Of day limit", "num"),
            Column("Of month limit", "num"),
        ]
        last = rows[ROWS - 1] if len(rows) > ROWS else None
        following = (
            address("/tenants", search=search, after=last["pico_usd"], last=last["tenant"]) if last else None
        )
        first = address("/tenants", search=search) if after[1] else None
        return card(
            "This month", table("Tenants by spend this month", columns, lines), pager(first, following)
        )

    live.panel("This month", lambda: desk.ask(read), show, live=False)


def _limit(window: Window) -> str:
    return "no limit" if window.limit_micro_usd is None else f"{window.share_e4 // 100:,} %"
