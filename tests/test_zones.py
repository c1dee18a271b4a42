"""Local days and months begin where a clock on the wall says so, in every zone and on every odd day."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.zones import load_zone, window_starts, zone_names

QUARTER_S = 900
DAY_S = 86_400


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def day_and_month(zone: str, instant: str) -> tuple[str, str]:
    starts = window_starts(load_zone(zone), seconds(instant))
    return tuple(datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for start in starts)


@pytest.mark.parametrize(
    ("zone", "instant", "day", "month"),
    [
        ("UTC", "2026-03-10T23:59:59Z", "2026-03-10T00:00:00Z", "2026-03-01T00:00:00Z"),
        # a day of 23 hours: 00:00 CET is 23:00Z, the next 00:00 CEST is 22:00Z
        ("Europe/Berlin", "2026-03-29T21:45:00Z", "2026-03-28T23:00:00Z", "2026-02-28T23:00:00Z"),
        ("Europe/Berlin", "2026-03-29T22:00:00Z", "2026-03-29T22:00:00Z", "2026-02-28T23:00:00Z"),
        # a day of 25 hours
        ("Europe/Berlin", "2026-10-25T22:45:00Z", "2026-10-24T22:00:00Z", "2026-09-30T22:00:00Z"),
        ("Europe/Berlin", "2026-10-25T23:00:00Z", "2026-10-25T23:00:00Z", "2026-09-30T22:00:00Z"),
        # +05:45
        ("Asia/Kathmandu", "2026-03-10T18:00:00Z", "2026-03-09T18:15:00Z", "2026-02-28T18:15:00Z"),
        ("Asia/Kathmandu", "2026-03-10T18:15:00Z", "2026-03-10T18:15:00Z", "2026-02-28T18:15:00Z"),
        # 00:00 does not exist: clocks go from 24:00 -03 to 01:00 -02
        ("America/Sao_Paulo", "2018-11-04T02:45:00Z", "2018-11-03T03:00:00Z", "2018-11-01T03:00:00Z"),
        ("America/Sao_Paulo", "2018-11-04T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-01T03:00:00Z"),
        ("America/Sao_Paulo", "2018-11-05T01:45:00Z", "2018-11-04T03:00:00Z", "2018-11-01T03:00:00Z"),
        # 00:00 exists twice: clocks go from 01:00 CDT back to 00:00 CST; on the first of a month, too
        ("America/Havana", "2015-11-01T05:00:00Z", "2015-11-01T04:00:00Z", "2015-11-01T04:00:00Z"),
        ("America/Havana", "2015-11-02T04:45:00Z", "2015-11-01T04:00:00Z", "2015-11-01T04:00:00Z"),
        # half an hour of daylight saving
        ("Australia/Lord_Howe", "2026-04-05T13:15:00Z", "2026-04-04T13:00:00Z", "2026-03-31T13:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-05T13:30:00Z", "2026-04-05T13:30:00Z", "2026-03-31T13:00:00Z"),
        # clocks jump from 23:30 to 24:00, by half an hour
        ("Asia/Pyongyang", "2018-05-04T15:00:00Z", "2018-05-04T15:00:00Z", "2018-04-30T15:30:00Z"),
        ("Asia/Pyongyang", "2018-05-04T14:45:00Z", "2018-05-03T15:30:00Z", "2018-04-30T15:30:00Z"),
        # a whole day is missing
        ("Pacific/Apia", "2011-12-30T09:45:00Z", "2011-12-29T10:00:00Z", "2011-12-01T10:00:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-01T10:00:00Z"),
        # the jump swallows midnight from both sides: 23:30 to 00:30, so the day begins at 00:30
        ("America/Toronto", "1919-03-31T04:15:00Z", "1919-03-30T05:00:00Z", "1919-03-01T05:00:00Z"),
        ("America/Toronto", "1919-03-31T04:30:00Z", "1919-03-31T04:30:00Z", "1919-03-01T05:00:00Z"),
        ("America/Toronto", "1919-04-01T03:45:00Z", "1919-03-31T04:30:00Z", "1919-03-01T05:00:00Z"),
    ],
)
def test_the_starts_of_a_day_and_its_month(zone, instant, day, month):
    assert day_and_month(zone, instant) == (day, month)


ZONES = sorted(zone_names())
QUARTERS = st.integers(
    seconds("2000-01-02T00:00:00Z") // QUARTER_S, seconds("2060-01-01T00:00:00Z") // QUARTER_S
)


@cache
def local_dates(zone: str, first_quarter: int, quarters: int) -> list[date]:
    """The plain model: look at the wall clock every quarter of an hour."""
    tz = load_zone(zone)
    return [datetime.fromtimestamp((first_quarter + n) * QUARTER_S, tz).date() for n in range(quarters)]


@given(st.sampled_from(ZONES), QUARTERS)
def test_a_day_starts_at_the_first_quarter_hour_that_shows_its_date(zone, quarter):
    back = 2 * DAY_S // QUARTER_S
    dates = local_dates(zone, quarter - back, back + 1)

    start = window_starts(load_zone(zone), quarter * QUARTER_S).day_s

    assert start == (quarter - back + dates.index(dates[-1])) * QUARTER_S


@given(st.sampled_from(ZONES), QUARTERS)
def test_a_month_starts_where_its_first_day_does(zone, quarter):
    tz = load_zone(zone)
    month_s = window_starts(tz, quarter * QUARTER_S).month_s
    first, before = (datetime.fromtimestamp(at, tz).date() for at in (month_s, month_s - 1))
    shown = datetime.fromtimestamp(quarter * QUARTER_S, tz).date()

    assert (first.year, first.month, first.day) == (shown.year, shown.month, 1)
    assert (before + timedelta(days=1)).day == 1
    assert window_starts(tz, month_s).day_s == month_s


@given(st.sampled_from(ZONES), QUARTERS)
def test_the_start_of_a_window_lies_in_it_and_is_its_own_start(zone, quarter):
    tz = load_zone(zone)
    starts = window_starts(tz, quarter * QUARTER_S)

    assert starts.month_s <= starts.day_s <= quarter * QUARTER_S
    assert starts.day_s % QUARTER_S == starts.month_s % QUARTER_S == 0
    assert window_starts(tz, starts.day_s) == starts


@pytest.mark.parametrize(
    "zone", ["America/Sao_Paulo", "America/Havana", "Asia/Amman", "Asia/Gaza", "America/Asuncion"]
)
def test_the_days_of_a_year_cover_it_without_gap_or_overlap(zone):
    tz = load_zone(zone)
    first, last = (seconds(f"{year}-01-01T12:00:00Z") // QUARTER_S for year in (2014, 2015))
    spans: dict[int, list[int]] = {}
    for quarter in range(first, last):
        spans.setdefault(window_starts(tz, quarter * QUARTER_S).day_s, []).append(quarter)

    assert [quarters[0] * QUARTER_S for quarters in spans.values()][1:] == list(spans)[1:]
    assert all(quarters == list(range(quarters[0], quarters[-1] + 1)) for quarters in spans.values())
    assert {len(quarters) for quarters in list(spans.values())[1:-1]} == {92, 96, 100}


def test_where_clocks_fall_back_over_midnight_the_date_on_the_wall_decides():
    # St John's, until 2011: at 00:01 clocks went back to 23:01 of the day before
    days = [
        day_and_month("America/St_Johns", f"2010-11-07T0{hour}Z")[0]
        for hour in ("2:30", "2:45", "3:15", "3:30")
    ]

    assert days == [
        "2010-11-07T02:30:00Z",
        "2010-11-06T02:30:00Z",
        "2010-11-06T02:30:00Z",
        "2010-11-07T02:30:00Z",
    ]


@pytest.mark.parametrize(
    "name", ["Europe/Berln", "europe/berlin", "", "../zones", "/etc/localtime", "Europe"]
)
def test_an_unknown_zone_is_refused(name):
    with pytest.raises(ValueError, match=f"^unknown time zone {re.escape(repr(name))}$"):
        load_zone(name)


@pytest.mark.parametrize("name", ZONES)
def test_every_zone_that_is_named_can_be_loaded(name):
    assert load_zone(name).key == name
