"""Prices are exact: held to fractions and to Decimal, at the edges and in between."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog import DIVISORS, Basis, Component, Entry, Pricing, Quantity
from pipeline.event import Event, EventType, Reason, Reject
from pipeline.pricing import PICO_USD_MAX, Priced, Quantities, component_pico, price_event, split, void

MICRO = 10**6
QUANTITIES = st.integers(-(10**21), 10**21)
PRICES = st.one_of(st.integers(0, 10**9), st.integers(0, 10**30))
BASES = st.sampled_from(list(Basis))


def component(
    price: str = "1", quantity: Quantity = Quantity.ONE, basis: Basis = Basis.PER_CALL, source: str = "s"
):
    return Component(source, basis, int(Decimal(price) * MICRO), DIVISORS[basis], quantity, source)


def entry(*components: Component, weight: int = 1) -> Entry:
    return Entry(components, Pricing.PRICED, weight=weight)


def event(kind: EventType = EventType.COMPUTE, **members) -> Event:
    return Event(
        type=kind,
        tenant="t",
        principal="p",
        event_id="1",
        source="s",
        idempotency_key=None,
        occurred_at_ms=0,
        operation="ask",
        **members,
    )


def price(of: Entry, **members) -> Priced:
    priced = price_event(of, event(**members))
    assert isinstance(priced, Priced)
    return priced


@given(QUANTITIES, PRICES, BASES)
def test_a_component_is_the_fraction_rounded_half_to_even(quantity_micro, price_e6, basis):
    made = Component("s", basis, price_e6, DIVISORS[basis], Quantity.USAGE, "s")

    assert component_pico(quantity_micro, made) == round(
        Fraction(quantity_micro, MICRO) * Fraction(price_e6, MICRO) * MICRO / DIVISORS[basis]
    )


@given(QUANTITIES, PRICES, BASES)
def test_a_component_is_the_decimal_rounded_half_to_even(quantity_micro, price_e6, basis):
    exact = Context(prec=200, rounding=ROUND_HALF_EVEN)
    pico = exact.divide(Decimal(quantity_micro * price_e6), Decimal(DIVISORS[basis] * MICRO))
    made = Component("s", basis, price_e6, DIVISORS[basis], Quantity.USAGE, "s")

    assert component_pico(quantity_micro, made) == int(exact.to_integral_value(pico))


@pytest.mark.parametrize(
    ("quantity_micro", "pico"),
    [
        (500_000, 0),
        (500_001, 1),
        (1_500_000, 2),
        (2_500_000, 2),
        (-500_000, 0),
        (-500_001, -1),
        (-1_500_000, -2),
    ],
)
def test_a_half_goes_to_the_even_neighbour(quantity_micro, pico):
    assert component_pico(quantity_micro, Component("s", Basis.PER_UNIT, 1, 1, Quantity.USAGE, "s")) == pico


def test_five_kilobytes_at_nine_cents_a_gigabyte_are_not_lost():
    egress = component("90", Quantity.BYTES, Basis.PER_MB)

    priced = price(entry(egress), kind=EventType.TRAFFIC, request_bytes=1_000, response_bytes=4_000)

    assert (priced.pico, priced.cost_micro_usd, priced.residual_pico_usd) == (450_000, 0, 450_000)


@given(st.integers(-(2**70), 2**70))
def test_an_amount_splits_into_a_floor_and_what_it_left(pico):
    cost, residual = split(pico)

    assert cost * MICRO + residual == pico
    assert 0 <= residual < MICRO


def test_the_amounts_come_in_the_catalogs_order_and_sum_up():
    tokens = component("2000", Quantity.USAGE, Basis.PER_1K_TOKENS, "openai")
    priced = price(entry(component("50"), tokens), usage_micro=(("openai", 1_500 * MICRO),))

    assert priced.breakdown_pico == (50 * MICRO, 3_000 * MICRO)
    assert priced.cost_micro_usd == 3_050


@pytest.mark.parametrize(
    ("quantity", "measured"),
    [
        (Quantity.ONE, Fraction(1)),
        (Quantity.USAGE, Fraction("0.25")),
        (Quantity.USAGE_OR_ONE, Fraction("0.25")),
        (Quantity.USAGE_OR_UNITS, Fraction("0.25")),
        (Quantity.REQUEST_BYTES, Fraction(3)),
        (Quantity.RESPONSE_BYTES, Fraction(5)),
        (Quantity.BYTES, Fraction(8)),
        (Quantity.UNITS, Fraction("4.5")),
        (Quantity.BASE_UNITS, Fraction("1.5")),
        (Quantity.STORED_BYTES, Fraction(-7)),
    ],
)
def test_each_quantity_reads_its_own_member(quantity, measured):
    priced = price(
        entry(component("1", quantity), weight=3),
        request_bytes=3,
        response_bytes=5,
        delta_bytes=-7,
        units_micro=1_500_000,
        usage_micro=(("other", 9 * MICRO), ("s", 250_000)),
    )

    assert priced.pico == measured * MICRO
    assert priced.weighted_micro == 4_500_000


@pytest.mark.parametrize(
    ("quantity", "usage", "measured"),
    [
        (Quantity.USAGE, (), 0),
        (Quantity.USAGE_OR_ONE, (), 1),
        (Quantity.USAGE_OR_ONE, (("s", 0),), 0),
        (Quantity.USAGE_OR_UNITS, (), 6),
        (Quantity.USAGE_OR_UNITS, (("s", 0),), 0),
    ],
)
def test_usage_that_is_not_reported_falls_back_and_a_reported_zero_does_not(quantity, usage, measured):
    priced = price(entry(component("1", quantity), weight=3), units_micro=2 * MICRO, usage_micro=usage)

    assert priced.pico == measured * MICRO


@pytest.mark.parametrize(
    "sum_too_large",
    [
        entry(component("9223372036854.775808")),
        entry(component("9223372036854"), component("0.775808")),
        entry(component("9" * 38)),
    ],
)
def test_an_amount_beyond_63_bits_is_rejected(sum_too_large):
    rejected = price_event(sum_too_large, event())

    assert isinstance(rejected, Reject)
    assert rejected.reason is Reason.AMOUNT_OUT_OF_RANGE


def test_a_component_beyond_63_bits_is_rejected_though_the_sum_fits():
    stored = component("10000000000000", Quantity.STORED_BYTES)
    rejected = price_event(
        entry(component("9000000000000"), stored), event(EventType.STORAGE, delta_bytes=-1)
    )

    assert isinstance(rejected, Reject)
    assert rejected.reason is Reason.AMOUNT_OUT_OF_RANGE


@pytest.mark.parametrize("delta_bytes", [1, -1])
def test_the_largest_amounts_fit(delta_bytes):
    stored = component("9223372036854.775807", Quantity.STORED_BYTES)

    priced = price(entry(stored), kind=EventType.STORAGE, delta_bytes=delta_bytes)

    assert priced.pico == delta_bytes * PICO_USD_MAX


def test_the_smallest_64_bit_number_does_not_fit():
    stored = component("9223372036854.775808", Quantity.STORED_BYTES)

    assert isinstance(price_event(entry(stored), event(EventType.STORAGE, delta_bytes=-1)), Reject)


def test_weighted_units_up_to_the_bound_pass_and_above_it_are_rejected_first():
    dear = entry(component("9" * 38, Quantity.UNITS), weight=10**6)

    at_the_bound = price_event(entry(weight=10**6), event(units_micro=10**15))
    above = price_event(dear, event(units_micro=10**15 + 1))

    assert isinstance(at_the_bound, Priced)
    assert isinstance(above, Reject)
    assert above.reason is Reason.QUANTITY_OUT_OF_RANGE
    assert above.detail == "weighted units must lie within 10^15: got 1000000000000001.000000"


@given(st.lists(st.integers(-(2**62), 2**62), max_size=4), st.integers(0, 10**21))
def test_a_correction_takes_back_every_pico_and_floors_after_negating(amounts, weighted):
    priced = Priced(weighted, tuple(amounts), sum(amounts))

    voided = void(priced)

    assert [a + b for a, b in zip(priced.breakdown_pico, voided.breakdown_pico, strict=True)] == [0] * len(
        amounts
    )
    both_micro = priced.cost_micro_usd + voided.cost_micro_usd
    assert both_micro * MICRO + priced.residual_pico_usd + voided.residual_pico_usd == 0
    assert voided.weighted_micro == -weighted
    assert 0 <= voided.residual_pico_usd < MICRO


def test_what_is_unpriced_costs_nothing():
    assert price(Entry(), units_micro=MICRO) == Priced(MICRO, (), 0)


def test_bare_quantities_are_priced_as_their_event_is():
    rich = entry(component("3", Quantity.BYTES), component("5", Quantity.USAGE), weight=4)
    members = {
        "request_bytes": 1,
        "response_bytes": 2,
        "delta_bytes": 0,
        "units_micro": 5,
        "usage_micro": (("s", 6),),
    }

    assert price_event(rich, Quantities(EventType.COMPUTE, **members)) == price_event(rich, event(**members))
