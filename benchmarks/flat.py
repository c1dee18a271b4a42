"""The flat parts: what must stay quick or small however much there is. Keys, a restart, a month's summary, the export.

The rows are made by ClickHouse itself, by numbers: what is measured here reads a ledger and does not write one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_lap import peak_bytes
from benchmarks.bench_machine import resident_bytes
from pipeline.keys import KeyTable
from queries.export import Scope, StreamingClient, export_principals

PERIOD = "2026-11"
_BATCH = 1 << 20
_ROWS = """
INSERT INTO ledger (
    tenant, principal, idempotency_key, operation, occurred_at, ingested_at, cost_micro_usd, residual_pico_usd,
    breakdown_sources, breakdown_pico_usd, settlement, pricing, billing_period, key_hash, fingerprint, run
)
SELECT
    'tenant-' || toString(number % {principals:UInt64} % 300),
    'user-' || toString(cityHash64(number % {principals:UInt64})),
    'key-' || toString(number), 'operation-' || toString(number % 50),
    toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + intDiv(number * 2592000, {rows:UInt64}), now64(3),
    number % 1000, number % 999983, ['compute'], [(number % 1000) * 1000000 + number % 999983], 'metered', 'priced',
    '2026-11', bitShiftLeft(toUInt128(sipHash64(number, 1)), 64) + sipHash64(number, 2), sipHash64(number, 3), 1
FROM numbers({rows:UInt64})
SETTINGS max_insert_threads = 1, max_insert_block_size = 500000, min_insert_block_size_rows = 500000,
    max_partitions_per_insert_block = 0
"""
_SUMMARY = """
SELECT count(), sum(pico)
FROM (
    SELECT tenant, principal, sum(cost_micro_usd * 1000000 + residual_pico_usd) AS pico
    FROM usage_by_principal WHERE billing_period = {period:String} GROUP BY tenant, principal
)
"""
_RAW = """
SELECT count(), sum(toInt256(cost_micro_usd) * 1000000 + residual_pico_usd)
FROM ledger WHERE billing_period = {period:String}
"""


@dataclass(slots=True)
class Stopwatch:
    """Seconds on the clock and on the processors."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @contextmanager
    def lap(self) -> Iterator[None]:
        """Time the body."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def of_keys(count: int) -> dict[str, Any]:
    """Bytes for a key, and lookups a core-second, of a table of so many keys: half of them there, half not."""
    draw = np.random.default_rng(1)
    table, held = KeyTable(), np.empty((0, 2), np.uint64)
    before, entered = resident_bytes(), Stopwatch()
    while len(table) < count:
        hashes = draw.integers(1, 1 << 64, (min(_BATCH, count - len(table)), 2), np.uint64)
        with entered.lap():
            table.put(hashes, hashes[:, 0])
        held = hashes[: _BATCH // 2] if not len(held) else held
    resident = resident_bytes() - before
    asked, looked = np.concatenate((held, draw.integers(1, 1 << 64, held.shape, np.uint64))), Stopwatch()
    for _ in range(5):
        with looked.lap():
            found = table.find(asked)
    if int(np.count_nonzero(found)) != len(held):
        raise AssertionError(f"{len(held)} keys are there, {np.count_nonzero(found)} were found")
    return {
        "keys": len(table),
        "bytes_a_key": table.bytes_held() / len(table),
        "resident_bytes_a_key": resident / len(table),
        "entered_a_core_second": len(table) / sum(entered.cpu),
        "lookups_a_core_second": len(asked) / min(looked.cpu),
    }


def fill(client: Any, rows: int, principals: int) -> None:
    """Make a ledger of a month with so many rows, each of a key of its own, and so many principals."""
    client.command(_ROWS, parameters={"rows": rows, "principals": principals})


def of_summary(client: Any, rounds: int = 5) -> dict[str, Any]:
    """A month's cost by tenant and principal, through the rollup; equal to the sum over the rows."""
    watch, named = Stopwatch(), {"period": PERIOD}
    lines = total = 0
    for _ in range(rounds):
        with watch.lap():
            lines, total = client.query(_SUMMARY, parameters=named).result_rows[0]
    rows, raw = client.query(_RAW, parameters=named).result_rows[0]
    if int(total) != int(raw):
        raise AssertionError(f"the rollup says {total}, the rows say {raw}")
    return {"rows": int(rows), "lines": int(lines), "seconds": sorted(watch.wall)[rounds // 2]}


def export_bytes(export: dict[str, Any]) -> int:
    """What an export took at most above the opened ledger."""
    return int(export["peak_bytes"]) - int(export["base_bytes"])


def of_export(client: StreamingClient, folder: Path) -> dict[str, Any]:
    """The finance export of the month; what this process held at most, and what it held before it began."""
    before, watch = resident_bytes(), Stopwatch()
    with watch.lap():
        manifest = export_principals(client, Scope(PERIOD), folder)
    return {
        "lines": manifest["sheets"]["principals"]["rows"],
        "seconds": watch.wall[0],
        "cpu_seconds": watch.cpu[0],
        "base_bytes": before,
        "peak_bytes": peak_bytes(),
    }
