"""JSON as the contract means it: RFC 8259 in UTF-8, numbers kept as they were written."""

import json
import re
from typing import NoReturn

import msgspec

DEPTH_MAX = 256
"""How deep arrays and objects may nest: a fixed number, so that no verdict hangs on the size of a stack."""

_BOM = b"\xef\xbb\xbf"
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)")
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|([\[{])|[\]}]', re.DOTALL)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


class UnreadableError(ValueError):
    """The bytes are not JSON; the message says where and why."""


def read_json(line: bytes) -> object:
    """Read the value of a JSON text; numbers are `Number`, of duplicate members the last counts.

    Raises `UnreadableError`, and nothing else, for whatever is not a JSON text: invalid UTF-8, a byte order
    mark, a lone surrogate, `NaN` and `Infinity`, nesting beyond `DEPTH_MAX`.
    """
    text = _text(line)
    if text.count("[") + text.count("{") > DEPTH_MAX:
        _check_depth(text)
    try:
        value: object = _decoder.decode(text)
    except json.JSONDecodeError as error:
        msg = f"not JSON at character {error.pos + 1}: {_clause(error.msg)}"
        raise UnreadableError(msg) from error
    except RecursionError as error:  # the caller's own stack is nearly used up
        raise UnreadableError(_TOO_DEEP) from error
    if _ESCAPED_SURROGATE.search(text):
        _check_surrogates(text)
    return value


def raw_members(json_object: bytes) -> dict[str, bytes]:
    """Split a JSON object that was read before into its members, each value as the bytes that were sent.

    Of duplicates the last counts; members that are null are left out. Raises `UnreadableError` only where the
    caller's own stack is nearly used up.
    """
    try:
        found = _members.decode(json_object)
    except RecursionError as error:
        raise UnreadableError(_TOO_DEEP) from error
    return {name: bytes(raw) for name, raw in found.items() if bytes(raw) != b"null"}


def _text(line: bytes) -> str:
    if line.startswith(_BOM):
        msg = "not JSON: it begins with a byte order mark, expected UTF-8 without one"
        raise UnreadableError(msg)
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"not UTF-8 at byte {error.start + 1}: {error.reason}"
        raise UnreadableError(msg) from error


def _refuse_constant(name: str) -> NoReturn:
    msg = f"not JSON: {name} is no JSON number"
    raise UnreadableError(msg)


def _check_depth(text: str) -> None:
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        if token[1]:
            depth += 1
            if depth > DEPTH_MAX:
                raise UnreadableError(_TOO_DEEP)
        elif token[0] in ("]", "}"):
            depth -= 1


def _check_surrogates(text: str) -> None:
    """Refuse half a surrogate pair in any string of a valid JSON text, also in one that a duplicate hides."""
    for escape in _ESCAPE.finditer(text):
        if escape[1]:
            msg = f"not Unicode at character {escape.start() + 1}: a lone surrogate \\{escape[1]}"
            raise UnreadableError(msg)


def _clause(message: str) -> str:
    return message[:1].lower() + message[1:].removesuffix(" at")


_TOO_DEEP = f"arrays and objects may nest {DEPTH_MAX} deep, got more"
_decoder = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=_refuse_constant)
