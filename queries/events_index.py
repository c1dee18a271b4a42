"""What the console needs of the ledger beside its own rollups: an index by time, and small sums of all tenants.

All are projections, so they are of the same moment as the rows. The index holds only times and the places of their
rows, some five bytes for each event; the sums take two more. A run does not need them, so only a program that shows all
tenants' figures adds them. Without them every figure is the same, and slower.
"""

from typing import Protocol

from clickhouse_connect.driver.exceptions import ClickHouseError

PROJECTIONS = {
    "by_time": "SELECT occurred_at, _part_offset ORDER BY occurred_at",
    "sums_by_time": (
        "SELECT toStartOfFifteenMinutes(occurred_at) AS quarter, operation, type, pricing, settlement, count(),"
        " sum(cost_micro_usd), sum(residual_pico_usd) GROUP BY quarter, operation, type, pricing, settlement"
    ),
    "sums_by_hour": (
        "SELECT toStartOfHour(toStartOfFifteenMinutes(occurred_at)) AS hour, tenant, count(), sum(cost_micro_usd),"
        " sum(residual_pico_usd) GROUP BY hour, tenant"
    ),
    "sums_by_day": (
        "SELECT toStartOfDay(toStartOfFifteenMinutes(occurred_at)) AS day, tenant, settlement, count(),"
        " sum(cost_micro_usd), sum(residual_pico_usd) GROUP BY day, tenant, settlement"
    ),
}
"""Hours and days are of the quarter hour and not of the moment, so that `by_quarter` can answer in their place."""


class CommandClient(Protocol):
    """The part of a clickhouse-connect client that changes a table."""

    def command(self, cmd: str) -> object:
        """Run a statement that gives no rows."""
        ...


def add_events_index(client: CommandClient) -> bool:
    """Add what is not there yet, also for the rows that are; True where something was added now.

    Old rows are indexed beside the work, which takes some seconds for ten million rows. False, and nothing is
    changed, where this user may not change the table.
    """
    added = False
    try:
        for name, definition in PROJECTIONS.items():
            if not _is_there(client, name):
                client.command(f"ALTER TABLE ledger ADD PROJECTION {name} ({definition})")
                client.command(
                    f"ALTER TABLE ledger MATERIALIZE PROJECTION {name} SETTINGS mutations_sync = 0"
                )
                added = True
    except ClickHouseError:
        return added
    return added


def _is_there(client: CommandClient, name: str) -> bool:
    asked = "SELECT count() FROM system.projections WHERE database = currentDatabase() AND table = 'ledger'"
    return str(client.command(f"{asked} AND name = '{name}'")) != "0"
