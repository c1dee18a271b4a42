"""Times of logs as RFC 3339."""

from datetime import UTC, date

import pytest

from pipeline.formats.times import TimeFormat, is_pattern, parse_zone


def read(text, name="iso", zone="UTC", day=None):
    found = parse_zone(zone)
    assert found is not None
    return TimeFormat(name, found, day).reader()(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-16 18:17:03.9799600", "2023-11-16T18:17:03.9799600Z"),
        ("2023-11-16T18:17:03", "2023-11-16T18:17:03Z"),
        ("2023-11-16t18:17:03z", "2023-11-16T18:17:03Z"),
        ("2023-11-16 18:17", "2023-11-16T18:17:00Z"),
        ("2023-11-16", "2023-11-16T00:00:00Z"),
        ("2023-11-16T18:17:03,5+05:45", "2023-11-16T18:17:03.5+05:45"),
        ("2023-11-16T18:17:03 -0330", "2023-11-16T18:17:03-03:30"),
        ("2023-11-16T18:17:03+02", "2023-11-16T18:17:03+02:00"),
        ("16.11.2023", None),
        ("2023-11-16T", None),
        ("2023-11-16T18:17:03.", None),
        ("\uff12\uff10\uff12\uff13-11-16", None),
        ("2023-11-16\n", None),
        ("", None),
    ],
)
def test_iso_keeps_every_digit_of_a_fraction(text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("Europe/Berlin", "2026-01-15 12:00:00.1234567", "2026-01-15T11:00:00.1234567Z"),
        ("Europe/Berlin", "2026-07-15 12:00:00", "2026-07-15T10:00:00Z"),
        ("Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T00:30:00Z"),
        ("Asia/Kathmandu", "2026-01-15 00:00:00", "2026-01-14T18:15:00Z"),
        ("+05:45", "2026-01-15 00:00:00", "2026-01-14T18:15:00Z"),
        ("-03:30", "2026-01-15 00:00:00", "2026-01-15T03:30:00Z"),
        ("Europe/Berlin", "2026-07-15T12:00:00Z", "2026-07-15T12:00:00Z"),
        ("Europe/Berlin", "2026-02-30 12:00:00", None),
        ("+05:45", "0001-01-01 00:00:00", None),
    ],
)
def test_a_zone_counts_where_the_text_has_no_offset(zone, text, expected):
    assert read(text, zone=zone) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("unix", "1661789409", "2022-08-29T16:10:09.000Z"),
        ("unix", "1661789409.9999", "2022-08-29T16:10:09.999Z"),
        ("unix", "1.661789409e9", "2022-08-29T16:10:09.000Z"),
        ("unix", "-0.0001", "1969-12-31T23:59:59.999Z"),
        ("unix_ms", "1661789409123", "2022-08-29T16:10:09.123Z"),
        ("unix_ms", "1661789409123.99", "2022-08-29T16:10:09.123Z"),
        ("unix_us", "1661789409123999", "2022-08-29T16:10:09.123Z"),
        ("unix_ns", "1661789409123999999", "2022-08-29T16:10:09.123Z"),
        ("unix", "1e-999999999", "1970-01-01T00:00:00.000Z"),
        ("unix", "1e999999999", None),
        ("unix", "1e99999999999999999999999", None),
        ("unix", "9" * 5000, None),
        ("unix", "0x10", None),
        ("unix", "1_000", None),
        ("unix", " 1", None),
        ("unix", "nan", None),
        ("unix", "", None),
    ],
)
def test_seconds_since_1970_are_cut_to_the_millisecond_exactly(name, text, expected):
    assert read(text, name) == expected


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("UTC", "0.07949090003967285", "2026-11-01T00:00:00.079Z"),
        ("UTC", "86399.9999", "2026-11-01T23:59:59.999Z"),
        ("UTC", "86400", "2026-11-02T00:00:00.000Z"),
        ("Europe/Berlin", "3600", "2026-11-01T00:00:00.000Z"),
        ("UTC", "noon", None),
    ],
)
def test_seconds_of_a_day_count_from_its_midnight(zone, text, expected):
    assert read(text, "seconds_of_day", zone, date(2026, 11, 1)) == expected


@pytest.mark.parametrize(
    ("pattern", "zone", "text", "expected"),
    [
        ("%d/%m/%Y %H:%M", "UTC", "16/11/2023 18:17", "2023-11-16T18:17:00.000000Z"),
        ("%d/%m/%Y %H:%M", "+01:00", "16/11/2023 18:17", "2023-11-16T17:17:00.000000Z"),
        ("%d/%b/%Y:%H:%M:%S %z", "+01:00", "16/Nov/2023:18:17:03 -0500", "2023-11-16T23:17:03.000000Z"),
        ("%Y%m%d%H%M%S.%f", "UTC", "20231116181703.25", "2023-11-16T18:17:03.250000Z"),
        ("%d/%m/%Y", "UTC", "2023-11-16", None),
        ("%Y-%m-%d", "+01:00", "0001-01-01", None),
    ],
)
def test_a_pattern_reads_what_strptime_reads(pattern, zone, text, expected):
    assert read(text, pattern, zone) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("%Y-%m-%d", True), ("%Y-%Q", False), ("iso8601", False), ("", False), ("%", False)],
)
def test_patterns_are_told_from_other_texts(text, expected):
    assert is_pattern(text) is expected


@pytest.mark.parametrize(
    "text", ["Mars/Olympus", "", "+25:00", "../../etc/passwd", "Europe", "\0", "utc offset"]
)
def test_a_zone_that_is_none_is_not_found(text):
    assert parse_zone(text) is None


@pytest.mark.parametrize("text", ["UTC", "Z"])
def test_utc_has_two_names(text):
    assert parse_zone(text) is UTC
