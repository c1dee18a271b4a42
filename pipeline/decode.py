"""Bytes to columns: the fast scanner first, the strict decoder for every line that it does not take."""

from dataclasses import dataclass

import numpy as np

from pipeline.chunk import Chunk, grown, new_buffer
from pipeline.columns import Columns, EventWriter
from pipeline.event import Event, Reject
from pipeline.formats import Format
from pipeline.kernels.jit import IS_COMPILED
from pipeline.kernels.layout import PREFIX, SLOW
from pipeline.kernels.scanner import EXTRAS_MAX, SCRATCH, scan
from pipeline.kernels.tables import derive_operations
from pipeline.strict import Rules, decode_event


@dataclass(frozen=True, slots=True)
class Decoder:
    """Turns chunks into columns; `fast` off judges every line by the strict decoder, as where nothing is compiled.

    Guarantee: each record of the chunk has exactly one row, in order; it is valid or has a reason and a
    sentence. The columns do not depend on `fast`.
    """

    rules: Rules
    fast: bool = IS_COMPILED

    def decode(self, chunk: Chunk, line_format: Format | None = None) -> Columns:
        """Decode a chunk; with a `line_format` its records are log lines that become events first."""
        columns = Columns.empty(chunk)
        if line_format is not None:
            return self._decode_converted(columns, line_format)
        used = self._scan(columns) if self.fast else chunk.used
        slow = np.flatnonzero(columns.verdicts == SLOW)
        if len(slow):
            used = self._decode_strictly(columns, slow, used)
        chunk.used = self._derive(columns, used)
        return columns

    def _scan(self, c: Columns) -> int:
        free, c.usage_used = scan(
            c.chunk.buffer, c.chunk.starts, c.chunk.ends, c.chunk.arrivals, c.chunk.used, c.verdicts, c.types,
            c.times, c.at, c.length, c.contexts, c.triggers, c.verified, c.status, c.quantities, c.units,
            c.usage_first, c.usage_count, c.usage_at, c.usage_length, c.usage_value, np.zeros(SCRATCH, np.int64),
            np.zeros(1, np.int64), np.zeros((EXTRAS_MAX, 5), np.int64),
        )  # fmt: skip
        return int(free)

    def _decode_strictly(self, columns: Columns, rows: np.ndarray, used: int) -> int:
        writer = EventWriter(columns, used)
        chunk = columns.chunk
        for row in rows.tolist():
            outcome = decode_event(chunk.raw(row), int(chunk.arrivals[row]), self.rules)
            if isinstance(outcome, Event):
                writer.write(row, outcome)
            else:
                columns.reject(row, outcome)
        return writer.finish()

    def _decode_converted(self, columns: Columns, line_format: Format) -> Columns:
        """Decode what the format makes of the lines, beside the original lines, which stay for the rejects."""
        original = columns.chunk
        events = [
            line_format.convert(original.raw(row), original.origin.topic, int(original.offsets[row]))
            for row in range(len(columns))
        ]
        converted = self.decode(_chunk_of(original, [b"" if isinstance(e, Reject) else e for e in events]))
        converted.records = original
        for row, event in enumerate(events):
            if isinstance(event, Reject):
                converted.reject(row, event)
        return converted

    @staticmethod
    def _derive(c: Columns, used: int) -> int:
        row = 0
        while True:
            row, used = derive_operations(c.chunk.buffer, row, c.verdicts, c.types, c.at, c.length, used)
            if row == len(c):
                return int(used)
            c.chunk.buffer = grown(c.chunk.buffer, used, (len(c) - row) * 256)


def _chunk_of(original: Chunk, lines: list[bytes]) -> Chunk:
    sizes = np.array([len(line) + 1 for line in lines], np.int64)
    ends = PREFIX + np.cumsum(sizes) - 1
    joined = b"\n".join(lines)
    buffer = new_buffer(len(joined) + 1)
    buffer[PREFIX : PREFIX + len(joined)] = np.frombuffer(joined, np.uint8)
    buffer[PREFIX + len(joined)] = 10
    return Chunk(
        original.stream,
        original.sequence,
        original.origin,
        buffer,
        PREFIX + len(joined) + 1,
        ends - sizes + 1,
        ends,
        original.offsets,
        original.arrivals,
        original.next_offset,
        original.format_name,
        original.header,
        original.read_at_ms,
    )
