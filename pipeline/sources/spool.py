"""The spool as a stream of chunks: one partition, followed without end, read from where the ledger says.

Parallelism: the spool is one partition of Bytewax, read by the worker that has it; preparing and counting spread
over all. Delivery: a line is read again after a crash unless its outcome is durable; only what is synced is read, so
that no power cut can take back a line that is in the ledger. Segments go when the ledger has all that is in them.
"""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.chunk import Chunk, Ints, Origin, laid_out, new_buffer
from pipeline.durable import Durable
from pipeline.errors import MillraceError
from pipeline.kernels.layout import PREFIX
from pipeline.kernels.text import split_lines
from pipeline.spool_format import (
    HEAD_BYTES,
    Frame,
    Mark,
    Segment,
    damaged,
    is_whole,
    read_head,
    segment_path,
    segments_in,
)

CHUNK_BYTES = 4 << 20
_TELL_EVERY_MS = 1_000


class Followed(Protocol):
    """A spool that is being written."""

    name: str
    folder: Path

    def mark(self) -> Mark:
        """How far it is durable."""

    def consumed(self, below: int) -> None:
        """All below this offset is durable in the ledger."""


class SpoolInput:
    """The one partition of a spool (`pipeline.inputs.PartitionedReader`)."""

    until_end = False

    def __init__(  # noqa: PLR0913 - what a partition is made of
        self, spool: Followed, start: int, durable: Durable, now_ms: Callable[[], int], stop: threading.Event, *,
        in_flight_max: int = 4,
    ) -> None:  # fmt: skip
        self.spool, self.start, self.durable_in = spool, start, durable
        self.now_ms, self.stop, self.in_flight_max = now_ms, stop, in_flight_max
        self.origin = Origin(spool.name, 0)
        self.is_ending = threading.Event()
        self.bytes_read = 0
        self.note_durable: Callable[[int], None] = lambda _arrived_at_ms: None
        """Told when a chunk is durable in all lanes and in the spend windows: when its first line had arrived."""
        self._opened: list[SpoolPartition] = []

    def names(self) -> list[str]:
        """The name of the one partition."""
        return [self.spool.name]

    def open(self, name: str) -> "SpoolPartition":  # noqa: ARG002 - there is one
        """Begin to read; called on the worker."""
        partition = SpoolPartition(self)
        self._opened.append(partition)
        return partition

    def watched(self) -> "list[SpoolPartition]":
        """What health and metrics look at."""
        return list(self._opened)

    def end(self) -> None:
        """No more is appended: read what there is, then let the run end."""
        self.is_ending.set()


