"""One reject whole: its bytes, why, what it met, and what came of handing it in again."""

import ast
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.errors import UsageError
from pipeline.event import Event, Reason
from pipeline.strict import Rules, decode_event
from queries.refusals import refusal

Row = Mapping[str, Any]
LOG = "@replay"
_CONFLICT = re.compile(
    r"key (?P<key>'.*'|\".*\") of tenant (?P<tenant>'.*'|\".*\") stands for other content: "
    r"the first has fingerprint (?P<first>[0-9a-f]{16}), this one (?P<this>[0-9a-f]{16})",
    re.DOTALL,
)
_BYTES = {"raw": "bytes"}
_ANY_TIME_MS = 4_102_444_800_000
"""2100-01-01: no time is ahead of it."""


class Client(Protocol):
    """The part of a clickhouse-connect client that is needed here."""

    def query(self, query: str, *, parameters: dict[str, Any], column_formats: Any) -> Any:
        """Run SQL whose `{name:Type}` are bound by the server."""
        ...


@dataclass(frozen=True, slots=True)
class Content:
    """What can be read of a line: the account, the key, and what a correction voids."""

    tenant: str = ""
    key: str = ""
    voids: str = ""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two contents under one key, by their fingerprints."""

    first: str
    this: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A reject and all that is known of it."""

    row: Row
    content: Content
    conflict: Conflict | None
    met: Row | None
    """The row that has its key, or what it voids."""
    fixes: tuple[Row, ...]
    replay: Row | None
    """Its line of the replay log, if it was handed in again."""
    became: Row | None
    """The row of the ledger that its line became, or met."""
    was: Row | None
    """The line of the replay log that this reject came of."""


def find_reject(client: Client, name: str) -> Row:
    """Find a reject by its name or the beginning of it; raises `UsageError` for none and for several."""
    rows = _ask(client, "reject", name=name.lower()) if name else []
    if len(rows) == 1:
        return rows[0]
    why = (
        "several rejects begin so: give more of the name"
        if rows
        else "`millrace rejects list` shows the names"
    )
    raise UsageError(f"there is no reject {name!r}: {why}")


def look_at(client: Client, name: str) -> Rejected:
    """Gather all that is known of a reject."""
    row = find_reject(client, name)
    content = _content(row)
    replay = next(iter(_ask(client, "replays", name=row["reject"], numbers=[])), None)
    was = (
        next(iter(_ask(client, "replays", name="", numbers=[row["offset"]])), None)
        if row["topic"] == LOG
        else None
    )
    met = _row_of(client, content, 0)
    became = None
    if replay is not None and replay["outcome"] in {"accepted", "duplicate"}:
        again = _read(replay["raw"])
        became = _row_of(client, again, replay["number"] if replay["outcome"] == "accepted" else 0)
    fixes = tuple(_ask(client, "fixes", name=row["reject"]))
    return Rejected(row, content, _conflict(row), met, fixes, replay, became, was)


def handed_in(client: Client, numbers: Sequence[int]) -> list[Row]:
    """The lines of the replay log that rows of the ledger came of."""
    return _ask(client, "replays", name="", numbers=list(numbers)) if numbers else []


def _conflict(row: Row) -> Conflict | None:
    found = _CONFLICT.search(row["detail"]) if row["reason"] == Reason.IDEMPOTENCY_CONFLICT.code else None
    return Conflict(found["first"], found["this"]) if found else None


def _content(row: Row) -> Content:
    """What a reject is about; of a conflict its sentence says it, whatever the format of the line."""
    found = _CONFLICT.search(row["detail"]) if row["reason"] == Reason.IDEMPOTENCY_CONFLICT.code else None
    if found:
        with suppress(ValueError, SyntaxError):
            return Content(ast.literal_eval(found["tenant"]), ast.literal_eval(found["key"]))
    return _read(row["raw"])


def _read(raw: bytes) -> Content:
    event = decode_event(raw, _ANY_TIME_MS, Rules())
    if not isinstance(event, Event):
        return Content()
    if event.voids:
        return Content(event.tenant, "", event.voids)
    return Content(event.tenant, event.idempotency_key or f"{event.source} {event.event_id}")


def _row_of(client: Client, content: Content, number: int) -> Row | None:
    if not (content.tenant or number):
        return None
    given = {"tenant": content.tenant, "key": content.key, "voids": content.voids, "number": number}
    return next(iter(_ask(client, "rows", **given)), None)


def _ask(client: Client, question: str, **parameters: Any) -> list[Row]:
    sql = (resources.files("queries") / "rejects_sql" / f"{question}.sql").read_text(encoding="utf-8")
    try:
        answer = client.query(sql, parameters=parameters, column_formats=_BYTES)
    except ClickHouseError as error:
        raise refusal(error, "looking at rejects") from error
    return [dict(zip(answer.column_names, row, strict=True)) for row in answer.result_rows]
