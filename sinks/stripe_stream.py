"""Sends attempts through the meter event stream of version 2: up to a hundred in one request, for high rates.

Unit of parallelism: the request; one is under way at a time and takes what has gathered meanwhile. Delivery
guarantee: as with single events, with a weaker proof. A 2xx says only that the bytes were taken: Stripe checks
them later and names samples of what it refuses. So a known identifier is not seen at sending, there is no
idempotency key that would repeat an answer, and the sum of a report's own minute is the only proof of it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import stripe

from pipeline.outbox import Attempt, Outcome, Result
from sinks.stripe import API_VERSION
from sinks.stripe_errors import outcome_of

EVENTS_MAX = 100
SESSION_S = 14 * 60
"""Stripe takes a session's token for 15 minutes."""


@dataclass(slots=True)
class _Waiting:
    attempt: Attempt
    outcome: Outcome | None = None


class StreamSender:
    """Sends an attempt together with those that wait beside it. Safe to use from several threads."""

    def __init__(
        self,
        client: stripe.StripeClient,
        connect: Callable[[str], stripe.StripeClient],
        now: Callable[[], int],
    ) -> None:
        """`connect` makes a client of a session's token."""
        self._client, self._connect, self._now = client, connect, now
        self._session: tuple[stripe.StripeClient, int] | None = None
        self._queue: deque[_Waiting] = deque()
        self._turn = Lock()

    def __call__(self, attempt: Attempt) -> Outcome:
        """Return what the request that held the attempt did; never raises."""
        mine = _Waiting(attempt)
        self._queue.append(mine)
        with self._turn:
            while mine.outcome is None:
                batch = [self._queue.popleft() for _ in range(min(EVENTS_MAX, len(self._queue)))]
                outcome = self.send([one.attempt for one in batch])
                for one in batch:
                    one.outcome = outcome
        return mine.outcome

    def send(self, batch: Sequence[Attempt]) -> Outcome:
        """Make one request with up to a hundred attempts and say what it did to each; never raises."""
        try:
            session = self._open_session()
        except Exception as error:  # noqa: BLE001 - whatever it is, no event has left
            return replace(outcome_of(error), result=Result.NOT_APPLIED)
        events: Any = {"events": [event_of(attempt) for attempt in batch]}
        try:
            session.v2.billing.meter_event_stream.create(events, {"stripe_version": API_VERSION})
        except stripe.TemporarySessionExpiredError as error:
            self._session = None
            return replace(outcome_of(error), halts_all=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, the events may have been applied
            return _of_all(outcome_of(error), len(batch))
        return Outcome(Result.APPLIED, "taken, to be validated", 200)

    def _open_session(self) -> stripe.StripeClient:
        now = self._now()
        if self._session is None or not self._session[1] - SESSION_S <= now < self._session[1]:
            made = self._client.v2.billing.meter_event_session.create({})
            self._session = (self._connect(made.authentication_token), now + SESSION_S)
        return self._session[0]


def _of_all(outcome: Outcome, count: int) -> Outcome:
    """Judge each event of a request: one that was refused as a whole does not say which event was at fault."""
    if outcome.result is Result.DUPLICATE:
        return replace(outcome, result=Result.UNKNOWN)
    if outcome.result is Result.REFUSED and count > 1:
        return replace(outcome, result=Result.NOT_APPLIED)
    return outcome


def event_of(attempt: Attempt) -> dict[str, Any]:
    """Give one event of a request."""
    report = attempt.report
    moment = datetime.fromtimestamp(report.timestamp, UTC)
    return {
        "event_name": report.event_name,
        "identifier": attempt.identifier,
        "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "payload": {"stripe_customer_id": report.customer, "value": str(report.value)},
    }
