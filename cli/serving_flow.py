"""The flow inside `millrace serve`: one process takes events by HTTP, counts them, and answers from what it counted.

    requests --> intake --> spool (synced) --> 204
                              └--> flow --> ledger, spend windows, decisions

The flow has the main thread, the HTTP server a thread of its own. A stop goes from the front to the back: the server
takes no more and answers what is in flight, the spool writes what waits, the flow reads to the spool's end, the
process ends. What a kill leaves in the spool is read by the next start.
"""

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.clock import SystemClock
from cli.known_accounts import known_accounts
from cli.metrics import Metrics
from cli.progress import quiet_stdout
from cli.running import RunOptions, frozen_heap, is_known_tenant, make_preparer, summary_of
from cli.telling import say
from pipeline.batch import Batch
from pipeline.catalog import Catalog, default_catalog, load_catalog
from pipeline.chunk import Origin
from pipeline.columns import Int32s
from pipeline.decode import Decoder
from pipeline.durable import Durable
from pipeline.flow import CommitPolicy, FlowParts, RejectBudget, RunState, run_flow
from pipeline.formats.typed import load_types
from pipeline.health import Health
from pipeline.intake import Intake, Judge, Sender
from pipeline.kernels.layout import KIND_TENANT
from pipeline.lane import Lane
from pipeline.ports import Commit, Voided
from pipeline.rating import Rater
from pipeline.sources.bounds import Bounds
from pipeline.sources.files import FormatChoice
from pipeline.sources.spool import SpoolInput
from pipeline.spend import SpendFilter, SpendWindows
from pipeline.strict import Rules
from sinks.decisions import LedgerDecisions, load_windows
from sinks.inserts import Retry
from sinks.ledger import NOTHING_READ_AGAIN, Hot, Ledger, LedgerLane
from sinks.spool import Spool, SpoolLimits

_HOUR_MS = 3_600_000
_WARM_UP = b'{"specversion":"1.0","id":"1","source":"s","type":"compute","data":{"operation":"warm up"}}'

Serving = Callable[[], AbstractContextManager[int]]
"""Serves HTTP while its body runs, and gives the port; at the end it answers what is in flight."""


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """What the flow of a service is told beside what all runs are told."""

    run: RunOptions
    spool: Path
    flush_ms: int = 100
    grace_s: int = 25
    stuck_after_s: int = 60
    limits: SpoolLimits = field(default_factory=SpoolLimits)


def make_intake(options: RunOptions, types: Path | None = None) -> Intake:
    """What judges the bodies of requests: the pipeline's own decoder and prices, loaded before the first request.

    Raises `ConfigError` for a file that is wrong.
    """
    catalog = load_catalog(options.catalog) if options.catalog else default_catalog()
    accounts = known_accounts(options.accounts, options.control, may_be_away=True)
    judge = Judge(
        Decoder(Rules(options.unattributed_tenant), options.is_fast),
        Rater(catalog, is_known_tenant(options, accounts)),
    )
    intake = Intake(judge, load_types(types) if types else None)
    intake.take(_WARM_UP, Sender("-"), 0)
    return intake


