"""The work that recurs, by itself: in `millrace stripe loop`, and beside `millrace run` and `millrace serve`.

One thread for each kind of work; who does it is decided in the control store, so any number of processes may
run the loops: each run happens in one of them.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import stripe as sdk
import structlog
import typer
from prometheus_client import start_http_server

from billing.loops import DAY_S, MINUTE_S, Loop, Scheduler, Turn, keep_lease, note_reads, reads_left
from billing.reconcile import Reconciliation
from billing.webhooks import handle_stored, purge
from cli.stripe_desk import (
    KEY_VARIABLE,
    AccountsOption,
    ControlOption,
    Desk,
    LedgerOption,
    LiveOption,
    MetersOption,
    StateOption,
    StreamOption,
    UrlOption,
    log_to_stderr,
    meters_at_stripe,
    now,
    open_desk,
    read_key_of_environment,
)
from cli.stripe_metrics import StripeMetrics
from cli.stripe_work import compare, owner_name, plan, push_due, sender_of
from pipeline.errors import MillraceError, StoreError, UsageError
from pipeline.outbox import HOUR_S, OPEN_FOR_PROOF, Attempt, Lane, Outcome, State, Summaries
from sinks.stripe import Sender
from sinks.stripe_events import StripeEvents
from sinks.stripe_push import Pace
from sinks.stripe_read import StripeSummaries

DOUBTFUL = frozenset({State.UNKNOWN, State.FROZEN})
READS_A_DAY = 300
"""Stripe allows 10 000 reads a month at least."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How the loops work."""

    ledger: str | None
    pace: Pace
    send: Callable[[Attempt], Outcome]
    reads_a_day: int = READS_A_DAY


def make_loops(desk: Desk, client: sdk.StripeClient, settings: LoopSettings) -> tuple[Loop, ...]:
    """Make all kinds of work: what is due first comes first."""
    meters_at_stripe(desk)
    works = _Works(desk, client, settings)
    return (
        Loop("push", MINUTE_S, works.push),
        Loop("webhooks", MINUTE_S, works.webhooks),
        Loop("doubtful", 10 * MINUTE_S, works.doubtful),
        Loop("verify", HOUR_S, works.verify),
        Loop("reconcile", DAY_S, works.reconcile),
    )


class _Works:
    def __init__(self, desk: Desk, client: sdk.StripeClient, settings: LoopSettings) -> None:
        self._desk, self._client, self._settings = desk, client, settings

    def push(self, goes_on: Callable[[], bool]) -> str:
        """Plan and push."""
        desk = self._fresh()
        made = plan(desk, self._settings.ledger, running=False, write=True)
        keep_lease(goes_on)
        tally = push_due(desk, self._settings.send, self._settings.pace, lambda: not goes_on())
        sent = ", ".join(f"{count} {name.value}" for name, count in sorted(tally.results.items()))
        return f"planned {len(made.reports)}, sent {sent or 'nothing'}"

    def webhooks(self, goes_on: Callable[[], bool]) -> str:
        """Handle what is stored: new ones at once, failed ones 15 minutes later."""
        keep_lease(goes_on)
        done = handle_stored(self._desk.store, StripeEvents(self._client), now())
        return ", ".join(f"{count} {name}" for name, count in done.items())

    def doubtful(self, goes_on: Callable[[], bool]) -> str:
        """Read what is unknown or frozen."""
        return self._compared(goes_on, full=False, states=DOUBTFUL)

    def verify(self, goes_on: Callable[[], bool]) -> str:
        """Read all that was received and is not proven."""
        return self._compared(goes_on, full=False)

    def reconcile(self, goes_on: Callable[[], bool]) -> str:
        """Compare every hour that Stripe still takes; forget what is old."""
        said = self._compared(goes_on, full=True)
        return f"{said}; {purge(self._desk.store, now())} old events forgotten"

    def _compared(
        self, goes_on: Callable[[], bool], *, full: bool, states: frozenset[State] = OPEN_FOR_PROOF
    ) -> str:
        desk = self._fresh()
        left = reads_left(desk.store, self._settings.reads_a_day, desk.now)
        if left == 0:
            return f"not compared: the {self._settings.reads_a_day} reads of this day are used"
        summaries = _Held(StripeSummaries(self._client, meters_at_stripe(desk), now), goes_on)
        try:
            return _said(compare(desk, summaries, full=full, reads_max=left, states=states))
        finally:
            note_reads(desk.store, summaries.reads, desk.now)

    def _fresh(self) -> Desk:
        return replace(self._desk, now=now())


class _Held:
    """Sums that are read only as long as the run's lease holds."""

    def __init__(self, summaries: Summaries, goes_on: Callable[[], bool]) -> None:
        self._summaries, self._goes_on = summaries, goes_on
        self.reads = 0

    def hours(self, lane: Lane, start: int, end: int) -> Mapping[int, int]:
        """Return the whole units of each hour in [start, end) that has any."""
        self._count()
        return self._summaries.hours(lane, start, end)

    def span(self, lane: Lane, start: int, end: int) -> int:
        """Return the whole units of the minutes in [start, end)."""
        self._count()
        return self._summaries.span(lane, start, end)

    def _count(self) -> None:
        keep_lease(self._goes_on)
        self.reads += 1


