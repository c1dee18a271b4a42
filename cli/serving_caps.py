"""What must turn beside the routes so that caps hold: the refresh, settlements to the log, expiry, pruning.

Each is a thread that does its work again and again. A store, ledger or log that is away is told once, and tried
again; what was not done stays where it is and is done then. Several processes may turn the same: it does no harm.
"""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

from billing.alerts import prune_alerts
from billing.caps import Caps
from billing.outgoing import prune, send_events, unsent
from billing.policy import Policy
from billing.refresh import refresh
from billing.store import Store
from billing.upkeep import expire_due
from billing.windows import SpendReader
from pipeline.errors import MillraceError
from pipeline.ports import Clock, EventLog

STALE_MS = 60_000
"""Figures that are older than this make the service unwell."""
_SECONDS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60)
TOUCHED_WAIT_S, TOUCHED_EVERY_MS = 0.2, 10
EXPIRE_EVERY_MS, PRUNE_EVERY_MS, SEND_EVERY_MS = 1_000, 3_600_000, 50
_log = structlog.get_logger("millrace.caps")


@dataclass(slots=True)
class Loop:
    """A piece of work that is done again and again."""

    name: str
    every_ms: int
    work: Callable[[], object]
    done_at_ms: int = 0
    """When it last went well."""
    _is_told: bool = False

    def turn(self, now_ms: Callable[[], int]) -> None:
        """Do it once; what goes wrong is told when it begins, and when it is over."""
        try:
            self.work()
        except MillraceError as error:
            if not self._is_told:
                _log.warning("loop_waits", loop=self.name, detail=str(error))
            self._is_told = True
            return
        except Exception:  # noqa: BLE001 - a loop must not end: it tells, and tries again
            _log.exception("loop_failed", loop=self.name)
            return
        if self._is_told:
            _log.info("loop_goes_on", loop=self.name)
        self._is_told, self.done_at_ms = False, now_ms()


class Touched:
    """Tenants of whom the flow in this process has counted something since they were last read."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._arrivals: list[int] = []
        self._some = threading.Condition()
        self.registry = CollectorRegistry()
        self._delay = Histogram(
            "millrace_arrival_to_caps_seconds", "From the arrival of an event by HTTP until authorizations know what "
            "it cost, for the first of those that were counted together: so long a cap that is spent stays open.",
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip

    def add(self, names: Collection[str]) -> None:
        """Note tenants; from any thread. They are read when all lanes have counted their share, or soon."""
        with self._some:
            self._names.update(names)

    def counted(self, arrived_at_ms: int) -> None:
        """Events that arrived from this moment on are counted, and their tenants have been noted before."""
        with self._some:
            self._arrivals.append(arrived_at_ms)
            self._some.notify()

    def read(self, store: Store, reader: SpendReader, clock: Clock) -> None:
        """Read the figures of those that are noted, or wait a little for some; what fails is tried again."""
        with self._some:
            self._some.wait_for(lambda: bool(self._arrivals), TOUCHED_WAIT_S)
            names, self._names = self._names, set()
            arrivals, self._arrivals = self._arrivals, []
        try:
            if names:
                refresh(store, reader, clock, names)
        except MillraceError:
            self.add(names)
            raise
        now_ms = clock.now_ms()
        for arrived_at_ms in arrivals:
            self._delay.observe(max(now_ms - arrived_at_ms, 0) / 1000)

    def metrics(self) -> bytes:
        """Its metrics in Prometheus' text format."""
        return generate_latest(self.registry)


@dataclass(frozen=True, slots=True)
class CapsDesk:
    """The caps and what turns beside them."""

    store: Store
    clock: Clock
    caps: Caps
    loops: list[Loop]
    reads_ledger: bool
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    @contextmanager
    def turning(self) -> Iterator[None]:
        """Turn while the body runs; at its end each piece of work is done once more."""
        stop = threading.Event()
        threads = [
            threading.Thread(
                target=self._keep_turning, args=(loop, stop), name=f"caps-{loop.name}", daemon=True
            )
            for loop in self.loops
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _keep_turning(self, loop: Loop, stop: threading.Event) -> None:
        while True:
            is_last = stop.is_set()
            loop.turn(self.clock.now_ms)
            if is_last:
                return
            stop.wait(loop.every_ms / 1000)

    def sick(self) -> list[str]:
        """Say so where the caps decide by figures that are old."""
        age_ms = self._age_ms("refresh")
        if age_ms is None or age_ms < STALE_MS:
            return []
        return [f"caps: what the ledger counts was last read {age_ms // 1000} s ago"]

    def metrics(self) -> bytes:
        """The metrics of the caps in Prometheus' text format."""
        return generate_latest(self.registry)

    def _age_ms(self, name: str) -> int | None:
        """How long ago a loop last did its work; None where it never did, or there is none."""
        done_at_ms = next((loop.done_at_ms for loop in self.loops if loop.name == name), 0)
        return self.clock.now_ms() - done_at_ms if done_at_ms else None


def open_caps(  # noqa: PLR0913, PLR0917 - what caps are made of
    store: Store,
    clock: Clock,
    random_hex: Callable[[int], str],
    policy: Policy,
    reader: SpendReader | None,
    log: EventLog | None,
    refresh_ms: int,
) -> CapsDesk:
    """Make the caps with their loops; nothing turns yet."""
    caps = Caps(store, clock, random_hex, policy, reader)
    now = clock.now_ms
    loops = [
        Loop("expiry", EXPIRE_EVERY_MS, lambda: expire_due(store, now())),
        Loop("checkpoint", EXPIRE_EVERY_MS, store.checkpoint),
        Loop("pruning", PRUNE_EVERY_MS, lambda: prune(store, now(), policy.answers_kept_s)),
        Loop("old alerts", PRUNE_EVERY_MS, lambda: prune_alerts(store, now())),
    ]
    if reader is not None:
        loops.append(Loop("refresh", refresh_ms, lambda: refresh(store, reader, clock)))
    if log is not None:
        loops.append(Loop("settlements", SEND_EVERY_MS, lambda: send_events(store, log, now())))
    desk = CapsDesk(store, clock, caps, loops, reader is not None)
    _register(desk)
    return desk


def _register(desk: CapsDesk) -> None:
    asks = Gauge("millrace_caps_waiting", "Asks of the caps that wait to be decided.", registry=desk.registry)
    asks.set_function(lambda: desk.caps.waiting)
    waiting = Gauge(
        "millrace_settlements_unsent", "Settlements whose events the log has not taken yet; -1: not known.",
        registry=desk.registry,
    )  # fmt: skip
    waiting.set_function(lambda: _unsent(desk.store))
    if desk.reads_ledger:
        age = Gauge(
            "millrace_caps_figures_age_seconds", "Since the ledger's figures were last read; -1: never.",
            registry=desk.registry,
        )  # fmt: skip
        age.set_function(lambda: -1 if (ms := desk._age_ms("refresh")) is None else ms / 1000)  # noqa: SLF001


def _unsent(store: Store) -> int:
    try:
        return unsent(store)
    except MillraceError:
        return -1
