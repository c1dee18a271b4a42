"""The strict decoder: one line to an event, or the one reason why not (contract, sections 1 and 3).

This is the definition. The fast scanner takes only lines that need no judgement and must yield what this
yields; every other line comes here. A rule that is broken raises `_RefusedError` in the order of the reasons:
all attributes before the type, the type before all of `data`, then the time, then what is too large.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pipeline.event import (
    CONTEXT_NAMES,
    MICRO,
    TRIGGER_NAMES,
    TYPE_NAMES,
    UNATTRIBUTED,
    ContextType,
    Event,
    EventType,
    Reason,
    Reject,
    Trigger,
)
from pipeline.extras import ATTRIBUTE_NAMES, CONTEXT_MEMBERS, MEMBERS, extras_text
from pipeline.json_text import Number, UnreadableError, read_json
from pipeline.quantity import FRACTION_DIGITS_MAX, QUANTITY_MAX, SCALES, scaled
from pipeline.timestamp import TIME_MIN_MS, parse_rfc3339_ms

FUTURE_MAX_MS = 5 * 60 * 1000
TEXT_MAX = 1024
TENANT_MAX = 128
ID_MAX = 256
SOURCE_MAX = 255
KEY_MAX = 512

_SHOWN_MAX = 60
_INT64 = range(-(2**63), 2**63)
_TYPES = dict(zip(TYPE_NAMES, EventType, strict=True))
_TRIGGERS = dict(zip(TRIGGER_NAMES, Trigger, strict=True))
_CONTEXTS = dict(zip(CONTEXT_NAMES[1:], tuple(ContextType)[1:], strict=True))

Members = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator may set."""

    unattributed_tenant: str | None = None
    """The account of events that name no tenant; None: they are rejected."""


