"""`millrace run` without files: the configured Kafka topic, for ever, by one process or several."""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cli.clock import SystemClock
from cli.known_accounts import known_accounts
from cli.ledger_metrics import LedgerMetrics, watched
from cli.metrics import Metrics, served
from cli.progress import Progress
from cli.running import RunOptions, frozen_heap, load_kernels, make_preparer, stopping, summary_of
from cli.telling import say
from pipeline.accounts import Accounts
from pipeline.catalog import Catalog, default_catalog, load_catalog
from pipeline.chunk import Origin
from pipeline.cluster import Cluster, Meeting, meet
from pipeline.durable import Durable
from pipeline.errors import MillraceError, UsageError
from pipeline.flow import CommitPolicy, FlowParts, RejectBudget, RunState, run_flow
from pipeline.health import Health
from pipeline.lane import Lane
from pipeline.ports import DecisionSink, Replay
from pipeline.sources.bounds import Bounds
from pipeline.sources.files import FormatChoice
from pipeline.sources.kafka import KafkaInput, KafkaSettings, commit_group, find_partitions
from pipeline.spend import SpendFilter, SpendWindows, WindowState
from sinks.clickhouse import is_embedded
from sinks.decisions import LedgerDecisions, load_windows
from sinks.inserts import Retry
from sinks.kafka import ConfirmedProducer, DeadLetters, PublishedDecisions
from sinks.ledger import NOTHING_READ_AGAIN, Hot, Ledger, LedgerLane, Run

_HOUR_MS = 3_600_000
_TOPICS_EVERY_S = 30.0
_MEETING_S_MAX = 300
_CONNECT_S_MAX = 60


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """What a Kafka run is told beside what all runs are told."""

    brokers: str
    topic: str
    group: str
    settings: list[str]
    dead_letters: str | None = None
    decisions_topic: str | None = None
    flush_ms: int = 200
    until_end: bool = False
    accept_gap: bool = False
    cluster: str | None = None
    process: int = 0
    grace_s: int = 25
    health_port: int | None = None
    health_host: str = "127.0.0.1"
    stuck_after_s: int = 60

    def kafka(self) -> KafkaSettings:
        """The cluster and its topics; raises `UsageError` for a setting without a value."""
        options = {}
        for entry in self.settings:
            key, sign, value = entry.partition("=")
            if not sign or not key:
                raise UsageError(f"--kafka takes KEY=VALUE, got {entry!r}")
            options[key.strip()] = value
        topics = tuple(dict.fromkeys(t.strip() for t in self.topic.split(",") if t.strip()))
        return KafkaSettings(self.brokers, topics, self.group, options)

    def processes(self) -> Cluster:
        """The cluster of processes; raises `UsageError` when this one is not in it."""
        addresses = tuple(a.strip() for a in (self.cluster or "").split(",") if a.strip())
        if len(addresses) <= 1:
            addresses = ()
        if self.process >= max(len(addresses), 1):
            msg = f"--process {self.process} is not in the cluster: it has {max(len(addresses), 1)}, counted from 0"
            raise UsageError(msg)
        return Cluster(addresses, self.process)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What process 0 has found and all go by."""

    run: Run
    bounds: list[Bounds]
    new: list[Bounds]
    """Those partitions that no run has read before."""
    digest: str
    """Of what must be the same everywhere: catalog, accounts, rules."""


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a run is made of before it begins."""

    options: RunOptions
    kafka: KafkaOptions
    client: KafkaSettings
    cluster: Cluster
    catalog: Catalog
    accounts: Accounts
    clock: SystemClock
    state: RunState
    retry: Retry
    more_metrics: Sequence[Callable[[], bytes]]

    @property
    def lanes(self) -> int:
        return self.options.workers * self.cluster.processes


