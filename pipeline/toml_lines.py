"""Where each key of a TOML text stands: `tomllib` gives values without positions; this gives positions.

The text must be one that `tomllib` accepts; only then are the answers right. A place is a tuple of keys and
of numbers of array elements: `("operations", "ask", "components", 1, "basis")`.
"""

import re
import tomllib
from bisect import bisect_left

Place = tuple[str | int, ...]

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)


def lines_of(text: str) -> dict[Place, int]:
    """Find the line, counted from 1, of every key, table and array element of a valid TOML text."""
    return _Scanner(text.replace("\r\n", "\n")).document()


class _Scanner:
    """One walk over the text; it trusts the text to be valid."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._lines: dict[Place, int] = {}
        self._lengths: dict[Place, int] = {}

    def document(self) -> dict[Place, int]:
        """Read the text to its end."""
        base: Place = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                base = self._header()
            else:
                self._pair(base)
            self._skip(_BLANK)
        return self._lines

    def _header(self) -> Place:
        """`[a.b]` or `[[a.b]]`; the place of the table that it opens."""
        line = self._line()
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        keys = self._dotted_key()
        self._at += brackets
        place: Place = ()
        for key in keys[:-1]:
            place = self._newest((*place, key), line)
        place = (*place, keys[-1])
        self._lines[place] = line
        return place if brackets == 1 else self._append(place, line)

    def _newest(self, place: Place, line: int) -> Place:
        """Follow a header into the last element where the place is an array of tables."""
        self._lines.setdefault(place, line)
        length = self._lengths.get(place)
        return place if length is None else (*place, length - 1)

    def _append(self, place: Place, line: int) -> Place:
        element = self._lengths.get(place, 0)
        self._lengths[place] = element + 1
        self._lines[(*place, element)] = line
        return (*place, element)

    def _pair(self, base: Place) -> None:
        line = self._line()
        place = base
        for key in self._dotted_key():
            place = (*place, key)
            self._lines.setdefault(place, line)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(place)

    def _dotted_key(self) -> list[str]:
        """Read the parts of a key and the spaces that follow it."""
        keys = []
        while True:
            self._skip(_SPACE)
            keys.append(self._key())
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _key(self) -> str:
        if self._text[self._at] not in "\"'":
            return self._take(_BARE_KEY)
        unquoted: str = tomllib.loads(f"key = {self._take(_STRING)}")["key"]
        return unquoted

    def _value(self, place: Place) -> None:
        first = self._text[self._at]
        if first == "[":
            self._array(place)
        elif first == "{":
            self._inline_table(place)
        else:
            self._skip(_STRING if first in "\"'" else _SCALAR)

    def _array(self, place: Place) -> None:
        self._at += 1
        self._skip(_BLANK)
        element = 0
        while self._text[self._at] != "]":
            self._lines[(*place, element)] = self._line()
            self._value((*place, element))
            element += 1
            self._skip_comma()
        self._at += 1

    def _inline_table(self, place: Place) -> None:
        self._at += 1
        self._skip(_BLANK)
        while self._text[self._at] != "}":
            self._pair(place)
            self._skip_comma()
        self._at += 1

    def _skip_comma(self) -> None:
        self._skip(_BLANK)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError("not the TOML that tomllib accepted")  # noqa: EM101 - a programmer's error
        self._at = match.end()
        return match.group()

    def _line(self) -> int:
        return bisect_left(self._breaks, self._at) + 1
