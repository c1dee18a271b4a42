"""Hand-made rows for tests that read a ledger without running the pipeline."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)

_LEDGER: dict[str, Any] = {
    "tenant": "acme",
    "principal": "ann",
    "idempotency_key": "",
    "event_id": "",
    "source": "test",
    "type": "compute",
    "operation": "ask",
    "action": "",
    "context_type": "",
    "context_name": "",
    "context_display": "",
    "trigger": "synchronous",
    "occurred_at": NOON,
    "ingested_at": NOON,
    "method": "",
    "endpoint": "",
    "status": 0,
    "object": "",
    "provider": "",
    "verified": False,
    "attributes": "",
    "request_bytes": 0,
    "response_bytes": 0,
    "delta_bytes": 0,
    "base_units": Decimal(0),
    "weighted_units": Decimal(0),
    "usage": {},
    "cost_micro_usd": 0,
    "residual_pico_usd": 0,
    "breakdown_sources": [],
    "breakdown_pico_usd": [],
    "pricing": "priced",
    "settlement": "metered",
    "reconciled": False,
    "catalog_version": "v1",
    "billing_period": "",
    "voids": "",
    "topic": "t",
    "partition": 0,
    "offset": 0,
    "key_hash": 0,
    "fingerprint": 0,
    "run": 1,
}
_REJECT: dict[str, Any] = {
    "reason": "unreadable",
    "detail": "the line is not JSON",
    "raw": b"{",
    "topic": "t",
    "partition": 0,
    "offset": 0,
    "rejected_at": NOON,
    "run": 1,
}
_DECISION: dict[str, Any] = {
    "tenant": "acme",
    "window": "day",
    "window_start": NOON.replace(hour=0),
    "limit_micro_usd": 1_000_000,
    "current_micro_usd": 1_000_001,
    "threshold_percent": 100,
    "state": "crossed",
    "decided_at": NOON,
    "topic": "",
    "partition": 0,
    "offset": 0,
    "sequence": 0,
    "run": 1,
}


@dataclass(frozen=True, slots=True)
class Costs:
    """The money columns of one row, from its components in pico-USD."""

    components: tuple[tuple[str, int], ...]

    def columns(self) -> dict[str, Any]:
        """Give the columns as the contract defines them (floor division)."""
        micro, residual = divmod(sum(pico for _, pico in self.components), 10**6)
        return {
            "cost_micro_usd": micro,
            "residual_pico_usd": residual,
            "breakdown_sources": [source for source, _ in self.components],
            "breakdown_pico_usd": [pico for _, pico in self.components],
        }


def event(pico: int | Mapping[str, int] = 0, /, **columns: Any) -> dict[str, Any]:
    """Make a row of the ledger that costs `pico` (all of source compute, or by source)."""
    parts = tuple(pico.items()) if isinstance(pico, Mapping) else (("compute", pico),)
    row = _LEDGER | Costs(parts).columns() | columns
    if not row["billing_period"]:
        row["billing_period"] = f"{row['occurred_at']:%Y-%m}"
    if row["voids"]:
        row["type"] = "correction"
    return row


def insert_events(client: Client, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows to the ledger; a row without a key gets one of its own."""
    keyed = [dict(row) for row in rows]
    for number, row in enumerate(keyed):
        row["idempotency_key"] = row["idempotency_key"] or f"key-{row['tenant']}-{number}"
    _insert(client, "ledger", list(_LEDGER), keyed)


def insert_rejects(client: Client, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rejects; what a row does not name has a default."""
    _insert(client, "rejected_events", list(_REJECT), [_REJECT | row for row in rows])


def insert_decisions(client: Client, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write cap decisions; what a row does not name has a default."""
    _insert(client, "cap_decisions", list(_DECISION), [_DECISION | row for row in rows])


def _insert(client: Client, table: str, names: list[str], rows: list[dict[str, Any]]) -> None:
    data = [[row[name] for name in names] for row in rows]
    if data:
        client.insert(table, data, column_names=names)
