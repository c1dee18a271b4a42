"""How far each input is durable in all lanes, as this process has heard."""

import threading
from collections.abc import Callable, Mapping

from pipeline.chunk import Origin


class Durable:
    """Positions by origin: all records below are durable in every lane. Safe for several threads."""

    def __init__(
        self, lanes: int, starts: Mapping[Origin, int], now_ms: Callable[[], int] = lambda: 0
    ) -> None:
        self._lock, self._now_ms = threading.Lock(), now_ms
        self._by_lane = {origin: [start] * lanes for origin, start in starts.items()}
        self._moved_at_ms = dict.fromkeys(starts, now_ms())

    def note(self, lane: int, positions: Mapping[Origin, int]) -> None:
        """A lane has made everything below these positions durable."""
        with self._lock:
            for origin, position in positions.items():
                lanes = self._by_lane.get(origin)
                if lanes is not None:
                    before = min(lanes)
                    lanes[lane] = max(lanes[lane], position)
                    if min(lanes) > before:
                        self._moved_at_ms[origin] = self._now_ms()

    def position(self, origin: Origin) -> int:
        """How far an origin is durable."""
        with self._lock:
            return min(self._by_lane.get(origin, [0]))

    def moved_at_ms(self, origin: Origin) -> int:
        """When the position of an origin last moved; when the run began, where it has not yet."""
        with self._lock:
            return self._moved_at_ms.get(origin, 0)

    def positions(self) -> dict[Origin, int]:
        """How far each origin is durable."""
        with self._lock:
            return {origin: min(lanes) for origin, lanes in self._by_lane.items()}
