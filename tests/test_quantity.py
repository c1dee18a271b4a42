"""Numbers are taken by their exact decimal value, however they are written."""

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.quantity import CLAMP, scaled

WHOLE = st.from_regex(r"-?(0|[1-9][0-9]{0,30})", fullmatch=True)
FRACTION = st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,30}", fullmatch=True))
EXPONENT = st.one_of(st.just(""), st.from_regex(r"[eE][+-]?0{0,3}[0-9]{1,2}", fullmatch=True))
NUMBERS = st.builds("{}{}{}".format, WHOLE, FRACTION, EXPONENT)


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("0", 0),
        ("-0", 0),
        ("-0.000", 0),
        ("0e99999999999", 0),
        ("0E-99999999999", 0),
        ("1", 1_000_000),
        ("1.0", 1_000_000),
        ("1e3", 1_000_000_000),
        ("1E+3", 1_000_000_000),
        ("10e-1", 1_000_000),
        ("1e-6", 1),
        ("0.000001", 1),
        ("0.0000010000", 1),
        ("-0.000001", -1),
        ("123456789012.123456", 123_456_789_012_123_456),
        ("999999999999999999", 999_999_999_999_999_999_000_000),
        ("9999999999999999999", 9_999_999_999_999_999_999_000_000),
        ("99999999999999999999.999999", 99_999_999_999_999_999_999_999_999),
        ("1e-00000000000000000000000000000003", 1000),
    ],
)
def test_the_value_is_exact(text, micro):
    assert scaled(text, 6) == micro


@pytest.mark.parametrize("text", ["0.0000001", "1e-7", "-1e-7", "1e-300", "1e-" + "9" * 5000, "1.0000001"])
def test_more_than_six_fractional_digits_are_refused(text):
    assert scaled(text, 6) is None


@pytest.mark.parametrize("text", ["0.5", "1e-1", "1000000000000000.1", "1" + "0" * 5000 + ".1"])
def test_a_fraction_is_no_whole_number_however_large(text):
    assert scaled(text, 0) is None


@pytest.mark.parametrize("text", ["1e20", "1" + "0" * 20, "9" * 5000, "1e300", "1e" + "9" * 5000, "0.1e22"])
def test_what_is_beyond_every_limit_is_clamped(text):
    assert scaled(text, 0) == CLAMP
    assert scaled(text, 6) == CLAMP * 10**6
    assert scaled(f"-{text}", 6) == -CLAMP * 10**6


def test_zeros_and_exponents_that_outweigh_each_other_leave_the_value():
    assert scaled("1" + "0" * 100_000 + "e-100000", 6) == 10**6
    assert scaled("0." + "0" * 99_999 + "1e100000", 6) == 10**6


@given(NUMBERS, st.sampled_from([0, 6]))
@example("1e19", 0)
@example("1e20", 0)
@example("9.9999999999999999999e19", 0)
def test_any_number_is_its_fraction(text, fraction_digits):
    exact = Fraction(text) * 10**fraction_digits
    found = scaled(text, fraction_digits)
    if exact.denominator != 1:
        assert found is None
    elif abs(exact) < CLAMP * 10**fraction_digits:
        assert found == exact
    else:
        assert found == (CLAMP if exact > 0 else -CLAMP) * 10**fraction_digits
