"""How often a door opens: so many requests in a window, counted for each service, admin or tenant by itself.

A sliding window of two counters: those of the window before count by the share of it that is still within reach. So
a burst at the border of two windows gets through once, not twice. Each process counts for itself.

The counters are our own because the memory store of the library `limits` starts a thread every ten milliseconds
under load and reads the clock itself (measured: 535 microseconds at the 99th percentile for a count, against 2).
The notation of rates ("200/minute") is that library's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fastapi import Request
from limits import parse

from api.problems import Code, Problem
from pipeline.ports import Clock

CALLERS_MAX = 10_000
"""With more than so many counters, those of past windows are let go."""


class Limit(StrEnum):
    """What is counted by itself."""

    FINALIZE = "finalize"
    ADMIN = "admin"
    INGEST = "ingest"
    AUTHORIZE = "authorize"
    READ = "read"


DEFAULT_RATES: Mapping[Limit, str] = {
    Limit.FINALIZE: "200/minute",
    Limit.ADMIN: "30/minute",
    Limit.INGEST: "6000/minute",
    Limit.AUTHORIZE: "6000/minute",
    Limit.READ: "600/minute",
}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many milliseconds."""

    requests: int
    window_ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands after a request."""

    rate: Rate
    is_within: bool
    remaining: int
    reset_s: int
    """Until the current window ends."""
    retry_after_s: int
    """0 where the request is within the rate."""

    def headers(self) -> dict[str, str]:
        """The standard headers: of each answer, and `Retry-After` where there is to wait."""
        return {
            "RateLimit-Limit": str(self.rate.requests),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
            "RateLimit-Policy": f"{self.rate.requests};w={self.rate.window_ms // 1000}",
            **({"Retry-After": str(self.retry_after_s)} if self.retry_after_s else {}),
        }


def parse_rate(text: str) -> Rate:
    """Read a rate such as `200/minute` or `10 per 2 seconds`; raises `ValueError`."""
    item = parse(text)
    return Rate(item.amount, item.get_expiry() * 1000)


@dataclass(slots=True)
class _Counter:
    window: int
    before: int = 0
    now: int = 0


class RateLimits:
    """Counts requests; for one event loop."""

    def __init__(self, clock: Clock, rates: Mapping[Limit, Rate]) -> None:
        self._clock, self._rates = clock, rates
        self._counters: dict[tuple[Limit, str], _Counter] = {}

    def count(self, limit: Limit, who: str) -> Standing:
        """Count a request; one beyond the rate is not counted."""
        rate, now_ms = self._rates[limit], self._clock.now_ms()
        window, elapsed_ms = divmod(now_ms, rate.window_ms)
        counter = self._counter((limit, who), window)
        left_ms = rate.window_ms - elapsed_ms
        used = counter.now + counter.before * left_ms // rate.window_ms
        if used >= rate.requests:
            return Standing(rate, False, 0, _seconds(left_ms), _wait_s(rate, counter, left_ms))
        counter.now += 1
        return Standing(rate, True, rate.requests - used - 1, _seconds(left_ms), 0)

    def _counter(self, key: tuple[Limit, str], window: int) -> _Counter:
        counter = self._counters.get(key)
        if counter is None:
            self._forget_old()
            counter = self._counters[key] = _Counter(window)
        if counter.window != window:
            counter.before = counter.now if counter.window == window - 1 else 0
            counter.window, counter.now = window, 0
        return counter

    def _forget_old(self) -> None:
        if len(self._counters) < CALLERS_MAX:
            return
        now_ms = self._clock.now_ms()
        self._counters = {
            key: counter
            for key, counter in self._counters.items()
            if counter.window >= now_ms // self._rates[key[0]].window_ms - 1
        }


def _wait_s(rate: Rate, counter: _Counter, left_ms: int) -> int:
    """Until the share of the window before has sunk far enough for one more request."""
    if counter.now >= rate.requests:
        return _seconds(left_ms + rate.window_ms // counter.now)
    room = rate.requests - counter.now - 1  # so much of the window before may still count
    reach_ms = (room + 1) * rate.window_ms // counter.before
    return _seconds(max(left_ms - reach_ms, 1))


def _seconds(ms: int) -> int:
    return max(-(-ms // 1000), 1)


def count(request: Request, limit: Limit, who: str) -> None:
    """Count a request and put the headers on its answer; raises `rate_limited` beyond the rate."""
    standing: Standing = request.app.state.services.limits.count(limit, who)
    if not standing.is_within:
        detail = f"at most {standing.rate.requests} requests in {standing.rate.window_ms // 1000} s: come again later"
        raise Problem(Code.RATE_LIMITED, detail, headers=standing.headers())
    add_headers(request, standing.headers())


def add_headers(request: Request, headers: Mapping[str, str]) -> None:
    """Put headers on the answer of a request, whatever makes the answer."""
    request.scope.setdefault("millrace.headers", {}).update(headers)
