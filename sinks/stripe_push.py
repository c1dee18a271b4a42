"""Pushes what is due: many lanes at once, one call in flight each, every attempt durable before it is made.

Unit of parallelism: the lane (a customer's meter). Delivery guarantee: each report is sent under one
identifier until its outcome is known or 23 hours have passed; what stays unknown is proven by reading only.
Only the thread that runs `Pusher.run` talks to the outbox; the workers only make calls.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field

import structlog

from pipeline.errors import ProviderError
from pipeline.outbox import Attempt, Outbox, Outcome, Result, Settled

SKEW_MAX_S = 300
LIMITED_PAUSE_S = 2
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and for how long."""

    in_flight_max: int = 8
    per_second_max: int = 20
    """Stripe's sandbox takes 25 requests a second in all, a live account 1 000 meter events."""
    patience_s: int = 30
    """A run ends when nothing is due within this time."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, and waiting for some seconds of it."""

    now: Callable[[], int]
    sleep: Callable[[int], None]


@dataclass(slots=True)
class Tally:
    """What a run did."""

    results: Counter[Result] = field(default_factory=Counter)
    units: int = 0
    """Units that Stripe acknowledged in this run."""

    def add(self, settled: Settled) -> None:
        """Count one outcome."""
        self.results[settled.outcome.result] += 1
        if settled.outcome.result in {Result.APPLIED, Result.DUPLICATE}:
            self.units += settled.attempt.report.value


def too_late(attempt: Attempt, now: int) -> Outcome | None:
    """Refuse to send what was begun long ago: the deadlines of its report count from its beginning."""
    if now < attempt.send_before:
        return None
    return Outcome(Result.NOT_APPLIED, "not sent: this host slept between its record and its call")


class Pusher:
    """One run over an outbox."""

    def __init__(
        self,
        outbox: Outbox,
        send: Callable[[Attempt], Outcome],
        executor: Executor,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self._outbox = outbox
        self._send = send
        self._executor = executor
        self._clock = clock
        self._pace = pace
        self._in_flight: dict[Future[Outcome], Attempt] = {}
        self._paused_until = 0
        self._halted = ""
        self._second = (0, 0)
        self.tally = Tally()

    def run(self, stopped: Callable[[], bool] = lambda: False) -> Tally:
        """Send until nothing is due soon, or `stopped` says so; what is in flight is always waited for.

        Raises `ProviderError` when the key, the account or this host's clock has to be mended first.
        """
        settled: list[Settled] = []
        try:
            while self._step(settled, stopping=stopped() or bool(self._halted)):
                settled = self._collect()
        finally:
            if not self._in_flight:
                self._outbox.release()
        if self._halted:
            raise ProviderError(self._halted)
        return self.tally

    def _step(self, settled: list[Settled], *, stopping: bool) -> bool:
        """Write what is settled, begin what is free to begin; say whether to go on."""
        now = self._clock.now()
        for attempt in self._outbox.exchange(settled, 0 if stopping else self._free(now), now):
            self._second = (now, self._second[1] + 1) if self._second[0] == now else (now, 1)
            self._in_flight[self._executor.submit(self._call, attempt)] = attempt
        if self._in_flight:
            return True
        return not stopping and self._wait_for_work(now)

    def _call(self, attempt: Attempt) -> Outcome:
        return too_late(attempt, self._clock.now()) or self._send(attempt)

    def _free(self, now: int) -> int:
        if now < self._paused_until:
            return 0
        sent = self._second[1] if self._second[0] == now else 0
        return max(0, min(self._pace.in_flight_max - len(self._in_flight), self._pace.per_second_max - sent))

    def _wait_for_work(self, now: int) -> bool:
        due = self._outbox.next_due(now)
        if due is None:
            return False
        due = max(due, self._paused_until)
        if due > now + self._pace.patience_s:
            return False
        if due > now or self._free(now) == 0:
            self._clock.sleep(max(1, due - now))
        return True

    def _collect(self) -> list[Settled]:
        if not self._in_flight:
            return []
        done, _ = wait(self._in_flight, return_when=FIRST_COMPLETED)
        settled = [Settled(self._in_flight.pop(future), future.result()) for future in done]
        for one in settled:
            self._note(one)
        return settled

    def _note(self, one: Settled) -> None:
        outcome, report, now = one.outcome, one.attempt.report, self._clock.now()
        self.tally.add(one)
        _log.info(
            "report_attempted",
            identifier=one.attempt.identifier,
            tenant=report.tenant,
            event_id="",  # a meter event has none; its answer has a request's
            customer=report.customer,
            attempt=one.attempt.number,
            result=outcome.result.value,
            detail=outcome.detail,
            request_id=outcome.request_id,
        )
        if outcome.pauses_all:
            self._paused_until = max(self._paused_until, now + max(outcome.retry_after_s, LIMITED_PAUSE_S))
        if outcome.halts_all:
            self._halted = f"Stripe does not take the key: {outcome.detail}"
        if outcome.server_time is not None and abs(outcome.server_time - now) > SKEW_MAX_S:
            self._halted = (
                f"this host's clock is {now - outcome.server_time} seconds away from Stripe's: set it right, "
                "since deadlines that keep usage from being told twice are counted on it"
            )
