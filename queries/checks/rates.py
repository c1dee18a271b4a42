"""Invariant 6: rating what a row has measured under its own catalog version gives the row's amounts."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.catalog import UNPRICED, Catalog, Entry, Version, default_catalog
from pipeline.event import MICRO, TYPE_NAMES, EventType, Reject
from pipeline.findings import Finding, Result
from pipeline.pricing import Quantities, price_event
from queries.checks.asking import text
from queries.refusals import refusal

_TYPES = dict(zip(TYPE_NAMES, EventType, strict=True))


def check_rates(client: Any, catalog: Catalog, sample: int) -> Result:
    """Rate about `sample` rows again, all of them when it is 0; the catalog that is shipped is known, too."""
    rows = int(client.query("SELECT count() FROM ledger").result_rows[0][0])
    result = Result(of="rows")
    versions = {version.version: version for one in (default_catalog(), catalog) for version in one.versions}
    missing: dict[str, int] = {}
    for row in _rows(client, max(rows // sample, 1) if sample else 1):
        name = row["catalog_version"]
        if name and name not in versions:
            missing[name] = missing.get(name, 0) + 1
            continue
        result.compared += 1
        result.add(_differences(row, versions.get(name)))
    result.add(_missing(version, count) for version, count in sorted(missing.items()))
    return result


def _rows(client: Any, one_of: int) -> Iterator[dict[str, Any]]:
    try:
        with client.query_row_block_stream(text("rated_rows"), parameters={"one_of": one_of}) as blocks:
            names = blocks.source.column_names
            for block in blocks:
                yield from (dict(zip(names, row, strict=True)) for row in block)
    except ClickHouseError as error:
        raise refusal(error, "reading rows to rate them again") from error


def _differences(row: dict[str, Any], version: Version | None) -> list[Finding]:
    kind = _TYPES[row["type"]]
    entry = version.entry(kind, row["operation"]) if version else UNPRICED
    measured = Quantities(
        kind,
        row["request_bytes"],
        row["response_bytes"],
        row["delta_bytes"],
        _micro(row["base_units"]),
        tuple((name, _micro(quantity)) for name, quantity in row["usage"].items()),
    )
    priced = price_event(entry, measured)
    if isinstance(priced, Reject):
        return [_finding(row, f"no amount ({priced.detail})", str(_told(row)))]
    wanted = (
        priced.pico, tuple(c.source for c in entry.components), priced.breakdown_pico, priced.weighted_micro,
        *_settings(entry),
    )  # fmt: skip
    got = (
        row["cost_micro_usd"] * MICRO + row["residual_pico_usd"], tuple(row["breakdown_sources"]),
        tuple(row["breakdown_pico_usd"]), _micro(row["weighted_units"]), row["pricing"], row["settlement"],
        bool(row["reconciled"]),
    )  # fmt: skip
    return [] if wanted == got else [_finding(row, _shown(wanted), _shown(got))]


def _settings(entry: Entry) -> tuple[str, str, bool]:
    return str(entry.pricing), str(entry.settlement), entry.reconciled


def _told(row: dict[str, Any]) -> int:
    return int(row["cost_micro_usd"]) * MICRO + int(row["residual_pico_usd"])


def _micro(quantity: Decimal) -> int:
    return int(quantity.scaleb(6))


def _shown(rated: Sequence[Any]) -> str:
    pico, sources, parts, weighted, pricing, settlement, _ = rated
    made_of = ", ".join(f"{source} {part}" for source, part in zip(sources, parts, strict=True)) or "nothing"
    units = f"{Decimal(weighted).scaleb(-6).normalize():f}"
    return f"{pico} pico-USD ({made_of}) for {units} weighted units, {pricing}, {settlement}"


def _finding(row: dict[str, Any], wanted: str, got: str) -> Finding:
    return Finding(
        f"{row['tenant']} {row['idempotency_key']!r}",
        f"the version {row['catalog_version']!r} does not rate the row as it was rated",
        wanted,
        got,
        "give the catalog as it was when the row was accepted: a version that has rated rows is never changed, "
        "a new price is a new version",
    )


def _missing(version: str, rows: int) -> Finding:
    return Finding(
        f"version {version!r}",
        f"{rows} rows cannot be rated again",
        "their version in the catalog",
        "none of that name",
        "give --catalog the folder that has all versions",
    )
