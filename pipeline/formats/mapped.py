"""A mapping at work: the columns of one line, whatever the file's format, put together as an event.

A format hands in a function that finds a column in its rows; the mapping is compiled to such functions once
for each file, so that a line costs only its own values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pipeline.event import Reason, Reject
from pipeline.formats.envelope import json_text, line_key, shown, source_uri
from pipeline.formats.json_lines import number_of, text_of
from pipeline.formats.mapping import Column, Const, Kind, Mapping, Member, Template, Value
from pipeline.formats.times import TimeReader

Row = TypeVar("Row")
Row_contra = TypeVar("Row_contra", contravariant=True)

Read = Callable[[Row], bytes | None]
"""A value of a row as JSON; None where it is absent (null and empty text are absent too)."""

_ATTRIBUTE, _DATA = Reason.MISSING_ATTRIBUTE, Reason.INVALID_DATA

_FLAGS = {
    b'"true"': b"true",
    b'"1"': b"true",
    b"1": b"true",
    b'"false"': b"false",
    b'"0"': b"false",
    b"0": b"false",
}


class Columns(Protocol[Row_contra]):
    """How a format finds its values."""

    def column(self, name: str) -> Callable[[Row_contra], bytes | None]:
        """Make the function that finds a column."""

    def whole(self, row: Row_contra) -> bytes | None:
        """Give the whole row as a JSON object."""


@dataclass(frozen=True, slots=True)
class Slot(Generic[Row]):
    """One member, compiled: the JSON before its value, and how to find the value."""

    head: bytes
    read: Read[Row]
    missing: Reject | None
    """What a row without the value is, where the value is required."""


Section = tuple[Slot[Row], ...]


@dataclass(frozen=True, slots=True)
class Assembler(Generic[Row]):
    """Turns rows into events by one mapping.

    The order of checks is that of the contract's reasons: attributes first, data after them.
    """

    attributes: Section[Row]
    time: Slot[Row] | None
    read_time: TimeReader
    data: Section[Row]
    context: Section[Row]
    usage: Section[Row]
    line_id: bool
    line_key: bool
    line_source: bool

    def event(self, row: Row, source_name: str, line_number: int, line: bytes) -> bytes | Reject:
        """Make the event of a row; `line` is what its key is a hash of."""
        parts = [b'{"specversion":"1.0"', *self._place(source_name, line_number, line)]
        data: list[bytes] = []
        wrong = (
            _fill(parts, self.attributes, row)
            or self._fill_time(parts, row)
            or _fill(data, self.data, row)
            or _fill_object(data, b',"context":{%b}', self.context, row)
            or _fill_object(data, b',"usage":{%b}', self.usage, row)
        )
        if wrong is not None:
            return wrong
        parts.append(b',"data":{%b}}' % b"".join(data)[1:])
        return b"".join(parts)

    def _place(self, source_name: str, line_number: int, line: bytes) -> list[bytes]:
        """Write what the line's place says, as far as the mapping does not say it."""
        key = line_key(source_name, line_number, line) if self.line_id or self.line_key else b""
        return [
            b',"source":%b' % source_uri(source_name) if self.line_source else b"",
            b',"id":%b' % key if self.line_id else b"",
            b',"idempotencykey":%b' % key if self.line_key else b"",
        ]

    def _fill_time(self, parts: list[bytes], row: Row) -> Reject | None:
        slot = self.time
        value = slot.read(row) if slot else None
        if slot is None or value is None:
            return slot.missing if slot else None
        text = text_of(value)
        time = self.read_time(text)
        if time is None:
            return Reject(
                Reason.INVALID_ATTRIBUTE, f"time is {shown(text)}: it is not of the format in the mapping"
            )
        parts.append(b',"time":"%b"' % time.encode())
        return None


