"""What the ingest door shows to Prometheus."""

from collections import Counter as Counts
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class IngestMetrics:
    """The metrics of the ingest door of one process; `waiting_bytes` asks the log."""

    def __init__(self, waiting_bytes: Callable[[], int] = int) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter(
            "millrace_ingest_events", "Events that came in by HTTP and are durable in the log.",
            registry=self.registry,
        )  # fmt: skip
        self._refused = Counter(
            "millrace_ingest_refused", "Events that were refused at the ingest door, by reason.", ["reason"],
            registry=self.registry,
        )  # fmt: skip
        self._append = Histogram(
            "millrace_ingest_append_seconds", "How long a request's events took to become durable in the log.",
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        waiting = Gauge(
            "millrace_ingest_waiting_bytes", "Bytes of events that wait to be written to the log.",
            registry=self.registry,
        )  # fmt: skip
        waiting.set_function(waiting_bytes)

    def appended(self, events: int, seconds: float) -> None:
        """So many events have become durable in so long."""
        self._events.inc(events)
        self._append.observe(seconds)

    def refused(self, reasons: Iterable[str]) -> None:
        """Events were refused."""
        for reason, count in Counts(reasons).items():
            self._refused.labels(reason).inc(count)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
