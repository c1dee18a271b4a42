"""The states of a report as a pure function: what follows from an attempt, from time, from what was read.

    planned -> sending -> accepted -> verified
                  |          `-----> async_rejected   received, and then not counted
                  |-> deferred       surely without effect: again later, same key
                  |-> unknown        perhaps applied: the same identifier again, for 23 hours at most
                  |      `-> frozen -> verified | absent | quarantined     only read, never sent again
                  |-> rejected       definitely refused: someone has to look
                  `-> quarantined    an identifier that someone else has used
    planned, deferred -> carried     its period closed before it was sent: told in an open one

`absent` and `carried` are planned again, in another minute; all other states count as told.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.outbox import HOUR_S, Outcome, Result, State

RESEND_FOR_S = 23 * HOUR_S
"""Stripe remembers identifiers for at least 24 hours; after 23 none is sent again."""
ABSENCE_AFTER_S = 24 * HOUR_S
"""A sum without the report proves its absence only this long after the last attempt, and only twice."""
ABSENCE_READS = 2
READS_APART_S = 600
ATTEMPTS_MAX = 100
"""The retry budget of a report that is never applied."""
PAUSE_MAX_S = 600


@dataclass(frozen=True, slots=True)
class Standing:
    """The part of an intent that changes."""

    state: State
    detail: str = ""
    attempts: int = 0
    key_number: int = 1
    uncertain_attempt: int = 0
    """The earliest attempt not proven to be without effect; 0: there is none."""
    uncertain_since: int | None = None
    last_attempt_at: int | None = None
    retry_at: int = 0
    zero_reads: int = 0
    last_read_at: int | None = None
    accepted_at: int | None = None
    settled_at: int | None = None


def pause_s(failures: int, randbelow: Callable[[int], int]) -> int:
    """Give the pause after so many failures in a row: doubling to ten minutes, half of it by chance."""
    longest = min(PAUSE_MAX_S, 1 << min(max(failures, 1), 10))
    return longest - longest // 2 + randbelow(longest // 2 + 1)


def begun(standing: Standing, now: int) -> Standing:
    """Note an attempt before its bytes leave: from here on it may have been applied."""
    number = standing.attempts + 1
    first = standing.uncertain_attempt == 0
    return replace(
        standing,
        state=State.SENDING,
        attempts=number,
        uncertain_attempt=number if first else standing.uncertain_attempt,
        uncertain_since=now if first else standing.uncertain_since,
        last_attempt_at=now,
    )


def after_attempt(standing: Standing, number: int, outcome: Outcome, now: int, retry_at: int) -> Standing:
    """Settle the attempt `number` of a report in `sending`."""
    repeated = standing.uncertain_attempt < number
    match outcome.result:
        case Result.APPLIED:
            return _accepted(standing, now, "")
        case Result.DUPLICATE if repeated:
            return _accepted(standing, now, "an earlier attempt had arrived")
        case Result.DUPLICATE | Result.KEY_MISMATCH if not repeated:
            return _settled(standing, State.QUARANTINED, now, f"used by someone else: {outcome.detail}")
        case Result.KEY_MISMATCH | Result.REPLAYED_FAILURE:
            waiting = _unknown(standing, outcome.detail, retry_at)
            return replace(waiting, key_number=standing.key_number + 1)
        case Result.NOT_APPLIED | Result.REFUSED if not repeated:
            return _without_effect(standing, outcome, now, retry_at)
        case _:
            return _unknown(standing, outcome.detail, retry_at)


def after_crash(standing: Standing, now: int) -> Standing:
    """Take over a report whose sender is gone: its attempt may have been applied."""
    return _unknown(standing, "its sender stopped in the middle", now)


def after_time(standing: Standing, now: int, *, closed: bool, clock_went_back: bool = False) -> Standing:
    """Apply deadlines: `closed` says that the report's window can be told no more."""
    if standing.state in {State.PLANNED, State.DEFERRED}:
        if closed:
            return _settled(standing, State.CARRIED, now, "its period closed before it was sent")
        return standing
    if standing.state is not State.UNKNOWN:
        return standing
    since = standing.uncertain_since or 0
    if closed or clock_went_back or now >= since + RESEND_FOR_S:
        return replace(standing, state=State.FROZEN, retry_at=now)
    return standing


def after_read(standing: Standing, value: int, read: int, now: int) -> Standing:
    """Compare the provider's sum of the report's own minute, `read`, with its value.

    A sum of nothing, read twice ten minutes apart and 24 hours after the last attempt, proves absence.
    """
    if read == value:
        return _settled(standing, State.VERIFIED, now, "")
    if read != 0:
        said = f"its minute holds {read} instead of {value}"
        return _settled(standing, State.QUARANTINED, now, said)
    early = now < (standing.last_attempt_at or 0) + ABSENCE_AFTER_S
    if early or (standing.zero_reads and now < (standing.last_read_at or 0) + READS_APART_S):
        return standing
    reads = standing.zero_reads + 1
    seen = replace(standing, zero_reads=reads, last_read_at=now)
    if reads < ABSENCE_READS or standing.state is State.UNKNOWN:
        return seen
    if standing.state is State.ACCEPTED:
        return _settled(seen, State.ASYNC_REJECTED, now, "received, but never counted")
    return _settled(seen, State.ABSENT, now, "proven absent")


def _accepted(standing: Standing, now: int, detail: str) -> Standing:
    return replace(standing, state=State.ACCEPTED, detail=detail, accepted_at=now)


def _unknown(standing: Standing, detail: str, retry_at: int) -> Standing:
    return replace(standing, state=State.UNKNOWN, detail=detail, retry_at=retry_at)


def _without_effect(standing: Standing, outcome: Outcome, now: int, retry_at: int) -> Standing:
    cleared = replace(standing, uncertain_attempt=0, uncertain_since=None)
    if outcome.result is Result.REFUSED:
        return _settled(cleared, State.REJECTED, now, outcome.detail)
    if standing.attempts >= ATTEMPTS_MAX:
        return _settled(cleared, State.REJECTED, now, f"retry budget spent: {outcome.detail}")
    return replace(cleared, state=State.DEFERRED, detail=outcome.detail, retry_at=retry_at)


def _settled(standing: Standing, state: State, now: int, detail: str) -> Standing:
    return replace(standing, state=state, detail=detail, settled_at=now)
