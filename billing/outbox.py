"""The outbox in the control store, as the pusher sees it (`pipeline.outbox.Outbox`).

A lane (a customer's meter) is leased to one owner at a time under a fencing number that only grows; what an
owner reports after its lease was taken over changes nothing. An attempt is durable before its bytes leave.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    ScalarSelect,
    Select,
    Subquery,
    Update,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)

from billing.intents import (
    REPORT_COLUMNS,
    STANDING_COLUMNS,
    AnyRow,
    report_of,
    standing_of,
    write_standing,
    write_standings,
)
from billing.machine import Standing, after_attempt, after_crash, after_time, begun, pause_s
from billing.periods import open_from
from billing.restore import Mark, is_read_only, next_serial
from billing.stops import resumed_at, stopped_meters
from billing.store import Store
from billing.tables import attempts, facts, intents, invoices, lanes
from pipeline.errors import StoreError
from pipeline.outbox import HOLDING, Attempt, Report, Result, Settled, State

NEVER = 2**62
LEASE_S = 300
"""Longer than any call takes: a lease that ran out has no call in flight."""
SEND_WITHIN_S = LEASE_S - 60
"""Leaves a call its time before the lease runs out."""
AHEAD_S = 240
"""Stripe takes events up to five minutes ahead."""
CLOCK_TOLERANCE_S = 60
LEASE_AHEAD_S = 300
"""Hosts whose clocks differ by less respect each other's leases."""
_SENDABLE = (State.PLANNED, State.DEFERRED, State.UNKNOWN)
_LATEST = "latest_moment"


@dataclass(frozen=True, slots=True)
class Stamp:
    """The versions that a report was made with: a repetition needs the same API version and SDK major."""

    api_version: str
    sdk_version: str


