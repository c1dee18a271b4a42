"""Work that recurs, one active run of each kind: a lease in the control store under a fencing number.

A run that stopped without a word is taken over when its lease has run out; what it says later is not kept.
That protects the schedule. What a run writes is protected where it is written: lanes have fences of their own,
planning is a pure function in one transaction, and a comparison changes only what has not moved since.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, Row, delete, insert, select, update

from billing.store import Store
from billing.tables import facts, loops
from pipeline.errors import MillraceError
from pipeline.outbox import HOUR_S

MINUTE_S = 60
LEASE_S = 300
DETAIL_MAX = 500
DAY_S = 24 * HOUR_S
_READS = "reads_of_day"
_log = structlog.get_logger(__name__)


class LeaseLostError(MillraceError):
    """The run must not go on."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One run's lease."""

    name: str
    owner: str
    fence: int
    started_at: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What one run came to."""

    name: str
    failed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one kind of work stands."""

    name: str
    due_at: int
    succeeded_at: int | None
    failures: int
    detail: str


Work = Callable[[Callable[[], bool]], str]
"""Does one run and says in a few words what came of it. It asks its argument between steps whether to go on,
which also renews the lease; `False`: another process has taken over, or the program stops."""


@dataclass(frozen=True, slots=True)
class Loop:
    """One kind of work."""

    name: str
    every_s: int
    work: Work


class Scheduler:
    """Runs what is due. Safe to use from several threads, one for each kind of work."""

    def __init__(
        self, store: Store, owner: str, now: Callable[[], int], stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._store = store
        self._owner = owner
        self._now = now
        self._stopped = stopped

    def turn(self, loop: Loop, *, at_once: bool = False) -> Turn | None:
        """Run the work if it is due, or `at_once`, and no one else is at it; None: not now.

        What the work raises is the turn's failure. Raises `StoreError` where the control store cannot be used.
        """
        hold = begin(self._store, loop, self._owner, self._now(), at_once=at_once)
        if hold is None:
            return None
        try:
            made = Turn(loop.name, failed=False, detail=loop.work(lambda: self._goes_on(hold)))
        except Exception as error:  # noqa: BLE001 - a loop outlives whatever one run meets
            said = str(error) if isinstance(error, MillraceError) else f"{type(error).__name__}: {error}"
            made = Turn(loop.name, failed=True, detail=said)
        kept = finish(self._store, loop, hold, made, self._now())
        log = _log.warning if made.failed or not kept else _log.info
        log(
            "loop_turned", loop=loop.name, fence=hold.fence, failed=made.failed, kept=kept, detail=made.detail
        )
        return made

    def wait_s(self, loop: Loop) -> int:
        """Say how long it is until the work is due: 1 to 60 seconds."""
        now = self._now()
        with self._store.read() as connection:
            due = connection.execute(select(loops.c.due_at).where(loops.c.name == loop.name)).scalar()
        return min(max((due or now) - now, 1), MINUTE_S)

    def _goes_on(self, hold: Hold) -> bool:
        return not self._stopped() and renew(self._store, hold, self._now())


def begin(store: Store, loop: Loop, owner: str, now: int, *, at_once: bool = False) -> Hold | None:
    """Take the lease if the work is due and no live run has it.

    Moments further ahead than the work's own rhythm were written by a clock that was wrong: they do not count.
    """
    with store.write() as connection:
        row = _row(connection, loop.name)
        if row is None:
            connection.execute(insert(loops).values(name=loop.name))
        elif now < row.leased_until <= now + LEASE_S or (
            not at_once and now < row.due_at <= now + loop.every_s
        ):
            return None
        fence = 1 if row is None else row.fence + 1
        values = {"owner": owner, "fence": fence, "leased_until": now + LEASE_S, "started_at": now}
        connection.execute(update(loops).where(loops.c.name == loop.name).values(values))
    return Hold(loop.name, owner, fence, now)


def renew(store: Store, hold: Hold, now: int) -> bool:
    """Say whether the lease still holds; writes only when half of it is over."""
    with store.read() as connection:
        row = _row(connection, hold.name)
    if row is None or row.fence != hold.fence:
        return False
    if row.leased_until - now > LEASE_S // 2:
        return True
    with store.write() as connection:
        mine = (loops.c.name == hold.name, loops.c.fence == hold.fence)
        changed = connection.execute(update(loops).where(*mine).values(leased_until=now + LEASE_S))
        return changed.rowcount == 1


def finish(store: Store, loop: Loop, hold: Hold, turn: Turn, now: int) -> bool:
    """Write what came of a run and when the next is due; False: another run has taken over, nothing is kept."""
    values: dict[str, object] = {
        "leased_until": 0,
        "due_at": max(hold.started_at + loop.every_s, now),
        "finished_at": now,
        "failures": loops.c.failures + 1 if turn.failed else 0,
        "detail": turn.detail[:DETAIL_MAX],
    }
    if not turn.failed:
        values["succeeded_at"] = now
    with store.write() as connection:
        mine = (loops.c.name == hold.name, loops.c.fence == hold.fence)
        return connection.execute(update(loops).where(*mine).values(values)).rowcount == 1


def standings(store: Store) -> list[Standing]:
    """List where each kind of work stands."""
    columns = (loops.c.name, loops.c.due_at, loops.c.succeeded_at, loops.c.failures, loops.c.detail)
    with store.read() as connection:
        return [Standing(*row) for row in connection.execute(select(*columns).order_by(loops.c.name))]


def keep_lease(goes_on: Callable[[], bool]) -> None:
    """Raise `LeaseLostError` where a run must not go on."""
    if not goes_on():
        msg = "the run ends here: the program stops, or another process has taken over"
        raise LeaseLostError(msg)


def reads_left(store: Store, a_day: int, now: int) -> int:
    """Say how many reads of this UTC day are left; Stripe counts reads by the month, so days share it."""
    with store.read() as connection:
        return max(0, a_day - _reads_of(connection, now))


def note_reads(store: Store, reads: int, now: int) -> None:
    """Count reads of this UTC day."""
    with store.write() as connection:
        value = f"{now // DAY_S} {_reads_of(connection, now) + reads}"
        connection.execute(delete(facts).where(facts.c.name == _READS))
        connection.execute(insert(facts).values(name=_READS, value=value))


def _reads_of(connection: Connection, now: int) -> int:
    held = connection.execute(select(facts.c.value).where(facts.c.name == _READS)).scalar()
    day, _, count = (held or "0 0").partition(" ")
    return int(count) if int(day) == now // DAY_S else 0


def _row(connection: Connection, name: str) -> Row[tuple[object, ...]] | None:
    return connection.execute(select(loops).where(loops.c.name == name)).first()
