"""One decoded batch: the columns of all its records, valid or not, in the order in which they came."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.chunk import Chunk, grown
from pipeline.event import Event, Reject
from pipeline.kernels.layout import FIELDS, SLOW

Int8s = npt.NDArray[np.int8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
_WORD = (1 << 64) - 1


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


@dataclass(slots=True)
class Columns:
    """The columns of n records; shapes and meaning as in `pipeline.kernels.scanner.scan`.

    Text stands in `chunk.buffer` at (`at`, `length`); quantities of units and usage are 128-bit integers scaled
    by 10^6, low word first; `verdicts` are 0 for a valid event, else the number of its `Reason`.
    """

    chunk: Chunk
    verdicts: Int8s
    types: Int8s
    times: Int64s
    at: Int32s
    length: Int32s
    contexts: Int8s
    triggers: Int8s
    verified: Int8s
    status: Int64s
    quantities: Int64s
    units: Int64s
    usage_first: Int32s
    usage_count: Int32s
    usage_at: Int32s
    usage_length: Int32s
    usage_value: Int64s
    usage_used: int = 0
    details: dict[int, str] = field(default_factory=dict)
    """The sentence of each rejected record, by row."""
    records: Chunk | None = None
    """The records as they came, where `chunk` holds what a format made of them."""

    @classmethod
    def empty(cls, chunk: Chunk) -> "Columns":
        """Unfilled columns for the records of a chunk, all still to be judged."""
        n = len(chunk.starts)
        return cls(
            chunk,
            verdicts=np.full(n, SLOW, np.int8),
            types=np.empty(n, np.int8),
            times=np.empty(n, np.int64),
            at=np.zeros((n, FIELDS), np.int32),
            length=np.zeros((n, FIELDS), np.int32),
            contexts=np.zeros(n, np.int8),
            triggers=np.zeros(n, np.int8),
            verified=np.zeros(n, np.int8),
            status=np.zeros(n, np.int64),
            quantities=np.zeros((n, 3), np.int64),
            units=np.zeros((n, 2), np.int64),
            usage_first=np.zeros(n, np.int32),
            usage_count=np.zeros(n, np.int32),
            usage_at=np.empty(2 * n + 64, np.int32),
            usage_length=np.empty(2 * n + 64, np.int32),
            usage_value=np.empty((2 * n + 64, 2), np.int64),
        )

    def __len__(self) -> int:
        return len(self.verdicts)

    def raw(self, row: int) -> bytes:
        """The bytes of a record as they came."""
        return (self.records or self.chunk).raw(row)

    def text(self, row: int, string_field: int) -> str:
        """One text cell."""
        start = int(self.at[row, string_field])
        return self.chunk.buffer[start : start + int(self.length[row, string_field])].tobytes().decode()

    def reject(self, row: int, reject: Reject) -> None:
        """Mark a record as rejected."""
        self.verdicts[row] = reject.reason
        self.details[row] = reject.detail

    def units_micro(self, row: int) -> int:
        """The units of a row, scaled by 10^6."""
        return (int(self.units[row, 1]) << 64) | (int(self.units[row, 0]) & _WORD)

    def usage(self, row: int) -> tuple[tuple[str, int], ...]:
        """The reported usage of a row: source and quantity scaled by 10^6."""
        first = int(self.usage_first[row])
        entries = range(first, first + int(self.usage_count[row]))
        return tuple((self._usage_name(i), self._usage_micro(i)) for i in entries)

    def _usage_name(self, entry: int) -> str:
        start = int(self.usage_at[entry])
        return self.chunk.buffer[start : start + int(self.usage_length[entry])].tobytes().decode()

    def _usage_micro(self, entry: int) -> int:
        return (int(self.usage_value[entry, 1]) << 64) | (int(self.usage_value[entry, 0]) & _WORD)


class EventWriter:
    """Writes events that the strict decoder has read into columns, their text behind what the buffer holds."""

    def __init__(self, columns: Columns, used: int) -> None:
        self._columns = columns
        self._base = used
        self._text = bytearray()
        self._usage: list[tuple[int, int, int, int]] = []

    def write(self, row: int, event: Event) -> None:
        """Fill the columns of one row."""
        c = self._columns
        c.verdicts[row] = 0
        c.types[row] = event.type
        c.times[row] = event.occurred_at_ms
        c.contexts[row] = event.context_type
        c.triggers[row] = event.trigger
        c.verified[row] = event.verified
        c.status[row] = event.status
        c.quantities[row] = (event.request_bytes, event.response_bytes, event.delta_bytes)
        c.units[row] = (_signed(event.units_micro & _WORD), event.units_micro >> 64)
        texts = (
            event.tenant, event.source, event.event_id, event.principal, event.idempotency_key or "",
            event.operation, event.action, event.method, event.endpoint, event.object, event.provider,
            event.context_name, event.context_display, event.attributes, event.voids,
        )  # fmt: skip
        for string_field, text in enumerate(texts):
            c.at[row, string_field], c.length[row, string_field] = self._put(text)
        c.usage_first[row] = c.usage_used + len(self._usage)
        c.usage_count[row] = len(event.usage_micro)
        for name, micro in event.usage_micro:
            self._usage.append((*self._put(name), _signed(micro & _WORD), micro >> 64))

    def set_text(self, row: int, string_field: int, text: str) -> None:
        """Fill one text cell of a row."""
        self._columns.at[row, string_field], self._columns.length[row, string_field] = self._put(text)

    def _put(self, text: str) -> tuple[int, int]:
        if not text:
            return 0, 0
        start = len(self._text)
        self._text += text.encode()
        return self._base + start, len(self._text) - start

    def finish(self) -> int:
        """Move what was written into the batch; returns where the buffer's spare room begins now."""
        c = self._columns
        end = self._base + len(self._text)
        c.chunk.buffer = grown(c.chunk.buffer, self._base, len(self._text) + 64)
        c.chunk.buffer[self._base : end] = np.frombuffer(self._text, np.uint8)
        if self._usage:
            self._append_usage(np.array(self._usage, np.int64))
        return end

    def _append_usage(self, entries: Int64s) -> None:
        c = self._columns
        used = c.usage_used
        c.usage_at = np.concatenate([c.usage_at[:used], entries[:, 0].astype(np.int32)])
        c.usage_length = np.concatenate([c.usage_length[:used], entries[:, 1].astype(np.int32)])
        c.usage_value = np.concatenate([c.usage_value[:used], entries[:, 2:]])
        c.usage_used = used + len(entries)
