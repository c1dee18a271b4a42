"""Health is progress: a partition whose records wait while nothing becomes durable is sick, and named.

A process that runs, answers and does nothing is not healthy; one whose input is empty is.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol


class Watched(Protocol):
    """A partition that is being read."""

    records_read: int
    """How many records were read from it, those included that were read again after a crash."""

    @property
    def name(self) -> str:
        """What it is called."""

    def lag(self) -> int:
        """How many records wait to become durable, as far as is known."""

    def durable(self) -> int:
        """Below which offset all is durable."""

    def moved_at_ms(self) -> int:
        """When that last moved, or the run began, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """A partition that has waited too long."""

    name: str
    lag: int
    waited_s: float  # a duration, not money

    def sentence(self) -> str:
        """What is wrong, for a person."""
        return f"{self.name}: {self.lag} records wait and nothing was made durable for {self.waited_s:.0f} s"


@dataclass(slots=True)
class Health:
    """Looks at partitions now and then; `monotonic_s` is a clock that only goes forward."""

    partitions: Callable[[], Iterable[Watched]]
    monotonic_s: Callable[[], float]
    stuck_after_s: float  # a duration, not money
    is_ready: bool = False
    """Whether the run has begun to read."""
    _seen: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> list[Stuck]:
        """Which partitions are stuck now; to be called at least as often as `stuck_after_s`."""
        now = self.monotonic_s()
        with self._lock:
            return [stuck for p in self.partitions() if (stuck := self._judge(p, now)) is not None]

    def _judge(self, partition: Watched, now: float) -> Stuck | None:
        position, lag = partition.durable(), partition.lag()
        before, lag_before, since = self._seen.get(partition.name, (position, 0, now))
        if 0 in {lag, lag_before} or position != before:
            since = now
        self._seen[partition.name] = (position, lag, since)
        waited = now - since
        return Stuck(partition.name, lag, waited) if waited > self.stuck_after_s else None
