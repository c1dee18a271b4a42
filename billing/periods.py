"""When a window can still be told: billing periods are calendar months in UTC, and invoices close for good.

Stripe adds usage to an invoice until it is finalised, a grace after the period's end, and never after. It
also takes no event older than 35 days. A window before `open_from` is closed: what is found there is told in
an open window instead. Subscriptions must be anchored at the first of the month, 00:00 UTC (setup does so).
"""

from datetime import UTC, datetime

from pipeline.outbox import HOUR_S

DAY_S = 24 * HOUR_S
REACH_S = 35 * DAY_S - HOUR_S
"""Stripe's 35 days, less an hour for clocks and queues."""
MARGIN_S = 15 * 60
"""Nothing is sent in the last minutes before an invoice finalises: its outcome could not be told in time."""
HURRY_S = 2 * HOUR_S


def hour_start(moment: int) -> int:
    """Give the start of the hour."""
    return moment - moment % HOUR_S


def month_start(moment: int) -> int:
    """Give the start of the calendar month in UTC."""
    first = datetime.fromtimestamp(moment, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(first.timestamp())


def next_month_start(moment: int) -> int:
    """Give the start of the month after."""
    return month_start(month_start(moment) + 32 * DAY_S)


def open_from(now: int, finalizes_after_s: int) -> int:
    """Give the first hour that can still be told: its invoice is open and Stripe still takes its events."""
    month = month_start(now)
    if now < month + finalizes_after_s - MARGIN_S:
        month = month_start(month - 1)
    reachable = hour_start(now - REACH_S + HOUR_S - 1)
    return max(month, reachable)


def told_until(window_start: int, finalizes_after_s: int) -> int:
    """Give the moment from which the window is closed."""
    return min(next_month_start(window_start) + finalizes_after_s - MARGIN_S, window_start + REACH_S)
