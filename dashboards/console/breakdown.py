"""What a tenant's spend is made of: by principal, operation, action, source or context, page by page.

The named queries give whole lists; a page of one is cut out of it by its last line, so the hundredth page costs
what the first does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.console.desk import Ledger
from dashboards.console.spend import Stretch
from dashboards.console.text import context_word
from queries.named import find_query

ALL = {"limit": str(2**32 - 1)}


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to break spend down."""

    name: str
    title: str
    query: str
    given: Mapping[str, str]
    """What the query is told beside whose spend and of when."""
    key: tuple[str, ...]
    """The columns that name a line."""
    nothing: str
    """What stands where the name is empty."""


KINDS = {
    one.name: one
    for one in (
        Kind("principal", "Principal", "console_by", {"by": "principal"}, ("name",), "unattributed"),
        Kind("operation", "Operation", "console_operations", ALL, ("operation",), "(none named)"),
        Kind("action", "Action", "console_by", {"by": "action"}, ("name",), "(none named)"),
        Kind("source", "Cost source", "console_sources", {}, ("cost_source",), "(no component)"),
        Kind("context", "Context", "console_contexts", {}, ("context_type", "context_name"), "unknown"),
    )
}


@dataclass(frozen=True, slots=True)
class After:
    """The last line of the page before."""

    pico: int
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a breakdown."""

    label: str
    key: tuple[str, ...]
    events: int | None
    pico: int


def read_lines(  # noqa: PLR0913, PLR0917 - what a page of lines is
    ledger: Ledger, kind: Kind, tenant: str, over: Stretch, after: After | None, limit: int
) -> list[Line]:
    """Read a page of lines, the dearest first."""
    query = find_query(kind.query)
    between = {"from": over.between["from_"], "to": over.between["to"]}
    bound = query.bind({"tenant": tenant, **between, **kind.given})
    key = ", ".join(f"toString({name})" for name in kind.key)
    given = {**bound, "after_pico": str(after.pico if after else 2**127 - 1), "row_limit": str(limit)}
    marks = []
    for number, part in enumerate(after.key if after else ("",) * len(kind.key)):
        given[f"after_{number}"] = part
        marks.append(f"{{after_{number}:String}}")
    sql = (
        f"SELECT * FROM (\n{query.sql}\n) "  # noqa: S608 - names of our own; values are bound
        "WHERE pico_usd < {after_pico:Int128} "
        f"OR (pico_usd = {{after_pico:Int128}} AND ({key}) > ({', '.join(marks)})) "
        f"ORDER BY pico_usd DESC, {key} LIMIT {{row_limit:UInt32}}"
    )
    found = ledger.client.query(sql, parameters=given).result_rows
    return [_line(kind, dict(zip(query.columns, row, strict=True))) for row in found]


def _line(kind: Kind, row: Mapping[str, Any]) -> Line:
    key = tuple(str(row[name]) for name in kind.key)
    label = context_word(row) if kind.name == "context" else "".join(key)
    shown = kind.nothing if label in {"", "@unattributed"} else label
    return Line(shown, key, row["events"], int(row["pico_usd"]))


def shares(lines: Sequence[Line]) -> list[int]:
    """Give each line's share of the dearest, in percent, for drawing."""
    most = max([line.pico for line in lines] + [0])
    return [max(0, line.pico) * 100 // most if most else 0 for line in lines]
