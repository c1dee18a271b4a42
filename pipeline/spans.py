"""What the caps ask of the ledger, as values: both the control store and the ledger know them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SETTLEMENT_SOURCE = "urn:millrace:settlements"
"""The source of the usage events that settlements emit."""
SETTLEMENT_OPERATIONS = ("settlement", "settlement_credit")
"""What the shipped catalog prices at 1 micro-USD for each settled micro-USD."""


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
