"""What the control store remembers of the provider: whose account it is for, and what setup made there."""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, insert, select, update

from billing.store import Store
from billing.tables import customers, facts, meters
from pipeline.errors import UsageError

_ACCOUNT = "stripe_account"


def bind(store: Store, account: str, *, is_live: bool) -> None:
    """Give the store to one account and mode for ever; raises `UsageError` where it has another already.

    What was told to a test account says nothing about a live one, so the two never share a store.
    """
    mine = f"{account} ({'live' if is_live else 'test'})"
    with store.write() as connection:
        held = _fact(connection, _ACCOUNT)
        if held is None:
            connection.execute(insert(facts).values(name=_ACCOUNT, value=mine))
    if held not in {None, mine}:
        msg = (
            f"this control store belongs to Stripe account {held}, but the key is of {mine}: "
            "use the right key, or another --state for the other account"
        )
        raise UsageError(msg)


def remember_meter(store: Store, event_name: str, ids: Mapping[str, str]) -> None:
    """Note the ids of a meter (`meter_id`), its product and its price."""
    with store.write() as connection:
        connection.execute(update(meters).where(meters.c.event_name == event_name).values(**ids))


def remember_customers(store: Store, adopted: Mapping[str, str], now: int) -> None:
    """Note the customers of tenants whose account names none."""
    with store.write() as connection:
        for tenant, customer in adopted.items():
            connection.execute(delete(customers).where(customers.c.tenant == tenant))
            values = {"tenant": tenant, "customer": customer, "adopted_at": now}
            connection.execute(insert(customers).values(values))


def meter_ids(store: Store) -> dict[str, str]:
    """Give the meter ids that setup noted, by event name."""
    with store.read() as connection:
        rows = connection.execute(
            select(meters.c.event_name, meters.c.meter_id).where(meters.c.meter_id != "")
        )
        return {row.event_name: row.meter_id for row in rows}


def _fact(connection: Connection, name: str) -> str | None:
    return connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar()
