"""Spend by tenant in calendar days and months of its own zone, and when it crosses a threshold."""

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MEMBERS = {"day": "dailySpendUsd", "month": "monthlySpendUsd"}


@dataclass(frozen=True)
class Crossing:
    tenant: str
    window: str
    window_start: dt.datetime
    limit_micro_usd: Fraction
    current_pico_usd: int
    threshold_percent: int
    state: str
    origin: tuple


class Spend:
    """Sums of what counts, and the crossings in the order of the events that caused them."""

    def __init__(self, accounts):
        self._tenants = accounts.get("tenants", {})
        self._defaults = accounts.get("defaults", {})
        self.pico = defaultdict(int)
        self.crossings = []
        self._crossed = set()

    def add(self, tenant, at_ms, pico, origin):
        account = self._tenants.get(tenant, self._defaults)
        for window in ("day", "month"):
            start = window_start(window, at_ms, account.get("time_zone", "UTC"))
            self.pico[tenant, window, start] += pico
            self._judge(account, (tenant, window, start), origin)

    def _judge(self, account, place, origin):
        limit = account.get("spendLimit", {}).get(MEMBERS[place[1]])
        if limit is None:
            return
        limit_micro = Fraction(str(limit)) * 10**6
        for percent in account.get("thresholds_percent", [80, 100]):
            spent = self.pico[place]
            crossed = spent > 0 and spent >= limit_micro * 10**6 * percent / 100
            if crossed != ((*place, percent) in self._crossed):
                self._crossed ^= {(*place, percent)}
                state = "crossed" if crossed else "cleared"
                self.crossings.append(
                    Crossing(*place, limit_micro, self.pico[place], percent, state, origin),
                )

    def crossed(self):
        """The (tenant, window, window start, percent) that stand crossed now."""
        return frozenset(self._crossed)


@cache
def _zone(name):
    """A zone of the installed tzdata, so that the machine's own makes no difference."""
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def window_start(window, at_ms, zone_name):
    """The first instant of the local day or month in which an instant lies, in UTC."""
    zone = _zone(zone_name)
    local = (EPOCH + dt.timedelta(milliseconds=at_ms)).astimezone(zone)
    first = dt.datetime(local.year, local.month, local.day if window == "day" else 1, tzinfo=zone)
    return first.astimezone(dt.UTC)
