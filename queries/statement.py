"""Statements that a user types: only one at a time, and only such as read.

The session is read-only as well (`queries.reading`); this check comes first, because some statements pass a
read-only session all the same (`KILL`, `USE`, `INTO OUTFILE` of the embedded engine), and says what to do.
"""

import re

from pipeline.errors import UsageError

SELECTING = ("SELECT", "WITH", "FROM")
READING = (*SELECTING, "EXPLAIN", "SHOW", "DESCRIBE", "DESC", "EXISTS")
_NO_CODE = re.compile(
    r"""--[^\n]* | \#[\ !][^\n]* | /\*.*?\*/
      | '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`
      | \u2018[^\u2019]*\u2019 | \u201c[^\u201d]*\u201d
      | \$(\w*)\$.*?\$\1\$""",
    re.DOTALL | re.VERBOSE,
)
_PLACEHOLDER = re.compile(r"\{\s*(\w+)\s*:[^{}]+\}")


def reading_statement(sql: str) -> str:
    """Return the statement without the semicolon at its end.

    Raises `UsageError` for no statement, for several, for one that does not read, and for one that says
    itself where its output goes.
    """
    bare = _bare(sql)
    parts = [part for part in bare.split(";") if part.strip()]
    if len(parts) != 1:
        found = f"{len(parts)} were given" if parts else "nothing was given"
        msg = f"one SQL statement is expected, but {found}: give one that starts with SELECT"
        raise UsageError(msg)
    _guard(parts[0])
    return sql[: bare.index(parts[0]) + len(parts[0])].lstrip("; \t\r\n")


def is_select(sql: str) -> bool:
    """Whether a statement gives rows that can be streamed and described, rather than a short list."""
    return _first_word(_bare(sql)) in SELECTING


def placeholders(sql: str) -> tuple[str, ...]:
    """Name the parameters of a statement, its `{name:Type}`, each once, in order."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(_bare(sql))))


def _guard(bare: str) -> None:
    word = _first_word(bare)
    if word not in READING:
        got = f"starts with {word}" if word else "has no word"
        msg = f"the statement {got}, but millrace query only reads: start it with {', '.join(READING)}"
        raise UsageError(msg)
    if re.search(r"\bINTO\s+OUTFILE\b", bare, re.IGNORECASE):
        msg = "the statement writes a file by INTO OUTFILE: leave that out and give --out FILE instead"
        raise UsageError(msg)
    if re.search(r"\bFORMAT\s+\w+\s*$", bare, re.IGNORECASE):
        msg = "the statement names its own FORMAT: leave that out and give --format instead"
        raise UsageError(msg)


def _first_word(bare: str) -> str:
    found = re.search(r"\w+", bare)
    return found[0].upper() if found else ""


def _bare(sql: str) -> str:
    """Blank out comments, texts and quoted names; every other character stays at its place."""
    return _NO_CODE.sub(lambda found: " " * len(found[0]), sql)
