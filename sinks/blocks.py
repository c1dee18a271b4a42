"""Prepared rows and corrections as blocks of the ledger's columns in ClickHouse's Native format."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from pipeline.batch import Batch
from pipeline.columns import Int32s
from pipeline.event import CONTEXT_NAMES, TRIGGER_NAMES, TYPE_NAMES
from pipeline.kernels import layout
from pipeline.kernels.gather import (
    gather_codes,
    gather_numbers,
    gather_parts,
    gather_texts,
    gather_usage,
    gather_values,
    split_amounts,
    text_rooms,
)
from pipeline.kernels.layout import LANES
from pipeline.locks import Locks, month_of, months_of, period_name, read_period
from pipeline.ports import Correction
from sinks.native import Block, array_of_low_cardinality, string, strings

_KINDS = (
    ("tenant", layout.KIND_TENANT),
    ("source", layout.KIND_SOURCE),
    ("operation", layout.KIND_OPERATION),
    ("action", layout.KIND_ACTION),
    ("method", layout.KIND_METHOD),
    ("endpoint", layout.KIND_ENDPOINT),
    ("provider", layout.KIND_PROVIDER),
)
_TEXTS = (
    ("principal", layout.PRINCIPAL),
    ("idempotency_key", layout.KEY),
    ("event_id", layout.EVENT_ID),
    ("object", layout.OBJECT),
    ("context_name", layout.CONTEXT_NAME),
    ("context_display", layout.CONTEXT_DISPLAY),
    ("attributes", layout.ATTRIBUTES),
    ("voids", layout.VOIDS),
)
_TEXT_FIELDS = np.array([field for _, field in _TEXTS], np.int32)
_PRICINGS = ("priced", "free", "unpriced")
_SETTLEMENTS = ("metered", "credit", "rate-limited", "free")
_MOMENT, _DECIMAL = "DateTime64(3, 'UTC')", "Decimal(38, 6)"
_USAGE = "Map(LowCardinality(String), Decimal(38, 6))"
_MICRO = 1_000_000


def accepted_rows(batch: Batch, rows: Int32s, run: int, locks: Locks) -> Block:
    """The ledger's columns of accepted rows (no corrections) of a batch."""
    block = Block(len(rows))
    _add_texts(block, batch, rows)
    _add_origin(block, batch, rows, run, locks)
    _add_quantities(block, batch, rows)
    _add_amounts(block, batch, rows)
    return block


def _values(batch: Batch, kind: int) -> tuple[bytes, int]:
    dictionary, count = batch.dictionary, int(batch.dictionary.counts[kind])
    sizes = dictionary.sizes[kind]
    out = np.empty(int(sizes[:count].sum()) + 5 * count + LANES, np.uint8)
    used = gather_values(batch.chunk.buffer, dictionary.starts[kind], sizes, count, out)
    return out[:used].tobytes(), count


def _add_texts(block: Block, batch: Batch, rows: Int32s) -> None:
    c, all_codes = batch.columns, batch.dictionary.codes
    codes = np.empty((all_codes.shape[1], len(rows)), np.int32)
    gather_codes(rows, all_codes, codes)
    for name, kind in _KINDS:
        block.low_cardinality(name, *_values(batch, kind), codes[kind])
    begins = np.empty(len(_TEXTS) + 1, np.int64)
    text_rooms(c.length, _TEXT_FIELDS, rows, begins)
    out, ends = np.empty(int(begins[-1]), np.uint8), begins[:-1].copy()
    gather_texts(batch.chunk.buffer, c.at, c.length, _TEXT_FIELDS, rows, out, ends)
    for (name, _), begin, end in zip(_TEXTS, begins.tolist(), ends.tolist(), strict=False):
        block.data(name, "String", out[begin:end])
    block.named("type", TYPE_NAMES, c.types[rows])
    block.named("context_type", CONTEXT_NAMES, c.contexts[rows])
    block.named("trigger", TRIGGER_NAMES, c.triggers[rows])
    block.data("verified", "Bool", c.verified[rows])


def _add_origin(block: Block, batch: Batch, rows: Int32s, run: int, locks: Locks) -> None:
    chunk, times = batch.chunk, batch.columns.times[rows]
    block.data("occurred_at", _MOMENT, times)
    block.repeated("ingested_at", _MOMENT, chunk.read_at_ms, "<i8")
    months = locks.billed_in(batch, rows, months_of(times))
    first = int(months.min())
    names = [period_name(month) for month in range(first, int(months.max()) + 1)]
    block.named("billing_period", names, months - first)
    block.constant("topic", chunk.origin.topic)
    block.repeated("partition", "UInt32", chunk.origin.partition, "<u4")
    block.data("offset", "UInt64", chunk.offsets[rows].astype(np.uint64))
    block.data("fingerprint", "UInt64", batch.prints[rows])
    block.repeated("run", "UInt32", run, "<u4")