class _RefusedError(Exception):
    """A rule is broken: the reason and its sentence."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reject = Reject(reason, detail)


def decode_event(line: bytes, arrival_ms: int, rules: Rules) -> Event | Reject:
    """Judge one line, whatever its bytes; `arrival_ms` (UTC, since 1970) stands in where it has no time.

    Never raises. Of several faults the one whose reason comes first in `Reason` is given.
    """
    try:
        return _event(line, arrival_ms, rules)
    except _RefusedError as refused:
        return refused.reject
    except UnreadableError as error:
        return Reject(Reason.UNREADABLE, str(error))


def _event(line: bytes, arrival_ms: int, rules: Rules) -> Event:
    value = read_json(line)
    if type(value) is not dict:
        _refuse(Reason.NOT_AN_OBJECT, f"the line must be a JSON object, got {_shown(value)}")
    _check_presence(value, rules)
    attributes = _attributes(value, arrival_ms, rules)
    kind = _TYPES.get(value["type"])
    if kind is None:
        _refuse(Reason.UNKNOWN_TYPE, f"type must be one of {_listed(_TYPES)}, got {_shown(value['type'])}")
    data = _Data(value["data"])
    of_all_types = _common(data)
    of_its_type = _BY_TYPE[kind](data, of_all_types["operation"])
    _check_time(value, attributes["occurred_at_ms"], arrival_ms)
    if data.too_large:
        _refuse(Reason.QUANTITY_OUT_OF_RANGE, data.too_large)
    if not (value.keys() <= ATTRIBUTE_NAMES and data.is_known_to(kind)):
        of_its_type["attributes"] = extras_text(line, kind)
    return Event(type=kind, **attributes, **{**of_all_types, **of_its_type})


# The attributes: everything outside `data`.


def _check_presence(value: Members, rules: Rules) -> None:
    missing = [name for name in ("specversion", "id", "source", "type", "data") if value.get(name) is None]
    if value.get("tenant") is None and rules.unattributed_tenant is None:
        missing.append("tenant")
    if missing:
        _refuse(Reason.MISSING_ATTRIBUTE, f"an event must have {_listed(missing)}, got none")


def _attributes(value: Members, arrival_ms: int, rules: Rules) -> Members:
    if type(value["specversion"]) is not str or value["specversion"] != "1.0":
        _refuse_attribute("specversion", 'the string "1.0"', value["specversion"])
    if type(value["type"]) is not str:
        _refuse_attribute("type", f"one of {_listed(_TYPES)}", value["type"])
    return {
        "event_id": _attribute(value, "id", 1, ID_MAX),
        "source": _source(value),
        "tenant": _attribute(value, "tenant", 1, TENANT_MAX) or rules.unattributed_tenant,
        "principal": _attribute(value, "subject", 0, TEXT_MAX) or UNATTRIBUTED,
        "idempotency_key": _attribute(value, "idempotencykey", 1, KEY_MAX) or None,
        "occurred_at_ms": _occurred_at_ms(value, arrival_ms),
    }


def _attribute(value: Members, name: str, shortest: int, longest: int) -> str:
    text = value.get(name)
    if text is None:
        return ""
    if type(text) is not str or not shortest <= len(text) <= longest:
        _refuse_attribute(name, _text_of(shortest, longest), text)
    return text


def _source(value: Members) -> str:
    source = _attribute(value, "source", 1, SOURCE_MAX)
    if source.split() != [source]:
        _refuse_attribute("source", "a URI reference without white space", source)
    return source


def _occurred_at_ms(value: Members, arrival_ms: int) -> int:
    text = value.get("time")
    if text is None:
        return arrival_ms
    moment_ms = parse_rfc3339_ms(text) if type(text) is str else None
    if moment_ms is None:
        _refuse_attribute("time", "an RFC 3339 time with its offset, such as 2026-11-01T12:00:00Z", text)
    if moment_ms < TIME_MIN_MS:
        _refuse_attribute("time", "2000-01-01T00:00:00Z or later", text)
    return moment_ms


def _check_time(value: Members, moment_ms: int, arrival_ms: int) -> None:
    if moment_ms > arrival_ms + FUTURE_MAX_MS:
        ahead = f"{_shown(value['time'])}, which is {(moment_ms - arrival_ms) // 1000} seconds ahead"
        _refuse(Reason.TIME_IN_FUTURE, f"time must be at most 5 minutes after the arrival, got {ahead}")


# The members of `data`.


class _Data:
    """The members of `data`, each checked as it is read; remembers the first quantity that is too large."""

    __slots__ = ("members", "too_large")

    def __init__(self, value: object) -> None:
        if type(value) is not dict:
            _refuse_data("", "an object", value)
        self.members: Members = value
        self.too_large = ""

    def text(self, name: str, shortest: int = 0, longest: int = TEXT_MAX) -> str:
        """Read a string; absent is empty."""
        text = self.members.get(name)
        if text is None and not shortest:
            return ""
        if type(text) is not str or not shortest <= len(text) <= longest:
            _refuse_data(name, _text_of(shortest, longest), text)
        return text

    def choice(self, name: str, choices: Mapping[str, Any], default: Any) -> Any:
        """Read one of a closed list of strings as what it stands for."""
        text = self.members.get(name)
        if text is None:
            return default
        if type(text) is not str or text not in choices:
            _refuse_data(name, f"one of {_listed(choices)}", text)
        return choices[text]

    def byte_count(self, name: str) -> int:
        """Read a whole number >= 0; absent is 0."""
        number = self.members.get(name)
        return 0 if number is None else self.quantity(name, number, 0, signed=False)

    def quantity(self, name: str, number: object, fraction_digits: int, *, signed: bool) -> int:
        """Read a number times 10^`fraction_digits`."""
        size = scaled(number, fraction_digits) if type(number) is Number else None
        if size is None or (size < 0 and not signed):
            _refuse_data(name, _quantity_of(fraction_digits, signed=signed), number)
        if not self.too_large and abs(size) > QUANTITY_MAX * SCALES[fraction_digits]:
            self.too_large = f"data.{_cut(name)} must be at most 10^15, got {_shown(number)}"
        return size

    def is_known_to(self, kind: EventType) -> bool:
        """Whether every member has a column."""
        context = self.members.get("context")
        return self.members.keys() <= MEMBERS[kind] and (not context or context.keys() <= CONTEXT_MEMBERS)


def _common(data: _Data) -> Members:
    """Read what every type may say."""
    found = {
        "operation": data.text("operation"),
        "action": data.text("action"),
        "trigger": data.choice("trigger", _TRIGGERS, Trigger.SYNCHRONOUS),
    }
    if data.members.get("usage") is not None:
        found["usage_micro"] = _usage(data, data.members["usage"])
    if data.members.get("context") is not None:
        found.update(_context(data.members["context"]))
    return found


def _context(context: object) -> Members:
    if type(context) is not dict:
        _refuse_data("context", "an object", context)
    members = _Data({f"context.{name}": context.get(name) for name in CONTEXT_MEMBERS})
    return {
        "context_type": members.choice("context.type", _CONTEXTS, ContextType.NONE),
        "context_name": members.text("context.name"),
        "context_display": members.text("context.display"),
    }


def _usage(data: _Data, usage: object) -> tuple[tuple[str, int], ...]:
    if type(usage) is not dict:
        _refuse_data("usage", "an object of quantities", usage)
    reported = {name: number for name, number in usage.items() if number is not None}
    for name in reported:
        if not 1 <= len(name) <= TEXT_MAX:
            _refuse_data("usage", f"sources of 1 to {TEXT_MAX} characters", name)
    return tuple(
        (name, data.quantity(f"usage.{name}", number, FRACTION_DIGITS_MAX, signed=False))
        for name, number in reported.items()
    )


def _traffic(data: _Data, operation: str) -> Members:
    method, endpoint = data.text("method"), data.text("endpoint")
    return {
        "operation": operation or " ".join(part for part in (method, endpoint) if part),
        "method": method,
        "endpoint": endpoint,
        "status": _status(data),
        "request_bytes": data.byte_count("request_bytes"),
        "response_bytes": data.byte_count("response_bytes"),
    }


def _status(data: _Data) -> int:
    number = data.members.get("status")
    if number is None:
        return 0
    status = scaled(number, 0) if type(number) is Number else None
    if status is None or status not in _INT64:
        _refuse_data("status", "an integer of 64 bits", number)
    return status


def _compute(data: _Data, operation: str) -> Members:
    if not operation:
        _refuse_data("operation", "the name of what was computed, at least 1 character", operation)
    units = data.members.get("units")
    if units is None:
        return {"units_micro": MICRO}
    return {"units_micro": data.quantity("units", units, FRACTION_DIGITS_MAX, signed=False)}


def _storage(data: _Data, _operation: str) -> Members:
    delta = data.quantity("delta_bytes", data.members.get("delta_bytes"), 0, signed=True)
    return {"delta_bytes": delta, "object": data.text("object")}


def _webhook(data: _Data, _operation: str) -> Members:
    verified = data.members.get("verified")
    if verified is not None and type(verified) is not bool:
        _refuse_data("verified", "true or false", verified)
    return {"provider": data.text("provider"), "verified": bool(verified)}


def _correction(data: _Data, _operation: str) -> Members:
    data.text("reason")  # has no column: it stays in the attributes as it was sent
    return {"voids": data.text("voids", 1, KEY_MAX)}


_BY_TYPE: dict[EventType, Callable[[_Data, str], Members]] = {
    EventType.TRAFFIC: _traffic,
    EventType.COMPUTE: _compute,
    EventType.STORAGE: _storage,
    EventType.WEBHOOK: _webhook,
    EventType.CORRECTION: _correction,
}


# Sentences.


def _refuse(reason: Reason, detail: str) -> NoReturn:
    raise _RefusedError(reason, detail)


def _refuse_attribute(name: str, expected: str, got: object) -> NoReturn:
    _refuse(Reason.INVALID_ATTRIBUTE, f"{name} must be {expected}, got {_shown(got)}")


def _refuse_data(name: str, expected: str, got: object) -> NoReturn:
    place = f"data.{_cut(name)}" if name else "data"
    _refuse(Reason.INVALID_DATA, f"{place} must be {expected}, got {_shown(got)}")


def _listed(names: Mapping[str, Any] | list[str]) -> str:
    return ", ".join(names)


def _text_of(shortest: int, longest: int) -> str:
    return (
        f"a string of {shortest} to {longest} characters"
        if shortest
        else f"a string of at most {longest} characters"
    )


def _quantity_of(fraction_digits: int, *, signed: bool) -> str:
    sign = "" if signed else " >= 0"
    return (
        f"a number{sign} with at most {fraction_digits} fractional digits"
        if fraction_digits
        else f"an integer{sign}"
    )


def _shown(value: object) -> str:
    """Write a value for a sentence: printable, not at length, nothing of what an array or object holds."""
    if isinstance(value, Number):
        return f"the number {_cut(value)}"
    if isinstance(value, str):
        size = f"{len(value)} characters: " if len(value) > _SHOWN_MAX else ""
        return f"{size}{_cut(repr(value[:_SHOWN_MAX]))}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else "an array" if isinstance(value, list) else "an object"


def _cut(text: str) -> str:
    short = text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."
    return short if short.isprintable() else repr(short)
