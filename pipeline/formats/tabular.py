"""CSV files and JSON lines, turned into events by a mapping file (see pipeline.formats.mapping).

CSV is RFC 4180 within one line: quotes may hold the delimiter and doubled quotes, not a line break. The first
line names the columns; a line with more or fewer cells than that, or with a quote left open, is `unreadable`,
for the cells behind the fault would land in the wrong columns.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import ConfigError
from pipeline.event import Reject
from pipeline.formats.envelope import Format, json_text, unreadable, without_break
from pipeline.formats.json_lines import Members, descend, present, split_object
from pipeline.formats.mapped import Assembler, assemble
from pipeline.formats.mapping import Mapping

_BYTE_ORDER_MARK = "\ufeff"
_UNNAMED = "the header of the CSV file"


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """A CSV file whose header is still to come."""

    mapping: Mapping
    tenant: str | None
    header_lines: int = 1

    def with_header(self, header: bytes) -> Format:
        """Bind the mapping to the columns of a file."""
        names = self._names(header)
        missing = [(name, m) for m in self.mapping.members for name in m.columns if names.count(name) != 1]
        for name, member in missing:
            fault = "stands more than once in" if name in names else "is not in"
            msg = (
                f"{self.mapping.path}:{member.line}: column {name!r} {fault} {_UNNAMED}, which has "
                f"{', '.join(repr(n) for n in names)}: name one of these"
            )
            raise ConfigError(msg)
        columns = _CsvColumns(names)
        return _BoundCsv(self.mapping.delimiter, len(names), assemble(self.mapping, columns, self.tenant))

    def _names(self, header: bytes) -> tuple[str, ...]:
        try:
            text = without_break(header.removesuffix(b"\n")).decode().removeprefix(_BYTE_ORDER_MARK)
            names = tuple(name.strip() for name in _cells(text, self.mapping.delimiter))
        except (ValueError, csv.Error) as error:
            msg = f"{_UNNAMED} cannot be read ({error}): expected the names of the columns in UTF-8"
            raise ConfigError(msg) from None
        if not any(names):
            msg = f"{_UNNAMED} is blank: expected the names of the columns in its first line"
            raise ConfigError(msg)
        return names

    def convert(self, line: bytes, source_name: str, line_number: int) -> bytes | Reject:  # noqa: ARG002 - as declared
        """Reject the line: nothing says yet which column is which."""
        return unreadable(f"the line stands before {_UNNAMED}")


@dataclass(frozen=True, slots=True)
class _BoundCsv:
    delimiter: str
    width: int
    assembler: Assembler[list[str]]
    header_lines: int = 1

    def with_header(self, header: bytes) -> Format:  # noqa: ARG002 - it has one
        return self

    def convert(self, line: bytes, source_name: str, line_number: int) -> bytes | Reject:
        line = without_break(line)
        try:
            cells = _cells(line.decode(), self.delimiter)
        except UnicodeDecodeError as error:
            return unreadable(f"the line is not UTF-8 at byte {error.start + 1}")
        except csv.Error as error:
            return unreadable(f"the line is not CSV: {error}")
        if len(cells) != self.width:
            return unreadable(f"the line has {len(cells)} cells, but the header names {self.width} columns")
        return self.assembler.event(cells, source_name, line_number, line)


def _cells(text: str, delimiter: str) -> list[str]:
    if '"' not in text:
        return text.split(delimiter)
    return next(csv.reader((text,), delimiter=delimiter, strict=True))


@dataclass(frozen=True, slots=True)
class _CsvColumns:
    names: tuple[str, ...]

    def column(self, name: str) -> Callable[[list[str]], bytes | None]:
        at = self.names.index(name)
        return lambda cells: json_text(cells[at]) if cells[at] else None

    def whole(self, cells: list[str]) -> bytes | None:
        members = zip(self.names, cells, strict=True)
        return b"{%b}" % b",".join(b"%b:%b" % (json_text(name), json_text(cell)) for name, cell in members)


class _JsonRow(NamedTuple):
    members: Members
    line: bytes


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """Lines of JSON objects."""

    assembler: Assembler[_JsonRow]
    header_lines: int = 0

    @classmethod
    def of(cls, mapping: Mapping, tenant: str | None) -> "JsonFormat":
        """Compile the mapping."""
        return cls(assemble(mapping, _JsonColumns(), tenant))

    def with_header(self, header: bytes) -> Format:  # noqa: ARG002 - no header to bind to
        """Return the format itself: JSON lines have no header."""
        return self

    def convert(self, line: bytes, source_name: str, line_number: int) -> bytes | Reject:
        """Make an event of a line."""
        line = without_break(line)
        members = split_object(line)
        if isinstance(members, Reject):
            return members
        return self.assembler.event(_JsonRow(members, line), source_name, line_number, line)


@dataclass(frozen=True, slots=True)
class _JsonColumns:
    def column(self, name: str) -> Callable[[_JsonRow], bytes | None]:
        """Find a member by its pointer, or by its whole name first and then by its dotted path."""
        path = _path(name)

        def find(row: _JsonRow) -> bytes | None:
            raw = row.members.get(name)
            if raw is None and path != (name,):
                raw = row.members.get(path[0])
                value = descend(bytes(raw), path[1:]) if raw is not None else None
            else:
                value = None if raw is None else bytes(raw)
            return None if value is None else present(value)

        return find

    def whole(self, row: _JsonRow) -> bytes | None:
        return row.line.strip()


def _path(name: str) -> tuple[str, ...]:
    if not name.startswith("/"):
        return tuple(name.split("."))
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in name[1:].split("/"))
