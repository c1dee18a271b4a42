"""The replay log in the ledger: rejects that are handed in again, numbered through.

Parallelism: one writer at a time, held by the run's number. Delivery: a page under a token and behind the fence of
runs, so each reject stands in the log once, whatever is sent twice or comes late.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.event import Reason
from pipeline.ports import Clock
from pipeline.sources.bounds import Bounds
from pipeline.sources.replays import FIRST, ORIGIN, Entry
from sinks.inserts import Retry, insert_block, sql, translated
from sinks.ledger import Run
from sinks.native import Block, strings

_PAGE = 10_000
_BYTES: dict[str, str | dict[str, str]] = {"line": "bytes", "raw": "bytes", "header": "bytes"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rejects are handed in; empty: all that were not yet."""

    names: tuple[str, ...] = ()
    reason: str = ""
    topic: str = ""
    tenant: str = ""
    since: str = ""
    again: bool = False
    """Also those that are what a replay became."""


@dataclass(frozen=True, slots=True)
class Reading:
    """As what lines are read."""

    format_of: Callable[[bytes], str]
    header: str = ""


class ReplayLog:
    """The log, for the thread of its client (`pipeline.sources.replays.Entries`)."""

    def __init__(self, client: Client, clock: Clock, retry: Retry) -> None:
        self._client, self._clock, self._retry = client, clock, retry

    def bounds(self) -> Bounds:
        """What there is of the log."""
        return Bounds(ORIGIN, FIRST, self._last() + 1)

    def page(self, number: int, size: int) -> Sequence[Entry]:
        """See `Entries`."""
        rows = self._ask("replay_log_page", {"number": number, "size": size})
        return [Entry(n, raw, str(f), h, t, o, ms) for n, raw, f, h, t, o, ms in rows]

    def append(self, selection: Selection, reading: Reading, run: Run) -> int:
        """Enter what is selected, and was refused before this run; durable when it returns. Returns how many.

        Raises `LedgerFencedError` when a newer run has taken over.
        """
        appended = 0
        while rows := self._ask("rejects_to_replay", self._parameters(selection, run)):
            first = self._last() + 1
            block = _block(rows, first, reading, run, self._clock.now_ms())
            token = f"{run.number}-replay-{first}"
            self._retry.until_done(
                "reject_replays",
                lambda block=block, token=token: insert_block(  # type: ignore[misc]
                    self._client, "reject_replays_in", [block], token, run.number
                ),
            )
            appended += len(rows)
        return appended

    @staticmethod
    def _parameters(chosen: Selection, run: Run) -> dict[str, Any]:
        return {
            "names": list(chosen.names), "reason": chosen.reason, "topic": chosen.topic, "tenant": chosen.tenant,
            "since": chosen.since, "again": chosen.again, "run": run.number, "limit": _PAGE,
        }  # fmt: skip

    def _last(self) -> int:
        return int(self._client.query("SELECT max(number) FROM reject_replays").result_rows[0][0])

    def _ask(self, name: str, parameters: dict[str, Any]) -> list[Any]:
        def attempt() -> list[Any]:
            try:
                return list(
                    self._client.query(sql(name), parameters=parameters, column_formats=_BYTES).result_rows
                )
            except (ClickHouseError, OSError) as error:
                raise translated(error, "reading rejects") from error

        return self._retry.until_done(name, attempt)


def keep_fix(client: Client, reject: str, raw: bytes, who: str, now_ms: int) -> None:
    """Keep a mended line beside a reject; the newest one is handed in."""
    block = Block(1)
    block.data("reject", "String", strings([reject]))
    block.data("raw", "String", strings([raw]))
    block.data("who", "String", strings([who]))
    block.data("fixed_at", "DateTime64(3, 'UTC')", np.array([now_ms], np.int64))
    try:
        client.raw_insert(
            "reject_fixes", insert_block=block.bytes(), fmt="Native", settings={"async_insert": 0}
        )
    except (ClickHouseError, OSError) as error:
        raise translated(error, "keeping a mended line") from error


def _block(rows: list[Any], first: int, reading: Reading, run: Run, now_ms: int) -> bytes:
    names, reasons, topics, partitions, offsets, lines, by_hand, arrivals = zip(*rows, strict=True)
    block = Block(len(rows))
    block.data("number", "UInt64", np.arange(first, first + len(rows), dtype=np.uint64))
    block.data("reject", "String", strings(names))
    _add(block, "reason", [str(reason) for reason in reasons])
    _add(block, "from_topic", [str(topic) for topic in topics])
    block.data("from_partition", "UInt32", np.array(partitions, np.uint32))
    block.data("from_offset", "UInt64", np.array(offsets, np.uint64))
    block.data("raw", "String", strings(lines))
    block.data("by_hand", "Bool", np.array(by_hand, np.uint8))
    _add(block, "format", [reading.format_of(line) for line in lines])
    block.data("header", "String", strings([reading.header] * len(rows)))
    late = (
        Reason.TIME_IN_FUTURE.code
    )  # its time has come, perhaps; all others happened when they first arrived
    moments = [now_ms if reason == late else ms for reason, ms in zip(reasons, arrivals, strict=True)]
    block.data("arrived_at", "DateTime64(3, 'UTC')", np.array(moments, np.int64))
    block.repeated("replayed_at", "DateTime64(3, 'UTC')", now_ms, "<i8")
    block.repeated("run", "UInt32", run.number, "<u4")
    return block.bytes()


def _add(block: Block, name: str, values: list[str]) -> None:
    distinct = list(dict.fromkeys(values))
    numbers = {value: number for number, value in enumerate(distinct)}
    codes = np.array([numbers[value] for value in values], np.int64)
    block.low_cardinality(name, strings(distinct), len(distinct), codes)