def _add_quantities(block: Block, batch: Batch, rows: Int32s) -> None:
    c = batch.columns
    block.data("status", "Int64", c.status[rows])
    quantities = np.empty((3, len(rows)), np.int64)
    units, weighted, hashes = (np.empty((len(rows), 2), dtype) for dtype in (np.int64, np.int64, np.uint64))
    gather_numbers(
        rows, c.quantities, c.units, batch.rates.weighted, batch.hashes, quantities, units, weighted, hashes
    )
    for i, name in enumerate(("request_bytes", "response_bytes", "delta_bytes")):
        block.data(name, "Int64", quantities[i])
    block.data("base_units", _DECIMAL, units)
    block.data("weighted_units", _DECIMAL, weighted)
    block.data("key_hash", "UInt128", hashes)
    most = int(c.usage_count[rows].sum())
    offsets, codes = np.empty(len(rows), np.uint64), np.empty(most, np.int32)
    values = np.empty((most, 2), np.int64)
    gather_usage(
        rows,
        c.usage_first,
        c.usage_count,
        batch.dictionary.usage_codes,
        c.usage_value,
        offsets,
        codes,
        values,
    )
    block.data(
        "usage", _USAGE, *array_of_low_cardinality(offsets, *_values(batch, layout.KIND_USAGE), codes), values
    )


def _add_amounts(block: Block, batch: Batch, rows: Int32s) -> None:
    rates, prices, entries = batch.rates, batch.rater.prices, batch.rates.entries[rows]
    micro, residual = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
    split_amounts(rows, rates.pico, micro, residual)
    block.data("cost_micro_usd", "Int64", micro)
    block.data("residual_pico_usd", "Int32", residual)
    most = int((rates.part_first[rows + 1] - rates.part_first[rows]).sum())
    offsets = np.empty(len(rows), np.uint64)
    codes, parts = np.empty(most, np.int32), np.empty(most, np.int64)
    gather_parts(
        rows, rates.entries, rates.part_first, rates.parts, prices.component_first, prices.part_source, offsets,
        codes, parts,
    )  # fmt: skip
    names = prices.source_names
    block.data(
        "breakdown_sources", "Array(LowCardinality(String))",
        *array_of_low_cardinality(offsets, strings(names), len(names), codes),
    )  # fmt: skip
    block.data("breakdown_pico_usd", "Array(Int64)", offsets, parts)
    block.named("pricing", _PRICINGS, prices.pricing_codes(_PRICINGS)[entries])
    block.named("settlement", _SETTLEMENTS, prices.settlement_codes(_SETTLEMENTS)[entries])
    block.data("reconciled", "Bool", prices.reconciled()[entries])
    names = batch.rater.version_names()
    block.named("catalog_version", names, rates.versions[rows].astype(np.int64) + 1)


@dataclass(frozen=True, slots=True)
class VoidedRow:
    """What a correction needs of the row that it voids; field names are the ledger's columns."""

    key_hash: int
    principal: str
    operation: str
    action: str
    context_type: str
    context_name: str
    context_display: str
    occurred_at: datetime
    request_bytes: int
    response_bytes: int
    delta_bytes: int
    base_units: Decimal
    weighted_units: Decimal
    usage: dict[str, Decimal]
    cost_micro_usd: int
    residual_pico_usd: int
    breakdown_sources: list[str]
    breakdown_pico_usd: list[int]
    pricing: str
    settlement: str
    reconciled: bool
    catalog_version: str
    billing_period: str

    @property
    def pico_usd(self) -> int:
        """The amount of the voided row."""
        return self.cost_micro_usd * _MICRO + self.residual_pico_usd

    @property
    def occurred_at_ms(self) -> int:
        """When the voided event happened."""
        moment = self.occurred_at if self.occurred_at.tzinfo else self.occurred_at.replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def counted_at(correction: Correction, voided: VoidedRow, locks: Locks) -> tuple[int, str]:
    """When a correction's row counts, and its billing period.

    Those of the voided row while that period is open; once it is locked the correction's own time, billed in the
    first open period.
    """
    if not locks or read_period(voided.billing_period) not in locks.of(correction.tenant):
        return voided.occurred_at_ms, voided.billing_period
    month = locks.first_open(correction.tenant, month_of(correction.occurred_at_ms))
    return correction.occurred_at_ms, period_name(month)


def correction_rows(pairs: Sequence[tuple[Correction, VoidedRow]], run: int, locks: Locks) -> bytes:
    """The ledger's columns of corrections: what each voids, negated first and split after."""
    block = Block(len(pairs))
    corrections, rows = [c for c, _ in pairs], [v for _, v in pairs]
    _add_correction_texts(block, corrections, rows)
    _add_correction_origin(block, corrections, [counted_at(c, v, locks) for c, v in pairs], run)
    _add_negated(block, rows)
    return block.bytes()


