"""Mapping files: which columns of a CSV file, or members of JSON lines, become which part of an event.

    type = "compute"                               # or { column = "kind" }
    delimiter = ","                                # CSV only; this is the default

    [attributes]                                   # tenant, subject, id, idempotencykey, source
    subject = { column = "app" }
    tenant = { const = "acme" }
    idempotencykey = { template = "{day}-{job}" }

    [data]                                         # members of data; unknown names are kept
    operation = { column = "func" }
    units = { column = "count", required = true }

    [data.context]                                 # type, name, display
    type = { const = "project" }

    [usage]                                        # measured third-party use, by its source
    duration = { column = "duration", required = true }

    [time]
    column = "ended"                               # or const or template
    format = "unix"                                # iso by default; see pipeline.formats.times
    zone = "Europe/Berlin"                         # UTC by default; for times without an offset
    date = "2026-11-01"                            # with seconds_of_day only

A value is exactly one of

- `{ column = "name" }`: a CSV column by its header; in JSON lines a member by its name, by a dotted path
  (`user.id`) or by a JSON pointer (`/user/id`, `/items/0/id`);
- `{ const = ... }`: a string, an integer, true or false; write a number with a fraction as a string;
- `{ template = "{a}-{b}" }`: columns in braces, text between; `{{` and `}}` are braces;
- `{ whole = true }`: the line itself, as an object; for a webhook's `event`.

A column that is missing, null or empty makes its member absent, and so does a template with such a column.
`required = true` makes such a line a reject instead: of an attribute `missing_attribute`, of anything else
`invalid_data`. Quantities (units, sizes, status, usage) keep the exact digits of the column, also where it
holds them as text; what is no number there is left to the decoder to refuse.

The key: with neither `id` nor `idempotencykey` mapped, an event's id and key are `name:number:hash` of its
line. With only `id` mapped it has no explicit key: the catalog's template or `source` + space + `id` applies.
The tenant: a column or template first, then `--tenant`, then a constant of the mapping.
"""

import re
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import TYPE_CHECKING, NoReturn

from pipeline.event import TYPE_NAMES
from pipeline.formats.envelope import json_text
from pipeline.formats.times import FORMATS, TimeFormat, is_pattern, parse_zone
from pipeline.toml_file import Table, read_toml, shown, suggestion

if TYPE_CHECKING:
    from pathlib import Path

ATTRIBUTES = ("tenant", "subject", "id", "idempotencykey", "source")
CONTEXT = ("type", "name", "display")
_VALUES = ("column", "const", "template", "whole")
_TEXTS = ("operation", "action", "trigger", "method", "endpoint", "object", "provider", "voids", "reason")
_NUMBERS = ("units", "delta_bytes", "request_bytes", "response_bytes", "status")
_NEEDED = {"compute": "operation", "storage": "delta_bytes", "correction": "voids"}
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|([^{}]+)|(.)", re.DOTALL)