def _said(result: Reconciliation) -> str:
    for finding in result.findings:
        _log.warning(
            "difference",
            tenant=finding.tenant,
            event_id="",
            customer=finding.customer,
            event_name=finding.event_name,
            window_start=finding.window_start,
            difference=finding.difference,
            identifiers=list(finding.identifiers),
            way_out=finding.way_out,
        )
    unread = f", {result.unread_lanes} customers not read" if result.unread_lanes else ""
    return f"{result.windows} hours in {result.reads} reads: difference {result.difference}{unread}"


@contextmanager
def in_threads(desk: Desk, loops: tuple[Loop, ...]) -> Iterator[threading.Event]:
    """Run the loops beside the body; at its end what is in flight is waited for. Gives the event that stops them."""
    stop = threading.Event()
    scheduler = Scheduler(desk.store, owner_name(), now, stop.is_set)
    threads = [
        threading.Thread(target=_keep_turning, args=(scheduler, loop, stop), name=f"stripe-{loop.name}")
        for loop in loops
    ]
    for thread in threads:
        thread.start()
    try:
        yield stop
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _keep_turning(scheduler: Scheduler, loop: Loop, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            scheduler.turn(loop)
            wait_s = scheduler.wait_s(loop)
        except StoreError as error:
            _log.warning("loop_without_store", loop=loop.name, detail=str(error))
            wait_s = MINUTE_S
        stop.wait(wait_s)


@contextmanager
def beside(
    ledger: str, state: Path | None, control: str | None, accounts: Path | None
) -> Iterator[Callable[[], bytes]]:
    """Run the loops beside another command; when it is done, plan and push once more. Gives their metrics.

    The rest comes from the variables that `millrace stripe` knows: MILLRACE_METERS, MILLRACE_STRIPE_LIVE and so on.
    """
    log_to_stderr(verbose=False)
    named, live = os.environ.get("MILLRACE_METERS"), os.environ.get("MILLRACE_STRIPE_LIVE", "")
    key = read_key_of_environment(live.lower() in {"1", "true", "yes", "on"})
    url = os.environ.get("MILLRACE_STRIPE_URL", "")
    meters = Path(named) if named else None
    with open_desk(state or Path(".millrace"), control, meters, accounts, key, url) as desk:
        if desk.client is None:
            raise UsageError(f"there is nothing to report with: set {KEY_VARIABLE}, or leave --stripe out")
        loops = make_loops(desk, desk.client, LoopSettings(ledger, Pace(patience_s=0), Sender(desk.client)))
        with in_threads(desk, loops):
            yield StripeMetrics(desk.store, now).text
        Scheduler(desk.store, owner_name(), now).turn(loops[0], at_once=True)


def loop(  # noqa: PLR0913, PLR0917 - one argument for each flag
    ledger: LedgerOption = None,
    state: StateOption = Path(".millrace"),
    control: ControlOption = None,
    meters: MetersOption = None,
    accounts: AccountsOption = None,
    stripe_url: UrlOption = "",
    live: LiveOption = False,
    once: Annotated[
        bool, typer.Option("--once", help="Do each kind of work that is due, once, and end.")
    ] = False,
    rate: Annotated[int, typer.Option(min=1, max=1000, help="Most requests in a second.")] = 20,
    lanes: Annotated[int, typer.Option(min=1, max=64, help="Most requests at a time.")] = 8,
    reads_a_day: Annotated[
        int,
        typer.Option(
            min=1,
            envvar="MILLRACE_STRIPE_READS",
            help="Most reads of sums in a day; Stripe counts 10000 a month.",
        ),
    ] = READS_A_DAY,
    stream: StreamOption = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(envvar="MILLRACE_STRIPE_METRICS_PORT", help="Serve metrics on this port."),
    ] = None,
    metrics_host: Annotated[
        str,
        typer.Option(envvar="MILLRACE_STRIPE_METRICS_HOST", help="The address that metrics are served on."),
    ] = "127.0.0.1",
    verbose: Annotated[bool, typer.Option("--verbose", help="Log each attempt and each turn.")] = False,
) -> None:
    """Plan, push, verify and reconcile by itself, until SIGTERM; any number of these may run at once."""
    log_to_stderr(verbose=verbose)
    with open_desk(state, control, meters, accounts, read_key_of_environment(live), stripe_url) as desk:
        if desk.client is None:
            raise UsageError(f"there is nothing to report with: set {KEY_VARIABLE}")
        send = sender_of(desk.client, stripe_url, stream=stream)
        loops = make_loops(desk, desk.client, LoopSettings(ledger, Pace(lanes, rate, 0), send, reads_a_day))
        if once:
            _once(desk, loops)
            return
        with (
            _metrics(desk, metrics_host, metrics_port),
            in_threads(desk, loops) as stop,
            _stopped_by_signals(stop),
        ):
            typer.echo("reporting to Stripe; stop with SIGTERM", err=True)
            stop.wait()


def _once(desk: Desk, loops: tuple[Loop, ...]) -> None:
    scheduler = Scheduler(desk.store, owner_name(), now)
    failed: list[Turn] = []
    for one in loops:
        made = scheduler.turn(one)
        typer.echo(f"{one.name}: {'not due' if made is None else made.detail}")
        if made is not None and made.failed:
            failed.append(made)
    if failed:
        raise MillraceError(f"{failed[0].name} failed: {failed[0].detail}")


@contextmanager
def _metrics(desk: Desk, host: str, port: int | None) -> Iterator[None]:
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, host, StripeMetrics(desk.store, now).registry)
    except OSError as error:
        raise UsageError(f"the metrics port {port} cannot be used: {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stderr.flush()
