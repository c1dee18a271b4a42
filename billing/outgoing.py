"""The way of settlement events to the event log: written with the settlement, handed over until the log has them.

Delivery: at least once. An event has its key for ever, and the ledger counts a key once, so a second copy adds
nothing. Parallelism: one run at a time is enough; two do no harm.
"""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select, update

from billing.cap_tables import answers, refusals, usage_events
from billing.store import Store
from pipeline.ports import EventLog

TOGETHER = 500
REFUSALS_KEPT_MS = 90 * 86_400_000


def send_events(store: Store, log: EventLog, now_ms: int, *, wait_s: int = 30) -> int:
    """Hand all waiting events to the log, in their order; returns how many it has taken.

    Raises `LogAwayError` where the log takes none now; what was handed over before stays so.
    """
    sent = 0
    while rows := _waiting(store):
        log.append([row[1].encode() for row in rows], now_ms, [row[2] for row in rows]).result(wait_s)
        with store.write(survives_power_cut=False) as connection:  # a second copy adds nothing
            connection.execute(_SENT, [{"of": row[0], "at": now_ms} for row in rows])
        sent += len(rows)
    return sent


def unsent(store: Store) -> int:
    """Count the events that the log has not taken yet."""
    with store.read() as connection:
        query = select(func.count()).select_from(usage_events).where(*_IS_WAITING)
        return int(connection.execute(query).scalar_one())


def prune(store: Store, now_ms: int, answers_kept_s: int) -> int:
    """Forget stored answers and refusals that are old enough; settlements are kept for ever."""
    with store.write() as connection:
        old = answers.c.made_at_ms < now_ms - answers_kept_s * 1000
        gone = connection.execute(answers.delete().where(old)).rowcount
        gone += connection.execute(
            refusals.delete().where(refusals.c.decided_at_ms < now_ms - REFUSALS_KEPT_MS)
        ).rowcount
    return int(gone)


def _waiting(store: Store) -> Sequence[tuple[int, str, str]]:
    query = (
        select(usage_events.c.id, usage_events.c.line, usage_events.c.tenant)
        .where(*_IS_WAITING)
        .order_by(usage_events.c.id)
        .limit(TOGETHER)
    )
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(query)]


_IS_WAITING = (usage_events.c.sent_at_ms.is_(None), usage_events.c.seen_at_ms.is_(None))
_SENT = update(usage_events).where(usage_events.c.id == bindparam("of")).values(sent_at_ms=bindparam("at"))