class SqlOutbox:
    """One pusher's outbox. Unit of parallelism: the lane, with at most one call in flight.

    Delivery: each report at least once until proven, under one identifier that Stripe takes once.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what cli hands in
        self,
        store: Store,
        owner: str,
        stamp: Stamp,
        finalizes_after_s: int,
        randbelow: Callable[[int], int],
        mark: Mark,
    ) -> None:
        self._store = store
        self._owner = owner
        self._stamp = stamp
        self._finalizes_after_s = finalizes_after_s
        self._randbelow = randbelow
        self._mark = mark
        self._sdk_major = stamp.sdk_version.split(".")[0] + ".%"
        self._swept_at = -1
        self._stopped: list[str] = []
        """Meters that take nothing."""

    def exchange(self, settled: Sequence[Settled], free: int, now: int) -> Sequence[Attempt]:
        """Write outcomes, apply deadlines and take up to `free` attempts, in one durable transaction."""
        with self._store.write() as connection:
            self._settle(connection, settled, now)
            if self._swept_at < 0:
                _wake_unknown(connection)
            if now != self._swept_at:
                self._sweep(connection, now)
            taken = [] if free == 0 or is_read_only(connection) else self._take(connection, free, now)
            serial = next_serial(connection) if taken else 0
        self._swept_at = now
        if taken:
            self._mark.write(serial, now)
        return taken

    def next_due(self, now: int) -> int | None:
        """Say when the next report may be sent: up to `now` means at once, None that none is left."""
        due = case((lanes.c.due_at > lanes.c.paused_until, lanes.c.due_at), else_=lanes.c.paused_until)
        mine = or_(_lease_over(now), lanes.c.owner == self._owner)
        waiting = and_(lanes.c.due_at < NEVER, mine, ~lanes.c.held)
        with self._store.read() as connection:
            if is_read_only(connection):
                return None
            waiting = and_(waiting, lanes.c.event_name.not_in(stopped_meters(connection)))
            found = connection.execute(select(func.min(due)).where(waiting)).scalar()
        return None if found is None else int(found)

    def release(self) -> None:
        """Give back all lanes that have no call in flight."""
        idle = and_(lanes.c.owner == self._owner, ~lanes.c.in_flight)
        with self._store.write() as connection:
            connection.execute(update(lanes).where(idle).values(leased_until=0))

    def _settle(self, connection: Connection, settled: Sequence[Settled], now: int) -> None:
        if not settled:
            return
        ids = [one.attempt.intent_id for one in settled]
        rows = {row.id: row for row in connection.execute(_SETTLED, {"of_ids": ids})}
        if len(rows) < len(set(ids)):
            msg = "the control store was replaced while reports were under way: start again"
            raise StoreError(msg)
        changes = [self._settled(rows[one.attempt.intent_id], one, now) for one in settled]
        _many(connection, _FINISH_ATTEMPT, [change.attempt for change in changes])
        standings = [(c.intent_id, c.standing) for c in changes if c.standing is not None]
        write_standings(connection, standings)
        _many(connection, _GIVE_BACK_LANE, [c.lane for c in changes if c.standing is not None])

    def _settled(self, row: AnyRow, one: Settled, now: int) -> "_Change":
        """Decide what one outcome changes; nothing but the attempt itself where the lease was taken over."""
        attempt, outcome = one.attempt, one.outcome
        stale = row.lane_fence != attempt.fence or row.owner != self._owner
        finished = _finished(one, stale=stale, now=now)
        if stale:
            return _Change(finished, attempt.intent_id, None, {})
        good = outcome.result in {Result.APPLIED, Result.DUPLICATE}
        failures = 0 if good else row.failures + 1
        pause = 0 if good else max(pause_s(failures, self._randbelow), outcome.retry_after_s)
        standing = after_attempt(standing_of(row), attempt.number, outcome, now, now + pause)
        held = bool(row.held or standing.state in HOLDING)
        where = {"of_customer": attempt.report.customer, "of_event_name": attempt.report.event_name}
        paused_until = now + pause if pause else 0
        lane = {**where, "to_failures": failures, "to_paused_until": paused_until, "to_held": held}
        return _Change(finished, attempt.intent_id, standing, lane)

    def _sweep(self, connection: Connection, now: int) -> None:
        went_back = _note_time(connection, now)
        self._stopped = stopped_meters(connection)
        self._take_over_crashed(connection, now)
        closed = closed_until(connection)
        general = open_from(now, self._finalizes_after_s)
        old = intents.c.window_start < max([general, *closed.values()])
        waiting = and_(intents.c.state.in_(_SENDABLE), or_(old, intents.c.state == State.UNKNOWN))
        for row in connection.execute(
            select(*STANDING_COLUMNS, *REPORT_COLUMNS, intents.c.id).where(waiting)
        ).all():
            before = standing_of(row)
            is_closed = row.window_start < max(general, closed.get(row.customer, 0))
            after = after_time(before, now, closed=is_closed, clock_went_back=went_back)
            if after != before:
                self._change(connection, row, after)

    def _take_over_crashed(self, connection: Connection, now: int) -> None:
        dead = and_(lanes.c.in_flight, _lease_over(now))
        for lane_row in connection.execute(select(lanes).where(dead)).all():
            lane = and_(lanes.c.customer == lane_row.customer, lanes.c.event_name == lane_row.event_name)
            values = {"in_flight": False, "owner": "", "leased_until": 0, "fence": lane_row.fence + 1}
            connection.execute(update(lanes).where(lane).values(values))
            for row in connection.execute(
                _of_lane(lane_row.customer, lane_row.event_name).where(intents.c.state == State.SENDING)
            ).all():
                self._change(connection, row, after_crash(standing_of(row), now))

    def _change(self, connection: Connection, row: AnyRow, standing: Standing) -> None:
        write_standing(connection, row.id, standing)
        connection.execute(update(lanes).where(_lane(report_of(row))).values(due_at=0))

    def _take(self, connection: Connection, free: int, now: int) -> list[Attempt]:
        ready = and_(lanes.c.due_at <= now, lanes.c.paused_until <= now, ~lanes.c.held, ~lanes.c.in_flight)
        mine = or_(_lease_over(now), lanes.c.owner == self._owner)
        mine = and_(mine, lanes.c.event_name.not_in(self._stopped))
        chosen = select(lanes).where(ready, mine).order_by(lanes.c.served_at, lanes.c.due_at).limit(free)
        versions = {"of_api_version": self._stamp.api_version, "of_sdk_major": self._sdk_major}
        of = chosen.subquery()
        found = connection.execute(
            select(of, _next_report(of).label("next_id")), {**versions, "of_now": now}
        ).all()
        ids = [row.next_id for row in found if row.next_id is not None]
        reports = {row.id: row for row in connection.execute(_REPORTS, {"of_ids": ids})} if ids else {}
        begins = [self._begin(connection, row, reports.get(row.next_id), now) for row in found]
        return self._record(connection, [begin for begin in begins if begin is not None], now)

    def _begin(
        self, connection: Connection, lane_row: AnyRow, row: AnyRow | None, now: int
    ) -> "_Begin | None":
        """Begin the next report of a lane; a lane that has none due is put off until it has."""
        if row is None:
            where = {"of_customer": lane_row.customer, "of_event_name": lane_row.event_name}
            versions = {"of_api_version": self._stamp.api_version, "of_sdk_major": self._sdk_major}
            due_at = connection.execute(_NEXT_DUE, {**where, **versions}).scalar()
            connection.execute(
                _PUT_OFF_LANE, {**where, "to_due_at": NEVER if due_at is None else int(due_at)}
            )
            return None
        held_on = lane_row.owner == self._owner and lane_row.leased_until > now
        fence = lane_row.fence if held_on else lane_row.fence + 1
        return _Begin(row, begun(standing_of(row), now), fence)

    def _record(self, connection: Connection, begins: Sequence["_Begin"], now: int) -> list[Attempt]:
        if not begins:
            return []
        lease = {"to_owner": self._owner, "to_leased_until": now + LEASE_S, "to_served_at": now}
        leases = [
            {"of_customer": b.row.customer, "of_event_name": b.row.event_name, "to_fence": b.fence, **lease}
            for b in begins
        ]
        _many(connection, _LEASE_LANE, leases)
        write_standings(connection, [(b.row.id, b.standing) for b in begins])
        _many(connection, _STAMP_INTENT, [self._stamped(b) for b in begins])
        rows = [self._attempt_row(b, now) for b in begins]
        made = insert(attempts).returning(attempts.c.id, sort_by_parameter_order=True)
        ids = connection.execute(made, rows).scalars().all()
        return [_attempt(b, attempt_id, now) for b, attempt_id in zip(begins, ids, strict=True)]

    def _stamped(self, begin: "_Begin") -> dict[str, Any]:
        """Stamp a report with the versions of its first attempt that may have had an effect."""
        first = begin.standing.uncertain_attempt == begin.standing.attempts
        return {
            "of_id": begin.row.id,
            "to_fence": begin.fence,
            "to_api_version": self._stamp.api_version if first else begin.row.api_version,
            "to_sdk_version": self._stamp.sdk_version if first else begin.row.sdk_version,
        }

    def _attempt_row(self, begin: "_Begin", now: int) -> dict[str, Any]:
        return {
            "intent_id": begin.row.id,
            "number": begin.standing.attempts,
            "idempotency_key": begin.key,
            "owner": self._owner,
            "fence": begin.fence,
            "started_at": now,
        }


@dataclass(frozen=True, slots=True)
class _Change:
    """What one outcome changes."""

    attempt: dict[str, Any]
    intent_id: int
    standing: Standing | None
    lane: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Begin:
    """A report that is about to be sent."""

    row: AnyRow
    standing: Standing
    fence: int

    @property
    def key(self) -> str:
        return f"{self.row.identifier}.k{self.standing.key_number}"


def _attempt(begin: _Begin, attempt_id: int, now: int) -> Attempt:
    return Attempt(
        attempt_id=attempt_id,
        intent_id=begin.row.id,
        number=begin.standing.attempts,
        fence=begin.fence,
        idempotency_key=begin.key,
        identifier=begin.row.identifier,
        report=report_of(begin.row),
        send_before=now + SEND_WITHIN_S,
    )


def _finished(one: Settled, *, stale: bool, now: int) -> dict[str, Any]:
    return {
        "of_id": one.attempt.attempt_id,
        "to_finished_at": now,
        "to_result": f"{one.outcome.result}{' (fenced)' if stale else ''}",
        "to_http_status": one.outcome.http_status,
        "to_request_id": one.outcome.request_id[:255],
        "to_detail": one.outcome.detail,
    }


def _many(connection: Connection, statement: Update, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, list(rows))


def _wake_unknown(connection: Connection) -> None:
    """Look again at repetitions that an owner of other versions could not make."""
    lane = and_(intents.c.customer == lanes.c.customer, intents.c.event_name == lanes.c.event_name)
    waiting = select(intents.c.id).where(lane, intents.c.state == State.UNKNOWN).exists()
    connection.execute(update(lanes).where(waiting).values(due_at=0))


def _lease_over(now: int) -> Any:
    """Select lanes whose lease has run out, or was written by a clock that was far ahead: that one is over, too.

    What such a clock was sending must not wait until it is right: by then Stripe has forgotten the identifier.
    """
    return or_(lanes.c.leased_until <= now, lanes.c.leased_until > now + LEASE_S + LEASE_AHEAD_S)


def _lane(report: Report) -> Any:
    return and_(lanes.c.customer == report.customer, lanes.c.event_name == report.event_name)


def _of_lane(customer: str, event_name: str) -> Select[Any]:
    columns = (intents.c.id, intents.c.identifier, *STANDING_COLUMNS, *REPORT_COLUMNS)
    return select(*columns).where(intents.c.customer == customer, intents.c.event_name == event_name)


def _timestamp() -> Any:
    return intents.c.window_start + 60 * intents.c.slot + 30


def _to(*names: str) -> dict[str, Any]:
    return {name: bindparam(f"to_{name}") for name in names}


def _may_go() -> Any:
    """Select what may be sent: a repetition only with the API version and SDK major of its first attempt."""
    same = and_(
        intents.c.api_version == bindparam("of_api_version"),
        intents.c.sdk_version.like(bindparam("of_sdk_major")),
    )
    fresh = intents.c.state.in_((State.PLANNED, State.DEFERRED))
    return or_(fresh, and_(intents.c.state == State.UNKNOWN, same))


# Statements that run for every report are built once.
_THIS_LANE = and_(
    lanes.c.customer == bindparam("of_customer"), lanes.c.event_name == bindparam("of_event_name")
)
_ITS_REPORTS = and_(
    intents.c.customer == bindparam("of_customer"), intents.c.event_name == bindparam("of_event_name")
)
_NOT_BEFORE = _timestamp() - AHEAD_S
_ITS_LANE = and_(lanes.c.customer == intents.c.customer, lanes.c.event_name == intents.c.event_name)
_THESE = intents.c.id.in_(bindparam("of_ids", expanding=True))
_SETTLED = (
    select(
        intents.c.id,
        *STANDING_COLUMNS,
        lanes.c.fence.label("lane_fence"),
        lanes.c.owner,
        lanes.c.failures,
        lanes.c.held,
    )
    .join(lanes, _ITS_LANE)
    .where(_THESE)
)
_REPORTS = select(
    intents.c.id,
    intents.c.identifier,
    intents.c.api_version,
    intents.c.sdk_version,
    *STANDING_COLUMNS,
    *REPORT_COLUMNS,
).where(_THESE)


def _next_report(of: Subquery) -> ScalarSelect[Any]:
    """Choose the report that goes next in each lane of a query."""
    own = and_(intents.c.customer == of.c.customer, intents.c.event_name == of.c.event_name)
    due = and_(intents.c.retry_at <= bindparam("of_now"), bindparam("of_now") >= _NOT_BEFORE)
    query = select(intents.c.id).where(own, _may_go(), due)
    return query.order_by(intents.c.window_start, intents.c.slot).limit(1).scalar_subquery()


_NEXT_DUE = select(
    func.min(case((intents.c.retry_at > _NOT_BEFORE, intents.c.retry_at), else_=_NOT_BEFORE))
).where(_ITS_REPORTS, _may_go())
_PUT_OFF_LANE = update(lanes).where(_THIS_LANE).values(_to("due_at"))
_LEASE_LANE = (
    update(lanes)
    .where(_THIS_LANE)
    .values({**_to("owner", "fence", "leased_until", "served_at"), "in_flight": True})
)
_GIVE_BACK_LANE = (
    update(lanes)
    .where(_THIS_LANE)
    .values({**_to("failures", "paused_until", "held"), "in_flight": False, "due_at": 0})
)
_STAMP_INTENT = (
    update(intents)
    .where(intents.c.id == bindparam("of_id"))
    .values(_to("fence", "api_version", "sdk_version"))
)
_FINISH_ATTEMPT = (
    update(attempts)
    .where(attempts.c.id == bindparam("of_id"))
    .values(_to("finished_at", "result", "http_status", "request_id", "detail"))
)


def closed_until(connection: Connection) -> dict[str, int]:
    """Give for each customer the moment up to which nothing is billed any more.

    The end of its newest period whose invoice is known to be final, or the start of a subscription that came after
    one that had ended.
    """
    final = select(invoices.c.customer, func.max(invoices.c.period_end)).where(
        invoices.c.finalized_at.is_not(None)
    )
    ends = {customer: int(end) for customer, end in connection.execute(final.group_by(invoices.c.customer))}
    return {**ends, **{name: max(start, ends.get(name, 0)) for name, start in resumed_at(connection).items()}}


def _note_time(connection: Connection, now: int) -> bool:
    """Keep the latest moment seen, and say whether the clock went back behind it."""
    held = connection.execute(select(facts.c.value).where(facts.c.name == _LATEST)).scalar()
    if held is None:
        connection.execute(insert(facts).values(name=_LATEST, value=str(now)))
    elif now > int(held):
        connection.execute(update(facts).where(facts.c.name == _LATEST).values(value=str(now)))
    return held is not None and now < int(held) - CLOCK_TOLERANCE_S
