"""Reads from the ledger what meters sum: exact integers, metered rows only."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.errors import LedgerError
from pipeline.outbox import Measure, Sums, Usage

EPOCH = 946_684_800
"""2000-01-01: no event is older."""
_NEVER = 4_102_444_800
"""2100-01-01: all before it is told by month."""
_DAY_S = 86_400


class LedgerUsage:
    """`pipeline.outbox.UsageReader` over ClickHouse; serves the thread of its client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def totals(self, measure: Measure, since: int, hourly_from: int) -> Sequence[Usage]:
        """Return each tenant's totals from `since` on: by month before `hourly_from`, by hour from there on.

        One query, so the totals are of one moment. Raises `LedgerError` when the ledger refuses.
        """
        name, parameters = _query(measure)
        parameters["operations"] = list(measure.operations)
        parameters["since"] = _moment(max(since, EPOCH))
        parameters["hourly_from"] = _moment(max(hourly_from, EPOCH))
        rows = self._ask(name, parameters)
        return [Usage(str(tenant), int(window), int(total)) for tenant, window, total in rows]

    def sums(self, measure: Measure, since: int) -> dict[str, int]:
        """Return each tenant's exact total from `since` on: those of `totals`, without their windows.

        All cost from the start of a day on comes from sums by day where the ledger has them. Raises as `totals`.
        """
        sums: dict[str, int] = {}
        if measure == Measure(Sums.COST) and max(since, EPOCH) % _DAY_S == 0:
            for tenant, total in self._ask("stripe_cost_sums.sql", {"since": _moment(max(since, EPOCH))}):
                sums[str(tenant)] = int(total)
            return sums
        for one in self.totals(measure, since, _NEVER):
            sums[one.tenant] = sums.get(one.tenant, 0) + one.total
        return sums

    def _ask(self, name: str, parameters: dict[str, object]) -> Sequence[Sequence[Any]]:
        sql = (resources.files("sinks") / "sql" / name).read_text(encoding="utf-8")
        try:
            return self._client.query(sql, parameters=parameters).result_rows
        except ClickHouseError as error:
            msg = f"the ledger's usage cannot be read: {str(error).splitlines()[0][:300]}"
            raise LedgerError(msg) from error


def _query(measure: Measure) -> tuple[str, dict[str, object]]:
    if measure.sums is Sums.COST and measure.sources:
        return "stripe_cost_by_source.sql", {"sources": list(measure.sources)}
    if measure.sums is Sums.COST:
        return "stripe_cost.sql", {}
    if measure.sums in {Sums.CALLS, Sums.USAGE}:
        return "stripe_calls_and_usage.sql", {"usage_source": measure.usage_source}
    return "stripe_quantity.sql", {"quantity": measure.sums.value}


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
