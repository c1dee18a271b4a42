"""One event from its key to its money: its row, what voids it, its quarter hours, and what Stripe was told.

The ledger's part is SQL (`explain_event.sql`). What Stripe was told lies in the control store, which this
package does not know: whoever puts the program together hands in a reader of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from pipeline.errors import UsageError
from pipeline.outbox import HOUR_S, Report, State
from queries.named import Client, named_queries, run

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """A report that holds usage of the hours asked for, and where it stands."""

    report: Report
    state: State


class Reports(Protocol):
    """Reads the Stripe outbox."""

    def told(self, tenant: str, hours: Sequence[int]) -> Sequence[Told]:
        """Give the tenant's reports that owe their value to these hours (their starts, epoch seconds)."""
        ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """The lines of `explain_event` by their part, and the reports of their hours."""

    events: tuple[Row, ...]
    """One, or none for a key that only corrections name; more would be a broken ledger."""
    corrections: tuple[Row, ...]
    rollups: tuple[Row, ...]
    told: tuple[Told, ...] | None
    """None where no outbox was asked; empty where nothing of it is for Stripe, or not planned yet."""


def explain(client: Client, tenant: str, key: str, reports: Reports | None = None) -> Explanation:
    """Explain the event of a tenant with this idempotency key.

    Only metered usage is for Stripe, so only its hours are asked for. Raises `UsageError` where the ledger
    has no such key.
    """
    rows = run(client, named_queries()["explain_event"], {"tenant": tenant, "key": key}).dicts()
    if not rows:
        msg = (
            f"the ledger has no event of the tenant {tenant!r} with the idempotency key {key!r}: "
            "see whether it was rejected, with `millrace rejects list`"
        )
        raise UsageError(msg)
    parts = {
        name: tuple(row for row in rows if row["part"] == name) for name in ("event", "correction", "rollup")
    }
    hours = sorted({_told_as_of(row) for row in parts["rollup"] if row["settlement"] == "metered"})
    told = None if reports is None else tuple(reports.told(tenant, hours)) if hours else ()
    return Explanation(parts["event"], parts["correction"], parts["rollup"], told)


def _told_as_of(row: Row) -> int:
    """Give the hour that Stripe is told of: the row's own, or the first of the period that late usage is billed in."""
    seconds = int(row["occurred_at"].replace(tzinfo=UTC).timestamp())
    billed_from = datetime.strptime(row["billing_period"], "%Y-%m").replace(tzinfo=UTC)
    return max(seconds - seconds % HOUR_S, int(billed_from.timestamp()))
