"""The DuckDB views over exported months: exact sums without the ledger, month over month."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import Ledger, empty
from ledger_rows import event, insert_events

from queries.export import VIEWS, Scope, export_principals

MONTHS = {
    "2026-02": {("a", "ann"): 2**62, ("a", "bob"): 999_999, ("b", "ann"): -3},
    "2026-03": {("a", "ann"): 1, ("b", "ann"): 2**62, ("c", "new"): 7},
    "2026-05": {("a", "bob"): 1_000_001},
}
USD = Decimal(10) ** -12


@pytest.fixture(scope="module")
def folder(_session_ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three exported months of which the middle one's next is missing."""
    client, made = _session_ledger.client, tmp_path_factory.mktemp("months")
    empty(client)
    for month, costs in MONTHS.items():
        rows = [
            event({"x": pico - 1, "y": 1}, tenant=t, principal=p, billing_period=month)
            for (t, p), pico in costs.items()
        ]
        insert_events(client, rows)
        export_principals(client, Scope(month), made)
    return made


def opened(folder: Path) -> duckdb.DuckDBPyConnection:
    """Open the views from another folder, as the header of the file says."""
    connection = duckdb.connect()
    connection.execute(f"SET file_search_path = '{folder}'")
    connection.execute((folder / VIEWS).read_text())
    return connection


def ask(folder: Path, sql: str) -> list[Any]:
    with opened(folder) as connection:
        return connection.execute(sql).fetchall()


def test_the_sums_of_each_month_are_exact(folder: Path) -> None:
    wanted = [(month, len(costs), sum(costs.values())) for month, costs in MONTHS.items()]
    assert ask(folder, "SELECT period, principals, cost_pico_usd FROM months") == wanted
    assert ask(
        folder, "SELECT period, sum(metered_pico_usd)::HUGEINT FROM tenant_months GROUP BY 1 ORDER BY 1"
    ) == [(month, pico) for month, _, pico in wanted]
    total = sum(pico for _, _, pico in wanted)
    assert ask(folder, "SELECT sum(cost_usd), sum(cost_pico_usd) FROM principals") == [(total * USD, total)]
    assert ask(folder, "SELECT sum(cost_usd), sum(cost_pico_usd) FROM principal_sources") == [
        (total * USD, total)
    ]


def test_month_over_month_shows_who_came_and_who_went(folder: Path) -> None:
    found = ask(
        folder,
        "SELECT period, previous_period, tenant, principal, cost_usd, previous_cost_usd, change_usd "
        "FROM principals_month_over_month ORDER BY period, tenant, principal",
    )
    wanted = []
    previous = None
    for month, costs in MONTHS.items():
        before = MONTHS[previous] if previous else {}
        for key in sorted({*costs, *before}):
            now, then = costs.get(key, 0) * USD, before.get(key, 0) * USD
            known = (then, now - then) if previous else (None, None)
            wanted.append((month, previous, *key, now, *known))
        previous = month
    assert found == wanted


def test_the_changes_of_a_month_add_up_to_the_change_of_its_total(folder: Path) -> None:
    totals = [sum(costs.values()) for costs in MONTHS.values()]
    changes = [(totals[1] - totals[0]) * USD, (totals[2] - totals[1]) * USD]
    for view in ("principals_month_over_month", "principal_sources_month_over_month"):
        sql = f"SELECT period, sum(change_usd) FROM {view} GROUP BY period ORDER BY period"
        assert [change for _, change in ask(folder, sql)] == [None, *changes]


def test_a_source_is_compared_with_itself(folder: Path) -> None:
    sql = (
        "SELECT cost_source, cost_usd, previous_cost_usd FROM principal_sources_month_over_month "
        "WHERE period = '2026-03' AND tenant = 'a' AND principal = 'ann' ORDER BY 1"
    )
    assert ask(folder, sql) == [("x", 0 * USD, (2**62 - 1) * USD), ("y", 1 * USD, 1 * USD)]


def test_no_view_has_a_binary_float(folder: Path) -> None:
    sql = "SELECT table_name, column_name, data_type FROM information_schema.columns"
    kinds = {kind for _, _, kind in ask(folder, sql)}
    assert kinds == {"VARCHAR", "BIGINT", "HUGEINT", "DECIMAL(38,12)", "DECIMAL(38,6)", "TIMESTAMP"}


def test_the_views_open_in_the_folder_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with duckdb.connect() as connection:
        connection.execute(Path(VIEWS).read_text())
        assert connection.execute("SELECT count(*) FROM principals").fetchone() == (7,)


def test_moments_come_without_another_package(folder: Path) -> None:
    (row,) = ask(folder, "SELECT min(first_occurred_at) FROM principals")
    assert row[0].isoformat() == "2026-03-10T12:00:00"
