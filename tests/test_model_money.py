"""The dumb model held to section 4 of the contract by hand, and to what it says of windows and Stripe."""

from datetime import UTC, datetime

import pytest

from tests.model.cases import ARRIVAL_MS, ASKED, component, line, model, outcome, row, voiding


def priced(components, data, *, kind="compute", **entry):
    operations = {"op": {"components": components, **entry}}
    return row({"operation": "op", **data}, kind=kind, catalog={"version": "v", "operations": operations})


@pytest.mark.parametrize(
    ("basis", "usage", "pico"),
    [
        ("per-call", {"s": 9}, 1_000_000),
        ("per-request", {}, 1_000_000),
        ("per-request", {"s": 9}, 9_000_000),
        ("per-request", {"s": 0}, 0),
        ("per-unit", {}, 40_000_000),
        ("per-unit", {"s": 9}, 9_000_000),
        ("per-token", {}, 0),
        ("per-token", {"s": 9.5}, 9_500_000),
        ("per-second", {"s": 9.5}, 9_500_000),
        ("per-1k-tokens", {"s": 9}, 9_000),
        ("per-mb", {"s": 9}, 9),
    ],
)
def test_each_basis_has_its_divisor_and_its_quantity(basis, usage, pico):
    assert priced([component(basis)], {"units": 4, "usage": usage}, weight=10).pico == pico


@pytest.mark.parametrize(
    ("quantity", "kind", "data", "pico"),
    [
        ("calls", "compute", {"units": 4}, 1_000_000),
        ("units", "compute", {"units": 4}, 40_000_000),
        ("base_units", "compute", {"units": 4}, 4_000_000),
        ("usage.other", "compute", {"usage": {"other": 3, "s": 1}}, 3_000_000),
        ("usage.other", "compute", {"usage": {"s": 1}}, 0),
        ("request_bytes", "traffic", {"request_bytes": 2, "response_bytes": 3}, 2_000_000),
        ("response_bytes", "traffic", {"request_bytes": 2, "response_bytes": 3}, 3_000_000),
        ("bytes", "traffic", {"request_bytes": 2, "response_bytes": 3}, 5_000_000),
        ("stored_bytes", "storage", {"delta_bytes": -7}, -7_000_000),
        ("units", "storage", {"delta_bytes": -7}, 0),
    ],
)
def test_a_named_quantity_is_what_is_priced(quantity, kind, data, pico):
    assert priced([component("per-unit", quantity=quantity)], data, kind=kind, weight=10).pico == pico


@pytest.mark.parametrize(
    ("quantity", "pico"), [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2), (-7, -4)]
)
def test_a_half_pico_goes_to_the_even_neighbour(quantity, pico):
    half = component("per-mb", "0.5", quantity="stored_bytes")
    assert priced([half], {"delta_bytes": quantity}, kind="storage").pico == pico


def test_components_are_rounded_each_by_itself_and_kept_in_the_catalogs_order():
    half = [component("per-mb", "0.5", quantity="calls"), component("per-mb", "1.5", quantity="calls")]
    found = priced([{**half[1], "source": "b"}, {**half[0], "source": "a"}], {})
    assert found.breakdown == (("b", 2), ("a", 0))


def test_a_gigabyte_at_nine_cents_loses_nothing_in_small_pieces():
    found = row({"response_bytes": 5000}, kind="traffic")
    assert (found.cost_micro_usd, found.residual_pico_usd) == (0, 450_000)


MOST, TOO_MUCH = "9223372036854.775807", "9223372036854.775808"


@pytest.mark.parametrize(
    ("prices", "delta_bytes", "expected"),
    [
        ([MOST], 1, 2**63 - 1),
        ([TOO_MUCH], 1, "amount_out_of_range"),
        ([MOST, "0.000001"], 1, "amount_out_of_range"),
        ([MOST], -1, 1 - 2**63),
        ([TOO_MUCH], -1, "amount_out_of_range"),
    ],
)
def test_each_component_and_the_sum_fit_into_64_bits(prices, delta_bytes, expected):
    components = [component("per-unit", price, quantity="stored_bytes") for price in prices]
    judge = model({"version": "v", "kinds": {"storage": {"components": components}}})
    found = judge.feed(line("storage", {"delta_bytes": delta_bytes}))
    assert (found.reason or judge.rows[0].pico) == expected


def test_weighted_units_beyond_the_range_are_refused():
    assert outcome(line(data={"operation": "heavy", "units": 10**9})) == "accepted"
    assert (
        outcome(line(data={"operation": "heavy", "units": 1_000_000_000.000001})) == "quantity_out_of_range"
    )


@pytest.mark.parametrize(
    ("data", "pricing", "settlement", "weighted"),
    [
        ({"operation": "ask"}, "priced", "credit", 10),
        ({"operation": "gift"}, "free", "metered", 1),
        ({"operation": "light"}, "priced", "metered", 2),
        ({"operation": "other"}, "priced", "credit", 5),
    ],
)
def test_an_operations_entry_wins_and_takes_only_missing_components_from_its_kind(
    data, pricing, settlement, weighted
):
    found = row(data)
    assert (found.pricing, found.settlement, found.weighted_units) == (pricing, settlement, weighted)


def test_an_operation_that_nobody_declared_is_unpriced_and_recorded_at_0():
    found = row({"operation": "new"}, kind="webhook")
    assert (found.pricing, found.pico, found.breakdown, found.settlement) == ("unpriced", 0, (), "metered")


