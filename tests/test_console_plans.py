"""No page of the console scans the ledger: the query plans of all that pages read, on many tenants and months."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from conftest import Ledger, empty

from dashboards.console.breakdown import KINDS, read_lines
from dashboards.console.caps import windows_of
from dashboards.console.desk import Ledger as Reading
from dashboards.console.reading import Cursor, Filter, read_events
from dashboards.console.spend import read_spend, stretch
from dashboards.console.text import Zone
from pipeline.accounts import Account
from pipeline.outbox import Measure, Sums
from queries.events_index import add_events_index
from sinks.stripe_usage import LedgerUsage

UTC_ZONE = Zone("UTC", "UTC")
MONTHS = 4
BIG = 400_000


@pytest.fixture(scope="module")
def large(_session_ledger: Ledger) -> Client:
    """A ledger of several months and many tenants, made inside ClickHouse, with the index by time."""
    client = _session_ledger.client
    empty(client)
    add_events_index(client)
    for month in range(MONTHS):
        client.command(
            "INSERT INTO ledger (tenant, principal, idempotency_key, operation, type, occurred_at, cost_micro_usd,"
            " settlement, key_hash)"
            " SELECT concat('t', toString(number % 2000)), 'p', toString(number), concat('o', toString(number % 5)),"
            " 'compute',"
            f" toDateTime64('2026-0{month + 1}-01 00:00:00', 3, 'UTC') +"
            f" toIntervalSecond(intDiv(number * 2592, {BIG // MONTHS // 1000})),"
            f" 7, 'metered', reinterpretAsUInt128(sipHash128(number)) FROM numbers({BIG // MONTHS})"
        )
    client.command("OPTIMIZE TABLE ledger FINAL")
    return client


class Explaining:
    """A client that explains what it is asked instead of answering it."""

    def __init__(self, client: Client) -> None:
        self._client, self.plans = client, []

    def query(self, query: str, parameters: dict[str, object]) -> object:
        asked = f"EXPLAIN indexes = 1, projections = 1 {query}"
        small = {"min_table_rows_to_use_projection_index": 0}  # ours is small: as in a large one
        plan = self._client.query(asked, parameters=parameters, settings=small)
        self.plans.append("\n".join(row[0] for row in plan.result_rows))
        return self._client.query(query, parameters=parameters)


def granules(plan: str) -> tuple[int, int]:
    """How many granules of the ledger a plan reads, of how many: the last figure of each table's indexes."""
    read = total = 0
    for part in plan.split("ReadFromMergeTree")[1:]:
        figures = re.findall(r"Granules: (\d+)/(\d+)", part)
        if figures:
            read += int(figures[-1][0])
            total += int(figures[0][1])
    return read, total


AT = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
OVER = stretch("24h", int(AT.timestamp()), UTC_ZONE)
LONG = stretch("90d", int(AT.timestamp()), UTC_ZONE)
SUMS = {"by_quarter", "sums_by_time", "sums_by_hour", "sums_by_day"}
PIECES = 8
"""So few pieces of 8 192 rows are no scan, even where there are not many more."""
READS: dict[str, Callable[[Reading], Any]] = {
    "spend of all": lambda r: read_spend(r, OVER, ""),
    "spend of one": lambda r: read_spend(r, OVER, "t5"),
    "tenants": lambda r: r.rows("console_tenants", **OVER.between),
    "tenants of months": lambda r: r.rows("console_tenants", **LONG.between),
    "audit": lambda r: r.rows("console_seen", **OVER.between),
    "operations of one": lambda r: read_lines(r, KINDS["operation"], "t5", OVER, None, 15),
    "by action": lambda r: read_lines(r, KINDS["action"], "t5", OVER, None, 15),
    "operations": lambda r: r.rows("console_operations", **OVER.between),
    "windows": lambda r: windows_of(r, [Account("t5"), Account("t9")], int(AT.timestamp())),
    "events of all": lambda r: read_events(r, OVER, Filter(), None, 50),
    "events of one": lambda r: read_events(r, OVER, Filter("t5"), None, 50),
    "later page": lambda r: read_events(
        r, OVER, Filter(), Cursor(int(AT.timestamp() - 7200) * 1000, "t5", "x"), 50
    ),
    "by principal": lambda r: read_lines(r, KINDS["principal"], "t5", OVER, None, 15),
    "by source": lambda r: read_lines(r, KINDS["source"], "t5", OVER, None, 15),
    "by context": lambda r: read_lines(r, KINDS["context"], "t5", OVER, None, 15),
    "one key": lambda r: r.rows("console_key", tenant="t5", key="5", key_hash=key_of("5"), void_hash=1),
    "its rollup": lambda r: r.rows("console_rollup", tenant="t5", at="2026-03-10T12:00:00Z"),
    "pulse": lambda r: r.rows("console_pulse"),
}


