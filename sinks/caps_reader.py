"""What the caps read of the ledger (`billing.windows.SpendReader`): sums of windows, and the settlements in them.

Two questions that share no row. All that is no fresh settlement comes from the quarter-hour rollup; settlement rows
of the quarter hour of `settled_since_ms` and later come from the ledger itself, their sums and their keys in one
scan. So a fresh settlement is in the sums exactly when its key is told, whatever is written between the two questions.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.spans import SETTLEMENT_OPERATIONS, SETTLEMENT_SOURCE, Reading, Span
from sinks.inserts import sql, translated

_MICRO = 1_000_000
_QUARTER_MS = 900_000
_NAMES_BYTES = 16_384


class LedgerSpend:
    """Reads the ledger over a client; `connect` gives one for the calling thread."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect

    def read(self, spans: Sequence[Span], settled_since_ms: int) -> Reading:
        """See `SpendReader`."""
        client = self._connect()
        pico: dict[tuple[str, int, int], int] = defaultdict(int)
        settled: dict[tuple[str, str], int] = {}
        since_s = settled_since_ms // _QUARTER_MS * (_QUARTER_MS // 1000)
        for span in spans:
            for names in _groups(span.tenants):
                bounds = {"tenants": names, "start": span.start_s, "end": span.end_s, "since": since_s}
                for tenant, micro, residual in _ask(client, "cap_sums", bounds):
                    pico[tenant, span.start_s, span.end_s] += int(micro) * _MICRO + int(residual)
        for names in _groups(sorted({tenant for span in spans for tenant in span.tenants})):
            given = {
                "tenants": names, "since": since_s, "keys_since": settled_since_ms, "source": SETTLEMENT_SOURCE,
            }  # fmt: skip
            for tenant, quarter_s, micro, residual, keys in _ask(client, "cap_settled", given):
                for span in spans:
                    if span.start_s <= quarter_s < span.end_s and tenant in span.tenants:
                        pico[tenant, span.start_s, span.end_s] += int(micro) * _MICRO + int(residual)
                for key, amount in keys:
                    settled[tenant, key] = settled.get((tenant, key), 0) + int(amount)
        return Reading(dict(pico), settled)


def _ask(client: Client, name: str, given: dict[str, Any]) -> list[Any]:
    parameters = {**given, "operations": list(SETTLEMENT_OPERATIONS)}
    try:
        return list(client.query(sql(name), parameters=parameters).result_rows)
    except (ClickHouseError, OSError) as error:
        raise translated(error, "reading what tenants have spent") from error


def _groups(names: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for name in names:
        if group and size + len(name.encode()) > _NAMES_BYTES:
            yield group
            group, size = [], 0
        group.append(name)
        size += len(name.encode()) + 8
    if group:
        yield group
