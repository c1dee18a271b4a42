"""`millrace explain`: one event from its key to its money."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from billing.store import Store, open_store
from billing.told import reports_of
from cli.reading import Form, opened
from queries.explain import Explanation, Told, explain
from queries.rejects import LOG, handed_in
from queries.table import laid_out, printable

app = typer.Typer(help="Explain one event.")
HERE = Path(".millrace")
_NUMBERS = {"events", "cost_usd", "pico_usd", "partition", "offset", "value"}


class OutboxReports:
    """`queries.explain.Reports` over the control store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def told(self, tenant: str, hours: Sequence[int]) -> Sequence[Told]:
        """Give the reports of these hours."""
        return [Told(report, state) for report, state in reports_of(self._store, tenant, hours)]


@app.command("explain")
def explain_(  # noqa: PLR0913, PLR0917 - one argument for each flag
    tenant: Annotated[str, typer.Argument(help="Who pays.", show_default=False)],
    key: Annotated[str, typer.Argument(help="The idempotency key.", show_default=False)],
    ledger: Annotated[
        str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")
    ] = None,
    state: Annotated[
        Path, typer.Option(envvar="MILLRACE_STATE", help="The folder of the control store.")
    ] = HERE,
    control: Annotated[
        str | None,
        typer.Option(envvar="MILLRACE_CONTROL", help="The control store's URL, in place of --state."),
    ] = None,
    format: Annotated[Form, typer.Option(help="How to write it.")] = Form.TABLE,  # noqa: A002
) -> None:
    """Explain one event: its row, what voids it, the quarter hours that hold it, what Stripe is told of them."""
    with opened(ledger) as client, _reports(state, control) as reports:
        found = explain(client, tenant, key, reports)
        replayed = handed_in(client, [row["offset"] for row in _money(found) if row["topic"] == LOG])
    if format is Form.JSON:
        typer.echo(json.dumps(_report(found, replayed), indent=2, ensure_ascii=False))
    else:
        typer.echo(_text(found, replayed), nl=False)


@contextmanager
def _reports(state: Path, control: str | None) -> Iterator[OutboxReports | None]:
    """Open the control store where there is one: looking for it does not make it."""
    file = state.absolute() / "control.db"
    if control is None and not file.exists():
        yield None
        return
    store = open_store(control or f"sqlite:///{file}")
    try:
        yield OutboxReports(store)
    finally:
        store.close()


def _money(found: Explanation) -> list[Mapping[str, Any]]:
    return [*found.events, *found.corrections]


def _report(found: Explanation, replayed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "events": [_plain(row) for row in found.events],
        "corrections": [_plain(row) for row in found.corrections],
        "replayed": [_rejected(line) for line in replayed],
        "rollups": [_plain(row) for row in found.rollups],
        "stripe": None if found.told is None else [_told(one) for one in found.told],
    }


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.isoformat(timespec='milliseconds')}Z"
    return str(value) if isinstance(value, Decimal) else value


def _told(one: Told) -> dict[str, Any]:
    report = one.report
    return {
        "event_name": report.event_name,
        "customer": report.customer,
        "value": report.value,
        "of": _utc(report.origin_start),
        "at": _utc(report.timestamp),
        "identifier": report.identifier,
        "state": one.state.value,
    }


def _utc(epoch_s: int) -> str:
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _rejected(line: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a reject that was handed in again, and became a row."""
    names = (
        "number",
        "reject",
        "reason",
        "by_hand",
        "replayed_at",
        "from_topic",
        "from_partition",
        "from_offset",
    )
    return {name: _value(line[name]) for name in names}


def _text(found: Explanation, replayed: Sequence[Mapping[str, Any]]) -> str:
    money = _money(found)
    handed = [_section("Rejected first, and handed in again", [_rejected(line) for line in replayed])]
    parts = [
        _section("In the ledger", [_brief(row) for row in money]),
        *(handed if replayed else []),
        _section("Made of", [part for row in money for part in _components(row)]),
        _section("Summed in these quarter hours", [_quarter(row) for row in found.rollups]),
        _section(
            "Told to Stripe about their hours, in whole units", [_told(one) for one in found.told or ()]
        ),
    ]
    if found.told is None:
        parts[-1] = "No Stripe outbox is here: name it with --state or --control.\n"
    return "\n".join(parts)


def _section(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return f"{title}: nothing\n"
    cells = [[printable(str(_value(value))) for value in row.values()] for row in rows]
    names = list(rows[0])
    return f"{title}\n{laid_out(names, [name in _NUMBERS for name in names], cells)}"


def _brief(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("part", "occurred_at", "principal", "type", "operation", "cost_usd", "pricing", "settlement")
    more = ("billing_period", "catalog_version", "topic", "partition", "offset")
    return {name: row[name] for name in (*names, *more)}


def _components(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for source, pico in zip(row["breakdown_sources"], row["breakdown_pico_usd"], strict=True):
        yield {"part": row["part"], "cost_source": source, "pico_usd": pico}


def _quarter(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("occurred_at", "operation", "settlement", "billing_period", "events", "cost_usd")
    return {name: row[name] for name in names}