class Kind(Enum):
    """What a member of an event holds, and so how a column's value becomes it."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Column:
    """The value of one column."""

    name: str


@dataclass(frozen=True, slots=True)
class Const:
    """A constant, as JSON."""

    json: bytes


@dataclass(frozen=True, slots=True)
class Template:
    """Text and columns in turn."""

    parts: tuple[str | Column, ...]


@dataclass(frozen=True, slots=True)
class Whole:
    """The line itself, as an object."""


Value = Column | Const | Template | Whole


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the event: its name, what it holds, where from, and which line of the mapping says so."""

    name: str
    kind: Kind
    value: Value
    required: bool
    line: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        match self.value:
            case Column(name):
                return (name,)
            case Template(parts):
                return tuple(part.name for part in parts if isinstance(part, Column))
            case _:
                return ()


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping file, checked; `path` is for messages."""

    path: str
    delimiter: str
    type: Member
    attributes: tuple[Member, ...]
    data: tuple[Member, ...]
    context: tuple[Member, ...]
    usage: tuple[Member, ...]
    time: Member | None
    time_format: TimeFormat

    @property
    def members(self) -> tuple[Member, ...]:
        """All members, for a look at their columns."""
        time = (self.time,) if self.time else ()
        return (self.type, *self.attributes, *time, *self.data, *self.context, *self.usage)


def load_mapping(path: "Path") -> Mapping:
    """Read and check a mapping file; raises `ConfigError` naming the file and the line of a mistake."""
    return read_mapping(read_toml(path, "the mapping"), str(path))


def read_mapping(root: Table, path: str) -> Mapping:
    """Read and check the mapping that a table holds; raises `ConfigError`."""
    root.only("type", "delimiter", "attributes", "data", "usage", "time")
    data, context = _data(root.table("data"))
    time, time_format = _time(root)
    mapping = Mapping(
        path,
        _delimiter(root),
        _type(root),
        _section(root.table("attributes"), dict.fromkeys(ATTRIBUTES, Kind.TEXT)),
        data,
        context,
        _usage(root.table("usage")),
        time,
        time_format,
    )
    _check_needed(root, mapping)
    return mapping


def _delimiter(root: Table) -> str:
    text = root.text("delimiter") or ","
    if len(text) != 1 or text in '"\r\n' or not text.isascii():
        root.fail("delimiter", f"delimiter must be one ASCII character such as ';', not {shown(text)}")
    return text


def _type(root: Table) -> Member:
    if "type" not in root:
        root.fail(None, f'the mapping names no type: give type = "...", one of {", ".join(TYPE_NAMES)}')
    if isinstance(root.values["type"], dict):
        return _member(root, "type", Kind.TEXT)
    name = root.text("type") or ""
    if name not in TYPE_NAMES:
        root.fail("type", f"unknown type {shown(name)}: {suggestion(name, list(TYPE_NAMES))}")
    return Member(
        "type", Kind.TEXT, Const(json_text(name)), required=False, line=root.file.line((*root.place, "type"))
    )


def _data(table: Table | None) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
    if table is None:
        return (), ()
    if "usage" in table:
        table.fail("usage", "usage does not stand in [data]: give it a table of its own, [usage]")
    kinds = dict.fromkeys(_TEXTS, Kind.TEXT) | dict.fromkeys(_NUMBERS, Kind.NUMBER) | {"verified": Kind.FLAG}
    names = [name for name in table.values if name != "context"]
    members = tuple(_member(table, name, kinds.get(name, Kind.ANY)) for name in names)
    return members, _section(table.table("context"), dict.fromkeys(CONTEXT, Kind.TEXT))


def _usage(table: Table | None) -> tuple[Member, ...]:
    return () if table is None else tuple(_member(table, name, Kind.NUMBER) for name in table.values)


def _section(table: Table | None, kinds: dict[str, Kind]) -> tuple[Member, ...]:
    """Read a table of which all names are known."""
    if table is None:
        return ()
    if "time" in table and "time" not in kinds:
        table.fail("time", "time does not stand here: give it a table of its own, [time]")
    table.only(*kinds)
    return tuple(_member(table, name, kinds[name]) for name in table.values)


def _member(table: Table, name: str, kind: Kind) -> Member:
    spec = table.table(name) if isinstance(table.values[name], dict) else None
    if spec is None:
        table.fail(
            name,
            f'{table.label(name)} must be a table such as {{ column = "..." }}, {{ const = ... }} or '
            f'{{ template = "..." }}, not {shown(table.values[name])}',
        )
    spec.only(*_VALUES, "required")
    return _member_of(spec, name, kind)


def _member_of(spec: Table, name: str, kind: Kind) -> Member:
    required = spec.flag("required") or False
    return Member(name, kind, _value(spec, kind), required, spec.file.line(spec.place))


def _value(spec: Table, kind: Kind) -> Value:
    given = [name for name in _VALUES if name in spec]
    if len(given) != 1:
        _wrong(
            spec, None, f"must have exactly one of {', '.join(_VALUES)}, not {' and '.join(given) or 'none'}"
        )
    match given[0]:
        case "column":
            return Column(spec.text("column") or "")
        case "template":
            return _template(spec, spec.text("template") or "")
        case "const":
            return _const(spec, kind)
        case _:
            return _whole(spec, kind)


def _whole(spec: Table, kind: Kind) -> Whole:
    if kind is not Kind.ANY:
        _wrong(spec, "whole", "holds one value, not a whole line: give a column, const or template")
    if not spec.flag("whole"):
        _wrong(spec, "whole", "must be true: leave the member out if it is not meant")
    return Whole()


def _template(spec: Table, text: str) -> Template:
    parts: list[str | Column] = []
    for match in _PIECE.finditer(text):
        column, plain, stray = match.groups()
        if stray is not None:
            _wrong(
                spec,
                "template",
                f"has a lone {stray!r}: columns stand in {{ }}, and a brace is written twice",
            )
        parts.append(Column(column) if column is not None else plain or match[0][0])
    return Template(tuple(parts))


def _const(spec: Table, kind: Kind) -> Const:
    value = spec.values["const"]
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str | int):
        text = str(value)
    else:
        _wrong(
            spec,
            "const",
            f"must be a string, an integer, true or false, not {shown(value)}: write it as a string",
        )
    if not text:
        _wrong(spec, "const", "is empty: leave the member out if it is not meant")
    plain = not isinstance(value, str) and kind is not Kind.TEXT
    return Const(text.encode() if plain else json_text(text))


def _time(root: Table) -> tuple[Member | None, TimeFormat]:
    spec = root.table("time")
    if spec is None:
        return None, TimeFormat("iso")
    spec.only("column", "const", "template", "required", "format", "zone", "date")
    return _member_of(spec, "time", Kind.TEXT), _time_format(spec)


def _time_format(spec: Table) -> TimeFormat:
    name = spec.text("format") or "iso"
    if name not in FORMATS and not is_pattern(name):
        _wrong(
            spec,
            "format",
            f"must be {', '.join(FORMATS)} or a strptime pattern such as '%d/%m/%Y', not {shown(name)}",
        )
    zone_name = spec.text("zone") or "UTC"
    zone = parse_zone(zone_name)
    if zone is None:
        _wrong(
            spec, "zone", f"must be a zone such as 'UTC', 'Europe/Berlin' or '+05:45', not {shown(zone_name)}"
        )
    return TimeFormat(name, zone, _date(spec, name))


def _date(spec: Table, name: str) -> date | None:
    if name != "seconds_of_day":
        if "date" in spec:
            _wrong(spec, "date", "goes with format = 'seconds_of_day' only: leave it out")
        return None
    given = spec.values.get("date", "")
    try:
        return given if type(given) is date else date.fromisoformat(given)
    except (TypeError, ValueError):
        _wrong(
            spec,
            "date" if "date" in spec else None,
            "needs date = 'YYYY-MM-DD', the day whose seconds they are",
        )


def _check_needed(root: Table, mapping: Mapping) -> None:
    """Refuse a mapping under which every line would be a reject."""
    needed = (
        _NEEDED.get(mapping.type.value.json.decode().strip('"'))
        if isinstance(mapping.type.value, Const)
        else None
    )
    if needed and needed not in {member.name for member in mapping.data}:
        place = "data" if "data" in root else "type"
        root.fail(place, f"{shown(root.values['type'])} needs data.{needed}: give it in [data]")


def _wrong(spec: Table, key: str | None, sentence: str) -> NoReturn:
    spec.fail(key, f"{spec.label()} {sentence}")
