"""The planner: whole units, remainders and debts carried, nothing twice, never more than the ledger."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.meters import load_meters
from billing.periods import month_start, next_month_start, open_from, told_until
from billing.planner import SPACING_S, Ground, Terms, Used, plan, spread, told
from pipeline.outbox import HOUR_S, VALUE_MAX, Usage

METER = load_meters(None).meters[0]
UNIT = METER.unit


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


NOON = at("2026-11-20T12:00")
TERMS = Terms(now=NOON, finalizes_after_s=HOUR_S, namespace="millrace")
EMPTY = Ground({}, {})
CUSTOMERS = {"acme": "cus_1", "beta": "cus_2"}


def usage(*rows):
    return [Usage(tenant, window, total) for tenant, window, total in rows]


def test_whole_units_are_planned_and_the_remainder_goes_to_the_next_hour():
    rows = usage(("acme", NOON - 7200, 1_500_000), ("acme", NOON - 3600, 1_500_000))
    made = plan(METER, rows, EMPTY, CUSTOMERS, TERMS)
    assert [(r.window_start, r.value) for r in made.reports] == [(NOON - 7200, 1), (NOON - 3600, 2)]
    assert made.balances[0].rest == 0


def test_a_report_stands_in_the_middle_of_its_own_minute_under_a_fixed_identifier():
    report = plan(METER, usage(("acme", NOON - 3600, 7 * UNIT)), EMPTY, CUSTOMERS, TERMS).reports[0]
    assert next(told([report])) == {
        "event_name": "millrace_micro_usd",
        "identifier": "mt1.b8d8e6cd0167027d01f67f5849f5003f40a4f50b",
        "timestamp": NOON - 3600 + 30,
        "payload": {"stripe_customer_id": "cus_1", "value": "7"},
    }


def test_the_running_hour_waits_for_its_end_unless_it_is_asked_for():
    rows = usage(("acme", NOON, 5 * UNIT))
    assert plan(METER, rows, EMPTY, CUSTOMERS, TERMS).reports == ()
    running = Terms(NOON, HOUR_S, "millrace", running=True)
    assert [r.value for r in plan(METER, rows, EMPTY, CUSTOMERS, running).reports] == [5]


def test_late_usage_takes_the_next_minute_of_its_hour_after_a_pause():
    hour = NOON - 3600
    ground = Ground({"acme": {hour: 5}}, {("cus_1", hour): Used(slots=1, newest_at=NOON)})
    rows = usage(("acme", hour, 8 * UNIT))
    early = plan(METER, rows, ground, CUSTOMERS, TERMS)
    assert early.reports == ()
    assert (
        early.balances[0].waiting
        == "the hour has 1 reports; the next comes after a pause that grows with them"
    )
    late = Terms(NOON + SPACING_S, HOUR_S, "millrace")
    assert [(r.slot, r.value) for r in plan(METER, rows, ground, CUSTOMERS, late).reports] == [(1, 3)]


def test_shortly_before_the_invoice_is_final_nothing_waits():
    hour = at("2026-10-31T23:00")
    ground = Ground({"acme": {hour: 5}}, {("cus_1", hour): Used(slots=59, newest_at=at("2026-11-01T00:10"))})
    terms = Terms(at("2026-11-01T00:20"), HOUR_S, "millrace")
    made = plan(METER, usage(("acme", hour, 8 * UNIT)), ground, CUSTOMERS, terms)
    assert [r.slot for r in made.reports] == [59]


def test_an_hour_never_needs_a_sixty_first_minute():
    hour = NOON - 3600
    ground = Ground({"acme": {hour: 5}}, {("cus_1", hour): Used(slots=60, newest_at=0)})
    made = plan(METER, usage(("acme", hour, 8 * UNIT)), ground, CUSTOMERS, TERMS)
    assert (made.reports, made.balances[0].waiting) == ((), "all sixty minutes of the hour are used")
    assert made.balances[0].rest == 3 * UNIT


def test_sixty_reports_with_their_pauses_last_as_long_as_stripe_takes_events_of_the_hour():
    assert sum(n * SPACING_S for n in range(1, 60)) > 33 * 86400


def test_what_comes_too_late_for_its_invoice_is_told_in_the_newest_open_hour_and_names_its_month():
    september = at("2026-09-03T10:00")
    rows = usage(("acme", september, 4 * UNIT), ("acme", at("2026-09-20T10:00"), 3 * UNIT))
    (report,) = plan(METER, rows, EMPTY, CUSTOMERS, TERMS).reports
    assert (report.window_start, report.origin_start, report.value) == (
        NOON - 3600,
        at("2026-09-01T00:00"),
        7,
    )


def test_a_period_known_to_be_final_is_closed_at_once():
    hour = at("2026-10-31T10:00")
    now = at("2026-11-01T02:00")
    ground = Ground({}, {}, closed_until={"cus_1": at("2026-11-01T00:00")})
    terms = Terms(now, 72 * HOUR_S, "millrace")
    rows = usage(("acme", hour, 4 * UNIT), ("beta", hour, 4 * UNIT))
    made = plan(METER, rows, ground, CUSTOMERS, terms)
    assert [(r.tenant, r.window_start) for r in made.reports] == [("acme", now - 3600), ("beta", hour)]


def test_right_after_a_close_late_usage_waits_for_the_first_hour_of_the_open_period():
    terms = Terms(at("2026-11-01T00:50"), HOUR_S, "millrace")
    made = plan(METER, usage(("acme", at("2026-10-20T10:00"), UNIT)), EMPTY, CUSTOMERS, terms)
    assert made.reports == ()
    assert made.balances[0].waiting == "its period is closed and the open one has no ended hour yet"


def test_a_negative_total_is_carried_until_it_is_covered():
    first, second, third = NOON - 3 * 3600, NOON - 2 * 3600, NOON - 3600
    ground = Ground({"acme": {first: 10}}, {})
    rows = usage(("acme", first, 6 * UNIT), ("acme", second, 3 * UNIT), ("acme", third, 5 * UNIT))
    made = plan(METER, rows, ground, CUSTOMERS, TERMS)
    assert [(r.window_start, r.value) for r in made.reports] == [(third, 4)]


def test_usage_that_a_later_correction_takes_back_is_not_planned():
    rows = usage(("acme", NOON - 7200, 10 * UNIT), ("acme", NOON - 3600, -7 * UNIT))
    made = plan(METER, rows, EMPTY, CUSTOMERS, TERMS)
    assert [(r.window_start, r.value) for r in made.reports] == [(NOON - 7200, 3)]


def test_tenants_without_a_customer_and_the_unattributed_are_owed_and_never_sent():
    rows = usage(("gamma", NOON - 3600, 5 * UNIT), ("@unattributed", NOON - 3600, 6 * UNIT))
    customers = {**CUSTOMERS, "@unattributed": "cus_9"}
    made = plan(METER, rows, EMPTY, customers, TERMS)
    assert made.reports == ()
    assert {(b.tenant, b.customer, b.rest, b.waiting) for b in made.balances} == {
        ("gamma", "", 5 * UNIT, "the tenant has no Stripe customer"),
        ("@unattributed", "", 6 * UNIT, "the tenant has no Stripe customer"),
    }


def test_two_tenants_of_one_customer_never_share_a_minute():
    rows = usage(("acme", NOON - 3600, UNIT), ("beta", NOON - 3600, UNIT))
    made = plan(METER, rows, EMPTY, {"acme": "cus_1", "beta": "cus_1"}, TERMS)
    assert {r.slot for r in made.reports} == {0, 1}
    assert len({r.identifier for r in made.reports}) == 2


def test_a_value_of_more_than_fifteen_digits_is_told_in_parts():
    rows = usage(("acme", NOON - 3600, (VALUE_MAX + 5) * UNIT))
    made = plan(METER, rows, EMPTY, CUSTOMERS, TERMS)
    assert [r.value for r in made.reports] == [VALUE_MAX]
    assert made.balances[0].rest == 5 * UNIT


@pytest.mark.parametrize(
    ("now", "first"),
    [
        ("2026-11-20T12:00", "2026-11-01T00:00"),
        ("2026-11-01T00:44", "2026-10-01T00:00"),
        ("2026-11-01T00:45", "2026-11-01T00:00"),
        ("2027-01-01T00:00", "2026-12-01T00:00"),
    ],
)
def test_a_month_is_open_until_shortly_before_its_invoice_is_final(now, first):
    assert open_from(at(now), HOUR_S) == at(first)


@given(
    st.integers(at("2026-01-01T00:00"), at("2030-01-01T00:00")), st.integers(1, 72), st.integers(0, 40 * 24)
)
def test_a_window_is_open_exactly_until_it_is_told_to_be(now, grace, age_hours):
    window = now - now % HOUR_S - age_hours * HOUR_S
    assert (window >= open_from(now, grace * HOUR_S)) == (now < told_until(window, grace * HOUR_S))


def test_months_follow_one_another():
    assert next_month_start(at("2026-12-31T23:59")) == at("2027-01-01T00:00")
    assert month_start(at("2024-02-29T12:00")) == at("2024-02-01T00:00")


amounts = st.dictionaries(st.integers(0, 9), st.integers(-(10**7), 10**7), max_size=10)


@given(st.lists(amounts, min_size=1, max_size=8), st.integers(1, 3 * 10**6), st.integers(0, 10))
@settings(max_examples=300)
def test_any_history_of_a_ledger_is_told_to_the_unit_and_never_twice(changes, unit, until):
    totals, counted = {}, {}
    for change in changes:
        for window, amount in change.items():
            totals[window] = totals.get(window, 0) + amount
        before = sum(counted.values())
        for window, units in spread(totals, counted, unit, until):
            counted[window] = counted.get(window, 0) + units
        told_units, ledger = sum(counted.values()), sum(totals.values())
        assert told_units == before or told_units * unit <= ledger, "more was planned than the ledger has"
        assert spread(totals, counted, unit, until) == []
        if until > max(totals, default=0):
            assert told_units == max(before, ledger // unit), "whole units were left behind"
