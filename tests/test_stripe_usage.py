"""What meters read from a real ledger: metered rows only, exact, by hour and by closed month."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from pipeline.errors import LedgerError
from pipeline.outbox import Measure, Sums, Usage
from sinks.stripe_usage import LedgerUsage

COLUMNS = (
    "tenant", "operation", "occurred_at", "settlement", "cost_micro_usd", "residual_pico_usd",
    "request_bytes", "response_bytes", "delta_bytes", "base_units", "weighted_units", "usage",
    "breakdown_sources", "breakdown_pico_usd", "voids", "billing_period",
)  # fmt: skip


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def row(tenant, when, **values):
    plain = {
        "operation": "ask", "settlement": "metered", "cost_micro_usd": 0, "residual_pico_usd": 0,
        "request_bytes": 0, "response_bytes": 0, "delta_bytes": 0, "base_units": Decimal(0),
        "weighted_units": Decimal(0), "usage": {}, "breakdown_sources": [], "breakdown_pico_usd": [],
        "voids": "", "billing_period": when[:7],
    }  # fmt: skip
    named = {**plain, **values, "tenant": tenant, "occurred_at": at(when)}
    return [named[column] for column in COLUMNS]


ROWS = [
    row("acme", "2026-09-03T10:00", cost_micro_usd=7, residual_pico_usd=1),
    row("acme", "2026-09-29T10:00", cost_micro_usd=1, residual_pico_usd=999_999),
    row("acme", "2026-11-20T10:01", cost_micro_usd=2**62, residual_pico_usd=999_999,
        breakdown_sources=["compute", "openai"], breakdown_pico_usd=[2**62, 5], operation="it's \\ {odd}"),
    row("acme", "2026-11-20T10:59", cost_micro_usd=-1, residual_pico_usd=500_000, voids="k1",
        breakdown_sources=["compute", "openai"], breakdown_pico_usd=[2**62, -500_000],
        usage={"openai": Decimal("-2.5")}),
    row("acme", "2026-11-20T11:00", settlement="credit", cost_micro_usd=50),
    row("acme", "2026-11-20T11:00", settlement="free", cost_micro_usd=50),
    row("acme", "2026-11-20T11:00", settlement="rate-limited", cost_micro_usd=50),
    row("te'n\"ant", "2026-11-20T11:59", request_bytes=3, response_bytes=4, delta_bytes=-9,
        base_units=Decimal("0.000001"), weighted_units=Decimal("123456789012345.123456"),
        usage={"openai": Decimal(1000000000000000), "other": Decimal(1)}),
]  # fmt: skip
HOURLY_FROM = int(at("2026-11-01T00:00").timestamp())
TEN, ELEVEN = (int(at(f"2026-11-20T{h}:00").timestamp()) for h in (10, 11))
SEPTEMBER = int(at("2026-09-01T00:00").timestamp())


@pytest.fixture
def reader(ledger):
    ledger.client.insert("ledger", ROWS, column_names=list(COLUMNS))
    return LedgerUsage(ledger.client)


def totals(reader, measure, since=0):
    return [(u.tenant, u.window_start, u.total) for u in reader.totals(measure, since, HOURLY_FROM)]


def test_cost_is_exact_beyond_64_bits_and_only_of_metered_rows(reader):
    assert totals(reader, Measure(Sums.COST)) == [
        ("acme", SEPTEMBER, 9_000_000),
        ("acme", TEN, (2**62 - 1) * 10**6 + 1_499_999),
        ("te'n\"ant", ELEVEN, 0),
    ]


@pytest.mark.parametrize(
    ("measure", "amount"),
    [
        (Measure(Sums.COST), 5_000_001),
        (Measure(Sums.COST, sources=("compute",)), 9),
        (Measure(Sums.CALLS), 10**6),
        (Measure(Sums.REQUEST_BYTES), 3 * 10**6),
    ],
)
@pytest.mark.parametrize("when", ["2026-09-30T23:00", "2026-11-20T10:01"], ids=["closed", "open"])
def test_usage_that_came_after_its_period_was_locked_is_of_the_first_hour_that_it_is_billed_in(
    ledger, measure, amount, when
):
    late = row(
        "acme", when, billing_period="2026-12", cost_micro_usd=5, residual_pico_usd=1, request_bytes=3,
        breakdown_sources=["compute"], breakdown_pico_usd=[9],
    )  # fmt: skip
    ledger.client.insert("ledger", [late], column_names=list(COLUMNS))
    december = int(at("2026-12-01T00:00").timestamp())
    assert totals(LedgerUsage(ledger.client), measure) == [("acme", december, amount)]


def test_rows_before_the_billing_start_are_left_out(reader):
    assert totals(reader, Measure(Sums.COST), int(at("2026-09-29T00:00").timestamp()))[0] == (
        "acme",
        SEPTEMBER,
        1_999_999,
    )


def test_cost_of_some_operations_and_of_some_sources(reader):
    odd = Measure(Sums.COST, operations=("it's \\ {odd}",))
    assert totals(reader, odd) == [("acme", TEN, 2**62 * 10**6 + 999_999)]
    assert totals(reader, Measure(Sums.COST, sources=("openai",))) == [("acme", TEN, 5 - 500_000)]
    assert totals(reader, Measure(Sums.COST, sources=("openai", "compute"))) == [
        ("acme", TEN, 2**63 + 5 - 500_000)
    ]
    assert totals(reader, Measure(Sums.COST, operations=("ask",), sources=("compute",))) == [
        ("acme", TEN, 2**62)
    ]


@pytest.mark.parametrize(
    ("sums", "expected"),
    [
        (Sums.UNITS, 123456789012345123456),
        (Sums.BASE_UNITS, 1),
        (Sums.BYTES, 7 * 10**6),
        (Sums.REQUEST_BYTES, 3 * 10**6),
        (Sums.RESPONSE_BYTES, 4 * 10**6),
        (Sums.STORED_BYTES, -9 * 10**6),
    ],
)
def test_each_quantity_is_scaled_by_a_million(reader, sums, expected):
    assert totals(reader, Measure(sums))[-1] == ("te'n\"ant", ELEVEN, expected)


def test_a_correction_takes_its_call_back(reader):
    assert totals(reader, Measure(Sums.CALLS)) == [
        ("acme", SEPTEMBER, 2 * 10**6),
        ("acme", TEN, 0),
        ("te'n\"ant", ELEVEN, 10**6),
    ]


def test_use_of_one_source_is_exact(reader):
    assert totals(reader, Measure(Sums.USAGE, "openai"))[1:] == [
        ("acme", TEN, -2_500_000),
        ("te'n\"ant", ELEVEN, 10**21),
    ]


def test_totals_are_plain_values(reader):
    assert isinstance(reader.totals(Measure(Sums.COST), 0, HOURLY_FROM)[0], Usage)


def test_a_ledger_that_refuses_says_so_in_one_sentence():
    class Refusing:
        def query(self, *_args, **_kwargs):
            message = "Code: 60. Unknown table\nstack"
            raise DatabaseError(message)

    with pytest.raises(LedgerError, match=r"usage cannot be read: Code: 60\. Unknown table$"):
        LedgerUsage(Refusing()).totals(Measure(Sums.COST), 0, 0)


@pytest.mark.parametrize(
    "measure",
    [
        Measure(Sums.COST),
        Measure(Sums.COST, operations=("ask",)),
        Measure(Sums.COST, sources=("openai",)),
        Measure(Sums.CALLS),
        Measure(Sums.REQUEST_BYTES),
    ],
)
@pytest.mark.parametrize(
    "since", ["2000-01-01T00:00", "2026-09-29T00:00", "2026-11-20T00:00", "2026-11-20T11:00"]
)
def test_sums_are_those_of_all_windows(reader, measure, since):
    moment = int(at(since).timestamp())
    expected = {}
    for tenant, _, total in totals(reader, measure, moment):
        expected[tenant] = expected.get(tenant, 0) + total
    assert reader.sums(measure, moment) == expected


def test_sums_of_all_cost_do_not_look_at_windows(reader):
    asked = []
    query = reader._client.query
    reader._client.query = lambda sql, **more: asked.append(sql) or query(sql, **more)
    reader.sums(Measure(Sums.COST), 0)
    assert ["window_start" in sql for sql in asked] == [False]
