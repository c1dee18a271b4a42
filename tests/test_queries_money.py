"""What the named queries say about money: to the pico-USD what a dumb sum over the rows says."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import Ledger, empty
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ledger_rows import NOON, event, insert_decisions, insert_events, insert_rejects

from queries.named import find_query, run

Row = dict[str, Any]
BIG = 2**62
SOURCES = ("compute", "egress", "openai")


def pico_of(row: Row) -> int:
    return row["cost_micro_usd"] * 10**6 + row["residual_pico_usd"]


def ask(ledger: Ledger, name: str, **params: Any) -> list[Row]:
    """Run a query; the three money columns of each line must say the same."""
    rows = run(ledger.client, find_query(name), params).dicts()
    for row in rows:
        if "cost_usd" in row:
            assert 0 <= row["residual_pico_usd"] < 10**6
            assert Decimal(row["cost_usd"]) * 10**12 == pico_of(row)
    return rows


def sums(rows: list[Row], *keys: str) -> dict[Any, int]:
    """Give the pico-USD by key, from lines of a query."""
    result = {tuple(row[key] for key in keys): pico_of(row) for row in rows}
    assert len(result) == len(rows)
    return result


def model(rows: list[Row], key: Callable[[Row], Any]) -> dict[Any, int]:
    """Give the pico-USD by key, from rows of the ledger."""
    result: dict[Any, int] = defaultdict(int)
    for row in rows:
        result[key(row)] += pico_of(row)
    return dict(result)


components = st.dictionaries(st.sampled_from(SOURCES), st.integers(-BIG // 4, BIG // 4), max_size=3)
rows = st.builds(
    event,
    components,
    tenant=st.sampled_from(["acme", "o'hara", "日本", "a\\b"]),
    principal=st.sampled_from(["ann", "bob", "@unattributed"]),
    operation=st.sampled_from(["ask", "GET /a"]),
    action=st.sampled_from(["", "share"]),
    settlement=st.sampled_from(["metered", "credit", "rate-limited", "free"]),
    occurred_at=st.integers(0, 10**9).map(lambda ms: NOON + timedelta(milliseconds=ms)),
)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # shrinking against a database takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(rows, min_size=1, max_size=30))
def test_every_cut_of_the_ledger_adds_up_to_its_rows(ledger: Ledger, rows: list[Row]) -> None:
    empty(ledger.client)
    insert_events(ledger.client, rows)
    by = {
        "spend_by_tenant": ("tenant",),
        "spend_by_principal": ("tenant", "principal"),
        "spend_by_operation": ("operation",),
        "spend_by_action": ("action",),
        "top_spenders": ("tenant", "principal"),
        "conservation": ("tenant", "settlement"),
    }
    for name, keys in by.items():
        wanted = model(rows, lambda row, keys=keys: tuple(row[key] for key in keys))
        limit = {"limit": 100} if name == "top_spenders" else {}
        assert sums(ask(ledger, name, **limit), *keys) == wanted, name
    days = model(rows, lambda row: (row["occurred_at"].date(),))
    assert sums(ask(ledger, "spend_by_day"), "day") == days
    assert pico_of(ask(ledger, "ledger_totals")[0]) == sum(map(pico_of, rows))
    sources: dict[Any, int] = defaultdict(int)
    for row in rows:
        for source, pico in zip(row["breakdown_sources"], row["breakdown_pico_usd"], strict=True):
            sources[(source,)] += pico
    assert sums(ask(ledger, "spend_by_source"), "cost_source") == sources


def test_what_no_component_names_stands_under_an_empty_source(ledger: Ledger) -> None:
    insert_events(ledger.client, [event({"a": 5}) | {"cost_micro_usd": 2}, event({"a": 7, "b": -9})])
    assert sums(ask(ledger, "spend_by_source"), "cost_source") == {("",): 2_000_000, ("a",): 12, ("b",): -9}


def test_a_source_that_a_row_names_twice_is_one_event_of_it(ledger: Ledger) -> None:
    row = event({"a": 5}) | {"breakdown_sources": ["a", "a"], "breakdown_pico_usd": [2, 3]}
    insert_events(ledger.client, [row])
    (line,) = ask(ledger, "spend_by_source")
    assert (line["events"], pico_of(line)) == (1, 5)


def test_a_sum_that_no_column_holds_is_refused_not_wrapped(ledger: Ledger) -> None:
    huge = event() | {"cost_micro_usd": 2**62}
    insert_events(ledger.client, [huge, huge])
    with pytest.raises(Exception, match="cannot be safely converted"):
        ask(ledger, "spend_by_tenant")


@pytest.mark.parametrize(
    ("moment", "zone", "day"),
    [
        ("2026-03-10T18:14:59.999", "Asia/Kathmandu", date(2026, 3, 10)),
        ("2026-03-10T18:15:00.000", "Asia/Kathmandu", date(2026, 3, 11)),
        ("2026-03-28T22:59:59.999", "Europe/Berlin", date(2026, 3, 28)),
        ("2026-03-28T23:00:00.000", "Europe/Berlin", date(2026, 3, 29)),
        ("2026-03-29T21:59:59.999", "Europe/Berlin", date(2026, 3, 29)),
        ("2026-03-29T22:00:00.000", "Europe/Berlin", date(2026, 3, 30)),
        ("2026-03-10T13:29:59.999", "Australia/Adelaide", date(2026, 3, 10)),
        ("2026-03-10T13:30:00.000", "Australia/Adelaide", date(2026, 3, 11)),
    ],
)
def test_a_day_is_the_zones_own_to_the_millisecond(ledger: Ledger, moment: str, zone: str, day: date) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert at.astimezone(ZoneInfo(zone)).date() == day
    insert_events(ledger.client, [event(7, occurred_at=at)])
    assert sums(ask(ledger, "spend_by_day", zone=zone), "day") == {(day,): 7}
    for first, last, found in ((0, 1, 1), (1, 2, 0), (-1, 0, 0)):
        bounds = {"from": str(day + timedelta(first)), "to": str(day + timedelta(last))}
        assert len(ask(ledger, "spend_by_day", zone=zone, **bounds)) == found


def test_filters_hold_to_the_millisecond_and_name_offsets(ledger: Ledger) -> None:
    insert_events(
        ledger.client, [event(2**n, occurred_at=NOON + timedelta(milliseconds=n)) for n in range(4)]
    )
    bounds = {"from": "2026-03-10T13:00:00.001+01:00", "to": "2026-03-10 12:00:00.003"}
    assert sums(ask(ledger, "spend_by_tenant", **bounds), "tenant") == {("acme",): 2 + 4}


def test_a_billing_period_is_its_own_filter_apart_from_the_moment(ledger: Ledger) -> None:
    late = event(4, billing_period="2026-04")
    insert_events(ledger.client, [event(1), late])
    assert sums(ask(ledger, "spend_by_tenant", period="2026-04"), "tenant") == {("acme",): 4}
    assert sums(ask(ledger, "spend_by_day", period="2026-04"), "day") == {(NOON.date(),): 4}


def test_top_spenders_ranks_and_breaks_ties_by_name(ledger: Ledger) -> None:
    costs = {"ann": 5, "bob": 9, "cy": 5, "dan": -1}
    insert_events(ledger.client, [event(pico, principal=name) for name, pico in costs.items()])
    found = ask(ledger, "top_spenders", limit=3)
    assert [(row["rank"], row["principal"]) for row in found] == [(1, "bob"), (2, "ann"), (3, "cy")]


def test_windows_count_what_caps_count(ledger: Ledger) -> None:
    """A day of Kathmandu starts at 18:15 UTC of the day before.

                 day 9 | day 10 of March in Kathmandu | day 11
    UTC        18:14:59|18:15:00           18:14:59   |18:15:00
    pico            1  |   2        4           8     |   16
    """
    start = datetime(2026, 3, 9, 18, 15, tzinfo=UTC)
    second = timedelta(seconds=1)
    moments = [start - second, start, NOON, start + timedelta(days=1) - second, start + timedelta(days=1)]
    insert_events(ledger.client, [event(2**n, occurred_at=at) for n, at in enumerate(moments)])
    insert_events(
        ledger.client,
        [event(1000, occurred_at=NOON, settlement=method) for method in ("credit", "free", "rate-limited")],
    )
    found = ask(ledger, "spend_windows", at="2026-03-10T12:00:00Z", zone="Asia/Kathmandu")
    assert sums(found, "window") == {("day",): 1000 + 2 + 4 + 8, ("month",): 1000 + 31}
    starts = [row["window_start"].replace(tzinfo=UTC) for row in found]
    assert starts == [start, datetime(2026, 2, 28, 18, 15, tzinfo=UTC)]
    (window,) = ask(
        ledger, "spend_in_window", tenant="acme", **{"from": start, "to": start + timedelta(days=1)}
    )
    assert pico_of(window) == 1000 + 2 + 4 + 8


@contextmanager
def rollup(ledger: Ledger, sql: str) -> Iterator[None]:
    """Put a table of what `sql` reads from `whole`, the true rollup, in the place of the rollup."""
    ledger.client.command("RENAME TABLE usage_by_quarter TO whole")
    try:
        ledger.client.command(f"CREATE TABLE usage_by_quarter ENGINE = Memory AS {sql}")
        yield
    finally:
        ledger.client.command("DROP TABLE IF EXISTS usage_by_quarter")
        ledger.client.command("RENAME TABLE whole TO usage_by_quarter")


@pytest.mark.parametrize(
    ("sql", "difference"),
    [
        ("SELECT * FROM whole", (0, 0, [0, 0, 0], [0, 0])),
        ("SELECT * FROM whole WHERE operation != 'lost'", (1, 8, [1, 2, -3], [4, 5])),
        (
            "SELECT * FROM whole UNION ALL SELECT * FROM whole WHERE operation = 'lost'",
            (-1, -8, [-1, -2, 3], [-4, -5]),
        ),
        (
            "SELECT * REPLACE (residual_pico_usd + (operation = 'lost') AS residual_pico_usd) FROM whole",
            (0, -1, [0, 0, 0], [0, 0]),
        ),
    ],
)
def test_conservation_shows_a_rollup_that_lost_or_doubled_a_block(
    sql: str, difference: tuple[Any, ...], ledger: Ledger
) -> None:
    quantities = {
        "request_bytes": 1,
        "response_bytes": 2,
        "delta_bytes": -3,
        "base_units": 4,
        "weighted_units": 5,
    }
    insert_events(ledger.client, [event(7), event(8, operation="lost", **quantities), event(9, tenant="b")])
    with rollup(ledger, sql):
        found = ask(ledger, "conservation")
    names = ("difference_events", "difference_pico_usd", "difference_bytes", "difference_units")
    assert [tuple(row[name] for name in names) for row in found] == [difference, (0, 0, [0, 0, 0], [0, 0])]
    assert [row["events"] for row in found] == [2, 1]


def test_conservation_does_not_ask_the_rollup_about_the_ledger(ledger: Ledger) -> None:
    insert_events(ledger.client, [event(7)])
    sql = "EXPLAIN " + find_query("conservation").sql
    plan = [line for (line,) in ledger.client.query(sql, parameters={"tenant": ""}).result_rows]
    reads = [line.split("(")[-1].rstrip(")") for line in plan if "ReadFromMergeTree" in line]
    assert [read.split(".")[-1] for read in reads] == ["ledger", "by_quarter"]


def test_keys_that_stand_twice_are_found_and_voids_by_what_they_void(ledger: Ledger) -> None:
    insert_events(
        ledger.client,
        [
            event(idempotency_key="twice"),
            event(idempotency_key="twice", principal="bob"),
            event(idempotency_key="twice", tenant="other"),
            event(idempotency_key="once"),
            event(idempotency_key="once", voids="twice", type="correction"),
            event(idempotency_key="once", voids="twice", type="correction"),
        ],
    )
    found = [
        (row["tenant"], row["kind"], row["idempotency_key"], row["rows"])
        for row in ask(ledger, "duplicate_keys")
    ]
    assert found == [("acme", "key", "twice", 2), ("acme", "voids", "twice", 2)]


def test_unpriced_is_listed_and_free_is_not(ledger: Ledger) -> None:
    insert_events(
        ledger.client,
        [
            event(operation="gift", pricing="free"),
            event(operation="new", pricing="unpriced"),
            event(operation="new", pricing="unpriced", tenant="b", catalog_version="v2"),
            event(operation="new", pricing="unpriced", voids="key-acme-1", type="correction"),
        ],
    )
    (line,) = ask(ledger, "unpriced_operations")
    assert (line["operation"], line["events"], line["voided"], line["tenants"]) == ("new", 2, 1, 2)
    assert line["catalog_versions"] == ["v1", "v2"]


def test_rejects_are_counted_by_reason(ledger: Ledger) -> None:
    reasons = ["invalid_data", "unreadable", "invalid_data"]
    insert_rejects(ledger.client, [{"reason": r, "offset": n} for n, r in enumerate(reasons)])
    insert_rejects(ledger.client, [{"topic": "other"}])
    found = [(row["reason"], row["rejects"]) for row in ask(ledger, "rejects_by_reason", topic="t")]
    assert found == [("invalid_data", 2), ("unreadable", 1)]


def test_decisions_come_newest_first(ledger: Ledger) -> None:
    insert_decisions(ledger.client, [{"sequence": n, "threshold_percent": p} for n, p in ((0, 80), (1, 100))])
    insert_decisions(ledger.client, [{"tenant": "other"}])
    found = ask(ledger, "cap_decisions_of", tenant="acme")
    assert [row["threshold_percent"] for row in found] == [100, 80]
    assert len(ask(ledger, "cap_decisions_of", tenant="acme", limit=1)) == 1
