"""What a source hands on: raw payloads with their origins, many at a time."""

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.kernels.layout import PAD, PREFIX

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_CONSTANTS = b"@unattributed"
_ONLY_LISTED = 2
"""References to a buffer that nothing else looks at: the list, and the question itself."""
_SLACK = 1 << 16
"""What the next one may be longer."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where records come from: a Kafka topic and partition, or a file by its source name (partition 0)."""

    topic: str
    partition: int
    pass_number: int = 1
    """Which reading of a file this is; 1 for Kafka."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class Chunk:
    """Raw records of one origin, in order.

    `buffer` is padded: `PREFIX` bytes of constants, the payloads, spare room for derived text, `PAD` bytes.
    Record i is `buffer[starts[i]:ends[i]]`; its offset is `offsets[i]`, its arrival `arrivals[i]` (ms).
    """

    stream: str
    """The order in which chunks are counted: chunks of one stream are handled in the order of `sequence`."""
    sequence: int
    origin: Origin
    buffer: Bytes
    used: int
    """Where the spare room of the buffer begins."""
    starts: Ints
    ends: Ints
    offsets: Ints
    arrivals: Ints
    next_offset: int
    """The position to resume at once this chunk is durable."""
    format_name: str = "cloudevents"
    header: bytes = b""
    read_at_ms: int = 0
    is_behind: bool = False
    """Whether much more was waiting when this was read: to catch up comes before being seen soon."""

    def raw(self, row: int) -> bytes:
        """The bytes of record `row` as they came."""
        return self.buffer[self.starts[row] : self.ends[row]].tobytes()


def new_buffer(payload_size: int, spare: int = 0) -> Bytes:
    """A padded buffer with the constants at its head and room for a payload and text derived from it."""
    buffer = np.empty(_size_of(payload_size, spare), np.uint8)
    buffer[:PREFIX] = 0
    buffer[: len(_CONSTANTS)] = np.frombuffer(_CONSTANTS, np.uint8)
    buffer[-PAD:] = 0
    return buffer


def _size_of(payload_size: int, spare: int) -> int:
    return PREFIX + payload_size + payload_size // 4 + spare + 4096 + PAD


class Buffers:
    """Buffers that are used again once nothing looks at them: a new one's pages have to be made. One thread at a time.

    A buffer is free when only this list refers to it; what looks at a part of it refers to it, too.
    """

    def __init__(self) -> None:
        self._all: list[Bytes] = []

    def take(self, payload_size: int) -> Bytes:
        """A buffer as of `new_buffer`, or a somewhat larger one; its text is not cleared."""
        free = {i for i in range(len(self._all)) if sys.getrefcount(self._all[i]) == _ONLY_LISTED}
        for i in free:
            if len(self._all[i]) >= _size_of(payload_size, 0):
                return self._all[i]
        self._all = [self._all[i] for i in range(len(self._all)) if i not in free]
        self._all.append(new_buffer(payload_size, _SLACK))
        return self._all[-1]


def laid_out(  # noqa: PLR0913, PLR0917 - one argument for each column
    origin: Origin, sequence: int, payload: bytes, sizes: Ints, offsets: Ints, arrivals: Ints, next_offset: int,
    read_at_ms: int,
) -> Chunk:  # fmt: skip
    """A chunk of records that stand behind one another in `payload`, each with an LF that `sizes` counts."""
    ends = PREFIX + np.cumsum(sizes) - 1
    buffer = new_buffer(len(payload))
    buffer[PREFIX : PREFIX + len(payload)] = np.frombuffer(payload, np.uint8)
    stream = f"{origin.topic}/{origin.partition}"
    return Chunk(
        stream, sequence, origin, buffer, PREFIX + len(payload), ends - sizes + 1, ends, offsets, arrivals,
        next_offset, read_at_ms=read_at_ms,
    )  # fmt: skip


def grown(buffer: Bytes, used: int, room: int) -> Bytes:
    """The same buffer with at least `room` spare bytes behind `used`."""
    if len(buffer) - PAD - used >= room:
        return buffer
    bigger = np.empty(used + room + room // 2 + 4096 + PAD, np.uint8)
    bigger[:used] = buffer[:used]
    bigger[used:] = 0
    return bigger