def test_of_several_versions_the_newest_in_force_at_the_events_time_applies():
    versions = [
        {"version": "b", "effective_from": datetime(2026, 6, 1, tzinfo=UTC)},
        {"version": "a", "effective_from": datetime(2026, 1, 1, tzinfo=UTC)},
        {"version": "c", "effective_from": datetime(2027, 1, 1, tzinfo=UTC)},
    ]
    times = (
        "2025-12-31T23:59:59.999Z",
        "2026-01-01T00:00:00Z",
        "2026-05-31T23:59:59.999Z",
        "2026-06-01T00:00:00Z",
    )
    found = [row({"operation": "x"}, catalog=versions, time=time).catalog_version for time in times]
    assert found == ["", "a", "a", "b"]
    assert (
        row({"operation": "x"}, catalog=[*versions, {"version": "old"}], time=times[0]).catalog_version
        == "old"
    )


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ({"a/b": "x", "list": ["", {"n": 1.50}]}, "1:x:1.5"),
        ({"a/b": "", "list": [0, {"n": True}]}, "1::true"),
        ({"a/b": "x", "list": [0]}, "/svc 1"),
        ({"a/b": None, "list": [0, {"n": 1}]}, "/svc 1"),
        ({"a/b": {}, "list": [0, {"n": 1}]}, "/svc 1"),
        ({"a/b": "x" * 509, "list": [0, {"n": 1}]}, "/svc 1"),
        ("text", "/svc 1"),
        (None, "/svc 1"),
    ],
)
def test_the_catalogs_template_yields_the_key(payload, key):
    template = "{$event.id}:{$event.body#/a~1b}:{$event.body#/list/1/n}"
    catalog = {"operations": {"hook": {"idempotency_key": template, "components": []}}}
    data = {"operation": "hook", "event": payload}
    assert {row(data, kind=kind, catalog=catalog).key for kind in ("webhook", "compute")} == {key}
    assert row(data, kind="webhook", catalog=catalog, idempotencykey="own").key == "own"


# Spend.


def spending(limit="0.0001", zone="UTC", window="dailySpendUsd", thresholds=(50, 100)):
    account = {"time_zone": zone, "thresholds_percent": list(thresholds), "spendLimit": {window: limit}}
    return model(accounts={"tenants": {"acme": account}})


def spend(judge, number, time="2026-11-01T12:00:00Z", operation="ask"):
    judge.feed(line(data={"operation": operation}, id=str(number), time=time), "t", 0, number, ARRIVAL_MS)


def test_a_threshold_is_crossed_by_the_event_that_reaches_it_and_cleared_by_a_correction():
    judge = spending()
    for number in range(3):
        spend(judge, number)  # 50 micro-USD each
    judge.feed(voiding("/svc 1"), "t", 0, 3, ARRIVAL_MS)
    judge.feed(voiding("/svc 2"), "t", 0, 4, ARRIVAL_MS)
    found = [(c.threshold_percent, c.state, c.current_pico_usd, c.origin[2]) for c in judge.spend.crossings]
    assert found == [
        (50, "crossed", 50_000_000, 0),
        (100, "crossed", 100_000_000, 1),
        (100, "cleared", 50_000_000, 4),
    ]
    assert {percent for *_, percent in judge.spend.crossed()} == {50}


def test_only_metered_and_credit_count_in_windows_and_only_metered_at_stripe():
    catalog = {"operations": {}}
    for method in ("metered", "credit", "rate-limited", "free"):
        catalog["operations"][method] = {"components": [component()], "settlement": {"method": method}}
    judge = model(catalog)
    for number, operation in enumerate(catalog["operations"]):
        spend(judge, number, operation=operation)
    assert set(judge.spend.pico.values()) == {2_000_000}
    assert judge.stripe() == {"acme": 1_000_000}
    assert judge.sums("settlement") == {(method,): 1_000_000 for method in catalog["operations"]}


@pytest.mark.parametrize(
    ("zone", "time", "day", "month"),
    [
        ("UTC", "2026-11-01T00:00:00Z", "2026-11-01T00:00", "2026-11-01T00:00"),
        ("Asia/Kathmandu", "2026-10-31T18:14:59.999Z", "2026-10-30T18:15", "2026-09-30T18:15"),
        ("Asia/Kathmandu", "2026-10-31T18:15:00Z", "2026-10-31T18:15", "2026-10-31T18:15"),
        (
            "America/New_York",
            "2026-11-02T04:59:59Z",
            "2026-11-01T04:00",
            "2026-11-01T04:00",
        ),  # a day of 25 hours
        ("America/New_York", "2026-03-09T03:59:59Z", "2026-03-08T05:00", "2026-03-01T05:00"),  # one of 23
        (
            "America/Santiago",
            "2026-09-06T04:00:00Z",
            "2026-09-06T04:00",
            "2026-09-01T04:00",
        ),  # without midnight
    ],
)
def test_windows_are_calendar_days_and_months_of_the_tenants_zone(zone, time, day, month):
    judge = spending(zone=zone)
    spend(judge, 1, time)
    starts = {window: start for _, window, start in judge.spend.pico}
    assert {window: f"{start:%Y-%m-%dT%H:%M}" for window, start in starts.items()} == {
        "day": day,
        "month": month,
    }


def test_sums_are_exact_and_by_any_member():
    judge = model()
    judge.feed(line("traffic", {"request_bytes": 1}, id="1", subject="a"), arrival_ms=ARRIVAL_MS)
    judge.feed(line(data=ASKED, id="2", subject="a"), arrival_ms=ARRIVAL_MS)
    assert judge.sums("tenant", "principal", "billing_period") == {("acme", "a", "2026-11"): 64_000_090}
    assert judge.sums_by_source() == {
        ("acme", "egress"): 90,
        ("acme", "compute"): 50_000_000,
        ("acme", "openai"): 14_000_000,
    }
