"""Reservations and credits of a tenant, where the program keeps them."""

from collections.abc import Sequence
from typing import Any

from dashboards.console.frame import Visit
from dashboards.console.markup import Markup, tag
from dashboards.console.parts import Column, card, empty, mark, table
from dashboards.console.services import Hold, Lot, MoneyReader
from dashboards.console.text import Zone, grouped, usd_of_micro

SHOWN = 12


def add_money(visit: Visit, live: Any, tenant: str, zone: Zone) -> None:
    """Put the two panels where the page is being built."""
    reader, desk = visit.services.money, visit.desk

    async def nothing() -> None:
        return None

    def absent(what: str) -> Markup:
        return card(
            what,
            empty(
                "Not kept here.", f"This server has no store of accounts, so it knows of no {what.lower()}."
            ),
        )

    if reader is None:
        for what in ("Reservations", "Credits"):
            live.panel(what, nothing, lambda _found, what=what: absent(what), live=False, classes="card w6")
        return
    _add(live, desk, reader, tenant, zone)


def _add(live: Any, desk: Any, reader: MoneyReader, tenant: str, zone: Zone) -> None:
    def stamp(at_ms: int | None) -> str:
        return "never" if at_ms is None else zone.stamp(at_ms // 1000)

    def holds(found: Sequence[Hold]) -> Markup:
        if not found:
            return card(
                "Reservations",
                empty("No open reservation.", "What is authorised and not settled appears here."),
            )
        columns = [
            Column("Reservation", "tight"),
            Column("Operation"),
            Column("Principal"),
            Column("Held", "num"),
            Column("State", "tight"),
            Column("Ends", "when"),
        ]
        lines = [
            [
                tag("code", h.reservation_id),
                h.operation,
                h.principal,
                usd_of_micro(h.micro_usd),
                mark(h.state),
                stamp(h.expires_at_ms),
            ]
            for h in found
        ]
        return card("Reservations", table("Open reservations, the newest first", columns, lines))

    def lots(found: Sequence[Lot]) -> Markup:
        if not found:
            return card(
                "Credits",
                empty("No credits left.", "Lots that are granted appear here with what is left of them."),
            )
        columns = [
            Column("Lot", "tight"),
            Column("Left", "num"),
            Column("Granted", "num"),
            Column("On", "when"),
            Column("Ends", "when"),
        ]
        lines = [
            [
                tag("code", lot.lot_id),
                grouped(lot.left),
                grouped(lot.granted),
                stamp(lot.granted_at_ms),
                stamp(lot.expires_at_ms),
            ]
            for lot in found
        ]
        total = grouped(sum(lot.left for lot in found))
        return card(
            "Credits",
            table("Lots of credits in the order of their use", columns, lines),
            note=f"{total} left",
        )

    live.panel(
        "Reservations", lambda: desk.work(lambda: reader.holds(tenant, SHOWN)), holds, classes="card w6"
    )
    live.panel("Credits", lambda: desk.work(lambda: reader.lots(tenant, SHOWN)), lots, classes="card w6")
