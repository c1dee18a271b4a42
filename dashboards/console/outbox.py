"""The outbox as the console reads it: pages by number, one by its identifier, the last comparison."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Row, Select, select

from billing.intents import REPORT_COLUMNS, report_of
from billing.periods import month_start
from billing.planner import Balance
from billing.reconcile import Finding
from billing.status import Status, status
from billing.store import Store
from billing.tables import intents, reconciliations
from dashboards.console.services import Comparison, Told
from pipeline.outbox import State

_COLUMNS = (
    *REPORT_COLUMNS, intents.c.id, intents.c.state, intents.c.detail, intents.c.attempts, intents.c.last_attempt_at,
)  # fmt: skip
FINDINGS_MAX = 200


class SqlStripe:
    """Reads a store (see `services.StripeReader`); `books` says what the ledger owes beyond it."""

    def __init__(self, store: Store, books: Callable[[], Sequence[Balance]], finalizes_after_s: int) -> None:
        self._store, self._books, self._finalizes_after_s = store, books, finalizes_after_s

    def status(self) -> Status:
        """Count reports and units by where they stand."""
        return status(self._store, self._finalizes_after_s)

    def books(self) -> Sequence[Balance]:
        """Say of every tenant what the ledger owes that is in no report yet."""
        return self._books()

    def reports(self, state: str, tenant: str, before: int, limit: int) -> Sequence[Told]:
        """Give reports, the newest first, with numbers below `before`."""
        query = select(*_COLUMNS).where(intents.c.id < before).order_by(intents.c.id.desc()).limit(limit)
        query = query.where(intents.c.state == state) if state else query
        return self._read(query.where(intents.c.tenant == tenant) if tenant else query)

    def told(self, tenant: str, hours: Sequence[int]) -> Sequence[Told]:
        """Give a tenant's reports that owe their value to these hours, or to the months that hold them."""
        origins = {*hours, *map(month_start, hours)}
        query = select(*_COLUMNS).where(intents.c.tenant == tenant, intents.c.origin_start.in_(origins))
        return self._read(query.order_by(intents.c.origin_start, intents.c.id))

    def find(self, identifier: str) -> Told | None:
        """Find a report by its identifier."""
        found = self._read(select(*_COLUMNS).where(intents.c.identifier == identifier))
        return found[0] if found else None

    def comparison(self) -> Comparison | None:
        """Give the last comparison with Stripe, or None where there was none yet."""
        query = select(reconciliations).order_by(reconciliations.c.id.desc()).limit(1)
        with self._store.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        found = json.loads(row.result).get("findings", [])[:FINDINGS_MAX]
        findings = [Finding(**{**one, "identifiers": tuple(one["identifiers"])}) for one in found]
        return Comparison(row.made_at, row.windows, row.differences, findings)

    def _read(self, query: Select[Any]) -> list[Told]:
        with self._store.read() as connection:
            return [_told(row) for row in connection.execute(query)]


def _told(row: Row[Any]) -> Told:
    return Told(row.id, report_of(row), State(row.state), row.detail, row.attempts, row.last_attempt_at)
