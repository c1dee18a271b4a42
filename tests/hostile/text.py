"""JSON as hostile as RFC 8259 allows: spellings of numbers, escapes, spaces, nulls."""

import json

NULL = object()


class Token(str):
    """JSON that stands as it is: a number's spelling, say."""

    __slots__ = ()


def respelled(number):
    """The same number, written otherwise."""
    if "e" in number.lower():
        return Token(number)
    return Token(number + ("0e0" if "." in number else ".000"))


def json_text(value, source):
    space = " " if source.random() < 0.1 else ""
    if value is NULL:
        return "null"
    if isinstance(value, Token):
        return value
    if isinstance(value, dict):
        members = (
            f"{json_text(name, source)}{space}:{space}{json_text(member, source)}"
            for name, member in value.items()
        )
        return "{" + f"{space},{space}".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(json_text(element, source) for element in value) + "]"
    return json.dumps(value, ensure_ascii=source.random() < 0.3)