def assemble(mapping: Mapping, columns: Columns[Row], tenant: str | None) -> Assembler[Row]:
    """Compile a mapping for rows of one shape; `tenant` is who pays where the rows do not say."""
    mapped = {member.name for member in mapping.attributes}
    attributes = (mapping.type, *(m for m in mapping.attributes if m.name != "tenant"))
    return Assembler(
        (*_slots(attributes, columns, _ATTRIBUTE), *_tenant(mapping, columns, tenant)),
        _slots((mapping.time,), columns, _ATTRIBUTE)[0] if mapping.time else None,
        mapping.time_format.reader(),
        _slots(mapping.data, columns, _DATA),
        _slots(mapping.context, columns, _DATA),
        _slots(mapping.usage, columns, _DATA),
        line_id="id" not in mapped,
        line_key=not mapped & {"id", "idempotencykey"},
        line_source="source" not in mapped,
    )


def _tenant(mapping: Mapping, columns: Columns[Row], tenant: str | None) -> Section[Row]:
    """Choose who pays: a column wins over the given tenant, which wins over a constant."""
    member = next((m for m in mapping.attributes if m.name == "tenant"), None)
    given = json_text(tenant) if tenant else None
    if member is None or (given and isinstance(member.value, Const)):
        return () if given is None else (Slot(b',"tenant":', lambda _row: given, None),)
    (slot,) = _slots((member,), columns, _ATTRIBUTE)
    return (Slot(slot.head, lambda row: slot.read(row) or given, slot.missing),)


def _slots(members: tuple[Member, ...], columns: Columns[Row], absent: Reason) -> Section[Row]:
    return tuple(
        Slot(b",%b:" % json_text(m.name), _read(m, columns), _missing(m, absent) if m.required else None)
        for m in members
    )


def _missing(member: Member, reason: Reason) -> Reject:
    where = " or ".join(repr(name) for name in member.columns)
    return Reject(reason, f"{member.name} is required, but its column {where} is missing, null or empty")


def _read(member: Member, columns: Columns[Row]) -> Read[Row]:
    """Make the function that finds a member's value in the form that its kind wants."""
    value: Value = member.value
    if isinstance(value, Const):
        constant = _KINDS[member.kind](value.json)
        return lambda _row: constant
    if isinstance(value, Template):
        return _read_template(value, member.kind, columns)
    shape = _KINDS[member.kind]
    find = columns.column(value.name) if isinstance(value, Column) else columns.whole

    def read(row: Row) -> bytes | None:
        found = find(row)
        return None if found is None else shape(found)

    return read


def _read_template(template: Template, kind: Kind, columns: Columns[Row]) -> Read[Row]:
    parts = [part if isinstance(part, str) else columns.column(part.name) for part in template.parts]

    def read(row: Row) -> bytes | None:
        texts = []
        for part in parts:
            value = part if isinstance(part, str) else part(row)
            if value is None:
                return None
            texts.append(value if isinstance(value, str) else text_of(value))
        return _KINDS[kind](json_text("".join(texts)))

    return read


def _fill(parts: list[bytes], slots: Section[Row], row: Row) -> Reject | None:
    """Append the members that are there; -> what is wrong with one that must be, or None."""
    for slot in slots:
        value = slot.read(row)
        if value is not None:
            parts.append(slot.head + value)
        elif slot.missing is not None:
            return slot.missing
    return None


def _fill_object(parts: list[bytes], frame: bytes, slots: Section[Row], row: Row) -> Reject | None:
    inner: list[bytes] = []
    wrong = _fill(inner, slots, row)
    if inner and wrong is None:
        parts.append(frame % b"".join(inner)[1:])
    return wrong


def _as_text(value: bytes) -> bytes:
    """Quote a number or a word; an object or array is left for the decoder to refuse."""
    return value if value[:1] in b'"{[' else b'"%b"' % value


def _as_flag(value: bytes) -> bytes:
    return _FLAGS.get(value.lower(), value)


_KINDS: dict[Kind, Callable[[bytes], bytes]] = {
    Kind.TEXT: _as_text,
    Kind.NUMBER: number_of,
    Kind.FLAG: _as_flag,
    Kind.ANY: lambda value: value,
}
