"""Reservations and credits of a tenant, where the program keeps them."""

from collections.abc import Sequence
from typing import Any

from dashboards.console.frame import Visit
from dashboards.console.markup import Markup, tag
from dashboards.console.parts import Column, card, empty, table
from dashboards.console.services import Hold, Lot, MoneyReader
from dashboards.console.text import Zone, usd_of_micro

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
        return "never" if at_ms is None else zone.brief(at_ms // 1000)

    def holds(found: Sequence[Hold]) -> Markup:
        if not found:
            advice = "What is authorised and not settled appears here."
            return card("Reservations", empty("No open reservation.", advice))
        columns = [
            Column("Reservation", "cut"),
            Column("Method"),
            Column("Held", "num"),
            Column("Made", "when"),
            Column("Ends", "when"),
        ]
        lines = [
            [
                tag("code", h.reservation_id),
                h.method,
                usd_of_micro(h.micro_usd),
                stamp(h.made_at_ms),
                stamp(h.expires_at_ms),
            ]
            for h in found
        ]
        note = f"{usd_of_micro(sum(h.micro_usd for h in found))} held"
        return card("Reservations", table("Open reservations, the newest first", columns, lines), note=note)

    def lots(found: Sequence[Lot]) -> Markup:
        if not found:
            advice = "Lots that are minted appear here with what is left of them."
            return card("Credits", empty("No credits left.", advice))
        columns = [
            Column("Pool"),
            Column("From"),
            Column("Left, of", "num wrap"),
            Column("Minted", "when"),
            Column("Ends", "when"),
        ]
        lines = [
            [
                one.pool,
                one.source,
                f"{usd_of_micro(one.left_micro_usd)} of {usd_of_micro(one.minted_micro_usd)}",
                stamp(one.minted_at_ms),
                stamp(one.expires_at_ms),
            ]
            for one in found
        ]
        note = f"{usd_of_micro(sum(one.left_micro_usd for one in found))} left"
        return card("Credits", table("Lots of credits in the order of their use", columns, lines), note=note)

    live.panel(
        "Reservations", lambda: desk.work(lambda: reader.holds(tenant, SHOWN)), holds, classes="card w6"
    )
    live.panel("Credits", lambda: desk.work(lambda: reader.lots(tenant, SHOWN)), lots, classes="card w6")
