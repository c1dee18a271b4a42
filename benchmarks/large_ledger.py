"""A large ledger, made inside ClickHouse in minutes: the real tables, filled as runs would have filled them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

from queries.named import Client as QueryClient

STEP = 2_000_000
BLOCK_ROWS = 250_000
"""What a run writes at once: so parts, and what is merged of them, are as a run leaves them."""
DAY_MS = 86_400_000


class LedgerClient(Protocol):
    """The part of a clickhouse-connect client that fills tables."""

    def command(
        self, cmd: str, parameters: dict[str, Any] | None = None, *, settings: dict[str, Any] | None = None
    ) -> Any:
        """Run a statement."""
        ...


@dataclass(frozen=True, slots=True)
class Large:
    """How much to make. The same values give the same rows."""

    rows: int
    end_ms: int
    tenants: int = 10_000
    days: int = 60


def fill(client: LedgerClient, large: Large, tell: Callable[[int], None] = lambda _rows: None) -> None:
    """Fill a ledger that is migrated; one that was begun with the same values goes on where it stopped.

    `tell` is called with the rows that are there.
    """
    fixed = {
        "tenants": large.tenants,
        "rows": large.rows,
        "end_ms": large.end_ms,
        "span_ms": large.days * DAY_MS,
    }
    there = int(client.command("SELECT count() FROM ledger"))
    while there < large.rows:
        count = min(STEP - there % STEP, large.rows - there)
        _run(client, "large_ledger", {**fixed, "first": there, "count": count})
        there += count
        tell(there)
    if not int(client.command("SELECT count() FROM progress")):
        for name in ("large_rejects", "large_decisions", "large_progress"):
            _run(client, name, fixed)


def _run(client: LedgerClient, name: str, given: dict[str, int]) -> None:
    text = (resources.files("benchmarks") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    block = {
        "max_block_size": BLOCK_ROWS,
        "min_insert_block_size_rows": BLOCK_ROWS,
        "min_insert_block_size_bytes": 0,
        "max_threads": 1,
        "max_insert_threads": 1,
    }
    client.command(text, given, settings=block)


def tenant_name(client: QueryClient, rank: int) -> str:
    """The name of the tenant that has the n-th most events."""
    sql = "SELECT concat('acct_', lower(hex(toUInt32(sipHash64({rank:UInt32})))))"
    return str(client.query(sql, parameters={"rank": rank}).result_rows[0][0])
