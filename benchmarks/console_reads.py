"""What the console's pages read, each timed by itself on a ledger that is there: time, processor, rows and bytes."""

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dashboards.console.audit import read_audit
from dashboards.console.breakdown import KINDS, Kind, read_lines
from dashboards.console.caps import CANDIDATES, nearest, windows_of
from dashboards.console.desk import Ledger
from dashboards.console.reading import NEWEST_MS, Filter, read_events
from dashboards.console.services import AccountBook, LedgerClient
from dashboards.console.spend import DAY_S, Stretch, read_spend, stretch
from dashboards.console.text import Zone
from pipeline.accounts import Account
from pipeline.catalog import Catalog
from pipeline.outbox import Measure, Sums
from queries.console_keys import key_hashes
from sinks.stripe_usage import LedgerUsage

ZONE = Zone("Europe/Berlin", "Europe/Berlin")
"""A zone whose days are not those of the rollups."""
OF_ALL = Measure(Sums.COST)
"""The meter that is there when no other is declared."""
MIDDLE = 3
Read = Callable[[Ledger], Any]
Stretches = Callable[[str], Stretch]


class LimitedAccounts:
    """Accounts of which every one has limits, so that all are looked at (`dashboards.console.services.AccountBook`)."""

    def get(self, tenant: str) -> Account:
        """A thousand dollars a day, ten thousand a month."""
        return Account(
            tenant, tenant, daily_limit_micro_usd=10**9, monthly_limit_micro_usd=10**10, time_zone=ZONE.name
        )

    def named(self, search: str, limit: int) -> list[str]:  # noqa: ARG002 - nobody has another name
        """None."""
        return []


class Counting:
    """A client that keeps what it was asked, so that it can be explained afterwards."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def query(self, query: str, parameters: dict[str, Any]) -> Any:
        """Ask, and keep the question."""
        self.asked.append((query, parameters))
        return self._client.query(query, parameters=parameters)


@dataclass(frozen=True, slots=True)
class Figures:
    """One read of a page: the middle of three."""

    page: str
    read: str
    wall_ms: int
    processor_ms: int
    questions: int
    granules: int
    """Pieces of 8 192 rows, of the ledger and of its projections."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked about: the moment, a tenant that is large and one that is small, and a key."""

    now_s: int
    large: str
    small: str
    key: str
    catalog: Catalog
    accounts: AccountBook = field(repr=False)


def pages(of: Subject) -> Iterator[tuple[str, str, Read]]:
    """Every page with each of its reads, on a ledger of many tenants."""

    def over(name: str) -> Stretch:
        return stretch(name, of.now_s, ZONE)

    def caps(ledger: Ledger) -> Any:
        rows = ledger.rows("console_tenants", **over("month").between, limit=CANDIDATES)
        return nearest(ledger, of.accounts, [row["tenant"] for row in rows], of.now_s, 4)

    yield "Overview", "figures: month by day", _spend(over("month"))
    yield "Overview", "figures: 3 hours by quarter", _spend(over("3h"))
    for name in ("today", "24h", "7d", "month", "90d"):
        between = over(name).between
        yield "Overview", f"chart: {name}", _spend(over(name))
        yield "Overview", f"top tenants: {name}", _rows("console_tenants", **between, limit=8)
        yield "Overview", f"top operations: {name}", _rows("console_operations", **between, limit=8)
    yield "Overview", "caps: who is next", caps
    yield "Overview", "caps crossed", _rows("console_crossings", limit=8)
    day, month = over("24h").between, over("month").between
    yield "Overview", "rejects of 24 hours", _rows("console_rejects_by_time", **day, step=DAY_S)
    yield "Overview", "health: inputs", _rows("console_inputs", limit=12)
    yield "every page", "is anything new?", _rows("console_pulse")
    yield "Tenants", "the first page", _rows("console_tenants", **month, limit=51)
    yield "Tenants", "search", _rows("console_tenants", **month, search="ab", limit=51)
    for size, tenant in (("large", of.large), ("small", of.small)):
        yield from _tenant(of, size, tenant, over)
    yield from _events(of, over)
    yield "Explain", "a key", lambda at: _explain(at, of.large, of.key)
    newest = {"after_ms": NEWEST_MS}
    yield "Rejects", "newest of 24 hours", _rows("console_rejects", **day, **newest)
    yield "Rejects", "text in the bytes, month", _rows("console_rejects", **month, search="bad-99", **newest)
    yield "Rejects", "by reason, month", _rows("console_rejects_by_time", **month, step=DAY_S)
    yield "Stripe", "owed and carried", lambda at: LedgerUsage(at.client).sums(OF_ALL, 0)  # type: ignore[arg-type]
    yield "Catalog", "audit", lambda at: read_audit(at, of.catalog, of.now_s)


