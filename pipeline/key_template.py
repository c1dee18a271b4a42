"""Templates of idempotency keys, such as `{$event.id}` or `stripe:{$event.body#/data/object/id}`.

`{$event.id}` is the event's id; `{$event.body#/json/pointer}` is a value inside `data.event`, the payload
that a provider sent, found by a JSON pointer (RFC 6901, in its plain form: `~0` is `~`, `~1` is `/`, nothing
is percent-decoded). All else is text.
"""

import re
from dataclasses import dataclass

import msgspec

Pointer = tuple[str, ...]
KEY_LENGTH_MAX = 512

_PART = re.compile(r"[^{}]+|\{[^{}]*\}")
_BODY = "{$event.body#"
_ID = "{$event.id}"
_ARRAY_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_string = msgspec.json.Decoder(str)


@dataclass(frozen=True, slots=True)
class EventId:
    """The place of the event's id in a template."""


@dataclass(frozen=True, slots=True)
class Body:
    """The place of a value of the provider's payload in a template."""

    pointer: Pointer


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template; `parse_template` makes one."""

    parts: tuple[str | EventId | Body, ...]

    @property
    def needs_payload(self) -> bool:
        """Whether `render` looks into the attributes at all."""
        return any(isinstance(part, Body) for part in self.parts)

    def render(self, event_id: str, attributes_json: str) -> str | None:
        """Make an event's key, or None where its default key applies.

        `attributes_json` is the row's JSON text (or empty) with the payload under `event`. Strings render as
        they are, numbers as the payload writes them, booleans as `true` and `false`. A pointer that finds
        nothing, null, an object or an array gives None, and so does a key of no or more than 512 characters.
        """
        texts = []
        for part in self.parts:
            text = _text_of(part, event_id, attributes_json)
            if text is None:
                return None
            texts.append(text)
        key = "".join(texts)
        return key if 1 <= len(key) <= KEY_LENGTH_MAX else None


def parse_template(text: str) -> Template:
    """Parse a template; raises `ValueError` with a sentence on what is wrong with it."""
    parts: list[str | EventId | Body] = []
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None:
            msg = f"the brace at character {at + 1} of {text!r} has no partner: write {_ID} or {_BODY}/...}}"
            raise ValueError(msg)
        parts.append(_part(match.group()))
        at = match.end()
    if all(isinstance(part, str) for part in parts):
        msg = f"{text!r} names nothing of the event, so all would share one key: add {_ID} or {_BODY}/...}}"
        raise ValueError(msg)
    return Template(tuple(parts))


def _part(text: str) -> str | EventId | Body:
    if not text.startswith("{"):
        return text
    if text == _ID:
        return EventId()
    if text.startswith(_BODY):
        return Body(_pointer(text[len(_BODY) : -1]))
    msg = f"{text} is not known: write {_ID} or {_BODY}/json/pointer}}"
    raise ValueError(msg)


def _pointer(text: str) -> Pointer:
    if text and not text.startswith("/"):
        msg = f"the JSON pointer {text!r} must begin with a slash: write {_BODY}/{text}}}"
        raise ValueError(msg)
    if re.search(r"~(?![01])", text):
        msg = f"the JSON pointer {text!r} has a ~ that is neither ~0 (for ~) nor ~1 (for /)"
        raise ValueError(msg)
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])


def _text_of(part: str | EventId | Body, event_id: str, attributes_json: str) -> str | None:
    if isinstance(part, str):
        return part
    return event_id if isinstance(part, EventId) else _lookup(attributes_json, part.pointer)


def _lookup(attributes_json: str, pointer: Pointer) -> str | None:
    """Render the scalar that the pointer finds under `event`, or None."""
    value = attributes_json.encode()
    try:
        for step in ("event", *pointer):
            found = _member(value, step)
            if found is None:
                return None
            value = found
        return _scalar(value)
    except (msgspec.DecodeError, RecursionError):  # no JSON, or nested beyond any sense
        return None


def _member(value: bytes, step: str) -> bytes | None:
    if value.startswith(b"{"):
        member = _object.decode(value).get(step)
        return None if member is None else bytes(member)
    if value.startswith(b"[") and _ARRAY_INDEX.fullmatch(step):
        elements = _array.decode(value)
        return bytes(elements[int(step)]) if int(step) < len(elements) else None
    return None


def _scalar(value: bytes) -> str | None:
    if value.startswith((b"{", b"[", b"n")):
        return None
    return _string.decode(value) if value.startswith(b'"') else value.decode()
