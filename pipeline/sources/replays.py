"""The replay log as a stream of chunks: rejects that are handed in again, in the order of their numbers.

Parallelism: all workers of the process share one reader. Delivery: a line is read again after a crash unless its
outcome is durable; its number in the log is its offset, so the usual once of offsets holds for it. A log line keeps
the place that it came from, by which it has its key: a file that is read again later finds it counted.
"""

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np

from pipeline.chunk import Chunk, Origin, laid_out
from pipeline.errors import UsageError
from pipeline.event import Reject
from pipeline.formats import Format, detect_format
from pipeline.sources.files import FormatChoice

ORIGIN = Origin("@replay", 0)
"""The place of all that comes of the replay log; neither a Kafka topic nor, likely, a file is named so."""
FIRST = 1
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the replay log."""

    number: int
    raw: bytes
    format_name: str
    header: bytes
    from_topic: str
    from_offset: int
    arrived_at_ms: int


class Entries(Protocol):
    """Where the log is kept."""

    def page(self, number: int, size: int) -> Sequence[Entry]:
        """The next `size` entries from a number on, in order."""


def format_of(raw: bytes, chosen: str) -> str:
    """The format of a line by itself; what shows none is taken as an event."""
    if chosen != "auto":
        return chosen
    try:
        return detect_format("the line", raw)
    except UsageError:
        return "cloudevents"


class ReplayReader:
    """Hands out the chunks of the log from a position on (`pipeline.inputs.ChunkReader`). Safe for several threads."""

    def __init__(
        self, entries: Entries, position: int, now_ms: Callable[[], int], in_flight_max: int = 8
    ) -> None:
        self._entries, self._now_ms = entries, now_ms
        self._lock = threading.Lock()
        self._in_flight, self._in_flight_max = 0, in_flight_max
        self._chunks = self._read(position)
        self.places: dict[int, dict[int, tuple[str, int]]] = {}
        """For each chunk that is out, by its sequence: where each line came from."""
        self.bytes_read = 0
        self.done = False

    def next_chunk(self) -> Chunk | None:
        """The next chunk, or None when there is none now (`done` tells whether there will be any)."""
        with self._lock:
            if self.done or self._in_flight >= self._in_flight_max:
                return None
            chunk = next(self._chunks, None)
            if chunk is None:
                self.done = True
                return None
            self._in_flight += 1
            weakref.finalize(chunk, self._let_go, chunk.sequence)
            return chunk

    def _let_go(self, sequence: int) -> None:
        self._in_flight -= 1
        self.places.pop(sequence, None)

    def _read(self, position: int) -> Iterator[Chunk]:
        sequence = 0
        while page := self._entries.page(position, _PAGE):
            for (format_name, header), alike in groupby(page, key=lambda e: (e.format_name, e.header)):
                entries = list(alike)
                chunk = self._chunk(entries, sequence)
                chunk.format_name, chunk.header = format_name, header
                yield chunk
                sequence += 1
            position = page[-1].number + 1

    def _chunk(self, entries: list[Entry], sequence: int) -> Chunk:
        payload = b"".join(entry.raw + b"\n" for entry in entries)
        self.places[sequence] = {e.number: (e.from_topic, e.from_offset) for e in entries}
        self.bytes_read += len(payload)
        return laid_out(
            ORIGIN,
            sequence,
            payload,
            np.array([len(entry.raw) + 1 for entry in entries], np.int64),
            np.array([entry.number for entry in entries], np.int64),
            np.array([entry.arrived_at_ms for entry in entries], np.int64),
            entries[-1].number + 1,
            self._now_ms(),
        )


@dataclass(frozen=True, slots=True)
class _Placed:
    """A format whose lines keep the place that they came from."""

    inner: Format
    places: dict[int, tuple[str, int]]
    header_lines: int = 0

    def with_header(self, header: bytes) -> Format:  # noqa: ARG002 - bound already
        return self

    def convert(self, line: bytes, source_name: str, line_number: int) -> bytes | Reject:
        topic, offset = self.places.get(line_number, (source_name, line_number))
        return self.inner.convert(line, topic, offset)


@dataclass(frozen=True, slots=True)
class ReplayFormats:
    """Gives each chunk of the log its format (`pipeline.batch.Formats`)."""

    formats: FormatChoice
    reader: ReplayReader

    def of(self, chunk: Chunk) -> Format | None:
        """The format of a chunk's lines; None when they are events as they stand."""
        if chunk.format_name == "cloudevents":
            return None
        inner = self.formats.make(chunk.format_name, chunk.header)
        return _Placed(inner, self.reader.places.get(chunk.sequence, {}))
