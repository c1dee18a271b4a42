"""What must be done again and again so that caps stay right: reservations and lots end, old answers go."""

from sqlalchemy import select

from billing.book import OPEN, Book, expire, lock_tenants, reservation_of
from billing.cap_tables import reservations
from billing.store import Store

_TOGETHER = 200


def expire_due(store: Store, now_ms: int) -> int:
    """End reservations whose time is over; returns how many.

    A decision about a tenant ends its own first, so this only brings the held money back where nobody asks.
    """
    ended = 0
    while True:
        query = select(reservations.c.tenant).where(
            reservations.c.state == OPEN, reservations.c.expires_at_ms <= now_ms
        )
        with store.read() as connection:
            names = connection.execute(query.distinct().limit(_TOGETHER)).scalars().all()
        if not names:
            return ended
        with store.write(is_alone=False, survives_power_cut=False) as connection:
            book = Book(connection, now_ms, tenants=lock_tenants(connection, names, now_ms))
            due = select(reservations).where(
                reservations.c.tenant.in_(names),
                reservations.c.state == OPEN,
                reservations.c.expires_at_ms <= now_ms,
            )
            for row in connection.execute(due).all():
                state = book.reservations[row.id] = reservation_of(row)
                expire(book, state)
                ended += 1
            book.flush()