def run_kafka(
    options: RunOptions, kafka: KafkaOptions, more_metrics: Sequence[Callable[[], bytes]] = ()
) -> dict[str, Any]:
    """Run the flow over the topics until it is told to stop; returns the summary of the contract.

    In a cluster the summary is of what this process has counted. `more_metrics` are shown with its own.
    """
    begun = time.monotonic()
    load_kernels()
    setting = _prepare(options, kafka, more_metrics)
    with stopping(setting.state), _grace(setting.state, kafka.grace_s):
        store = Ledger(options.ledger, setting.clock)
        plan = _make_plan(setting, store) if setting.cluster.process == 0 else None
        meeting = _meet(setting, plan)
        plan = meeting.message
        if plan.digest != _digest(setting):
            msg = "the catalog, the accounts or the rules of this process are not those of process 0: give all the same"
            raise MillraceError(msg)
        starts, replays, _ = store.plan_partitions(plan.bounds, plan.run, accept_gap=False)
        _run(setting, store, plan, meeting, starts, replays)
        commit_group(setting.client, setting.state.durable.positions())
    return summary_of(setting.state, time.monotonic() - begun)


def _prepare(
    options: RunOptions, kafka: KafkaOptions, more_metrics: Sequence[Callable[[], bytes]]
) -> _Setting:
    cluster = kafka.processes()
    if cluster.processes > 1 and is_embedded(options.ledger):
        msg = (
            "an embedded ledger has one process, this cluster has "
            f"{cluster.processes}: give the URL of a ClickHouse server, or run one process with more --workers"
        )
        raise UsageError(msg)
    catalog = load_catalog(options.catalog) if options.catalog else default_catalog()
    accounts = known_accounts(options.accounts, options.control)
    state = RunState(RejectBudget(options.reject_budget, in_a_row=options.rejects_in_a_row))
    retry = Retry(state.stop, report=say)
    return _Setting(
        options, kafka, kafka.kafka(), cluster, catalog, accounts, SystemClock(), state, retry, more_metrics
    )


def _digest(setting: _Setting) -> str:
    o = setting.options
    told = repr((
        setting.catalog.versions, setting.accounts, o.refuse_unknown_tenants, o.unattributed_tenant, o.workers,
        setting.cluster.addresses, o.refuse_late,
    ))  # fmt: skip
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def _make_plan(setting: _Setting, store: Ledger) -> _Plan:
    bounds = find_partitions(setting.client)
    run = store.begin_run(secrets.randbits(128), refuse_late=setting.options.refuse_late)
    *_, new = store.plan_partitions(bounds, run, accept_gap=setting.kafka.accept_gap)
    if 0 < len(new) < len(bounds):
        names = ", ".join(f"{b.origin.topic}/{b.origin.partition}" for b in new)
        say(f"new partitions are read from now on: {names}")
    windows = SpendWindows(0, 1, setting.accounts, load_windows(store.client, setting.accounts))
    _decisions(setting, run, "start", after_start=False).write(windows.settle())
    return _Plan(run, bounds, new, _digest(setting))


def _meet(setting: _Setting, plan: _Plan | None) -> Meeting:
    """Meet the others; one that never comes ends this process with a sentence."""
    met = threading.Event()

    def watch() -> None:
        for _ in range(_MEETING_S_MAX * 5):
            if met.wait(0.2):
                return
            if setting.state.stop.is_set():
                break
        say("the other processes of the cluster did not come: start all of them, with the same --cluster")
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        return meet(setting.cluster, setting.options.workers, plan)
    finally:
        met.set()


def _decisions(setting: _Setting, run: Run, worker: str, *, after_start: bool = True) -> DecisionSink:
    sink = LedgerDecisions(
        setting.options.ledger, run, worker, setting.clock, setting.retry, after_start=after_start
    )
    topic = setting.kafka.decisions_topic
    return PublishedDecisions(topic, _producer(setting), sink) if topic else sink


def _producer(setting: _Setting) -> ConfirmedProducer:
    return ConfirmedProducer(setting.client, setting.state.stop, say)


