"""Answers of the ledger as ClickHouse prints them, exact in every format, from a session that only reads.

Numbers never pass through a binary float here: integers and decimals of any width are printed digit by digit.
JSON has them as numbers (a reader that needs more than 2^53 parses them as integers and decimals, as Python
does with `parse_float=Decimal`), moments as text in UTC, unless the column names a time zone, and bytes that
are no UTF-8 as U+FFFD.
"""

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Protocol

from clickhouse_connect.driver.exceptions import ClickHouseError

from queries.refusals import refusal
from queries.statement import is_select
from queries.table import aligned

SETTINGS = {
    "session_timezone": "UTC",
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_decimals": "0",
    "output_format_json_quote_64bit_floats": "0",
    "output_format_json_quote_denormals": "0",
    "output_format_json_named_tuples_as_objects": "1",
    "output_format_json_validate_utf8": "1",
    "wait_end_of_query": "1",  # over HTTP an error in the middle is then an error, not a cut answer
}
CHUNK = 1 << 20


class Stream(Protocol):
    """Bytes that come as they are made."""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes; none at the end."""
        ...

    def close(self) -> None:
        """Let the rest go."""
        ...


class RawClient(Protocol):
    """The part of a clickhouse-connect client that a reading session needs."""

    def set_client_setting(self, key: str, value: Any) -> None:
        """Set a setting for all that follows."""
        ...

    def raw_query(self, query: str, parameters: dict[str, Any] | None, *, fmt: str) -> bytes:
        """Run a statement and return its whole answer in a format of ClickHouse."""
        ...

    def raw_stream(self, query: str, parameters: dict[str, Any] | None, *, fmt: str) -> Any:
        """Run a statement and return its answer as a stream."""
        ...


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class Session:
    """A client that can only read from now on: ClickHouse itself refuses everything else (`readonly = 1`)."""

    def __init__(self, client: RawClient) -> None:
        for name, value in SETTINGS.items():
            client.set_client_setting(name, value)
        client.set_client_setting("readonly", "1")
        self._client = client

    def write(self, sql: str, params: Mapping[str, str], form: Format, what: str) -> Iterator[bytes]:
        """Give the answer piece by piece: a JSON array of objects, CSV with a header, a table, or Parquet.

        `what` names the statement in errors: `UsageError` where it is wrong, `LedgerError` where the ledger
        fails.
        """
        pieces = {
            Format.JSON: self._json,
            Format.CSV: self._csv,
            Format.TABLE: self._table,
            Format.PARQUET: self._parquet,
        }
        try:
            yield from pieces[form](sql, dict(params))
        except ClickHouseError as error:
            raise refusal(error, what) from error

    def _json(self, sql: str, params: dict[str, str]) -> Iterator[bytes]:
        """Make an array of rows that come one in a line: each line feed between two becomes a comma too."""
        held = b"["
        for piece in self._stream(sql, params, "JSONEachRow"):
            text = held + piece
            held = b"\n" if text.endswith(b"\n") else b""
            yield text.removesuffix(b"\n").replace(b"\n", b",\n")
        yield held.removesuffix(b"\n") + b"]\n"

    def _csv(self, sql: str, params: dict[str, str]) -> Iterator[bytes]:
        """Stream rows below a header; what is no SELECT is short and comes whole."""
        if not is_select(sql):
            yield self._whole(sql, params, "CSVWithNames")
            return
        described = self._whole(f"DESCRIBE TABLE ({sql}\n)", params, "JSONCompactEachRow")
        names = [json.loads(line)[0].replace('"', '""') for line in described.splitlines()]
        yield (",".join(f'"{name}"' for name in names) + "\n").encode()
        yield from self._stream(sql, params, "CSV")

    def _table(self, sql: str, params: dict[str, str]) -> Iterator[bytes]:
        yield aligned(self._whole(sql, params, "TabSeparatedWithNamesAndTypes")).encode()

    def _parquet(self, sql: str, params: dict[str, str]) -> Iterator[bytes]:
        yield self._whole(sql, params, "Parquet")

    def _whole(self, sql: str, params: dict[str, str], fmt: str) -> bytes:
        return self._client.raw_query(sql, params or None, fmt=fmt)

    def _stream(self, sql: str, params: dict[str, str], fmt: str) -> Iterator[bytes]:
        if not is_select(sql):
            yield self._whole(sql, params, fmt)
            return
        stream: Stream = self._client.raw_stream(sql, params or None, fmt=fmt)
        try:
            while piece := stream.read(CHUNK):
                yield piece
        finally:
            stream.close()
