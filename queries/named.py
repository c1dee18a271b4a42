"""The named queries: each a file of `queries/sql` whose header says what it is for, takes and gives.

A query is a frozen object that yields SQL and bound parameters; nothing that a user gave is ever formatted
into SQL.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Protocol

from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.errors import UsageError
from queries.refusals import refusal

_PARAMETER = re.compile(
    r"--   (?P<name>\w+) (?P<type>[\w()]+)(?P<optional> = '(?P<default>[^']*)')? +(?P<doc>.+)"
)
_COLUMN = re.compile(r"--   (\w+) +\S")


class Answer(Protocol):
    """What a client gives back."""

    @property
    def result_rows(self) -> Sequence[Sequence[Any]]:
        """The rows, each with one value for each column."""
        ...


class Client(Protocol):
    """The part of a clickhouse-connect client that named queries need."""

    def query(self, query: str, parameters: dict[str, Any]) -> Answer:
        """Run SQL whose `{name:Type}` are bound by the server."""
        ...


@dataclass(frozen=True, slots=True)
class Parameter:
    """One bound parameter; its value is given as text, which ClickHouse reads as `type`."""

    name: str
    type: str
    default: str | None
    """None where the parameter must be given."""
    doc: str


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """One file of SQL, with what its header declares."""

    name: str
    sql: str
    doc: str
    parameters: tuple[Parameter, ...]
    columns: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The first sentence of the documentation."""
        return self.doc.splitlines()[0]

    def bind(self, given: Mapping[str, Any]) -> dict[str, str]:
        """Complete the parameters with their defaults.

        Raises `UsageError` for one that the query does not have, and for one that is missing.
        """
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                known = ", ".join(names) or "none"
                msg = f"the query {self.name} has no parameter {name!r}: it takes {known}"
                raise UsageError(msg)
        return {parameter.name: self._value(parameter, given) for parameter in self.parameters}

    def _value(self, parameter: Parameter, given: Mapping[str, Any]) -> str:
        value = given.get(parameter.name, parameter.default)
        if value is None:
            needs = f"the query {self.name} needs the parameter {parameter.name!r} ({parameter.doc})"
            msg = f"{needs}: give --param {parameter.name}=..."
            raise UsageError(msg)
        return str(value)


@dataclass(frozen=True, slots=True)
class Result:
    """The answer of a query: amounts are int and Decimal, moments datetimes in UTC without a zone."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def dicts(self) -> list[dict[str, Any]]:
        """Give the rows by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@cache
def named_queries() -> Mapping[str, NamedQuery]:
    """All named queries by name, in alphabetical order."""
    files = sorted((resources.files("queries") / "sql").iterdir(), key=lambda file: file.name)
    queries = [
        _read(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in files
        if file.name.endswith(".sql")
    ]
    return MappingProxyType({query.name: query for query in queries})


def find_query(name: str) -> NamedQuery:
    """Find a query by its name, with hyphens or underscores; raises `UsageError` where there is none."""
    queries = named_queries()
    wanted = name.replace("-", "_")
    if wanted in queries:
        return queries[wanted]
    close = get_close_matches(wanted, queries, n=1)
    advice = f"did you mean {close[0]}?" if close else "millrace query --list shows the names"
    msg = f"there is no query named {name!r}: {advice}"
    raise UsageError(msg)


def run(client: Client, query: NamedQuery, params: Mapping[str, Any] | None = None) -> Result:
    """Run a named query; raises `UsageError` for wrong parameters, `LedgerError` where the ledger fails."""
    bound: dict[str, Any] = dict(query.bind(params or {}))
    try:
        answer = client.query(query.sql, parameters=bound)
    except ClickHouseError as error:
        raise refusal(error, f"the query {query.name}") from error
    return Result(query.columns, tuple(tuple(row) for row in answer.result_rows))


def _read(name: str, sql: str) -> NamedQuery:
    header = sql[: re.search(r"^(?!--)", sql, re.MULTILINE).start()]  # type: ignore[union-attr]
    head, _, rest = header.partition("--\n-- Parameters")
    parameters, _, columns = rest.partition("-- Columns:\n")
    doc = "\n".join(line.removeprefix("--").strip() for line in head.splitlines())
    return NamedQuery(name, sql, doc, _parameters(parameters), tuple(_COLUMN.findall(columns)))


def _parameters(lines: str) -> tuple[Parameter, ...]:
    return tuple(
        Parameter(found["name"], found["type"], found["default"], found["doc"])
        for found in _PARAMETER.finditer(lines)
    )
