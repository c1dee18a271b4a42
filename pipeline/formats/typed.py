"""Events of free types, as other systems' clients send them, turned into ours: a file with a mapping for each type.

    [types."api.request"]                               # the `type` that comes
    type = "traffic"                                    # what it is here
    [types."api.request".data]
    method = { column = "data.method" }
    endpoint = { column = "data.route" }

    [types.tokens]
    type = "compute"
    [types.tokens.data]
    operation = { template = "llm {data.model}" }
    [types.tokens.usage]
    tokens = { column = "data.total", required = true }

Each table is a mapping as in `pipeline.formats.mapping`; a column is a member of the event by its name, dotted path
or pointer. The attributes of the event (`id`, `source`, `subject`, `time`, `tenant`, `idempotencykey`) stay what
they are unless the table says otherwise. Events whose type the file does not name are taken as they are.
"""

from collections.abc import Mapping as ByName
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from pipeline.event import Reject
from pipeline.formats.envelope import Format
from pipeline.formats.mapping import ATTRIBUTES, Column, Kind, Mapping, Member, read_mapping
from pipeline.formats.tabular import JsonFormat
from pipeline.toml_file import read_toml


class _Typed(msgspec.Struct):
    type: str = ""


_types = msgspec.json.Decoder(_Typed)


@dataclass(frozen=True, slots=True)
class TypedFormat:
    """Converts events by their type; values only, safe to share by threads."""

    formats: ByName[str, Format]

    def convert(self, event: bytes) -> bytes | Reject:
        """Our event for one of a type that is named; any other bytes as they are. Never raises."""
        try:
            kind = _types.decode(event).type
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return event
        found = self.formats.get(kind)
        return event if found is None else found.convert(event, "", 0)


def load_types(path: Path) -> TypedFormat:
    """Read and check a file of types; raises `ConfigError` naming the file and the line of a mistake."""
    root = read_toml(path, "the file of types")
    root.only("types")
    if "types" not in root:
        root.fail(None, 'it names no type: give a table [types."the.type"] for each')
    formats = {
        name: JsonFormat.of(_with_attributes(read_mapping(table, str(path))), None)
        for name, table in root.tables("types")
    }
    return TypedFormat(formats)


def _with_attributes(mapping: Mapping) -> Mapping:
    """The mapping with those attributes passed on that it does not speak of."""
    named = {member.name for member in mapping.attributes}
    passed = tuple(
        Member(name, Kind.ANY, Column(name), required=False, line=0)
        for name in ATTRIBUTES
        if name not in named
    )
    time = mapping.time or Member("time", Kind.TEXT, Column("time"), required=False, line=0)
    return replace(mapping, attributes=(*mapping.attributes, *passed), time=time)