def _run(  # noqa: PLR0913, PLR0917 - what the start has found, part by part
    setting: _Setting, store: Ledger, plan: _Plan, meeting: Meeting, starts: dict[Origin, int],
    replays: dict[Origin, Replay],
) -> None:  # fmt: skip
    options, kafka, state = setting.options, setting.kafka, setting.state
    state.durable = Durable(setting.lanes, starts, setting.clock.now_ms)
    reader = KafkaInput(
        setting.client,
        starts,
        state.durable,
        setting.clock.now_ms,
        say,
        until_end=kafka.until_end,
        as_objects=not options.is_fast,
    )
    windows = SpendWindows(0, 1, setting.accounts, load_windows(store.client, setting.accounts)).state()
    hot = store.hot_keys(options.dedupe_horizon_hours * _HOUR_MS, options.hot_keys_max)
    metrics = Metrics(
        reader.watched, setting.clock.now_ms, lambda: bool(setting.retry.waiting_for or reader.waiting_for)
    )
    health = Health(reader.watched, time.monotonic, kafka.stuck_after_s)
    state.watch = metrics.note
    metrics.budget(options.reject_budget)
    metrics.more.extend(setting.more_metrics)
    setting.retry.report = metrics.reporting(say)
    seen = LedgerMetrics(setting.clock.now_ms)
    metrics.registry.register(seen)
    is_watched = kafka.health_port is not None and setting.cluster.process == 0
    parts = _parts(setting, plan.run, reader, hot, replays, windows, meeting)
    with (
        served(kafka.health_port, kafka.health_host, metrics, health) as port,
        watched(options.ledger, seen, is_watched),
        _new_partitions(setting, plan.bounds, metrics.unread.set),
        frozen_heap(),
        Progress(reader, state, 0),
    ):
        if port is not None:
            say(f"health and metrics on http://{kafka.health_host}:{port}")
        with _connected(state, health):
            run_flow(parts)


def _parts(  # noqa: PLR0913, PLR0917 - likewise
    setting: _Setting, run: Run, reader: KafkaInput, hot: Hot, replays: dict[Origin, Replay], windows: WindowState,
    meeting: Meeting,
) -> FlowParts:  # fmt: skip
    options, accounts, lanes = setting.options, setting.accounts, setting.lanes
    formats = FormatChoice("cloudevents", None, None)
    letters: Callable[[], DeadLetters | None] = lambda: (  # noqa: E731 - made on the lane's own thread
        DeadLetters(setting.kafka.dead_letters, _producer(setting), run.number)
        if setting.kafka.dead_letters
        else None
    )
    return FlowParts(
        reader,
        lambda: make_preparer(options, setting.catalog, accounts, formats, run, lanes),
        lambda lane: Lane(
            lane,
            LedgerLane(
                options.ledger, run, lane, lanes, hot, replays, NOTHING_READ_AGAIN, setting.clock, setting.retry,
                letters(),
            ),
            SpendFilter(accounts),
        ),
        lambda lane: SpendWindows(lane, lanes, accounts, windows),
        lambda: _decisions(setting, run, f"{setting.cluster.process}-{threading.get_ident()}"),
        CommitPolicy(
            options.block_rows,
            age_ms=setting.kafka.flush_ms,
            is_live=True,
            writes_beside=not is_embedded(options.ledger),
        ),
        setting.state,
        options.workers,
        setting.cluster,
        meeting,
    )  # fmt: skip


@contextmanager
def _grace(state: RunState, seconds: int) -> Iterator[None]:
    """End the process when it was told to stop and has not drained in time; nothing durable is lost by it."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            if state.stop.is_set():
                break
        if not done.wait(seconds):
            say(
                f"not drained {seconds} s after the stop: leaving; what was not durable is read again by the next run"
            )
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


@contextmanager
def _connected(state: RunState, health: Health) -> Iterator[None]:
    """Be ready when the workers run; end the process when another has died between the meeting and that.

    The engine would wait for it for ever, and nothing would wait for the records that nobody reads.
    """
    done = threading.Event()

    def watch() -> None:
        end = time.monotonic() + _CONNECT_S_MAX
        while not done.wait(0.05):
            if state.begun.is_set():
                health.is_ready = True
                return
            if time.monotonic() > end:
                say("another process of the cluster has gone before the work began: start all of them again")
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


@contextmanager
def _new_partitions(setting: _Setting, known: list[Bounds], count: Callable[[int], None]) -> Iterator[None]:
    """Look now and then whether a topic has grown, say so once, and `count` what is not read."""
    done, reported = threading.Event(), {b.origin for b in known}

    def watch() -> None:
        while not done.wait(_TOPICS_EVERY_S):
            try:
                found = {b.origin for b in find_partitions(setting.client)}
            except MillraceError:
                continue
            new = sorted(f"{o.topic}/{o.partition}" for o in found - reported)
            if new:
                say(f"there are new partitions, restart to read them: {', '.join(new)}")
            reported.update(found)
            count(len(reported) - len(known))

    if setting.cluster.process == 0 and not setting.kafka.until_end:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()
