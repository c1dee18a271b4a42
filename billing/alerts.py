"""Alerts on their way: crossings, refusals, overruns and shortfalls, to signed webhooks and to the decisions topic.

An alert is written in the transaction of what caused it. It is then addressed to each target, and each delivery is
tried until the target takes it, with growing pauses; after the last attempt it is a dead letter, which is kept and can
be sent again.

Delivery: at least once to each target; the alert's id tells a second copy. Parallelism: deliveries are leased, so any
number of workers may send.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select, update

from billing.cap_tables import alerts, deliveries
from billing.store import Store
from pipeline.letters import Letter, Receipt, Target

PENDING, DELIVERED, DEAD = "pending", "delivered", "dead"
ATTEMPTS_MAX = 12
PAUSE_MS, PAUSE_MS_MAX = 1_000, 3_600_000
LEASE_MS = 60_000
"""Longer than any attempt takes."""
NEWS_MS = 86_400_000
KEPT_MS = 90 * 86_400_000
TOGETHER = 50
DETAIL_MAX = 500


class Courier:
    """Addresses alerts and sends deliveries."""

    def __init__(
        self,
        store: Store,
        targets: Sequence[Target],
        now_ms: Callable[[], int],
        randbelow: Callable[[int], int],
        addressees: Collection[str] | None = None,
    ) -> None:
        """Send to `targets`; `addressees` are the names of all targets where other couriers send to some of them."""
        self._store, self._now_ms, self._randbelow = store, now_ms, randbelow
        self._targets = {target.name: target for target in targets}
        self._addressees = set(addressees or self._targets)

    def turn(self) -> int:
        """Address what is new and send what is due; returns how many deliveries were tried."""
        self._address()
        tried = 0
        while letters := self._take():
            for letter in letters:
                self._settle(letter, self._send(letter))
            tried += len(letters)
        return tried

    def _send(self, letter: Letter) -> Receipt:
        try:
            return self._targets[letter.target].send(letter, self._now_ms())
        except Exception as error:  # noqa: BLE001 - a target's fault is its delivery's alone
            return Receipt(is_taken=False, detail=f"{type(error).__name__}: {error}")

    def _address(self) -> None:
        """Make a delivery of each new alert for each addressee; what was told to nobody for a day is no news."""
        now = self._now_ms()
        if not self._has_new():
            return
        with self._store.write() as connection:
            new = select(alerts.c.id, alerts.c.made_at_ms).where(alerts.c.addressed_at_ms.is_(None))
            found = connection.execute(new.order_by(alerts.c.id).limit(1_000)).all()
            ids = [row.id for row in found]
            rows = [
                {"alert_id": row.id, "target": name, "state": PENDING, "due_at_ms": now}
                for row in found
                if row.made_at_ms > now - NEWS_MS
                for name in sorted(self._addressees)
            ]
            if rows:
                connection.execute(insert(deliveries), rows)
            if ids:
                connection.execute(update(alerts).where(alerts.c.id.in_(ids)).values(addressed_at_ms=now))

    def _has_new(self) -> bool:
        with self._store.read() as connection:
            query = select(alerts.c.id).where(alerts.c.addressed_at_ms.is_(None)).limit(1)
            return connection.execute(query).first() is not None

    def _take(self) -> list[Letter]:
        now = self._now_ms()
        due = and_(
            deliveries.c.state == PENDING,
            deliveries.c.due_at_ms <= now,
            deliveries.c.leased_until_ms <= now,
            deliveries.c.target.in_(list(self._targets)),
        )
        query = (
            select(deliveries.c.id, deliveries.c.attempts, deliveries.c.target, alerts)
            .join(alerts, alerts.c.id == deliveries.c.alert_id)
            .where(due)
            .order_by(deliveries.c.due_at_ms, deliveries.c.id)
            .limit(TOGETHER)
        )
        with self._store.read() as connection:
            if connection.execute(query.limit(1)).first() is None:
                return []
        with self._store.write() as connection:
            rows = connection.execute(query).all()
            ids = [row[0] for row in rows]
            if ids:
                lease = {"leased_until_ms": now + LEASE_MS, "attempts": deliveries.c.attempts + 1}
                connection.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(lease))
        return [
            Letter(row[0], row[3], row.target, row.kind, row.tenant, row.body.encode(), row.attempts + 1)
            for row in rows
        ]

    def _settle(self, letter: Letter, receipt: Receipt) -> None:
        now = self._now_ms()
        values: dict[str, Any] = {"leased_until_ms": 0, "detail": receipt.detail[:DETAIL_MAX]}
        if receipt.is_taken:
            values |= {"state": DELIVERED, "delivered_at_ms": now}
        elif letter.attempt >= ATTEMPTS_MAX:
            values |= {"state": DEAD}
        else:
            pause = max(pause_ms(letter.attempt, self._randbelow), receipt.retry_after_ms)
            values |= {"due_at_ms": now + min(pause, PAUSE_MS_MAX)}
        mine = and_(
            deliveries.c.id == letter.delivery_id,
            deliveries.c.attempts == letter.attempt,
            deliveries.c.state == PENDING,
        )
        with self._store.write() as connection:
            connection.execute(update(deliveries).where(mine).values(values))


def pause_ms(attempt: int, randbelow: Callable[[int], int]) -> int:
    """Say how long to wait after an attempt: doubling, half of it by chance, so that failures do not march in step."""
    full = min(PAUSE_MS << (attempt - 1), PAUSE_MS_MAX)
    return full // 2 + randbelow(full // 2 + 1)


def replay(store: Store, now_ms: int, *, delivery_id: int | None = None) -> int:
    """Send dead letters again, one or all; returns how many."""
    dead = deliveries.c.state == DEAD
    which = dead if delivery_id is None else and_(dead, deliveries.c.id == delivery_id)
    values = {"state": PENDING, "attempts": 0, "due_at_ms": now_ms, "leased_until_ms": 0}
    with store.write() as connection:
        return int(connection.execute(update(deliveries).where(which).values(values)).rowcount)


def list_deliveries(
    store: Store, *, state: str = "", tenant: str = "", before: int | None = None, limit: int = 100
) -> list[Mapping[str, Any]]:
    """List deliveries with their alerts, newest first."""
    query = (
        select(
            deliveries, alerts.c.kind, alerts.c.tenant, alerts.c.body, alerts.c.made_at_ms
        )
        .join(alerts, alerts.c.id == deliveries.c.alert_id)
        .order_by(deliveries.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    for column, value in ((deliveries.c.state, state), (alerts.c.tenant, tenant)):
        if value:
            query = query.where(column == value)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    with store.read() as connection:
        return [row._asdict() for row in connection.execute(query)]


def standing(store: Store) -> Mapping[str, int]:
    """Count deliveries by state, and alerts that wait to be addressed."""
    with store.read() as connection:
        return _counts(connection)


def _counts(connection: Connection) -> dict[str, int]:
    by_state = select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
    new = select(func.count()).select_from(alerts).where(alerts.c.addressed_at_ms.is_(None))
    counts = {state: int(count) for state, count in connection.execute(by_state)}
    return {PENDING: 0, DELIVERED: 0, DEAD: 0, **counts, "new": int(connection.execute(new).scalar_one())}


def prune_alerts(store: Store, now_ms: int) -> int:
    """Forget alerts that are three months old, with their deliveries; returns how many."""
    old = select(alerts.c.id).where(
        alerts.c.made_at_ms < now_ms - KEPT_MS, alerts.c.addressed_at_ms.is_not(None)
    )
    with store.write() as connection:
        connection.execute(deliveries.delete().where(deliveries.c.alert_id.in_(old)))
        return int(connection.execute(alerts.delete().where(alerts.c.id.in_(old))).rowcount)
