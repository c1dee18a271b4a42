"""What a run shows to Prometheus and to probes: /metrics, /healthz, /readyz."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.errors import UsageError
from pipeline.health import Health, Watched
from pipeline.run_state import CommitNote

_LOOK_EVERY_S = 1.0
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ROWS = (1, 10, 100, 1_000, 10_000, 50_000, 100_000, 250_000, 500_000)
_OUTCOMES = ("accepted", "duplicate", "conflict", "rejected", "replayed")
_WRITTEN_TO = ("ledger_in", "rejected_events_in", "progress_in", "cap_decisions_in")
"""Shown as 0 from the start: where a series begins at 1, Prometheus sees no increase."""


class Metrics:
    """The metrics of one process; the text with each says what it means."""

    def __init__(
        self,
        partitions: Callable[[], Iterable[Watched]],
        now_ms: Callable[[], int],
        is_waiting: Callable[[], bool],
    ) -> None:
        self.registry = CollectorRegistry()
        self.more: list[Callable[[], bytes]] = []
        """What others in this process show, as text."""
        self._now_ms = now_ms
        self._events = Counter(
            "millrace_events", "Events made durable by this process, by outcome: accepted, duplicate, conflict, "
            "rejected (conflicts among them), replayed.", ["outcome"], registry=self.registry,
        )  # fmt: skip
        self._commits = Counter("millrace_commits", "Commits of lanes to the ledger.", registry=self.registry)
        self._commit_seconds = Histogram(
            "millrace_commit_seconds", "How long a commit took: rows, rejects, dead letters and progress.",
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self._epoch_seconds = Histogram(
            "millrace_epoch_seconds", "How long an epoch of a lane took: from the first record of its block until the "
            "block is durable.", registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self._commit_rows = Histogram(
            "millrace_commit_rows", "Ledger rows of a commit.", registry=self.registry, buckets=_ROWS
        )
        self._commit_bytes = Counter(
            "millrace_commit_bytes", "Bytes of ledger rows sent to ClickHouse.", registry=self.registry
        )
        self._delay = Histogram(
            "millrace_event_to_ledger_seconds", "From the reading of the oldest records of a commit until they are "
            "durable.", registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self._arrival = Histogram(
            "millrace_arrival_to_spend_seconds", "From the arrival of an event by HTTP until it is durable in the "
            "ledger and counted in the spend windows, for the first of those that were read together.",
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self._last = Gauge(
            "millrace_last_commit_timestamp_seconds", "When this process last made something durable, in seconds "
            "since 1970; its age is time() minus this.", registry=self.registry,
        )  # fmt: skip
        self._keys = Gauge(
            "millrace_dedupe_keys",
            "Idempotency keys held in memory, by lane.",
            ["lane"],
            registry=self.registry,
        )
        self._failures = Counter(
            "millrace_ledger_failures", "Attempts at the ledger that did not succeed and are repeated, by what was "
            "attempted: a table that is written to, or a question.", ["what"], registry=self.registry,
        )  # fmt: skip
        self._budget = Gauge(
            "millrace_reject_budget_ratio", "The largest share of rejects with which a run goes on.",
            registry=self.registry,
        )  # fmt: skip
        self.unread = Gauge(
            "millrace_unread_partitions", "Partitions that the topics got since the run began; they are read after the "
            "next start.", registry=self.registry,
        )  # fmt: skip
        for outcome in _OUTCOMES:
            self._events.labels(outcome)
        for table in _WRITTEN_TO:
            self._failures.labels(table)
        self.registry.register(_Partitions(partitions, is_waiting, now_ms))

    def budget(self, share: float) -> None:  # a share, not money
        """Show the reject budget, so that alerts speak of the same one."""
        self._budget.set(share)

    def reporting(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Count what a `Retry` reports, and hand it on."""

        def report(sentence: str) -> None:
            self._failures.labels(sentence.partition(":")[0]).inc()
            say(sentence)

        return report

    def note(self, commit: CommitNote) -> None:
        """Count a commit."""
        for tally in commit.tallies.values():
            for outcome in ("accepted", "rejected", "replayed"):
                self._events.labels(outcome).inc(getattr(tally, outcome))
            self._events.labels("duplicate").inc(tally.duplicates)
            self._events.labels("conflict").inc(tally.conflicts)
        self._commits.inc()
        self._commit_seconds.observe(commit.seconds)
        self._epoch_seconds.observe(commit.epoch_seconds)
        self._commit_rows.observe(commit.rows)
        self._commit_bytes.inc(commit.bytes)
        now = self._now_ms()
        if commit.oldest_ms:
            self._delay.observe(max(now - commit.oldest_ms, 0) / 1000)
        self._last.set(now / 1000)
        self._keys.labels(str(commit.lane)).set(commit.keys_held)

    def arrival(self, arrived_at_ms: int) -> None:
        """An event that arrived at this moment counts now."""
        self._arrival.observe(max(self._now_ms() - arrived_at_ms, 0) / 1000)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return b"".join([generate_latest(self.registry), *(more() for more in self.more)])


