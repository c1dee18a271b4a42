"""`millrace catalog`: check what operations cost, and compare it with what the ledger has seen."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.catalog import SINCE_EVER_MS, Catalog, Pricing, Version, load_catalog
from pipeline.event import EventType
from pipeline.spans import SETTLEMENT_OPERATIONS
from queries.named import find_query, run
from sinks.clickhouse import connect, migrate

SHOWN_MAX = 40
"""Lines of a table; JSON has them all."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

app = typer.Typer(name="catalog", help="What operations cost.", no_args_is_help=True)


class Format(StrEnum):
    """How the audit is written."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Seen:
    """An operation as the ledger has seen it, corrections apart."""

    type: EventType
    operation: str
    events: int
    unpriced_events: int
    last_seen_ms: int


@app.callback()
def main() -> None:
    """Say what operations cost, and what is missing."""


@app.command()
def audit(
    path: Annotated[
        Path, typer.Argument(help="A catalog file, or a folder of versions.", show_default=False)
    ],
    ledger: Annotated[
        str | None, typer.Option(envvar="MILLRACE_LEDGER", help="Compare with what this ledger has seen.")
    ] = None,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.TABLE,  # noqa: A002
) -> None:
    """Check a catalog, and list operations that are not declared, never seen, or recorded without a price."""
    catalog = load_catalog(path)
    report = {"catalog": str(path), **declared(catalog)}
    if ledger is not None:
        report |= compare(catalog, read_seen(ledger))
    if format is Format.JSON:
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _print(Console(), report)


def declared(catalog: Catalog) -> dict[str, Any]:
    """Summarise the versions of a catalog."""
    return {"versions": [_version(version) for version in catalog.versions]}


def compare(catalog: Catalog, seen: Iterable[Seen]) -> dict[str, Any]:
    """Compare a catalog with what was seen: `undeclared`, `never_seen` and `unpriced`, each in a fixed order.

    An operation is declared when any version has an entry for it. `priced_by` names the default of its kind
    that prices it all the same at the time it was last seen, or is None; `priced_now` says whether its next
    event would have a price.
    """
    names = {name for version in catalog.versions for name in version.operations}
    seen = [one for one in seen if one.operation in names or one.operation not in SETTLEMENT_OPERATIONS]
    return {
        "undeclared": [_undeclared(catalog, one) for one in seen if one.operation not in names],
        "never_seen": sorted(names - {one.operation for one in seen}),
        "unpriced": [_unpriced(catalog, one) for one in seen if one.unpriced_events],
    }


def read_seen(ledger: str) -> list[Seen]:
    """Read the operations that the ledger at this URL has seen, the most frequent first."""
    client = connect(ledger)
    try:
        migrate(client)
        rows = run(client, find_query("catalog_operations_seen")).dicts()
    finally:
        client.close()
    return [_seen(row) for row in rows]


def _seen(row: dict[str, Any]) -> Seen:
    last_seen_ms = (row["last_occurred_at"].replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
    kind = EventType[row["type"].upper()]
    return Seen(kind, row["operation"], row["events"], row["unpriced_events"], last_seen_ms)


def _version(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "effective_from": _moment(version.effective_from_ms),
        "kinds": [kind.name.lower() for kind in sorted(version.kinds)],
        "operations": sorted(version.operations),
    }


def _undeclared(catalog: Catalog, seen: Seen) -> dict[str, Any]:
    entry = catalog.entry(catalog.version_at(seen.last_seen_ms), seen.type, seen.operation)
    kind = seen.type.name.lower()
    return {
        "operation": seen.operation,
        "type": kind,
        "events": seen.events,
        "last_seen": _moment(seen.last_seen_ms),
        "priced_by": None if entry.pricing is Pricing.UNPRICED else f"kinds.{kind}",
    }


def _unpriced(catalog: Catalog, seen: Seen) -> dict[str, Any]:
    entry = catalog.entry(len(catalog.versions) - 1, seen.type, seen.operation)
    return {
        "operation": seen.operation,
        "type": seen.type.name.lower(),
        "events": seen.unpriced_events,
        "last_seen": _moment(seen.last_seen_ms),
        "priced_now": entry.pricing is not Pricing.UNPRICED,
    }


def _moment(epoch_ms: int) -> str | None:
    if epoch_ms == SINCE_EVER_MS:
        return None
    moment = _EPOCH + timedelta(milliseconds=epoch_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _print(console: Console, report: dict[str, Any]) -> None:
    for version in report["versions"]:
        since = version["effective_from"] or "since ever"
        defaults = ", ".join(version["kinds"]) or "no type"
        count = len(version["operations"])
        console.print(_plain(f"{version['version']} ({since}): operations {count}, defaults for {defaults}"))
    if "undeclared" not in report:
        console.print("The catalog is sound. With --ledger URL it is compared with what was seen.")
        return
    _print_rows(console, "Seen but not declared", report["undeclared"])
    _print_rows(console, "Declared but never seen", [{"operation": name} for name in report["never_seen"]])
    _print_rows(console, "Recorded without a price", report["unpriced"])


def _print_rows(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        console.print(f"{title}: none")
        return
    table = Table(title=f"{title}: {len(rows)}", title_justify="left")
    for name in rows[0]:
        side: Literal["left", "right"] = "right" if name == "events" else "left"
        table.add_column(name.replace("_", " "), justify=side, overflow="fold")
    for row in rows[:SHOWN_MAX]:
        table.add_row(*(_plain(_cell(value)) for value in row.values()))
    console.print(table)
    if len(rows) > SHOWN_MAX:
        console.print(f"... and {len(rows) - SHOWN_MAX} more: --format json lists them all")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value is None else str(value)


def _plain(text: str) -> Text:
    """Show names that users gave as they are: no markup, no control characters."""
    return Text("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text))
