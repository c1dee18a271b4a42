"""How chunks come into the dataflow: from one reader that all workers share, or partition by partition."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

from bytewax.inputs import (
    DynamicSource,
    FixedPartitionedSource,
    StatefulSourcePartition,
    StatelessSourcePartition,
)

from pipeline.chunk import Chunk
from pipeline.run_state import RunState, guard

_IDLE = timedelta(milliseconds=2)
_CALM = timedelta(milliseconds=50)
_SMALL = 4_000
"""Records of a chunk after which a partition may rest."""


class ChunkReader(Protocol):
    """Hands out chunks to the workers of a process."""

    done: bool
    """Whether there will be no more."""

    def next_chunk(self) -> Chunk | None:
        """The next chunk, or None when there is none now."""


class PartitionReader(ChunkReader, Protocol):
    """Hands out the chunks of one partition to the worker that has it."""

    def close(self) -> None:
        """Leave without raising, flushing or waiting."""


@runtime_checkable
class PartitionedReader(Protocol):
    """An input whose partitions are read side by side, each by one worker."""

    until_end: bool
    """Whether it ends by itself."""

    def names(self) -> list[str]:
        """The names of all partitions, the same in every process of a cluster."""

    def open(self, name: str) -> PartitionReader:
        """Begin to read a partition, on its worker."""


@dataclass(frozen=True, slots=True)
class Halt:
    """A process was told to stop: all of the cluster drain."""


class _SourcePartition(StatelessSourcePartition[Chunk]):
    """One worker's hand on the shared reader."""

    def __init__(self, reader: ChunkReader, state: RunState) -> None:
        self._reader, self._state = reader, state
        self._idle = False

    def next_batch(self) -> list[Chunk]:
        if self._state.stop.is_set():
            raise StopIteration
        try:
            chunk = self._reader.next_chunk()
        except BaseException as error:
            self._state.fail(error)
            raise
        self._idle = chunk is None
        if chunk is not None:
            return [chunk]
        if self._reader.done:
            raise StopIteration
        return []

    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + _IDLE if self._idle else None


@dataclass(frozen=True)
class SharedInput(DynamicSource[Chunk]):
    """One reader for all workers of this process."""

    reader: ChunkReader
    state: RunState

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _SourcePartition:  # noqa: ARG002
        """See Bytewax."""
        return _SourcePartition(self.reader, self.state)


class _Partition(StatefulSourcePartition[Chunk, None]):
    """One partition on its worker."""

    def __init__(self, reader: PartitionReader, state: RunState, pause: timedelta) -> None:
        self._reader, self._state = reader, state
        self._pause = pause
        self._rest = timedelta()

    def next_batch(self) -> list[Chunk]:
        if self._state.stop.is_set():
            raise StopIteration
        chunk = guard(self._state, self._reader.next_chunk)()
        if chunk is None:
            if self._reader.done:
                raise StopIteration
            self._rest = _IDLE
            return []
        is_small = len(chunk.offsets) < _SMALL and not chunk.is_behind
        self._rest = self._pause if is_small else timedelta()
        return [chunk]

    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + self._rest if self._rest else None

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self._reader.close()


@dataclass(frozen=True)
class PartitionedInput(FixedPartitionedSource[Chunk, None]):
    """Partitions that Bytewax spreads over the workers of all processes; after a small chunk one rests."""

    reader: PartitionedReader
    state: RunState
    pause_ms: int = 0

    def list_parts(self) -> list[str]:
        """See Bytewax."""
        return self.reader.names()

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:  # noqa: ARG002
        """See Bytewax."""
        pause = timedelta(milliseconds=self.pause_ms)
        return _Partition(guard(self.state, self.reader.open)(for_part), self.state, pause)


class _HaltPartition(StatelessSourcePartition[Halt]):
    """Tells the whole cluster when this process was told to stop."""

    def __init__(self, state: RunState, *, until_end: bool) -> None:
        self._state, self._until_end = state, until_end
        self._has_told = False

    def next_batch(self) -> list[Halt]:
        if self._has_told or (self._until_end and not self._state.stop.is_set()):
            raise StopIteration
        if not self._state.stop.is_set():
            return []
        self._has_told = True
        return [Halt()]

    def next_awake(self) -> datetime | None:
        return None if self._has_told else datetime.now(UTC) + _CALM


@dataclass(frozen=True)
class Halts(DynamicSource[Halt]):
    """The stop flags of all processes as an input, so that one that is told to stop drains all."""

    reader: PartitionedReader
    state: RunState

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _HaltPartition:  # noqa: ARG002
        """See Bytewax, which builds the parts of a worker when all processes are connected."""
        self.state.begun.set()
        return _HaltPartition(self.state, until_end=self.reader.until_end)
