"""Which reports hold the usage of given hours."""

from collections.abc import Sequence

from sqlalchemy import select

from billing.intents import REPORT_COLUMNS, report_of
from billing.periods import month_start
from billing.store import Store
from billing.tables import intents
from pipeline.outbox import Report, State


def reports_of(store: Store, tenant: str, hours: Sequence[int]) -> list[tuple[Report, State]]:
    """Give a tenant's reports that owe their value to these hours, or to the whole months that hold them.

    `hours` are starts in epoch seconds. In the order of what they report, then of when.
    """
    origins = {*hours, *map(month_start, hours)}
    query = (
        select(*REPORT_COLUMNS, intents.c.state)
        .where(intents.c.tenant == tenant, intents.c.origin_start.in_(origins))
        .order_by(intents.c.event_name, intents.c.origin_start, intents.c.window_start, intents.c.slot)
    )
    with store.read() as connection:
        return [(report_of(row), State(row.state)) for row in connection.execute(query)]
