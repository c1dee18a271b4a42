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

MICRO = 10**6


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to break spend down."""

    name: str
    title: str
    query: str
    key: tuple[str, ...]
    """The columns that name a line."""
    nothing: str
    """What stands where the name is empty."""


KINDS = {
    one.name: one
    for one in (
        Kind("principal", "Principal", "spend_by_principal", ("principal",), "unattributed"),
        Kind("operation", "Operation", "spend_by_operation", ("operation",), "(none named)"),
        Kind("action", "Action", "spend_by_action", ("action",), "(none named)"),
        Kind("source", "Cost source", "spend_by_source", ("cost_source",), "(no component)"),
        Kind("context", "Context", "spend_by_context", ("context_type", "context_name"), "unknown"),
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
    bound = query.bind({"tenant": tenant, "from": over.between["from_"], "to": over.between["to"]})
    key = ", ".join(f"toString({name})" for name in kind.key)
    given = {**bound, "after_pico": str(after.pico if after else 2**127 - 1), "row_limit": str(limit)}
    marks = []
    for number, part in enumerate(after.key if after else ("",) * len(kind.key)):
        given[f"after_{number}"] = part
        marks.append(f"{{after_{number}:String}}")
    pico = "toInt128(cost_micro_usd) * 1000000 + residual_pico_usd"
    sql = (
        f"SELECT *, {pico} AS page_pico FROM (\n{query.sql}\n) "  # noqa: S608 - names of our own; values are bound
        "WHERE page_pico < {after_pico:Int128} "
        f"OR (page_pico = {{after_pico:Int128}} AND ({key}) > ({', '.join(marks)})) "
        f"ORDER BY page_pico DESC, {key} LIMIT {{row_limit:UInt32}}"
    )
    names = [*query.columns, "page_pico"]
    rows = [
        dict(zip(names, row, strict=True)) for row in ledger.client.query(sql, parameters=given).result_rows
    ]
    return [_line(kind, row) for row in rows]


def _line(kind: Kind, row: Mapping[str, Any]) -> Line:
    key = tuple(str(row[name]) for name in kind.key)
    label = context_word(row) if kind.name == "context" else "".join(key)
    shown = kind.nothing if label in {"", "@unattributed"} else label
    return Line(shown, key, row.get("events"), int(row["page_pico"]))


def shares(lines: Sequence[Line]) -> list[int]:
    """Give each line's share of the dearest, in percent, for drawing."""
    most = max([line.pico for line in lines] + [0])
    return [max(0, line.pico) * 100 // most if most else 0 for line in lines]
