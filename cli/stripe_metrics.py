"""What `millrace stripe loop` and `millrace stripe webhooks` show to Prometheus; the text of each says what it is.

All are read from the control store when they are asked for, so every process shows the same numbers.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from billing.gauges import Gauges, gauges
from billing.store import Store
from pipeline.outbox import HOUR_S
from sinks.stripe import API_VERSION

_PREFIX = "millrace_stripe"


class StripeMetrics(Collector):
    """The metrics of one control store."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self._store, self._now = store, now
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def describe(self) -> list[GaugeMetricFamily]:
        """Name nothing beforehand: the store is not asked when the program starts."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the store and give every metric."""
        seen, now = gauges(self._store), self._now()
        yield from _reports(seen)
        yield from _lags(seen, now)
        yield from _comparison(seen)
        yield from _versions(seen)
        yield from _loops(seen)


def _reports(seen: Gauges) -> Iterator[GaugeMetricFamily]:
    yield _family("reports", "Reports (intents) in the outbox, by state.", "state", seen.reports)
    yield _family("units", "Whole units of these reports, by state.", "state", seen.units)
    yield _family(
        "stopped",
        "What has stopped at Stripe: deleted customers, customers without a subscription, deactivated meters.",
        "kind",
        seen.stops,
    )
    yield _single(
        "read_only", "1 while the store was restored and nothing is planned or sent.", seen.is_read_only
    )


def _lags(seen: Gauges, now: int) -> Iterator[GaugeMetricFamily]:
    oldest = seen.oldest_unresolved_at
    yield _single(
        "oldest_unresolved_age_seconds",
        "How long the oldest report of unknown outcome has been so; 0: there is none. It must be resolved within "
        "23 hours to be sent again.",
        0 if oldest is None else max(0, now - oldest),
    )
    told = seen.told_up_to
    yield _single(
        "ledger_lag_seconds",
        "From the end of the oldest hour of the ledger that Stripe has not received (or that no planning has looked "
        "at) until now; 0: all ended hours are there. -1: nothing was ever planned.",
        -1 if told is None else max(0, now - told - HOUR_S),
    )
    yield _single("events_waiting", "Webhooks that are stored and not handled.", seen.events_waiting)


def _comparison(seen: Gauges) -> Iterator[GaugeMetricFamily]:
    yield _single(
        "difference_units",
        "Units by which Stripe's sums differ from what was told, in the last comparison; it must be 0.",
        seen.difference_units,
    )
    yield _single(
        "reconciled_timestamp_seconds",
        "When the last comparison was made, in seconds since 1970; 0: never.",
        seen.reconciled_at or 0,
    )


def _versions(seen: Gauges) -> Iterator[GaugeMetricFamily]:
    held = seen.account_api_version
    yield _single(
        "api_version_drift",
        "1 when the account renders its events with another API version than the SDK is made for; 0: the same, or no "
        "event has told yet.",
        bool(held) and held != API_VERSION,
    )
    info = GaugeMetricFamily(
        f"{_PREFIX}_api_version_info", "Both API versions; always 1.", labels=["sdk", "account"]
    )
    info.add_metric([API_VERSION, held], 1)
    yield info


def _loops(seen: Gauges) -> Iterator[GaugeMetricFamily]:
    succeeded = {one.name: one.succeeded_at or 0 for one in seen.loops}
    failures = {one.name: one.failures for one in seen.loops}
    yield _family(
        "loop_succeeded_timestamp_seconds",
        "When the work last succeeded, in seconds since 1970.",
        "loop",
        succeeded,
    )
    yield _family("loop_failures", "Failures of the work in a row.", "loop", failures)


def _family(name: str, text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _single(name: str, text: str, value: int) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", text, value=value)
