"""An index of the ledger by time, for lists of all tenants' events; the ledger itself is ordered by tenant.

It is a projection that holds only times and the places of their rows: some eight bytes for each event, and about
5 % more work for each insert. A run does not need it, so only a program that shows such lists adds it.
"""

from typing import Protocol

from clickhouse_connect.driver.exceptions import ClickHouseError

NAME = "by_time"


class CommandClient(Protocol):
    """The part of a clickhouse-connect client that changes a table."""

    def command(self, cmd: str) -> object:
        """Run a statement that gives no rows."""
        ...


def add_events_index(client: CommandClient) -> bool:
    """Add the index where it is not there yet, also for the rows that are; True where it was added now.

    Old rows are indexed beside the work, which takes some seconds for ten million rows. False, and nothing is
    changed, where this user may not change the table: lists are right without it, and slower.
    """
    asked = "SELECT count() FROM system.projections WHERE database = currentDatabase() AND table = 'ledger'"
    try:
        if str(client.command(f"{asked} AND name = '{NAME}'")) != "0":
            return False
        client.command(
            f"ALTER TABLE ledger ADD PROJECTION {NAME} (SELECT occurred_at, _part_offset ORDER BY occurred_at)"
        )
        client.command(f"ALTER TABLE ledger MATERIALIZE PROJECTION {NAME} SETTINGS mutations_sync = 0")
    except ClickHouseError:
        return False
    return True
