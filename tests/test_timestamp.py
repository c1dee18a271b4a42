"""RFC 3339 and nothing else, to the millisecond."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.timestamp import TIME_MIN_MS, format_rfc3339_ms, parse_rfc3339_ms

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT_MS = 1_793_600_000_000  # 2026-11-02T06:13:20Z
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-02T06:13:20Z",
        "2026-11-02t06:13:20z",
        "2026-11-02T06:13:20.0Z",
        "2026-11-02T06:13:20.0009999999999999999999999999999999Z",
        "2026-11-02T06:13:20+00:00",
        "2026-11-02T06:13:20-00:00",
        "2026-11-02T11:58:20+05:45",
        "2026-11-01T06:14:20-23:59",
        "2026-11-03T06:12:20+23:59",
    ],
)
def test_one_moment_written_in_many_ways(text):
    assert parse_rfc3339_ms(text) == MOMENT_MS


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2026-11-02T06:13:20.1Z", 100),
        ("2026-11-02T06:13:20.12Z", 120),
        ("2026-11-02T06:13:20.1239999Z", 123),
        ("2026-11-02T06:13:20.999999999+00:00", 999),
        ("2026-11-02T06:13:20.001" + "9" * 10_000 + "Z", 1),
    ],
)
def test_fractions_are_cut_off_at_the_millisecond(text, milliseconds):
    assert parse_rfc3339_ms(text) == MOMENT_MS + milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-02",
        "20261102T061320Z",
        "2026-11-02T06:13Z",
        "2026-11-02T06:13:20",
        "2026-11-02 06:13:20Z",
        "2026-11-02T06:13:20.Z",
        "2026-11-02T06:13:20,5Z",
        "2026-11-02T06:13:60Z",
        "2016-12-31T23:59:60Z",
        "2026-11-02T06:60:20Z",
        "2026-11-02T24:00:00Z",
        "2026-11-00T06:13:20Z",
        "2026-11-31T06:13:20Z",
        "2026-13-02T06:13:20Z",
        "2026-02-29T06:13:20Z",
        "2100-02-29T06:13:20Z",
        "0000-01-01T00:00:00Z",
        "2026-W45-1T06:13:20Z",
        "2026-11-02T06:13:20+0545",
        "2026-11-02T06:13:20+05",
        "2026-11-02T06:13:20+24:00",
        "2026-11-02T06:13:20+05:60",
        "2026-11-02T06:13:20+05:45:30",
        "2026-11-02T06:13:20Z ",
        "2026-11-02T06:13:20Z\n",
        " 2026-11-02T06:13:20Z",
        "2026-11-02T06:13:20ZZ",
        "-2026-11-02T06:13:20Z",
        "12026-11-02T06:13:20Z",
        "\uff12\uff10\uff12\uff16-11-02T06:13:20Z",
        "2026-11-02T06:13:2\u0660Z",
    ],
)
def test_what_is_no_time_has_no_value(text):
    assert parse_rfc3339_ms(text) is None


def test_leap_days_are_those_of_the_calendar():
    assert parse_rfc3339_ms("2000-02-29T00:00:00Z") == 951_782_400_000
    assert parse_rfc3339_ms("2024-02-29T23:59:59.999Z") == 1_709_251_199_999


def test_the_earliest_time_is_the_beginning_of_2000():
    assert parse_rfc3339_ms("2000-01-01T00:00:00Z") == TIME_MIN_MS
    assert parse_rfc3339_ms("1999-12-31T23:59:59.9999Z") == TIME_MIN_MS - 1


def test_an_offset_may_lead_out_of_the_four_digit_years():
    assert parse_rfc3339_ms("9999-12-31T23:59:59-23:59") == 253_402_387_139_000
    assert parse_rfc3339_ms("0001-01-01T00:00:00+23:59") == -62_135_683_140_000


def test_a_moment_is_written_in_utc_with_milliseconds():
    assert format_rfc3339_ms(MOMENT_MS) == "2026-11-02T06:13:20.000Z"
    assert format_rfc3339_ms(-1) == "1969-12-31T23:59:59.999Z"


@given(st.datetimes(timezones=OFFSETS))
def test_every_moment_reads_as_the_calendar_has_it(moment):
    assert parse_rfc3339_ms(moment.isoformat()) == (moment - EPOCH) // timedelta(milliseconds=1)


@given(st.datetimes())
def test_what_is_written_is_read_back(moment):
    milliseconds = (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
    assert parse_rfc3339_ms(format_rfc3339_ms(milliseconds)) == milliseconds


@given(st.text())
def test_text_by_chance_is_no_time(text):
    assert parse_rfc3339_ms(text) is None