def key_of(number: str) -> int:
    return int(number) + 1


@pytest.mark.parametrize("name", READS)
def test_no_page_scans_the_ledger(large: Client, name: str) -> None:
    explaining = Explaining(large)
    READS[name](Reading(explaining))  # type: ignore[arg-type]
    assert explaining.plans
    for plan in explaining.plans:
        if "ReadFromMergeTree" not in plan:
            continue  # answered from counts, without reading
        read, total = granules(plan)
        if "ReadFromMergeTree (by_" in plan or "ReadFromMergeTree (sums_" in plan:
            used = set(re.findall(r"ReadFromMergeTree \((\w+)\)", plan)) & SUMS
            total = large.query(
                "SELECT sum(marks) FROM system.projection_parts WHERE active AND has({used:Array(String)}, name)",
                parameters={"used": sorted(used)},
            ).result_rows[0][0]
            nothing = plan.count("Filter column: 0")  # a stretch without whole days, say
            assert plan.count("ReadFromMergeTree (millrace.ledger)") == nothing, plan
            assert read * 3 <= total or read <= PIECES, plan  # a month at most
        else:
            assert "by_time" in plan or read * 4 <= total, plan


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("spend of all", {"sums_by_time"}), ("operations", {"sums_by_time"}), ("audit", {"sums_by_time"}),
        ("tenants", {"sums_by_hour"}), ("tenants of months", {"sums_by_day", "sums_by_hour"}),
        ("windows", {"by_quarter"}), ("operations of one", {"by_quarter"}),
    ],
)  # fmt: skip
def test_figures_come_from_the_smallest_sums(large: Client, name: str, wanted: set[str]) -> None:
    explaining = Explaining(large)
    READS[name](Reading(explaining))  # type: ignore[arg-type]
    found = {one for plan in explaining.plans for one in re.findall(r"ReadFromMergeTree \((\w+)\)", plan)}
    assert wanted <= found


def test_the_check_of_plans_finds_a_scan(large: Client) -> None:
    plan = large.query(
        "EXPLAIN indexes = 1, projections = 1 SELECT sum(cost_micro_usd) FROM ledger WHERE principal = 'p'"
    ).result_rows
    read, total = granules("\n".join(row[0] for row in plan))
    assert read == total > 4


def test_the_index_by_time_is_added_once_and_lists_are_the_same_without_it(large: Client) -> None:
    assert add_events_index(large) is False
    with_it = read_events(Reading(large), OVER, Filter(), None, 30)
    large.command("ALTER TABLE ledger DROP PROJECTION by_time SETTINGS mutations_sync = 2")
    assert read_events(Reading(large), OVER, Filter(), None, 30) == with_it
    assert add_events_index(large) is True


def test_what_stripe_is_owed_comes_from_the_sums_by_day(large: Client) -> None:
    explaining = Explaining(large)
    found = LedgerUsage(explaining).sums(Measure(Sums.COST), 0)  # type: ignore[arg-type]
    assert sum(found.values()) == BIG * 7 * 1_000_000
    assert {one for plan in explaining.plans for one in re.findall(r"ReadFromMergeTree \((\w+)\)", plan)} == {
        "sums_by_day"
    }
