"""Times as logs write them, turned into RFC 3339 text with an offset.

Formats: `iso` (date and time with a space or `T` between, any number of fractional digits, with or without an
offset), `unix`, `unix_ms`, `unix_us`, `unix_ns` (since 1970-01-01 UTC), `seconds_of_day` (since midnight of a
date that the mapping gives; more than a day's worth runs on into the next), or a `strptime` pattern. A zone
counts where the text has no offset of its own; an hour that a zone's clocks show twice is taken as the first.
Fractions are never rounded up: times of numbers are cut to the millisecond, others stay as they are.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation
from functools import partial
from zoneinfo import ZoneInfo

TimeReader = Callable[[str], str | None]
"""The text of a cell to RFC 3339, or None where it is no time of the format."""

_UNIX_EXPONENTS = {"unix": -3, "unix_ms": 0, "unix_us": 3, "unix_ns": 6}
"""The power of ten, in the format's own unit, that is one millisecond."""

FORMATS = ("iso", *_UNIX_EXPONENTS, "seconds_of_day")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_EXACT = Context(prec=60, traps=[InvalidOperation])
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_OFFSET = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[ Tt]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r"(?: ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """How a log writes its times; `day` is there exactly when `name` is `seconds_of_day`."""

    name: str
    zone: tzinfo = UTC
    day: date | None = None

    def reader(self) -> TimeReader:
        """Choose the function that reads such times."""
        if self.name == "iso":
            return partial(iso_rfc3339, self.zone)
        if self.name == "seconds_of_day" and self.day is not None:
            midnight = datetime.combine(self.day, time(), self.zone)
            return partial(_since_rfc3339, (midnight - _EPOCH) // _MILLISECOND, -3)
        if self.name in _UNIX_EXPONENTS:
            return partial(_since_rfc3339, 0, _UNIX_EXPONENTS[self.name])
        return partial(_pattern_rfc3339, self.name, self.zone)


def parse_zone(text: str) -> tzinfo | None:
    """Find a zone by its name (`UTC`, `Europe/Berlin`) or offset (`+05:45`); None where there is none."""
    if text in {"UTC", "Z"}:
        return UTC
    offset = _OFFSET.fullmatch(text)
    try:
        if offset is None:
            return ZoneInfo(text)
        distance = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-distance if offset[1] == "-" else distance)
    except (ValueError, OSError, KeyError):
        return None


def is_pattern(text: str) -> bool:
    """Tell whether a text is a `strptime` pattern that can be read back."""
    sample = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)
    try:
        return "%" in text and datetime.strptime(sample.strftime(text), text) is not None  # noqa: DTZ007 - only tried
    except ValueError:
        return False


def unix_rfc3339(text: str) -> str | None:
    """Read seconds since 1970, with any fraction."""
    return _since_rfc3339(0, -3, text)


def iso_rfc3339(zone: tzinfo, text: str) -> str | None:
    """Read an ISO 8601 date and time; its fraction is passed on digit by digit."""
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    day, minutes, seconds, fraction, offset = match.groups()
    clock = f"{day}T{minutes or '00:00'}:{seconds or '00'}"
    behind = f".{fraction}" if fraction else ""
    if offset is not None:
        return f"{clock}{behind}{_full_offset(offset)}"
    return f"{clock}{behind}Z" if zone is UTC else _zoned(clock, behind, zone)


def _full_offset(offset: str) -> str:
    if offset in {"Z", "z"}:
        return "Z"
    return f"{offset[:3]}:{offset[3:].lstrip(':') or '00'}"


def _zoned(clock: str, behind: str, zone: tzinfo) -> str | None:
    try:
        moment = datetime.fromisoformat(clock).replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"{moment.isoformat()[:19]}{behind}Z"


def _since_rfc3339(start_ms: int, exponent: int, text: str) -> str | None:
    """Add a number of units, of which a millisecond is the `exponent`-th power of ten, to a start."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        whole = _EXACT.create_decimal(text).quantize(Decimal((0, (1,), exponent)), ROUND_FLOOR, _EXACT)
        moment = _EPOCH + timedelta(milliseconds=start_ms + int(whole.scaleb(-exponent, _EXACT)))
    except (ArithmeticError, ValueError):
        return None
    return f"{moment.isoformat(timespec='milliseconds')[:-6]}Z"


def _pattern_rfc3339(pattern: str, zone: tzinfo, text: str) -> str | None:
    try:
        moment = datetime.strptime(text, pattern)  # noqa: DTZ007 - the zone comes next
        aware = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return f"{aware.astimezone(UTC).isoformat(timespec='microseconds')[:-6]}Z"
    except (ValueError, OverflowError):
        return None