class SpoolPartition:
    """The spool on the worker that reads it: chunks in order, numbered from 0 in each run."""

    def __init__(self, owner: SpoolInput) -> None:
        self._owner, self._folder = owner, owner.spool.folder
        self.name = owner.spool.name
        self.read_to = owner.start
        """The offset behind the last line that was read."""
        self.records_read = 0
        self.done = False
        self._arrivals: deque[tuple[int, int]] = deque()
        self._sequence, self._in_flight, self._told_ms = 0, 0, 0
        self._segment = _segment_of(self._folder, owner.start)
        self._file = os.open(self._segment.path, os.O_RDONLY)
        self._at, self._offset = 0, self._segment.first

    def next_chunk(self) -> Chunk | None:
        """The next micro-batch, or None when there is none now or enough are under way."""
        if self.done:
            return None
        self._tell()
        if self._in_flight >= self._owner.in_flight_max:
            return None
        is_ending = self._owner.is_ending.is_set()  # asked before the mark: nothing is appended after it
        frames = self._frames()
        if not frames:
            if is_ending:
                self.done = True
                self._owner.stop.set()
            return None
        chunk = self._chunk(frames)
        self._sequence += 1
        self._in_flight += 1
        weakref.finalize(chunk, self._let_go)
        return chunk

    def durable(self) -> int:
        """Below which offset all is durable in all lanes."""
        return self._owner.durable_in.position(self._owner.origin)

    def moved_at_ms(self) -> int:
        """When that last moved."""
        return self._owner.durable_in.moved_at_ms(self._owner.origin)

    def high(self) -> int:
        """The offset behind the last line that is durable in the spool."""
        return self._owner.spool.mark().next_offset

    def lag(self) -> int:
        """How many lines wait to become durable in the ledger."""
        return max(self.high() - self.durable(), 0)

    def close(self) -> None:
        """Leave; neither raises nor waits for anything."""
        with suppress(OSError):
            os.close(self._file)

    def _let_go(self) -> None:
        self._in_flight -= 1

    def _tell(self) -> None:
        """Tell what has become durable, and let segments go that are no longer needed."""
        if self._arrivals:
            durable = self.durable()
            while self._arrivals and self._arrivals[0][0] <= durable:
                self._owner.note_durable(self._arrivals.popleft()[1])
        now = self._owner.now_ms()
        if now - self._told_ms >= _TELL_EVERY_MS:
            self._told_ms = now
            self._owner.spool.consumed(self.durable())

    def _frames(self) -> list[tuple[Frame, memoryview]]:
        """The next frames with their lines, from the resumed position on; none at the end."""
        while True:
            mark = self._owner.spool.mark()
            is_newest = mark.segment == self._segment.first
            end = mark.size if is_newest else os.fstat(self._file).st_size
            if self._at < end:
                found = self._read(end)
                if found:
                    return found
            elif is_newest:
                return []
            else:
                self._turn_to_next()

    def _turn_to_next(self) -> None:
        os.close(self._file)
        self._segment = Segment(segment_path(self._folder, self._offset), self._offset)
        self._file, self._at = os.open(self._segment.path, os.O_RDONLY), 0

    def _read(self, end: int) -> list[tuple[Frame, memoryview]]:
        """Whole frames of about `CHUNK_BYTES`, at least one; those below the resumed position are passed over."""
        data = os.pread(self._file, min(end - self._at, CHUNK_BYTES), self._at)
        first = read_head(data)
        if first is not None and HEAD_BYTES + first.size > len(data):
            data = os.pread(self._file, HEAD_BYTES + first.size, self._at)
        found, at = [], 0
        while at < len(data):
            frame = read_head(data, at)
            if frame is not None and at and at + HEAD_BYTES + frame.size > len(data):
                break
            if frame is None and at and len(data) - at < HEAD_BYTES:
                break
            if frame is None or frame.first != self._offset or not is_whole(data, at, frame):
                raise damaged(self._segment, self._at + at)
            begin, at = at + HEAD_BYTES, at + HEAD_BYTES + frame.size
            self._offset = frame.next_offset
            if frame.next_offset > self.read_to:
                found.append((frame, memoryview(data)[begin:at]))
        self._at += at
        return found

    def _chunk(self, frames: list[tuple[Frame, memoryview]]) -> Chunk:
        now = self._owner.now_ms()
        payload = b"".join(lines for _, lines in frames)
        counts = np.array([frame.count for frame, _ in frames], np.int64)
        arrivals = np.repeat(np.array([frame.arrived_at_ms for frame, _ in frames], np.int64), counts)
        sizes = _sizes(payload, int(counts.sum()), self._segment)
        next_offset = frames[-1][0].next_offset
        offsets = np.arange(frames[0][0].first, next_offset, dtype=np.int64)
        skipped = max(self.read_to - int(offsets[0]), 0)
        if skipped:
            payload = payload[int(sizes[:skipped].sum()) :]
            sizes, offsets, arrivals = sizes[skipped:], offsets[skipped:], arrivals[skipped:]
        self.read_to = next_offset
        self.records_read += len(offsets)
        self._arrivals.append((next_offset, int(arrivals[0])))
        self._owner.bytes_read += len(payload)
        return laid_out(
            self._owner.origin, self._sequence, payload, sizes, offsets, arrivals, next_offset, now
        )


def _sizes(payload: bytes, count: int, segment: Segment) -> Ints:
    """The bytes of each line, its LF with it."""
    buffer = new_buffer(len(payload))
    buffer[PREFIX : PREFIX + len(payload)] = np.frombuffer(payload, np.uint8)
    starts, ends = np.empty(count, np.int64), np.empty(count, np.int64)
    if int(split_lines(buffer, PREFIX, PREFIX + len(payload), starts, ends)) != count:
        raise MillraceError(f"the spool's segment {segment.path} holds other lines than its heads say")
    sizes: Ints = ends - starts + 1
    return sizes


def _segment_of(folder: Path, offset: int) -> Segment:
    """The segment that holds an offset, or will."""
    segments = [segment for segment in segments_in(folder) if segment.first <= offset]
    if not segments:
        raise MillraceError(f"the spool in {folder} has no segment with offset {offset}: put it back")
    return segments[-1]