def _tenant(of: Subject, size: str, tenant: str, over: Stretches) -> Iterator[tuple[str, str, Read]]:
    page = f"Tenant ({size})"
    yield page, "windows", lambda at: windows_of(at, [Account(tenant)], of.now_s)
    yield page, "today, running", _spend(over("today"), tenant)
    for name in ("month", "90d"):
        yield page, f"chart: {name}", _spend(over(name), tenant)
        for kind in KINDS.values():
            yield page, f"by {kind.name}: {name}", partial(_lines, kind, tenant, over(name))
    yield page, "crossings", _rows("console_crossings", tenant=tenant, limit=12)


def _events(of: Subject, over: Stretches) -> Iterator[tuple[str, str, Read]]:
    asked = {
        "newest of all": ("24h", Filter()),
        "newest of all, 90 days": ("90d", Filter()),
        "newest of the large tenant": ("24h", Filter(of.large)),
        "newest of the small tenant, 90 days": ("90d", Filter(of.small)),
        "one operation of all, 24 hours": ("24h", Filter(operation="operation-42")),
        "one principal of all, 24 hours": ("24h", Filter(principal="user-17")),
        "corrections of all, 24 hours": ("24h", Filter(type="correction")),
        "a context of all, 24 hours": ("24h", Filter(context="Project 9")),
        "a principal of the large tenant, month": ("month", Filter(of.large, principal="user-17")),
        "an operation that nobody has, 24 hours": ("24h", Filter(operation="nothing")),
        "an operation that it has not, large tenant": ("month", Filter(of.large, operation="nothing")),
    }
    for read, (name, only) in asked.items():
        yield "Events", read, partial(_page, over(name), only)
    yield "Events", "volume, 24 hours", _spend(over("24h"))
    for name in ("24h", "month"):
        step = min(over(name).step_s, DAY_S)
        read = f"duplicates and conflicts, {name}"
        yield "Events", read, _rows("console_outcomes", **over(name).between, step=step)


def _rows(query: str, **given: Any) -> Read:
    return lambda ledger: ledger.rows(query, **given)


def _spend(over: Stretch, tenant: str = "") -> Read:
    return lambda ledger: read_spend(ledger, over, tenant)


def _lines(kind: Kind, tenant: str, over: Stretch, ledger: Ledger) -> Any:
    return read_lines(ledger, kind, tenant, over, None, 16)


def _page(over: Stretch, only: Filter, ledger: Ledger) -> Any:
    return read_events(ledger, over, only, None, 51)


def _explain(ledger: Ledger, tenant: str, key: str) -> Any:
    hashes = key_hashes(ledger.client, tenant, key)
    given = {"key_hash": hashes.key, "void_hash": hashes.void} if hashes else {}
    return ledger.rows("console_key", tenant=tenant, key=key, **given)


def measure(client: LedgerClient, of: Subject, only: str = "", times: int = MIDDLE) -> Iterator[Figures]:
    """Measure each read whose page or name holds `only`: the middle of some times, after one that is not counted."""
    for page, name, read in pages(of):
        if only.lower() not in f"{page}: {name}".lower():
            continue
        counting = Counting(client)
        read(Ledger(counting))  # type: ignore[arg-type]
        taken = sorted(_timed(read, client) for _ in range(times))
        wall, processor = taken[len(taken) // 2]
        yield Figures(page, name, wall, processor, len(counting.asked), _granules(client, counting))


def _timed(read: Read, client: LedgerClient) -> tuple[int, int]:
    before, begun = _processor_ms(), time.monotonic_ns()
    read(Ledger(client))
    return (time.monotonic_ns() - begun) // 1_000_000, _processor_ms() - before


def _processor_ms() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return round((used.ru_utime + used.ru_stime) * 1000)


def _granules(client: LedgerClient, counting: Counting) -> int:
    total = 0
    for sql, parameters in counting.asked:
        plan = client.query(f"EXPLAIN ESTIMATE {sql}", parameters=dict(parameters)).result_rows
        total += sum(int(row[4]) for row in plan)
    return total
