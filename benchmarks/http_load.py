"""Requests at a steady rate, whatever the answers do: an open loop over some connections of its own process.

    python -m benchmarks.http_load < plan.json

Each request has its moment, counted from the start. Its latency begins at that moment, also where no connection was
free yet or this process was late: so a server that stalls is charged for everyone who would have asked meanwhile
(no coordinated omission). Requests are made before the start; an answer is read to its end and told by its status.
"""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.percentiles import Percentiles

_LENGTH = b"content-length:"
_LATE_S_MAX = 10
"""So long after the last moment answers are waited for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask, how often, for how long."""

    host: str
    port: int
    path: str
    rate: int
    """Requests a second."""
    seconds: int
    warm_up_s: int
    """Seconds before, of which nothing is counted."""
    connections: int
    credentials: list[str]
    bodies: list[str]
    """Taken in turn, with the credentials."""


@dataclass(slots=True)
class Outcome:
    """What came back."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: Percentiles = field(default_factory=Percentiles)
    behind: Percentiles = field(default_factory=Percentiles)
    """How late this process itself was, in the same way."""
    unanswered: int = 0

    def shown(self) -> dict[str, Any]:
        """As JSON has it; moments in microseconds."""
        return {
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "unanswered": self.unanswered,
            "latency_us": self.latencies.shown(),
            "behind_us": self.behind.shown(),
        }


@dataclass(slots=True)
class Load:
    """One run."""

    plan: Plan
    outcome: Outcome = field(default_factory=Outcome)
    free: "deque[Line]" = field(default_factory=deque)
    waiting: "deque[tuple[float, bytes]]" = field(default_factory=deque)
    all_free: asyncio.Event = field(default_factory=asyncio.Event)
    is_all_sent: bool = False
    begun_at: float = 0
    counted_from: float = 0

    async def run(self) -> Outcome:
        """Connect, ask at each moment, wait for what is still out."""
        loop = asyncio.get_running_loop()
        plan = self.plan
        for _ in range(plan.connections):
            _, line = await loop.create_connection(lambda: Line(self), plan.host, plan.port)
            self.free.append(line)
        total = plan.rate * (plan.seconds + plan.warm_up_s)
        requests = [_request(plan, number) for number in range(total)]
        self.begun_at = time.perf_counter() + 0.05
        self.counted_from = self.begun_at + plan.warm_up_s
        for number, request in enumerate(requests):
            moment = self.begun_at + number / plan.rate
            wait = moment - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            elif number % 16 == 0:
                await asyncio.sleep(0)
            self.ask(moment, request)
        self.is_all_sent = True
        if len(self.free) < plan.connections:
            await self._rest()
        return self.outcome

    def ask(self, moment: float, request: bytes) -> None:
        """Send on a free connection, or as soon as one is."""
        if self.free:
            self.free.popleft().send(moment, request)
        else:
            self.waiting.append((moment, request))

    def answered(self, line: "Line", moment: float, status: int) -> None:
        """Count an answer, and use its connection again."""
        now = time.perf_counter()
        if moment >= self.counted_from:
            self.outcome.statuses[status] += 1
            self.outcome.latencies.add(int((now - moment) * 1e6))
        if self.waiting:
            line.send(*self.waiting.popleft())
        else:
            self.free.append(line)
        if self.is_all_sent and len(self.free) == self.plan.connections:
            self.all_free.set()

    async def _rest(self) -> None:
        """Wait until every connection is free again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LATE_S_MAX):
                await self.all_free.wait()
        self.outcome.unanswered = len(self.waiting) + self.plan.connections - len(self.free)


class Line(asyncio.Protocol):
    """One connection, with one request on it at a time."""

    def __init__(self, load: Load) -> None:
        self._load, self._moment = load, 0.0
        self._transport: Any = None
        self._heard = b""

    def connection_made(self, transport: Any) -> None:
        """Keep the way back."""
        self._transport = transport

    def send(self, moment: float, request: bytes) -> None:
        """Ask; `moment` is when it should have been."""
        self._moment = moment
        if moment >= self._load.counted_from:
            self._load.outcome.behind.add(int((time.perf_counter() - moment) * 1e6))
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read an answer to its end."""
        self._heard += data
        head, blank, body = self._heard.partition(b"\r\n\r\n")
        if not blank or len(body) < _length(head):
            return
        self._heard = b""
        self._load.answered(self, self._moment, int(head[9:12]))


def _length(head: bytes) -> int:
    start = head.lower().find(_LENGTH)
    return int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0]) if start >= 0 else 0


def _request(plan: Plan, number: int) -> bytes:
    which = number % len(plan.bodies)
    body = plan.bodies[which].encode()
    lines = (
        f"POST {plan.path} HTTP/1.1",
        f"Host: {plan.host}",
        f"Authorization: Bearer {plan.credentials[which % len(plan.credentials)]}",
        "Content-Type: application/json",
        f"Idempotency-Key: load-{number}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


def run(plan: Plan) -> dict[str, Any]:
    """Run a plan in this process."""
    return {
        "plan": {**asdict(plan), "credentials": len(plan.credentials)},
        **asyncio.run(Load(plan).run()).shown(),
    }


def main(arguments: Sequence[str]) -> None:
    """Read a plan from stdin, and write what came of it to stdout."""
    del arguments
    json.dump(run(Plan(**json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