class _Partitions(Collector):
    """What is asked for when it is looked at."""

    def __init__(
        self,
        partitions: Callable[[], Iterable[Watched]],
        is_waiting: Callable[[], bool],
        now_ms: Callable[[], int],
    ) -> None:
        self._partitions, self._is_waiting, self._now_ms = partitions, is_waiting, now_ms

    def collect(self) -> Iterator[Metric]:
        """Give how each partition stands, and whether the ledger or the broker is waited for."""
        consumed = CounterMetricFamily(
            "millrace_consumed_records", "Records read from a partition by this process, those included that were "
            "read again after a crash.", labels=["partition"],
        )  # fmt: skip
        age = GaugeMetricFamily(
            "millrace_last_commit_age_seconds", "Seconds since the position of a partition last moved, or since the "
            "run began to read; it grows while nothing comes, too: see millrace_lag.", labels=["partition"],
        )  # fmt: skip
        lag = GaugeMetricFamily(
            "millrace_lag", "Records of a partition that wait to become durable.", labels=["partition"]
        )
        position = GaugeMetricFamily(
            "millrace_position", "The offset below which a partition is durable.", labels=["partition"]
        )
        for partition in self._partitions():
            lag.add_metric([partition.name], partition.lag())
            position.add_metric([partition.name], partition.durable())
            consumed.add_metric([partition.name], partition.records_read)
            age.add_metric([partition.name], max(self._now_ms() - partition.moved_at_ms(), 0) / 1000)
        waiting = GaugeMetricFamily(
            "millrace_waiting", "1 while the ledger or the broker does not answer and is waited for."
        )
        waiting.add_metric([], int(self._is_waiting()))
        yield from (consumed, lag, position, age, waiting)


@contextmanager
def served(port: int | None, host: str, metrics: Metrics, health: Health) -> Iterator[int | None]:
    """Serve metrics and probes while the body runs; port 0 takes a free one. Gives the port."""
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(health, done), daemon=True)
    watcher.start()
    server = _server(port, host, metrics, health) if port is not None else None
    if server is not None:
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    try:
        yield server.server_address[1] if server is not None else None
    finally:
        done.set()
        if server is not None:
            server.shutdown()
            server.server_close()


def _watch(health: Health, done: threading.Event) -> None:
    while not done.wait(_LOOK_EVERY_S):
        health.look()


def _server(port: int, host: str, metrics: Metrics, health: Health) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = _answer(self.path, metrics, health)
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Probes are not news."""

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise UsageError(f"the health port {host}:{port} cannot be used: {error.strerror}") from error


def _answer(path: str, metrics: Metrics, health: Health) -> tuple[int, bytes]:
    if path == "/metrics":
        return 200, metrics.text()
    if path not in {"/healthz", "/readyz"}:
        return 404, b"there are /healthz, /readyz and /metrics\n"
    stuck = health.look()
    if stuck:
        return 503, "".join(f"{s.sentence()}\n" for s in stuck).encode()
    if path == "/readyz" and not health.is_ready:
        return 503, b"not reading yet\n"
    return 200, b"ok\n"
