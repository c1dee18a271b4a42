"""Latencies in buckets of equal relative width, as HdrHistogram has them: any number of them in a few kilobytes."""

from collections import Counter
from dataclasses import dataclass, field

SHARES = (50, 90, 99, 99.9, 99.99, 100)
_EXACT_BITS = 8
"""Below 2^8 microseconds each value has its bucket; above, buckets are at most 1/128 of their value wide."""


@dataclass(slots=True)
class Percentiles:
    """Counts microseconds; what it gives back is never less than what was counted, and at most 0.8 % more."""

    counts: Counter[int] = field(default_factory=Counter)
    most_us: int = 0

    def add(self, us: int) -> None:
        """Count one."""
        us = max(us, 0)
        self.counts[_bucket_end(us)] += 1
        self.most_us = max(self.most_us, us)

    @property
    def count(self) -> int:
        """How many were counted."""
        return self.counts.total()

    def at(self, share: float) -> int:
        """Below or at how many microseconds so many percent are."""
        wanted = self.count * share / 100
        seen = 0
        for end, count in sorted(self.counts.items()):
            seen += count
            if seen >= wanted:
                return min(end, self.most_us)
        return self.most_us

    def shown(self) -> dict[str, int]:
        """The usual shares, in microseconds."""
        return {f"p{share:g}": self.at(share) for share in SHARES}


def _bucket_end(us: int) -> int:
    shift = max(us.bit_length() - _EXACT_BITS, 0)
    return ((us >> shift) + 1 << shift) - 1
