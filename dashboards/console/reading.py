"""Reading events page by page without reading more than it takes.

Events of one tenant lie together by time. Events of all tenants are found by time through the ledger's index of
times where it has one (`queries/events_index.py`), and else by going back in stretches that grow until a page is
full.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dashboards.console.desk import Ledger
from dashboards.console.spend import QUARTER_S, Stretch
from dashboards.console.text import iso

GROWS = 8
NEWEST_MS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """What rows must match; empty: anything."""

    tenant: str = ""
    principal: str = ""
    operation: str = ""
    type: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of the page before."""

    occurred_ms: int
    tenant: str
    key: str


def read_events(
    ledger: Ledger, over: Stretch, only: Filter, after: Cursor | None, limit: int
) -> list[dict[str, Any]]:
    """Read a page of events, the newest first: behind the last row of the page before, within the stretch."""
    rows: list[dict[str, Any]] = []
    end = over.to_s if after is None else min(over.to_s, after.occurred_ms // 1000 + 1)
    for begin, until in backwards(over.from_s, end):
        given = {
            "tenant": only.tenant,
            "principal": only.principal,
            "operation": only.operation,
            "type": only.type,
            "context": only.context,
            "after_ms": after.occurred_ms if after else NEWEST_MS,
            "after_tenant": after.tenant if after else "",
            "after_key": after.key if after else "",
            "limit": limit - len(rows),
        }
        rows += ledger.rows("console_events", from_=iso(begin), to=iso(until), **given)
        if len(rows) >= limit:
            break
    return rows


def backwards(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a stretch into pieces from its end, each longer than the one before: a quarter hour, two hours, ..."""
    length = QUARTER_S
    while end > begin:
        start = max(begin, end - length)
        yield start, end
        end, length = start, length * GROWS
