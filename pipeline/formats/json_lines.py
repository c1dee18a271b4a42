"""Lines of JSON objects, taken apart without touching their values: every member keeps its exact text."""

import re
from collections.abc import Callable

from msgspec import Raw, ValidationError
from msgspec.json import Decoder

from pipeline.event import Reason, Reject
from pipeline.formats.envelope import unreadable

Members = dict[str, Raw]

NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch

_DIGITS_MAX = 9

_decode_members: Callable[[bytes], Members] = Decoder(Members).decode
_decode_items: Callable[[bytes], list[Raw]] = Decoder(list[Raw]).decode
_decode_string: Callable[[bytes], str] = Decoder(str).decode


def split_object(line: bytes) -> Members | Reject:
    """Take the members of a line; of two with one name the last counts."""
    try:
        line.decode()
        return _decode_members(line)
    except UnicodeDecodeError as error:
        return unreadable(f"the line is not UTF-8 at byte {error.start + 1}")
    except ValidationError:
        return Reject(Reason.NOT_AN_OBJECT, "the line is JSON but no object: expected { ... }")
    except ValueError as error:
        return unreadable(f"the line is not JSON: {error}")
    except RecursionError:
        return unreadable("the line is not JSON that can be read: it nests too deeply")


def member(members: Members, name: str) -> bytes | None:
    """Get the JSON text of a member; null and the empty string are the same as absent."""
    raw = members.get(name)
    return None if raw is None else present(bytes(raw))


def present(value: bytes) -> bytes | None:
    """Pass a value on unless it is null or the empty string."""
    return None if value in {b"null", b'""'} else value


def descend(value: bytes, path: tuple[str, ...]) -> bytes | None:
    """Follow a path of member names and array positions into a value."""
    for name in path:
        if value[:1] == b"{":
            found = _decode_members(value).get(name)
        elif value[:1] == b"[" and name.isdecimal() and len(name) <= _DIGITS_MAX:
            items = _decode_items(value)
            found = items[int(name)] if int(name) < len(items) else None
        else:
            return None
        if found is None:
            return None
        value = bytes(found)
    return value


def text_of(value: bytes) -> str:
    """Read a value as text: a string's own, for anything else its JSON."""
    return _decode_string(value) if value[:1] == b'"' else value.decode()


def number_of(value: bytes) -> bytes:
    """Read a value as a number: a string that holds one becomes it, anything else stays for the decoder."""
    if value[:1] != b'"':
        return value
    inner = value[1:-1].strip()
    return inner if NUMBER(inner) else value
