"""TOML files of prices, accounts and settings, read so that every mistake names its file and line.

`read_toml` opens a file; a `Table` is one table of it, with a getter for each kind of value. All raise
`ConfigError` with a message of the form `catalog.toml:7: what is wrong, what was expected, what to do`.
"""

import json
import re
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pipeline.errors import ConfigError
from pipeline.toml_lines import Place, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

T = TypeVar("T")

_PLACE_OF_ERROR = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_FIXED_POINT = re.compile(r"([0-9]{1,38})(?:\.([0-9]{1,6}))?")
_SHOWN_MAX = 80
_KINDS: dict[type, str] = {
    str: "a string in quotes",
    bool: "true or false",
    list: "an array",
    dict: "a table",
}


def read_toml(path: "Path", what: str) -> "Table":
    """Open a file as its root table; `what` is its name in messages, such as `the catalog`."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        msg = f"{what} {path} does not exist: give the path of a TOML file"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        msg = f"{path}:{line}: {what} is not UTF-8 here: save it as UTF-8 text"
    except OSError as error:
        msg = f"{what} {path} cannot be read ({error.strerror}): give a TOML file that this user may read"
    else:
        return parse_toml(text, str(path), what)
    raise ConfigError(msg)


def parse_toml(text: str, name: str, what: str) -> "Table":
    """Read TOML text as its root table; `name` stands for the file in messages."""
    try:
        return Table(TomlText(name, text), (), tomllib.loads(text))
    except ValueError as error:
        msg = _not_toml(str(error), name, what, text)
    except RecursionError:
        msg = f"{name}:1: {what} nests too deeply: write it flat"
    raise ConfigError(msg)


def suggestion(wrong: str, known: "Iterable[str]") -> str:
    """Name the known word that was meant, or all of them."""
    words = [str(word) for word in known]
    close = get_close_matches(wrong, words, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected {', '.join(words)}"


def _not_toml(message: str, name: str, what: str, text: str) -> str:
    place = _PLACE_OF_ERROR.search(message)
    line = int(place[1]) if place and place[1] else text.rstrip("\n").count("\n") + 1 if place else 1
    reason = _PLACE_OF_ERROR.sub("", message)
    return f"{name}:{line}: {what} is not TOML here: {reason[:1].lower()}{reason[1:]}"


@dataclass(frozen=True, slots=True)
class TomlText:
    """A TOML text and the name of its file."""

    name: str
    text: str

    def line(self, place: Place) -> int:
        """Find the line of a place, or of the nearest that encloses it."""
        try:
            lines = lines_of(self.text)
        except RecursionError:  # nested to the limit of what could be read at all
            return 1
        while place and place not in lines:
            place = place[:-1]
        return lines.get(place, 1)

    def fail(self, place: Place, sentence: str) -> NoReturn:
        """Raise `ConfigError` with the line of a place."""
        msg = f"{self.name}:{self.line(place)}: {sentence}"
        raise ConfigError(msg)


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a file.

    Getters give None where a key is absent and raise `ConfigError` where its value is of another kind.
    """

    file: TomlText
    place: Place
    values: dict[str, Any]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def fail(self, key: str | None, sentence: str) -> NoReturn:
        """Raise `ConfigError` with the line of `key`, or of the table itself."""
        self.file.fail(self.place if key is None else (*self.place, key), sentence)

    def label(self, key: str | None = None) -> str:
        """Name a place for people, elements counted from 1: `operations.ask.components 2`."""
        place = self.place if key is None else (*self.place, key)
        names = [f" {part + 1}" if isinstance(part, int) else f".{_quoted(part)}" for part in place]
        return "".join(names).lstrip(".")

    def only(self, *known: str) -> None:
        """Refuse any key but the known ones."""
        for key in self.values:
            if key not in known:
                where = f" in {self.label()}" if self.place else ""
                self.fail(key, f"unknown key {key!r}{where}: {suggestion(key, known)}")

    def text(self, key: str) -> str | None:
        """Get a string that is not empty."""
        value = self._of_kind(key, str)
        if value == "":
            self.fail(key, f"{self.label(key)} is empty: give it a text or leave it out")
        return value

    def flag(self, key: str) -> bool | None:
        """Get a boolean."""
        return self._of_kind(key, bool)

    def whole(self, key: str, lowest: int, highest: int) -> int | None:
        """Get an integer from `lowest` to `highest`."""
        value = self.values.get(key)
        if value is None:
            return None
        if type(value) is not int or not lowest <= value <= highest:
            expected = f"an integer from {lowest} to {highest}"
            self.fail(key, f"{self.label(key)} must be {expected}, not {shown(value)}")
        return value

    def table(self, key: str) -> "Table | None":
        """Get a table."""
        value = self._of_kind(key, dict)
        return None if value is None else Table(self.file, (*self.place, key), value)

    def tables(self, key: str) -> "Iterator[tuple[str, Table]]":
        """Go through a table of tables by name; an absent one has none."""
        outer = self.table(key)
        if outer is None:
            return
        for name in outer.values:
            inner = outer.table(name)
            if inner is not None:
                yield name, inner

    def list(self, key: str) -> list[Any] | None:
        """Get an array."""
        return self._of_kind(key, list)

    def element(self, key: str, number: int, value: Any) -> "Table":
        """View an element of an array as the table that it must be."""
        place = (*self.place, key, number)
        if not isinstance(value, dict):
            label = f"{self.label(key)} {number + 1}"
            self.file.fail(place, f"{label} must be a table such as {{ ... }}, not {shown(value)}")
        return Table(self.file, place, value)

    def _of_kind(self, key: str, kind: type[T]) -> T | None:
        value = self.values.get(key)
        if value is not None and type(value) is not kind:
            self.fail(key, f"{self.label(key)} must be {_KINDS[kind]}, not {shown(value)}")
        return value


def fixed_point(text: str) -> int | None:
    """Scale a decimal string such as `16.666` by 10^6, exactly; None where it is not one.

    Digits with at most 6 of them behind a point: no sign, no exponent, no spaces.
    """
    match = _FIXED_POINT.fullmatch(text)
    return None if match is None else int(match[1]) * 1_000_000 + int((match[2] or "").ljust(6, "0"))


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def shown(value: Any) -> str:
    """Write a value for a message, in TOML's words and not at length."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return _KINDS[type(value)]
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."
