"""A prepared batch: decoded, rated, and each row with its identity; and the lane's share of it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.chunk import Chunk, Origin, grown, laid_out
from pipeline.columns import Columns, Int32s, Int64s, UInt64s
from pipeline.decode import Decoder
from pipeline.dictionary import Dictionary
from pipeline.formats import Format
from pipeline.kernels.hashing import seal
from pipeline.kernels.tables import default_keys, sort_by_lane
from pipeline.rating import Rater, Rates
from pipeline.template_keys import TemplateKeys

SLOTS = 256
"""Shards of the key space: the top byte of a key's hash. A lane has the slots that are `lane` modulo the lanes."""

_KEY_MAX = 512


class Formats(Protocol):
    """Gives the format of a chunk, or None for CloudEvents."""

    def of(self, chunk: Chunk) -> Format | None:
        """The format that turns the chunk's lines into events."""


@dataclass(slots=True)
class Batch:
    """Everything that is known of a chunk before it is counted.

    hashes uint64[n, 2], targets uint64[n, 2], prints uint64[n], slots uint8[n] as in `kernels.hashing.seal`;
    lane k's rows are `order[bounds[k]:bounds[k + 1]]`, in the order of the input.
    """

    columns: Columns
    dictionary: Dictionary
    rates: Rates
    rater: Rater
    hashes: UInt64s
    targets: UInt64s
    prints: UInt64s
    slots: npt.NDArray[np.uint8]
    order: Int32s
    bounds: Int64s

    @property
    def chunk(self) -> Chunk:
        """Where the batch came from, and the buffer that holds its text."""
        return self.columns.chunk

    def rows_of(self, lane: int) -> Int32s:
        """The rows that belong to a lane."""
        return self.order[self.bounds[lane] : self.bounds[lane + 1]]


@dataclass(frozen=True, slots=True)
class Share:
    """One lane's share of a batch. Within a process it refers to the batch; nothing is copied."""

    stream: str
    sequence: int
    lane: int
    batch: Batch

    def __reduce__(self) -> tuple[type["SentShare"], tuple[object, ...]]:
        """On the way to another process only the lane's records travel, as they came."""
        chunk, rows = self.batch.chunk, self.batch.rows_of(self.lane)
        records = [chunk.raw(row) for row in rows.tolist()]
        payload = b"".join(record + b"\n" for record in records)
        sizes = np.fromiter(map(len, records), np.int64, len(records)) + 1
        return SentShare, (
            self.sequence, self.lane, chunk.origin, payload, sizes, chunk.offsets[rows], chunk.arrivals[rows],
            chunk.next_offset, chunk.read_at_ms, chunk.is_behind,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SentShare:
    """A share that has come from another process: prepared anew where it is counted, to the same result."""

    sequence: int
    lane: int
    origin: Origin
    payload: bytes
    sizes: Int64s
    offsets: Int64s
    arrivals: Int64s
    next_offset: int
    read_at_ms: int
    is_behind: bool

    def prepared(self, preparer: "Preparer") -> Share:
        """The share that was sent."""
        chunk = laid_out(
            self.origin, self.sequence, self.payload, self.sizes, self.offsets, self.arrivals, self.next_offset,
            self.read_at_ms,
        )  # fmt: skip
        chunk.is_behind = self.is_behind
        return Share(chunk.stream, self.sequence, self.lane, preparer.prepare(chunk))


class Preparer:
    """Bytes to prepared batches: decode, rate, identify. One for each worker thread.

    Guarantee: a pure function of the chunk, the catalog, the rules and the ledger's seed; it neither reads
    nor changes any state, so it may run on any worker and in any order.
    """

    def __init__(
        self, decoder: Decoder, rater: Rater, formats: Formats, seeds: tuple[int, int], lanes: int
    ) -> None:
        self._decoder, self._rater, self._formats = decoder, rater, formats
        self._seeds = (np.uint64(seeds[0]), np.uint64(seeds[1]))
        self._lanes = lanes
        self._template_keys = TemplateKeys()

    def prepare(self, chunk: Chunk) -> Batch:
        """Prepare one chunk."""
        columns = self._decoder.decode(chunk, self._formats.of(chunk))
        dictionary = Dictionary.of(columns)
        entries, versions = self._rater.find_entries(columns, dictionary)
        self._template_keys.apply(columns, entries, self._rater.entries)
        self._apply_default_keys(columns)
        rates = self._rater.rate(columns, dictionary, entries, versions)
        return self._seal(columns, dictionary, rates)

    @staticmethod
    def _apply_default_keys(columns: Columns) -> None:
        row, chunk = 0, columns.chunk
        while True:
            row, used = default_keys(
                chunk.buffer, row, columns.verdicts, columns.at, columns.length, chunk.used
            )
            chunk.used = int(used)
            if row == len(columns):
                return
            chunk.buffer = grown(chunk.buffer, chunk.used, (len(columns) - row) * 128 + _KEY_MAX)

    def _seal(self, c: Columns, dictionary: Dictionary, rates: Rates) -> Batch:
        n = len(c)
        hashes, targets = np.empty((n, 2), np.uint64), np.empty((n, 2), np.uint64)
        prints, slots = np.empty(n, np.uint64), np.empty(n, np.uint8)
        seal(
            c.chunk.buffer, c.verdicts, c.types, c.at, c.length, c.quantities, c.units, c.usage_first,
            c.usage_count, c.usage_at, c.usage_length, c.usage_value, c.chunk.offsets, *self._seeds,
            hashes, targets, prints, slots,
        )  # fmt: skip
        order, bounds = np.empty(n, np.int32), np.empty(self._lanes + 1, np.int64)
        sort_by_lane(slots, self._lanes, order, bounds)
        return Batch(c, dictionary, rates, self._rater, hashes, targets, prints, slots, order, bounds)
