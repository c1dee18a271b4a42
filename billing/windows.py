"""The port to the ledger: what the pipeline has counted, as the caps need to know it."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.spans import Reading, Span


class SpendReader(Protocol):
    """Reads the pipeline's windows; safe to use from several threads."""

    def read(self, spans: Sequence[Span], settled_since_ms: int) -> Reading:
        """Sum the spans.

        Guaranteed: a settlement row that occurred at or after `settled_since_ms` is either in `settled` and in the
        sums of all spans that hold it, or in none. Raises `LedgerError`.
        """
        ...