class EmbeddedFlow:
    """A spool and the flow that follows it, ready to run; `log` takes events from now on."""

    def __init__(self, options: FlowOptions) -> None:
        """Open the spool and the ledger; raises `MillraceError` where either cannot be."""
        self._options, self._clock = options, SystemClock()
        run = options.run
        self._catalog: Catalog = load_catalog(run.catalog) if run.catalog else default_catalog()
        self._accounts = known_accounts(run.accounts, run.control, may_be_away=True)
        self._state = RunState(RejectBudget(run.reject_budget))
        self._asked = threading.Event()
        self.note_counted: Callable[[Collection[str]], None] = lambda _tenants: None
        """Told after each commit which tenants it may have been about."""
        self.note_durable: Callable[[int], None] = lambda _arrived_at_ms: None
        """Told when events count that arrived from this moment on."""
        self.log = Spool(options.spool, secrets.randbits(32), options.limits, report=say)
        try:
            self._open()
        except BaseException:
            self.log.close()
            raise

    def _open(self) -> None:
        options, run, clock = self._options, self._options.run, self._clock
        self._store = Ledger(run.ledger, clock)
        self._run = self._store.begin_run(secrets.randbits(128), refuse_late=run.refuse_late)
        origin = Origin(self.log.name, 0)
        bounds = Bounds(
            origin, self.log.first_offset, self.log.mark().next_offset, f"the spool in {options.spool}"
        )
        starts, self._replays, _ = self._store.plan_partitions([bounds], self._run, accept_gap=False)
        self._state.durable = Durable(run.workers, starts, clock.now_ms)
        self._reader = SpoolInput(
            self.log, starts[origin], self._state.durable, clock.now_ms, self._state.stop
        )
        self._retry = Retry(self._state.stop, report=say)
        self.metrics = Metrics(self._reader.watched, clock.now_ms, lambda: bool(self._retry.waiting_for))
        self.metrics.budget(run.reject_budget)
        self._retry.report = self.metrics.reporting(say)
        self._reader.note_durable = self._note_durable
        self._state.watch = self.metrics.note
        self.health = Health(self._reader.watched, time.monotonic, options.stuck_after_s)

    def sick(self) -> list[str]:
        """What is wrong, a sentence each; nothing: the flow is well."""
        waiting = self._retry.waiting_for
        return [stuck.sentence() for stuck in self.health.look()] + ([str(waiting)] if waiting else [])

    def _note_durable(self, arrived_at_ms: int) -> None:
        self.metrics.arrival(arrived_at_ms)
        self.note_durable(arrived_at_ms)

    def stop(self) -> None:
        """Begin to stop, as SIGTERM does."""
        self._asked.set()

    def run(self, serving: Serving, tell: Callable[[int], None] = lambda _port: None) -> dict[str, Any]:
        """Serve and count until a stop; to be called on the main thread. Returns the summary of the contract.

        `tell` is called with the port when requests are taken.

        Raises the first error of the flow; the server has ended then, too.
        """
        begun = time.monotonic()
        parts = self._parts()
        with quiet_stdout(), ExitStack() as http, self._stopped_by_signals():
            tell(http.enter_context(serving()))
            ended = threading.Event()
            drain = threading.Thread(target=self._drain, args=(http, ended), name="drain", daemon=True)
            drain.start()
            try:
                with frozen_heap():
                    self.health.is_ready = True
                    run_flow(parts)
            finally:
                ended.set()
                self._asked.set()
                drain.join()
        return summary_of(self._state, time.monotonic() - begun)

    def _drain(self, http: ExitStack, ended: threading.Event) -> None:
        """From the front to the back, once: the server, the spool, the flow."""
        self._asked.wait()
        grace = threading.Timer(self._options.grace_s, _leave, args=(ended, self._options.grace_s))
        grace.daemon = True
        grace.start()
        try:
            http.close()
        finally:
            self.log.close()
            self._reader.end()

    def _parts(self) -> FlowParts:
        options, state, clock, accounts = self._options.run, self._state, self._clock, self._accounts
        url, run, retry, lanes = options.ledger, self._run, self._retry, options.workers
        at_start = SpendWindows(0, 1, accounts, load_windows(self._store.client, accounts))
        LedgerDecisions(url, run, "start", clock, retry, after_start=False).write(at_start.settle())
        windows = at_start.state()
        hot = self._store.hot_keys(options.dedupe_horizon_hours * _HOUR_MS, options.hot_keys_max)
        formats = FormatChoice("cloudevents", None, None)
        return FlowParts(
            self._reader,
            lambda: make_preparer(options, self._catalog, accounts, formats, run, lanes),
            lambda lane: Lane(
                lane,
                self._ledger_lane(lane, hot),
                SpendFilter(accounts),
            ),
            lambda lane: SpendWindows(lane, lanes, accounts, windows),
            lambda: LedgerDecisions(url, run, str(threading.get_ident()), clock, retry),
            CommitPolicy(options.block_rows, age_ms=self._options.flush_ms, is_live=True),
            state,
            lanes,
        )

    def _ledger_lane(self, lane: int, hot: Hot) -> LedgerLane:
        options = self._options.run
        made = _TellingLane(
            options.ledger, self._run, lane, options.workers, hot, self._replays, NOTHING_READ_AGAIN, self._clock,
            self._retry,
        )  # fmt: skip
        made.tell, made.tenants = self.note_counted, set()
        return made

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT drain; a second one leaves the rest of the spool to the next start."""

        def stop(_signal: int, _frame: object) -> None:
            if self._asked.is_set():
                self._state.stop.set()
            self._asked.set()

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _TellingLane(LedgerLane):
    """A lane's way to the ledger that tells of whom it may have made rows durable."""

    tell: Callable[[Collection[str]], None]
    tenants: set[str]
    aside: set[str]

    def append(self, batch: Batch, rows: Int32s) -> None:
        """See `LaneLedger`."""
        self.tenants.update(batch.dictionary.values(KIND_TENANT, batch.columns))
        super().append(batch, rows)

    def set_aside(self) -> None:
        """See `LaneLedger`."""
        self.aside, self.tenants = self.tenants, set()
        super().set_aside()

    def commit(self, commit: Commit) -> list[Voided]:
        """See `LaneLedger`."""
        tenants = self.aside | {correction.tenant for correction in commit.corrections}
        voided = super().commit(commit)
        if tenants:
            self.tell(tenants)
        return voided


def _leave(ended: threading.Event, grace_s: int) -> None:
    """End the process when it has not drained in time; nothing that was answered is lost by it."""
    if not ended.is_set():
        say(
            f"not drained {grace_s} s after the stop: leaving; what is in the spool is read by the next start"
        )
        os._exit(1)
