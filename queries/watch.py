"""What a monitor asks the ledger again and again: small answers, from the rollup wherever there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from queries.named import Client
from queries.refusals import refusal


@dataclass(frozen=True, slots=True)
class Volume:
    """A tenant whose last hour is far from its usual one."""

    tenant: str
    events: int
    expected: int
    percent: int


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of the ledger."""

    name: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Unusual:
    """What counts as unusual: at or below `low_percent`, at or above `high_percent` of at least `least` events."""

    least: int = 100
    low_percent: int = 20
    high_percent: int = 500


def rejects_by_reason(client: Client) -> dict[str, int]:
    """Count all rejects of the ledger by reason; a count only grows."""
    return {reason: count for reason, count in _ask(client, "rejects")}  # noqa: C416 - rows are lists


def decisions_by_kind(client: Client) -> dict[tuple[str, str, bool], int]:
    """Count all cap decisions by window, state and whether the threshold is the limit; a count only grows."""
    return {(window, state, bool(at)): count for window, state, at, count in _ask(client, "decisions")}


def unpriced(client: Client, hours: int = 24) -> dict[str, int]:
    """Count what occurred lately without a price, by operation: the twenty most frequent."""
    return {name: count for name, count in _ask(client, "unpriced", hours=hours)}  # noqa: C416 - rows are lists


def disks(client: Client) -> list[Disk]:
    """Look at the disks that the ledger lies on."""
    return [Disk(*row) for row in _ask(client, "disks")]


def unusual_volumes(client: Client, bounds: Unusual = Unusual(), at: str = "") -> list[Volume]:
    """Compare each tenant's last hour with the same hour of the days before; at most 100 that stand out."""
    asked = {"at": at, "least": bounds.least, "low": bounds.low_percent, "high": bounds.high_percent}
    return [Volume(*row) for row in _ask(client, "tenant_volume", **asked)]


def _ask(client: Client, name: str, **parameters: Any) -> Sequence[Sequence[Any]]:
    try:
        return client.query(_sql(name), parameters=parameters).result_rows
    except ClickHouseError as error:
        raise refusal(error, f"the watch over {name.replace('_', ' ')}") from error


@cache
def _sql(name: str) -> str:
    return (resources.files("queries") / "watch_sql" / f"{name}.sql").read_text(encoding="utf-8")
