"""Figures, moments and names as text for people. Money stays a whole number of pico-USD until it is text."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pipeline.zones import load_zone, zone_names
from queries.totals import PICO, exact

CENT_DIGITS = 2
UTC_NAME = "UTC"


def grouped(number: int) -> str:
    """Write a whole number in groups of three digits."""
    return f"{number:,}"


def usd(pico: int) -> str:
    """Write an amount exactly: `$1,234.50`, `-$0.000012`; never fewer than two digits behind the point."""
    head, tail = usd_parts(pico)
    return head + tail


def usd_parts(pico: int) -> tuple[str, str]:
    """Give an amount exactly in two pieces: up to the cents, and the digits behind them."""
    whole, _, digits = exact(abs(pico), PICO).partition(".")
    digits = digits.ljust(CENT_DIGITS, "0")
    sign = "-" if pico < 0 else ""
    return f"{sign}${int(whole):,}.{digits[:CENT_DIGITS]}", digits[CENT_DIGITS:]


def usd_of_micro(micro: int) -> str:
    """Write micro-USD exactly."""
    return usd(micro * 10**6)


def percent_of(pico: int, limit_micro_usd: int) -> int | None:
    """How much of a limit is spent, in percent rounded down; None for a limit of nothing."""
    return pico * 100 // (limit_micro_usd * 10**6) if limit_micro_usd else None


def sized(count: int) -> str:
    """Write a number of bytes for people; the exact number belongs beside it where it matters."""
    value, unit = count, "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 10_000 or unit == "TB":  # noqa: PLR2004 - four digits are read at a glance
            break
        value //= 1000
    return f"{value:,} {unit}"


@dataclass(frozen=True, slots=True)
class Zone:
    """The zone in which a page's times are written, and why."""

    name: str
    why: str
    """Such as `your zone` or `the tenant's zone`."""

    @property
    def info(self) -> ZoneInfo:
        """The zone itself."""
        return load_zone(self.name)

    def stamp(self, moment: datetime | int, *, seconds: bool = True) -> str:
        """Write a moment: `21 Nov 2026 14:05:09`; a naive one is UTC, a number is epoch seconds."""
        return f"{self.local(moment):%-d %b %Y %H:%M{':%S' if seconds else ''}}"

    def brief(self, moment: datetime | int) -> str:
        """Write a moment without its year, for lists of what is recent."""
        return f"{self.local(moment):%-d %b %H:%M:%S}"

    def day(self, moment: datetime | int) -> str:
        """Write the day of a moment."""
        return f"{self.local(moment):%-d %b %Y}"

    def short(self, moment: datetime | int) -> str:
        """Write a moment for an axis: the hour, or the day where it is midnight."""
        local = self.local(moment)
        return f"{local:%-d %b}" if (local.hour, local.minute) == (0, 0) else f"{local:%H:%M}"

    def local(self, moment: datetime | int) -> datetime:
        """The moment on a clock of this zone."""
        return aware(moment).astimezone(self.info)


def aware(moment: datetime | int) -> datetime:
    """The moment with its zone: naive ones and epoch seconds are UTC."""
    if isinstance(moment, int):
        return datetime.fromtimestamp(moment, UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def iso(moment: datetime | int) -> str:
    """Write a moment in UTC as the queries take it, to the millisecond."""
    return aware(moment).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(seconds: int) -> str:
    """Say how long ago something was."""
    if seconds < 0:
        return "in the future"
    for size, one, many in (
        (86_400, "a day", "days"),
        (3600, "an hour", "hours"),
        (60, "a minute", "minutes"),
    ):
        count = seconds // size
        if count:
            return f"{one} ago" if count == 1 else f"{count:,} {many} ago"
    return "just now" if seconds < 10 else f"{seconds} seconds ago"  # noqa: PLR2004 - nobody counts these


def since(now_ms: int, moment: datetime) -> str:
    """Say how long ago a moment was, by a clock's milliseconds."""
    then_ms = (aware(moment) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return ago((now_ms - then_ms) // 1000)


def context_word(row: Mapping[str, Any]) -> str:
    """Say in a person's words where something was done: its display name, else what sort of place it was."""
    if row["context_display"]:
        return str(row["context_display"])
    kind, name = str(row["context_type"]), str(row["context_name"])
    if kind == "admin":
        return "admin panel"
    if kind in {"project", "workspace"}:
        return f"{kind} {name}".rstrip()
    return name or "unknown"


def known_zone(name: str) -> bool:
    """Whether there is such a zone."""
    return name in zone_names()
