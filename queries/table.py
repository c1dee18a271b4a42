"""Rows as aligned text for people: numbers whole and to the right, nothing that a terminal would obey."""

import re
from collections.abc import Sequence

from rich.cells import cell_len

LONGEST_TEXT = 120
"""Characters of a text shown; the other formats have it whole."""

_NUMBER = re.compile(r"(Nullable\()?(U?Int|Decimal|Float)")


def aligned(answer: bytes) -> str:
    """Lay out an answer in the format TabSeparatedWithNamesAndTypes; ends with the number of rows."""
    lines = answer.decode(errors="replace").removesuffix("\n").split("\n")
    if len(lines) < 2:  # noqa: PLR2004 - names and types: a statement without columns has neither
        return "no columns\n"
    names, types, *rows = ([_shown(cell) for cell in line.split("\t")] for line in lines)
    return laid_out(names, [bool(_NUMBER.match(kind)) for kind in types], rows)


def laid_out(names: Sequence[str], numeric: Sequence[bool], rows: Sequence[Sequence[str]]) -> str:
    """Lay out cells below their names, numeric columns to the right; ends with the number of rows."""
    cells = [
        [text if number else _short(text) for text, number in zip(row, numeric, strict=True)] for row in rows
    ]
    widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
    body = [_line(line, widths, numeric) for line in (names, ["-" * width for width in widths], *cells)]
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    return "\n".join([*body, count, ""])


def printable(text: str) -> str:
    """Show what is no printable character by its code, so that no terminal obeys it."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _shown(cell: str) -> str:
    if cell == r"\N":
        return "NULL"
    return printable(re.sub(r"\\(['\\])", r"\1", cell))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [
        " " * (width - cell_len(cell)) + cell if number else cell + " " * (width - cell_len(cell))
        for cell, width, number in zip(cells, widths, numeric, strict=True)
    ]
    return "  ".join(padded).rstrip()
