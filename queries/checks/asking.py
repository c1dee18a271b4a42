"""Putting the questions of this package to a ledger."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Protocol

from clickhouse_connect.driver.exceptions import ClickHouseError

from queries.refusals import refusal

Row = Mapping[str, Any]
_SETTINGS = {
    "max_bytes_before_external_group_by": str(1 << 30),
    "max_bytes_before_external_sort": str(1 << 30),
}


class Answer(Protocol):
    """What a client gives back."""

    @property
    def column_names(self) -> Sequence[str]:
        """The names of the columns."""
        ...

    @property
    def result_rows(self) -> Sequence[Sequence[Any]]:
        """The rows."""
        ...


class Client(Protocol):
    """The part of a clickhouse-connect client that the checks need."""

    def query(self, query: str, parameters: dict[str, Any], settings: dict[str, str]) -> Answer:
        """Run SQL whose `{name:Type}` are bound by the server."""
        ...


def text(name: str) -> str:
    """The SQL of a question."""
    return (resources.files("queries") / "checks" / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def ask(client: Client, name: str, **parameters: Any) -> list[Row]:
    """Run a question; raises what `queries.refusals` makes of an error."""
    try:
        answer = client.query(text(name), parameters, _SETTINGS)
    except ClickHouseError as error:
        raise refusal(error, f"the check {name}") from error
    return [dict(zip(answer.column_names, row, strict=True)) for row in answer.result_rows]
