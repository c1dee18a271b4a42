"""RFC 3339 times to milliseconds since 1970 in UTC, and back."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

TIME_MIN_MS = 946_684_800_000
"""2000-01-01T00:00:00Z: no event is older."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)


def parse_rfc3339_ms(text: str) -> int | None:
    """Read a time as milliseconds since 1970 in UTC, cut off to whole ones; None for any other text.

    The offset is required (up to 23:59 either way); `t` and `z` may be small; a second 60 and days that the
    calendar does not have are refused. Years 0001 to 9999.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    day, hour, minute, second, fraction, sign, offset_hour, offset_minute = match.groups("0")
    days = _days_since_1970(day)
    if days is None:
        return None
    offset = int(offset_hour) * 60 + int(offset_minute)
    minutes = days * 1440 + int(hour) * 60 + int(minute) + (offset if sign == "-" else -offset)
    return (minutes * 60 + int(second)) * 1000 + int(fraction[:3].ljust(3, "0"))


def format_rfc3339_ms(moment_ms: int) -> str:
    """Write a moment as `2026-11-02T06:13:20.000Z`; `OverflowError` outside the years 0001 to 9999."""
    moment = _EPOCH + timedelta(milliseconds=moment_ms)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


@lru_cache(maxsize=1024)
def _days_since_1970(day: str) -> int | None:
    try:
        return date.fromisoformat(day).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        return None
