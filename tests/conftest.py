"""What all tests share: one embedded ledger for the whole process, empty at the start of each test.

chdb opens one folder for each process, so tests that need a ledger of this process take `ledger`; whoever
needs one of its own starts `millrace` as a subprocess.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from clickhouse_connect.driver.client import Client

from sinks.clickhouse import connect, migrate
from tests.kafka.fixtures import kafka, mock_kafka, real_kafka
from tests.postgres import postgres

__all__ = ["kafka", "ledger", "mock_kafka", "postgres", "real_kafka"]

KEPT = "schema_migrations"


@dataclass(frozen=True, slots=True)
class Ledger:
    """An open, migrated ledger."""

    url: str
    client: Client


@pytest.fixture(scope="session")
def _session_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    folder = tmp_path_factory.mktemp("ledger")
    url = f"chdb://{folder}"
    client = connect(url)
    migrate(client)
    yield Ledger(url, client)
    client.close()


@pytest.fixture
def ledger(_session_ledger: Ledger) -> Ledger:
    """Give a migrated ledger whose tables are empty."""
    empty(_session_ledger.client)
    return _session_ledger


def empty(client: Client) -> None:
    """Empty every table but the list of migrations."""
    sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'MergeTree'"
    for (name,) in client.query(sql).result_rows:
        if name != KEPT:
            client.command(f"TRUNCATE TABLE `{name}`")
