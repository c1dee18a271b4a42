"""Health: what the reading process says of itself, how far inputs are durable, what Stripe still waits for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.console.desk import Desk
from dashboards.console.markup import Child, Markup, link, tag, together
from dashboards.console.parts import Column, card, empty, mark, notice, table
from dashboards.console.services import HealthView
from dashboards.console.text import Zone, ago, grouped, since

SHOWN = 6


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to say."""

    view: HealthView | None
    inputs: Sequence[Mapping[str, Any]]
    now_ms: int


async def view_health(desk: Desk) -> Found:
    """Ask the reading process, and the ledger for how far inputs are durable."""
    health = desk.services.health
    view = await desk.work(health) if health else None
    inputs = await desk.shared("inputs", lambda ledger: ledger.rows("console_inputs", limit=SHOWN))
    return Found(view, inputs, desk.services.clock.now_ms())


def show_health(found: Found, zone: Zone) -> Markup:
    """Say whether anything is behind."""
    view = found.view
    note = link("/stripe", "Does Stripe agree?")
    said: list[Markup] = []
    if view is not None and view.complaints:
        said.append(notice("bad", [tag("p", sentence) for sentence in view.complaints]))
    elif view is not None:
        waiting = sum(one.lag for one in view.inputs)
        said.append(
            notice(
                "ok",
                f"Nothing is behind: {grouped(waiting)} records wait." if waiting else "Nothing is behind.",
            )
        )
    else:
        said.append(
            tag(
                "p",
                "No input is being read by this process; the ledger says how far each was read.",
                class_="note",
            )
        )
    lines: list[list[Child]]
    if view is not None and view.inputs:
        lines = [
            [
                one.name,
                grouped(one.lag),
                "" if one.durable_at_ms is None else ago((found.now_ms - one.durable_at_ms) // 1000),
            ]
            for one in view.inputs[:SHOWN]
        ]
        columns = [Column("Input", "long"), Column("Waiting", "num"), Column("Last durable", "num")]
        said.append(table("Inputs being read", columns, lines))
    elif found.inputs:
        lines = [
            [
                _input(row),
                grouped(row["position"]),
                tag("span", since(found.now_ms, row["written_at"]), title=zone.stamp(row["written_at"])),
            ]
            for row in found.inputs
        ]
        columns = [Column("Input", "long"), Column("Read up to", "num"), Column("Last durable", "num")]
        said.append(table("How far inputs are durable", columns, lines))
    else:
        said.append(
            empty("Nothing was read yet.", together("Feed events: ", tag("code", "millrace run PATH"), "."))
        )
    return card("Health and lag", tag("div", said, class_="stack"), note=note)


def _input(row: Mapping[str, Any]) -> Markup:
    partition = mark(f"partition {row['partition']}") if row["partition"] else None
    return together(row["topic"], " ", partition)
