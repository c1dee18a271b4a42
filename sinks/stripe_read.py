"""Reads Stripe's sums of meter events: many hours in one call, or one minute that belongs to one report.

A sum comes as a binary float; whole numbers below 2^53 are exact in it, and anything else is refused.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import stripe

from pipeline.errors import ProviderError, UsageError
from pipeline.outbox import HOUR_S, Lane
from sinks.stripe import asked
from sinks.stripe_errors import server_time
from sinks.stripe_push import SKEW_MAX_S

HOURS_A_CALL = 100
EXACT_BELOW = 2**53


class StripeSummaries:
    """`pipeline.outbox.Summaries` over the SDK."""

    def __init__(
        self, client: stripe.StripeClient, meter_ids: Mapping[str, str], now: Callable[[], int]
    ) -> None:
        self._client = client
        self._meter_ids = meter_ids
        self._now = now
        self.reads = 0

    def hours(self, lane: Lane, start: int, end: int) -> Mapping[int, int]:
        """Return the whole units of each hour in [start, end) that has any; a call for each 100 hours."""
        found: dict[int, int] = {}
        for left in range(start, end, HOURS_A_CALL * HOUR_S):
            right = min(left + HOURS_A_CALL * HOUR_S, end)
            for row in self._read(
                lane, left, right, {"value_grouping_window": "hour", "limit": HOURS_A_CALL}
            ):
                found[int(row["start_time"])] = _whole(row["aggregated_value"])
        return found

    def span(self, lane: Lane, start: int, end: int) -> int:
        """Return the whole units of the minutes in [start, end)."""
        return sum(_whole(row["aggregated_value"]) for row in self._read(lane, start, end, {}))

    def _read(self, lane: Lane, start: int, end: int, more: Mapping[str, Any]) -> list[dict[str, Any]]:
        meter_id = self._meter_ids.get(lane.event_name)
        if meter_id is None:
            msg = (
                f"meter {lane.event_name!r} is not set up in Stripe: run `millrace stripe setup --yes` first"
            )
            raise UsageError(msg)
        parameters = {"customer": lane.customer, "start_time": start, "end_time": end, **more}
        listing = asked("the sums", self._client.v1.billing.meters.event_summaries.list, meter_id, parameters)
        self.reads += 1
        self._check_clock(listing)
        return [row.to_dict() for row in asked("the sums", lambda: list(listing.auto_paging_iter()))]

    def _check_clock(self, listing: Any) -> None:
        """Stop where this host's clock is wrong: proofs of absence count hours on it."""
        told = server_time(dict(listing.last_response.headers)) if listing.last_response else None
        away = 0 if told is None else self._now() - told
        if abs(away) > SKEW_MAX_S:
            msg = (
                f"this host's clock is {away} seconds away from Stripe's: set it right, then reconcile again"
            )
            raise ProviderError(msg)


def _whole(value: object) -> int:
    exact = Decimal(str(value))
    if exact != exact.to_integral_value() or abs(exact) >= EXACT_BELOW:
        msg = (
            f"Stripe's sum {value} is not a whole number: someone else reports to this meter, so use another"
        )
        raise ProviderError(msg)
    return int(exact)
