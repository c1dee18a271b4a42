"""What an event says beyond the columns: kept as JSON text, each value exactly as it was sent."""

import json
from collections.abc import Container

from pipeline.event import EventType
from pipeline.json_text import raw_members

ATTRIBUTE_NAMES = frozenset(
    ("specversion", "id", "source", "type", "tenant", "data", "subject", "time", "idempotencykey")
)
CONTEXT_MEMBERS = frozenset(("type", "name", "display"))

_OF_ALL_TYPES = frozenset(("operation", "action", "context", "trigger", "usage"))
MEMBERS = {
    EventType.TRAFFIC: _OF_ALL_TYPES | {"method", "endpoint", "status", "request_bytes", "response_bytes"},
    EventType.COMPUTE: _OF_ALL_TYPES | {"units"},
    EventType.STORAGE: _OF_ALL_TYPES | {"delta_bytes", "object"},
    EventType.WEBHOOK: _OF_ALL_TYPES | {"provider", "verified"},
    EventType.CORRECTION: _OF_ALL_TYPES | {"voids"},
}
"""The members of `data` that have a column, by type."""

_PAYLOAD = "event"
_EXTENSION_PREFIX = "ce_"


def extras_text(line: bytes, kind: EventType) -> str:
    """Write the text of `Event.attributes` for a valid line, or "" when nothing is left but nulls.

    First the members of `data` that the type has no column for, then the extension attributes, both in order
    of appearance. An extension whose name is taken there has the prefix `ce_`, and so has always one that is
    called `event`: under that name stands only the payload that a webhook's key is made of.
    """
    attributes = raw_members(line)
    kept = _kept_data(raw_members(attributes["data"]), kind)
    for name, raw in attributes.items():
        if name not in ATTRIBUTE_NAMES:
            kept[_free_name(name, kept)] = raw
    return _object(kept) if kept else ""


def _kept_data(data: dict[str, bytes], kind: EventType) -> dict[str, bytes]:
    kept = {}
    for name, raw in data.items():
        if name not in MEMBERS[kind]:
            kept[name] = raw
        elif name == "context":
            unknown = {n: r for n, r in raw_members(raw).items() if n not in CONTEXT_MEMBERS}
            if unknown:
                kept[name] = _object(unknown).encode()
    return kept


def _free_name(name: str, taken: Container[str]) -> str:
    while name == _PAYLOAD or name in taken:
        name = _EXTENSION_PREFIX + name
    return name


def _object(members: dict[str, bytes]) -> str:
    written = (f"{json.dumps(name, ensure_ascii=False)}:{raw.decode()}" for name, raw in members.items())
    return f"{{{','.join(written)}}}"
