"""Caps: the windows of tenants against their limits, and whose cap is next."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.console.desk import Ledger
from dashboards.console.markup import Markup, link, tag, together
from dashboards.console.parts import Column, empty, gauge, mark, moment, table
from dashboards.console.services import AccountBook
from dashboards.console.text import Zone, aware, iso, usd_of_micro
from pipeline.accounts import Account
from pipeline.zones import window_starts

DAY_S = 86_400
WHOLE_E4 = 10_000
CANDIDATES = 50
"""So many of the dearest tenants of the month are looked at, beside those that stand over a threshold."""


@dataclass(frozen=True, slots=True)
class Window:
    """A tenant's day or month as it stands."""

    account: Account
    name: str
    starts_s: int
    ends_s: int
    events: int
    spent_pico: int
    limit_micro_usd: int | None

    @property
    def marks(self) -> dict[int, bool]:
        """Each threshold, and whether the spend is at or over it."""
        if self.limit_micro_usd is None:
            return {}
        limit_pico = self.limit_micro_usd * 10**6
        return {
            at: self.spent_pico > 0 and self.spent_pico * 100 >= limit_pico * at
            for at in self.account.thresholds_percent
        }

    @property
    def share_e4(self) -> int:
        """How much of the limit is spent, in hundredths of a percent; a limit of nothing is spent at once."""
        limit_pico = (self.limit_micro_usd or 0) * 10**6
        return self.spent_pico * 10_000 // limit_pico if limit_pico else WHOLE_E4


def windows_of(ledger: Ledger, accounts: Iterable[Account], now_s: int) -> list[Window]:
    """Read the current day and month of tenants, each in its own zone."""
    asked = {one.tenant: one for one in accounts}
    starts = {name: window_starts(one.zone, now_s) for name, one in asked.items()}
    given = json.dumps([[name, at.day_s, at.month_s] for name, at in starts.items()])
    found = {row["tenant"]: row for row in ledger.rows("console_windows", windows=given)} if asked else {}
    windows = []
    for name, account in asked.items():
        row: Mapping[str, Any] = found.get(name, {})
        tomorrow = window_starts(account.zone, starts[name].day_s + 3 * DAY_S // 2).day_s
        following = window_starts(account.zone, starts[name].month_s + 32 * DAY_S).month_s
        for window, start, end, limit in (
            ("day", starts[name].day_s, tomorrow, account.daily_limit_micro_usd),
            ("month", starts[name].month_s, following, account.monthly_limit_micro_usd),
        ):
            events, spent = row.get(f"{window}_events", 0), row.get(f"{window}_pico_usd", 0)
            windows.append(Window(account, window, start, end, events, spent, limit))
    return windows


def nearest(
    ledger: Ledger, accounts: AccountBook, dear: Sequence[str], now_s: int, count: int
) -> tuple[list[Window], list[Window]]:
    """Find the windows that come next to their limits, the nearest first, and all that are found over theirs.

    Looked at are tenants that stand over a threshold and those that spend the most: whoever is near a limit is
    among them, unless its limit is small and its first threshold is still far.
    """
    over = ledger.rows("console_near_caps", since=iso(now_s - 32 * DAY_S), limit=CANDIDATES)
    names = dict.fromkeys([*(row["tenant"] for row in over), *dear])
    found = [
        one for one in windows_of(ledger, map(accounts.get, names), now_s) if one.limit_micro_usd is not None
    ]
    below = sorted((one for one in found if one.share_e4 < WHOLE_E4), key=lambda one: -one.share_e4)
    over_limit = sorted((one for one in found if one.share_e4 >= WHOLE_E4), key=lambda one: -one.share_e4)
    return below[:count], over_limit


def gauges(windows: Sequence[Window], zone: Zone, *, with_tenant: bool) -> Markup:
    """Show windows against their limits."""
    shown = []
    for one in windows:
        until = tag("span", f"until {zone.local(one.ends_s):%-d %b %H:%M}", class_="note")
        word = "Day" if one.name == "day" else "Month"
        who = (link("/tenant", one.account.display_name, tenant=one.account.tenant), f" · {one.name}")
        title = together(tag("b", who if with_tenant else word), until)
        shown.append(gauge(title, one.spent_pico, one.limit_micro_usd, one.marks))
    return tag("div", shown, class_="gauges")


def crossings_table(
    rows: Sequence[Mapping[str, Any]], zone: Zone, accounts: AccountBook, *, with_tenant: bool
) -> Markup:
    """List decisions about caps, the newest first."""
    if not rows:
        return empty("No cap was crossed.", "Crossings appear here as they happen.")
    columns = [
        Column("Decided", "when"),
        *([Column("Tenant")] if with_tenant else []),
        Column("Window", "tight"),
        Column("At", "num"),
        Column("State", "tight"),
        Column("Spent then, of limit", "num wrap"),
    ]
    lines = []
    for row in rows:
        who = (
            [link("/tenant", accounts.get(row["tenant"]).display_name, tenant=row["tenant"])]
            if with_tenant
            else []
        )
        is_over = row["state"] == "crossed"
        kind = "bad" if is_over and row["threshold_percent"] >= 100 else "warn" if is_over else "ok"  # noqa: PLR2004
        local = Zone(accounts.get(row["tenant"]).time_zone, "").info
        began = aware(row["window_start"]).astimezone(local)
        of = f"{began:%-d %b}" if row["window"] == "day" else f"{began:%b %Y}"
        lines.append(
            [
                moment(zone, row["decided_at"]),
                *who,
                f"{row['window']} {of}",
                f"{row['threshold_percent']} %",
                mark(row["state"], kind),
                f"{usd_of_micro(row['current_micro_usd'])} of {usd_of_micro(row['limit_micro_usd'])}",
            ]
        )
    return table("Decisions about caps, the newest first", columns, lines)
