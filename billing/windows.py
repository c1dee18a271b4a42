"""What the pipeline has counted, as the caps see it: the port to the ledger, and the refresh of the store's copy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

SOURCE = "urn:millrace:settlements"
"""The source of the usage events that settlements emit."""


@dataclass(frozen=True, slots=True)
class Span:
    """A window of some tenants: seconds, from `start_s` up to before `end_s`."""

    start_s: int
    end_s: int
    tenants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """The sums of spans, and the settlements among them, of one moment of the ledger."""

    pico: Mapping[tuple[str, int, int], int]
    """By (tenant, start_s, end_s): what counts against caps, in pico-USD; absent: nothing."""
    settled: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(tenant, idempotency key) -> pico-USD of the settlements since `settled_since_ms` that are in the sums."""


class SpendReader(Protocol):
    """Reads the pipeline's windows; safe to use from several threads."""

    def read(self, spans: Sequence[Span], settled_since_ms: int) -> Reading:
        """Sum the spans.

        Guaranteed: a settlement row that occurred at or after `settled_since_ms` is either in `settled` and in the
        sums of all spans that hold it, or in none. Raises `LedgerError`.
        """
