"""What comes in by request: a body to event lines, judged as the pipeline will judge them.

    body --> cut into elements --> convert free types --> add the sender's tenant --> decode, rate --> lines, refusals

Nothing is parsed and written again: a line that is taken has the very bytes that came, with at most the tenant added
and line breaks between tokens turned into blanks. The verdicts are those of `decode` and `rating` at the moment of
arrival, which the log keeps. What only counting can tell (conflicts, unknown corrections) the run finds later.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from pipeline.chunk import Chunk, Ints, Origin, new_buffer
from pipeline.columns import Columns
from pipeline.decode import Decoder
from pipeline.dictionary import Dictionary
from pipeline.event import Reason, Reject
from pipeline.formats.typed import TypedFormat
from pipeline.json_text import UnreadableError, read_json
from pipeline.kernels.elements import (
    FROM_SENDER,
    FROM_SUBJECT,
    HAS_TENANT,
    IS_UNSURE,
    cut_elements,
    find_foreign,
    lay_out_elements,
)
from pipeline.kernels.layout import PREFIX, TENANT
from pipeline.rating import Rater

EVENTS_MAX = 10_000
EVENT_BYTES_MAX = 900_000
"""What a Kafka broker takes by default, with room for the rest of a record."""
_ORIGIN = Origin("", 0)
_FOREIGN = "tenant_not_yours"
_TOO_LARGE = "event_too_large"
_Id = msgspec.defstruct("_Id", [("id", msgspec.Raw, msgspec.Raw(b""))])
_ids = msgspec.json.Decoder(_Id)


class MalformedBodyError(ValueError):
    """The body is no JSON object and no array that can be cut into events; the message says where."""


class TooManyEventsError(ValueError):
    """The body holds more events than a request may."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: its own tenant, and which tenant an event gets that names none."""

    tenant: str | None = None
    """None for a service, which names a tenant in each event."""
    from_subject: bool = False
    """The subject of an event stands in for its tenant; the events may then be of any tenant."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that was not taken: its place in the request, its id where it has one, and why."""

    index: int
    event_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What of a body becomes lines, and the tenant of each; what is refused."""

    lines: list[bytes]
    tenants: list[str]
    refused: list[Refused]


@dataclass(frozen=True, slots=True)
class Judge:
    """Decodes and rates lines: all that can be said of an event without counting it. Not for several threads."""

    decoder: Decoder
    rater: Rater

    def __call__(self, chunk: Chunk) -> Columns:
        """The columns of a chunk, each row valid or with its reason."""
        columns = self.decoder.decode(chunk)
        dictionary = Dictionary.of(columns)
        self.rater.rate(columns, dictionary, *self.rater.find_entries(columns, dictionary))
        return columns


@dataclass(slots=True)
class Intake:
    """Judges bodies. Safe for several threads: cutting runs side by side, judging one after the other."""

    judge: Callable[[Chunk], Columns]
    typed: TypedFormat | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, body: bytes, sender: Sender, arrived_at_ms: int) -> Taken:
        """Judge every event of a body.

        Raises `MalformedBodyError` and `TooManyEventsError`; nothing of such a body is taken.
        """
        elements = _Elements.of(body)
        events, early = elements, dict[int, Reject]()
        if self.typed is not None and len(elements):
            events, early = _converted(elements, self.typed)
        chunk = events.laid_out(sender, arrived_at_ms)
        with self._lock:
            columns = self.judge(chunk)
        return _sorted_out(columns, elements, sender, early)


@dataclass(slots=True)
class _Elements:
    """The elements of a body, and what was noted of each (see `kernels.elements`)."""

    buffer: np.ndarray
    starts: Ints
    ends: Ints
    notes: np.ndarray
    subjects: Ints

    @classmethod
    def of(cls, body: bytes) -> "_Elements":
        buffer = new_buffer(len(body))
        end = PREFIX + len(body)
        buffer[PREFIX:end] = np.frombuffer(body, np.uint8)
        buffer[end : end + 64] = 0
        room = min(EVENTS_MAX, len(body) // 2 + 1)
        starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
        notes, subjects, failed = (
            np.empty(room, np.int8),
            np.empty((room, 2), np.int64),
            np.zeros(1, np.int64),
        )
        count = int(cut_elements(buffer, PREFIX, end, starts, ends, notes, subjects, failed))
        if count < 0:
            at = int(failed[0]) - PREFIX
            msg = f"the body is no JSON object and no array of them: no event can be told at byte {at + 1}"
            raise MalformedBodyError(msg)
        if count > room:
            msg = f"the body holds more than {EVENTS_MAX} events: send them in several requests"
            raise TooManyEventsError(msg)
        return cls(buffer, starts[:count], ends[:count], notes[:count], subjects[:count])

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, row: int) -> bytes:
        return self.buffer[self.starts[row] : self.ends[row]].tobytes()

    def laid_out(self, sender: Sender, arrived_at_ms: int) -> Chunk:
        """The elements as lines, each with its tenant."""
        source = FROM_SUBJECT if sender.from_subject else FROM_SENDER if sender.tenant else 0
        if source:
            self._look_closer()
        tenant = np.frombuffer(msgspec.json.encode(sender.tenant or ""), np.uint8)
        longest = len(tenant) if source == FROM_SENDER else int(np.diff(self.subjects).sum()) if source else 0
        n = len(self)
        out = new_buffer(
            int((self.ends - self.starts).sum()) + n * (16 + longest * (source == FROM_SENDER)) + longest
        )
        starts, ends = np.empty(n, np.int64), np.empty(n, np.int64)
        used = int(
            lay_out_elements(
                self.buffer, self.starts, self.ends, self.notes, self.subjects, source, tenant, out, PREFIX, starts,
                ends,
            )
        )  # fmt: skip
        arrivals = np.full(n, arrived_at_ms, np.int64)
        offsets = np.arange(n, dtype=np.int64)
        return Chunk("", 0, _ORIGIN, out, used, starts, ends, offsets, arrivals, n, read_at_ms=arrived_at_ms)

    def _look_closer(self) -> None:
        """Settle by a full reading what the cutting was not sure of: a name in an event is written with escapes."""
        for row in np.flatnonzero(self.notes & IS_UNSURE).tolist():
            try:
                value = read_json(self.raw(row))
            except UnreadableError:
                continue
            if isinstance(value, dict):
                self.notes[row] &= ~HAS_TENANT
                if value.get("tenant") is not None:
                    self.notes[row] |= HAS_TENANT
                self._note_subject(row, value.get("subject"))

    def _note_subject(self, row: int, subject: object) -> None:
        """Put a subject where the others stand: behind the body."""
        text = np.frombuffer(msgspec.json.encode(subject) if type(subject) is str else b"", np.uint8)
        at = len(self.buffer)
        self.buffer = np.concatenate([self.buffer, text, np.zeros(64, np.uint8)])
        self.subjects[row] = (at, at + len(text)) if len(text) else (0, 0)


def _converted(elements: _Elements, typed: TypedFormat) -> tuple[_Elements, dict[int, Reject]]:
    """The elements with events of free types turned into ours, and why some cannot be."""
    wrong: dict[int, Reject] = {}
    events = []
    for row in range(len(elements)):
        event = typed.convert(elements.raw(row))
        if isinstance(event, Reject):
            wrong[row], event = event, b"{}"
        events.append(event)
    return _Elements.of(b"[%b]" % b",".join(events)), wrong


def _sorted_out(columns: Columns, elements: _Elements, sender: Sender, early: dict[int, Reject]) -> Taken:
    refused: dict[int, tuple[str, str]] = {}
    for row in np.flatnonzero(columns.verdicts).tolist():
        refused[row] = (Reason(int(columns.verdicts[row])).code, columns.details.get(row, ""))
    refused.update({row: (reject.reason.code, reject.detail) for row, reject in early.items()})
    if sender.tenant is not None and not sender.from_subject:
        for row in _foreign_rows(columns, sender.tenant):
            other = columns.text(row, TENANT)
            refused.setdefault(
                row, (_FOREIGN, f"the event is of tenant {other!r}, the key of another: leave it out")
            )
    chunk = columns.chunk
    for row in np.flatnonzero(chunk.ends - chunk.starts > EVENT_BYTES_MAX).tolist():
        size = int(chunk.ends[row] - chunk.starts[row])
        refused.setdefault(row, (_TOO_LARGE, f"an event has at most {EVENT_BYTES_MAX} bytes, got {size}"))
    taken = [row for row in range(len(elements)) if row not in refused] if refused else range(len(elements))
    return Taken(
        _lines(chunk, taken),
        _tenants(columns, sender, taken),
        [Refused(row, _id_of(elements.raw(row)), *refused[row]) for row in sorted(refused)],
    )


def _lines(chunk: Chunk, rows: "list[int] | range") -> list[bytes]:
    """The bytes of events as lines: an LF, which only stands between the tokens of a valid one, becomes a blank."""
    starts, ends = chunk.starts.tolist(), chunk.ends.tolist()
    if not starts:
        return []
    data = chunk.buffer[: ends[-1]].tobytes()
    lines = [data[starts[row] : ends[row]] for row in rows]
    if data.count(b"\n", starts[0]) >= len(starts):
        lines = [line.replace(b"\n", b" ") for line in lines]
    return lines


def _tenants(columns: Columns, sender: Sender, rows: "list[int] | range") -> list[str]:
    if sender.tenant is not None and not sender.from_subject:
        return [sender.tenant] * len(rows)
    return [columns.text(row, TENANT) for row in rows]


def _foreign_rows(columns: Columns, tenant: str) -> list[int]:
    rows = np.empty(len(columns), np.int64)
    own = np.frombuffer(tenant.encode(), np.uint8)
    count = find_foreign(
        columns.chunk.buffer, columns.verdicts, columns.at[:, TENANT], columns.length[:, TENANT], own, rows
    )
    found: list[int] = rows[: int(count)].tolist()
    return found


def _id_of(event: bytes) -> str:
    """The id of an event that was refused, where it can be read."""
    try:
        value = read_json(bytes(_ids.decode(event).id))  # type: ignore[attr-defined]
    except (ValueError, RecursionError):
        return ""
    return value[:256] if type(value) is str else ""