def _add_text(block: Block, name: str, values: Sequence[str], *, low: bool = True) -> None:
    if not low:
        block.data(name, "String", strings(values))
        return
    distinct = list(dict.fromkeys(values))
    numbers = {value: number for number, value in enumerate(distinct)}
    block.low_cardinality(
        name, strings(distinct), len(distinct), np.array([numbers[v] for v in values], np.int64)
    )


def _add_correction_texts(block: Block, corrections: list[Correction], rows: list[VoidedRow]) -> None:
    for name in ("tenant", "source", "trigger"):
        _add_text(block, name, [getattr(c, name) for c in corrections])
    for name in ("idempotency_key", "event_id", "attributes", "voids"):
        _add_text(block, name, [getattr(c, name) for c in corrections], low=False)
    for name in ("operation", "action", "context_type"):
        _add_text(block, name, [getattr(v, name) for v in rows])
    for name in ("principal", "context_name", "context_display"):
        _add_text(block, name, [getattr(v, name) for v in rows], low=False)
    block.constant("type", "correction")
    for name in ("method", "endpoint", "provider"):
        block.constant(name, "")
    block.data("object", "String", strings([""] * len(rows)))
    block.repeated("verified", "Bool", 0, "u1")
    block.repeated("status", "Int64", 0, "<i8")


def _add_correction_origin(
    block: Block, corrections: list[Correction], counted: list[tuple[int, str]], run: int
) -> None:
    block.data("occurred_at", _MOMENT, np.array([moment for moment, _ in counted], np.int64))
    block.data("ingested_at", _MOMENT, np.array([c.ingested_at_ms for c in corrections], np.int64))
    _add_text(block, "billing_period", [period for _, period in counted])
    _add_text(block, "topic", [c.origin.topic for c in corrections])
    block.data("partition", "UInt32", np.array([c.origin.partition for c in corrections], np.uint32))
    block.data("offset", "UInt64", np.array([c.offset for c in corrections], np.uint64))
    block.data("key_hash", "UInt128", np.array([c.key_hash[::-1] for c in corrections], np.uint64))
    block.repeated("fingerprint", "UInt64", 0, "<u8")
    block.repeated("run", "UInt32", run, "<u4")


def _decimals(values: Sequence[Decimal]) -> bytes:
    return b"".join((-int(value.scaleb(6))).to_bytes(16, "little", signed=True) for value in values)


def _add_negated(block: Block, rows: list[VoidedRow]) -> None:
    for name in ("request_bytes", "response_bytes", "delta_bytes"):
        block.data(name, "Int64", np.array([-getattr(v, name) for v in rows], np.int64))
    block.data("base_units", _DECIMAL, _decimals([v.base_units for v in rows]))
    block.data("weighted_units", _DECIMAL, _decimals([v.weighted_units for v in rows]))
    micro, residual = zip(*(divmod(-v.pico_usd, _MICRO) for v in rows), strict=True)
    block.data("cost_micro_usd", "Int64", np.array(micro, np.int64))
    block.data("residual_pico_usd", "Int32", np.array(residual, np.int32))
    for name in ("pricing", "settlement", "catalog_version"):
        _add_text(block, name, [str(getattr(v, name)) for v in rows])
    block.data("reconciled", "Bool", np.array([v.reconciled for v in rows], np.uint8))
    _add_nested(block, rows)


def _add_nested(block: Block, rows: list[VoidedRow]) -> None:
    parts = np.cumsum([len(v.breakdown_pico_usd) for v in rows]).astype(np.uint64)
    sources = [s for v in rows for s in v.breakdown_sources]
    block.data("breakdown_sources", "Array(LowCardinality(String))", *_names_array(parts, sources))
    negated = np.array([-p for v in rows for p in v.breakdown_pico_usd], np.int64)
    block.data("breakdown_pico_usd", "Array(Int64)", parts, negated)
    uses = np.cumsum([len(v.usage) for v in rows]).astype(np.uint64)
    block.data(
        "usage", _USAGE, *_names_array(uses, [s for v in rows for s in v.usage]),
        _decimals([q for v in rows for q in v.usage.values()]),
    )  # fmt: skip


def _names_array(offsets: np.ndarray, names: list[str]) -> list[bytes | np.ndarray]:
    codes = np.arange(len(names), dtype=np.int64)
    return array_of_low_cardinality(offsets, b"".join(map(string, names)), len(names), codes)


__all__ = ["VoidedRow", "accepted_rows", "correction_rows", "counted_at"]
