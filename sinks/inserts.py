"""Sending blocks to ClickHouse: durable, once, and again until it works or the run is told to stop."""

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib import resources
from typing import TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from pipeline.errors import LedgerAwayError, LedgerError, LedgerFencedError
from sinks.pending import Pending

T = TypeVar("T")
_FENCED = "fenced by a newer run"
_NO_SPACE = ("No space left on device", "NOT_ENOUGH_SPACE", "Cannot reserve")
_PASSING_CODES = frozenset({159, 164, 202, 209, 210, 241, 242, 252, 319, 425, 999})
"""Time-outs, too many queries or parts, memory, network, read-only for now: worth another try."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 10.0


def sql(name: str) -> str:
    """The text of a query of this package."""
    return (resources.files("sinks") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


@dataclass(slots=True)
class Retry:
    """How long to go on trying: until the stop flag is set; `waiting_for` says what is being waited for."""

    stop: threading.Event = field(default_factory=threading.Event)
    waiting_for: str = ""
    report: Callable[[str], None] = lambda _sentence: None

    def until_done(self, what: str, attempt: Callable[[], T]) -> T:
        """Call `attempt` until it succeeds; raises its `LedgerError` when another try cannot help."""
        wait = _FIRST_WAIT_S
        while True:
            try:
                result = attempt()
            except LedgerAwayError as error:
                self.waiting_for = f"{what}: {error}"
                self.report(self.waiting_for)
                if self.stop.wait(wait):
                    raise
                wait = min(wait * 2, _LONGEST_WAIT_S)
            else:
                self.waiting_for = ""
                return result


def says_disk_full(text: str) -> bool:
    """Whether an error of ClickHouse means that its disk is full."""
    return any(sign in text for sign in _NO_SPACE)


def translated(error: Exception, doing: str) -> LedgerError:
    """What a driver's error means for a run: fenced, away for now, or not to be mended by trying again."""
    text = str(error)
    if _FENCED in text:
        return LedgerFencedError("a newer run has taken over this ledger: this one stops, its work is kept")
    if says_disk_full(text):
        return LedgerError(
            f"the ledger's disk is full while {doing}: free some space and run again, nothing is lost"
        )
    code = getattr(error, "code", None)
    first = text.splitlines()[0][:300] if text else type(error).__name__
    if isinstance(error, OperationalError | OSError) or code in _PASSING_CODES:
        return LedgerAwayError(f"the ledger does not answer while {doing}: {first}")
    return LedgerError(f"the ledger refused while {doing}: {first}")


def at(moment_ms: int) -> str:
    """A moment as `insert_rows` takes it."""
    return f"{moment_ms // 1000}.{moment_ms % 1000:03}"


def insert_rows(
    client: Client, table: str, names: list[str], rows: list[list[object]], token: str = ""
) -> None:
    """Insert a few rows: numbers, texts, moments by `at`; with a token the same rows are stored once.

    The driver's own `insert` would load pandas first: a fifth of a second.
    """
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    settings = {"async_insert": 0} | ({"insert_deduplication_token": token} if token else {})
    client.raw_insert(table, names, "\n".join(lines).encode(), settings=settings, fmt="JSONEachRow")


def insert_block(client: Client, table: str, blocks: Sequence[bytes], token: str, run: int) -> None:
    """Insert a few Native blocks into a table in one go; see `insert_pending`."""
    with closing(Pending()) as pending:
        pending.add(blocks)
        insert_pending(client, table, pending, token, run)


def insert_pending(client: Client, table: str, pending: Pending, token: str, run: int) -> None:
    """Insert Native blocks into a table in one go; done twice with one token, the rows are stored once.

    Raises the `LedgerError` that fits.
    """
    settings: dict[str, int | str] = {
        "async_insert": 0,
        "insert_deduplicate": 1,
        "insert_deduplication_token": token,
        "deduplicate_blocks_in_dependent_materialized_views": 1,
        "min_insert_block_size_rows": 1_048_576,
        "min_insert_block_size_bytes": 0,
        "max_insert_threads": 1,
        "max_partitions_per_insert_block": 0,
        "log_comment": f"run-{run}",
    }
    try:
        place = pending.path() if client.uri.startswith("chdb:") else None
        if place:  # the driver would write the blocks to the disk once more
            clause = ", ".join(f"{name} = '{value}'" for name, value in settings.items())  # our own names
            client.command(f"INSERT INTO {table} FROM INFILE '{place}' SETTINGS {clause} FORMAT Native")
        else:
            client.raw_insert(table, insert_block=pending.read(), fmt="Native", settings=settings)
    except (ClickHouseError, OSError) as error:
        raise translated(error, f"writing to {table.removesuffix('_in')}") from error
