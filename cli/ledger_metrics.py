"""What the ledger itself shows to Prometheus, looked up in the background; the text of each says what it is.

The counts are the ledger's own, so they are the same whichever process tells them and whatever was restarted.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.errors import MillraceError
from pipeline.event import Reason
from queries.watch import Disk, Volume, decisions_by_kind, disks, rejects_by_reason, unpriced, unusual_volumes
from sinks.clickhouse import connect

LOOK_EVERY_S = 60.0
_AGAIN_AFTER_S = 5.0
VOLUMES_EVERY = 15
"""Volumes are by quarter of an hour: every so many looks is enough."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look has found."""

    at_s: float  # a moment, not money
    rejects: dict[str, int] = field(default_factory=dict)
    decisions: dict[tuple[str, str, bool], int] = field(default_factory=dict)
    unpriced: dict[str, int] = field(default_factory=dict)
    disks: list[Disk] = field(default_factory=list)
    volumes: list[Volume] = field(default_factory=list)


class LedgerMetrics(Collector):
    """The metrics of one ledger; empty until the first look, then those of the last that succeeded."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._seen: Seen | None = None
        self._failures = 0

    def look(self, client: Client, *, volumes: bool) -> None:
        """Look once; volumes, the dearest question, only where asked for."""
        before = self._seen.volumes if self._seen else []
        self._seen = Seen(
            self._now_ms() / 1000,
            rejects_by_reason(client),
            decisions_by_kind(client),
            unpriced(client),
            disks(client),
            unusual_volumes(client) if volumes else before,
        )

    def failed(self) -> None:
        """Note a look that failed."""
        self._failures += 1

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> list[Metric]:
        """Name nothing beforehand: the ledger is not asked when the program starts."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give what was seen last."""
        yield _count(
            "millrace_ledger_watch_failures", "Looks at the ledger that failed; what they would have seen is old.",
            self._failures,
        )  # fmt: skip
        if self._seen is None:
            return
        yield GaugeMetricFamily(
            "millrace_ledger_watch_timestamp_seconds",
            "When the ledger was last looked at, in seconds since 1970.",
            value=self._seen.at_s,
        )
        yield from _counts(self._seen)
        yield from _volumes(self._seen.volumes)
        yield from _disks(self._seen.disks)


@contextmanager
def watched(
    url: str, metrics: LedgerMetrics, is_wanted: bool, every_s: float = LOOK_EVERY_S
) -> Iterator[None]:
    """Look at the ledger now and then while the body runs; a look that fails is tried again the next time."""
    done = threading.Event()

    def watch() -> None:
        client, looks = None, 0
        while True:
            try:
                client = client or connect(url)
                metrics.look(client, volumes=looks % VOLUMES_EVERY == 0)
            except MillraceError as error:
                metrics.failed()
                _log.warning("the ledger was not looked at", error=str(error))
                wait_s = min(every_s, _AGAIN_AFTER_S)
            else:
                wait_s, looks = every_s, looks + 1
            if done.wait(wait_s):
                break
        if client is not None:
            client.close()

    thread = threading.Thread(target=watch, daemon=True, name="ledger-watch")
    if is_wanted:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if is_wanted:
            thread.join(10)


def _counts(seen: Seen) -> Iterator[Metric]:
    rejects = CounterMetricFamily(
        "millrace_ledger_rejects", "Rejects in the ledger, by reason; those of no reason yet are 0.", labels=["reason"]
    )  # fmt: skip
    for reason in dict.fromkeys([*(r.code for r in Reason if r), *seen.rejects]):
        rejects.add_metric([reason], seen.rejects.get(reason, 0))
    decisions = CounterMetricFamily(
        "millrace_ledger_cap_decisions",
        "Crossings of spend thresholds in the ledger: by window (day, month), state (crossed, cleared), and whether "
        "the threshold is the limit itself or one below it.",
        labels=["window", "state", "threshold"],
    )
    for window in ("day", "month"):
        for state in ("crossed", "cleared"):
            for at_limit in (True, False):
                count = seen.decisions.get((window, state, at_limit), 0)
                decisions.add_metric([window, state, "limit" if at_limit else "below"], count)
    lacking = GaugeMetricFamily(
        "millrace_unpriced_events",
        "Events of the last 24 hours whose operation no catalog entry prices, by operation: the twenty most frequent.",
        labels=["operation"],
    )
    for operation, events in seen.unpriced.items():
        lacking.add_metric([operation], events)
    total = GaugeMetricFamily(
        "millrace_unpriced_operations",
        "Operations without a price that occurred in the last 24 hours; 20 stands for 20 or more.",
        value=len(seen.unpriced),
    )
    yield from (rejects, decisions, lacking, total)


def _volumes(volumes: list[Volume]) -> Iterator[Metric]:
    percent = GaugeMetricFamily(
        "millrace_tenant_volume_percent",
        "Events of the tenant's last hour in percent of its average in this hour of the last seven days; only tenants "
        "that are far from it, at most 100.",
        labels=["tenant"],
    )
    for volume in volumes:
        percent.add_metric([volume.tenant], volume.percent)
    tenants = GaugeMetricFamily(
        "millrace_tenants_unusual",
        "Tenants whose last hour is far from their usual one, by direction: gone, leapt.",
        labels=["direction"],
    )
    gone = sum(volume.percent < 100 for volume in volumes)  # noqa: PLR2004 - percent
    tenants.add_metric(["gone"], gone)
    tenants.add_metric(["leapt"], len(volumes) - gone)
    yield from (percent, tenants)


def _disks(found: list[Disk]) -> Iterator[Metric]:
    free = GaugeMetricFamily(
        "millrace_ledger_disk_free_bytes", "What is left on a disk of the ledger.", labels=["disk"]
    )
    total = GaugeMetricFamily(
        "millrace_ledger_disk_bytes", "The size of a disk of the ledger.", labels=["disk"]
    )
    for disk in found:
        free.add_metric([disk.name], disk.free_bytes)
        total.add_metric([disk.name], disk.total_bytes)
    yield from (free, total)


def _count(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(name, text, value=value)
