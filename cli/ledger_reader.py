"""Named queries of the ledger for a service: any thread asks, each has a client of its own that only reads."""

import threading
from collections.abc import Mapping
from typing import Any

from clickhouse_connect.driver.client import Client

from queries.named import find_query, run
from sinks.clickhouse import connect


class LedgerReader:
    """Asks the ledger at a URL; see `api.services.LedgerReader`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = threading.local()

    def rows(self, query: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of a named query by column."""
        return run(self.client(), find_query(query), params).dicts()

    def client(self) -> Client:
        """A client for the calling thread."""
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = connect(self._url)
            self._local.client = client
        return client
