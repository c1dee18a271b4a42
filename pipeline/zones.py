"""Time zones, and where the calendar days and months of a zone begin.

The zones are those of the `tzdata` package that is installed with the program, never the machine's own: the
same lock file gives the same days everywhere.
"""

from datetime import UTC, date, datetime
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple
from zoneinfo import ZoneInfo


class WindowStarts(NamedTuple):
    """The first instants, in UTC epoch seconds, of a calendar day and of its month."""

    day_s: int
    month_s: int


@cache
def zone_names() -> frozenset[str]:
    """Name all zones that there are, such as `Europe/Berlin`."""
    return frozenset((resources.files("tzdata") / "zones").read_text(encoding="utf-8").split())


@cache
def load_zone(name: str) -> ZoneInfo:
    """Load a zone by its IANA name, letter case as there; raises `ValueError` where there is none."""
    if name not in zone_names():
        msg = f"unknown time zone {name!r}"
        raise ValueError(msg)
    with (resources.files("tzdata") / "zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def window_starts(zone: ZoneInfo, instant_s: int) -> WindowStarts:
    """Find the starts of the local day and month that hold an instant, such as a quarter hour's start.

    The day is the date that a clock on the wall shows. It starts at the first instant that shows it: where
    clocks skip midnight that is later than 0:00, where they repeat it, the earlier of the two.
    """
    return _starts(zone, datetime.fromtimestamp(instant_s, zone).date())


@lru_cache(maxsize=65_536)
def _starts(zone: ZoneInfo, day: date) -> WindowStarts:
    return WindowStarts(_first_instant(zone, day), _first_instant(zone, day.replace(day=1)))


def _first_instant(zone: ZoneInfo, day: date) -> int:
    """Find the first instant whose local date is `day`, or later where clocks skip the whole day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    low, high = (_epoch_s(midnight.replace(fold=fold)) for fold in (1, 0))
    if low >= high:  # midnight is there, once or twice; fold 0 is its first time
        return high
    while high - low > 1:  # skipped: the jump lies behind `low`, not behind `high`
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).date() < day:
            low = middle
        else:
            high = middle
    return high


def _epoch_s(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp())
