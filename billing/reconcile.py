"""Compares what was told with what Stripe counts, hour by hour and, where they differ, minute by minute.

Each report has a minute of its own, so a sum of that minute proves it, its absence, or that someone else
wrote there. A difference is named with its reports and the way out; the comparison is kept as a record.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

import structlog
from sqlalchemy import Connection, and_, delete, insert, select, update

from billing.intents import REPORT_COLUMNS, STANDING_COLUMNS, report_of, standing_of, write_standing
from billing.machine import Standing, after_read
from billing.periods import REACH_S, hour_start
from billing.store import Store
from billing.tables import facts, intents, lanes, reconciliations
from pipeline.outbox import HOLDING, HOUR_S, OPEN_FOR_PROOF, UNCOUNTED, Lane, Report, State, Summaries

_log = structlog.get_logger(__name__)
VISIBLE_AFTER_S = 3600
"""An accepted report that does not show is looked for by its minute only after this time."""
BLOCK_S = 100 * HOUR_S
_READ_UP_TO = "read_up_to"
NEVER_SENT = frozenset({State.PLANNED, State.DEFERRED})


@dataclass(frozen=True, slots=True)
class Line:
    """One report as it stands."""

    intent_id: int
    identifier: str
    report: Report
    standing: Standing


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference in one hour, in whole units: Stripe's sum less what it must be."""

    tenant: str
    customer: str
    event_name: str
    window_start: int
    stripe: int
    told: int
    """Units that are proven to be there, or may be."""
    difference: int
    identifiers: tuple[str, ...]
    way_out: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result of one comparison."""

    made_at: int
    windows: int
    reads: int
    moved: dict[str, int]
    """State -> reports that came into it."""
    pending_units: int
    """Told, and not in Stripe's sums yet."""
    verified_units: int
    unread_lanes: int
    findings: tuple[Finding, ...]

    @property
    def difference(self) -> int:
        """The sum of all differences, each taken without its sign."""
        return sum(abs(finding.difference) for finding in self.findings)


class Reconciler:
    """One comparison over a store; reads outside of transactions, writes only what has not moved since."""

    def __init__(
        self,
        store: Store,
        summaries: Summaries,
        now: int,
        *,
        reads_max: int = 2_000,
        states: Collection[State] = OPEN_FOR_PROOF,
    ) -> None:
        self._store = store
        self._summaries = summaries
        self._now = now
        self._reads_max = reads_max
        self._states = states
        self._moved: dict[str, int] = defaultdict(int)
        self._findings: list[Finding] = []
        self._windows = self._pending = self._verified = self._unread = 0
        self._last: Lane | None = None

    def run(self, *, full: bool = False) -> Reconciliation:
        """Compare hours with open proofs, or with `full` every hour that Stripe still takes events for.

        Where the reads do not suffice, the next comparison begins with the customer that this one ended at.
        """
        for lane, windows in self._in_turn(self._to_compare(full=full)):
            if self._summaries.reads >= self._reads_max:
                self._unread += 1
                continue
            for block in _blocks(windows):
                self._compare_block(lane, block)
            self._last = lane
        result = Reconciliation(
            made_at=self._now,
            windows=self._windows,
            reads=self._summaries.reads,
            moved=dict(self._moved),
            pending_units=self._pending,
            verified_units=self._verified,
            unread_lanes=self._unread,
            findings=tuple(self._findings),
        )
        self._keep(result)
        return result

    def _in_turn(self, lanes_: dict[Lane, list[int]]) -> list[tuple[Lane, list[int]]]:
        with self._store.read() as connection:
            held = connection.execute(select(facts.c.value).where(facts.c.name == _READ_UP_TO)).scalar()
        if held is None:
            return list(lanes_.items())
        after = tuple(json.loads(held))
        return sorted(
            lanes_.items(),
            key=lambda item: ((item[0].customer, item[0].event_name) <= after, astuple(item[0])),
        )

    def _to_compare(self, *, full: bool) -> dict[Lane, list[int]]:
        recent = intents.c.window_start >= self._now - REACH_S
        wanted = recent if full else intents.c.state.in_(self._states)
        columns = (intents.c.customer, intents.c.event_name, intents.c.window_start)
        found: dict[Lane, list[int]] = defaultdict(list)
        with self._store.read() as connection:
            for customer, event_name, window in connection.execute(
                select(*columns).where(wanted).distinct().order_by(*columns)
            ):
                found[Lane(customer, event_name)].append(window)
        return found

    def _compare_block(self, lane: Lane, windows: Sequence[int]) -> None:
        sums = self._summaries.hours(lane, hour_start(windows[0]), hour_start(windows[-1]) + HOUR_S)
        for window in windows:
            self._windows += 1
            self._compare(lane, window, sums.get(window, 0))

    def _compare(self, lane: Lane, window: int, total: int) -> None:
        lines = self._lines(lane, window)
        if _adds_up(lines, total):
            lines = self._move(lines, [replace_verified(line, self._now) for line in lines])
        else:
            lines = self._by_minute(lane, lines, total)
        self._judge(lane, window, lines, total)

    def _by_minute(self, lane: Lane, lines: list[Line], total: int) -> list[Line]:
        """Look at the minutes of reports whose proof is open; of all, where Stripe has more than was told."""
        too_much = total > _sum(lines, State.VERIFIED, *OPEN_FOR_PROOF, State.SENDING)
        seen = []
        for line in lines:
            state = line.standing.state
            open_proof = state in OPEN_FOR_PROOF and self._worth_reading(line)
            surprise = too_much and state in UNCOUNTED | HOLDING | NEVER_SENT
            if not open_proof and not surprise:
                seen.append(line)
                continue
            read = self._summaries.span(lane, line.report.timestamp - 30, line.report.timestamp + 30)
            seen.append(self._after_read(line, read, expected=open_proof))
        return self._move(lines, seen)

    def _worth_reading(self, line: Line) -> bool:
        if line.standing.state is not State.ACCEPTED:
            return True
        return self._now >= (line.standing.accepted_at or 0) + VISIBLE_AFTER_S

    def _after_read(self, line: Line, read: int, *, expected: bool) -> Line:
        if not expected and read == 0:
            return line
        standing = after_read(line.standing, line.report.value, read, self._now)
        if not expected and standing.state is State.VERIFIED:
            standing = replace(standing, detail=f"found at Stripe although it was {line.standing.state}")
        return replace(line, standing=standing)

    def _judge(self, lane: Lane, window: int, lines: list[Line], total: int) -> None:
        certain = _sum(lines, State.VERIFIED)
        perhaps = _sum(lines, *OPEN_FOR_PROOF, State.SENDING)
        self._verified += certain
        self._pending += max(0, min(certain + perhaps - total, perhaps))
        named = tuple(line.identifier for line in lines if line.standing.state in HOLDING)
        if total > certain + perhaps:
            excess = total - certain - perhaps
            way_out = (
                "reports in quarantine stand in these minutes: `millrace stripe quarantine list`"
                if named
                else "someone else reports to this customer's meter, or this store was restored from an "
                "older copy: see `millrace stripe reconcile --restored`"
            )
            self._find(lane, window, lines, total, certain + perhaps, excess, named, way_out)
        elif total < certain:
            way_out = (
                "verified usage is gone at Stripe (an event was cancelled there): tell it anew, or credit it"
            )
            identifiers = tuple(line.identifier for line in lines if line.standing.state is State.VERIFIED)
            self._find(lane, window, lines, total, certain, total - certain, identifiers, way_out)

    def _find(  # noqa: PLR0913, PLR0917 - the columns of a finding
        self,
        lane: Lane,
        window: int,
        lines: list[Line],
        total: int,
        told: int,
        difference: int,
        named: tuple[str, ...],
        way: str,
    ) -> None:
        tenant = lines[0].report.tenant if lines else ""
        self._findings.append(
            Finding(tenant, lane.customer, lane.event_name, window, total, told, difference, named, way)
        )

    def _lines(self, lane: Lane, window: int) -> list[Line]:
        with self._store.read() as connection:
            return lines_of(connection, lane, window)

    def _move(self, before: Sequence[Line], after: Sequence[Line]) -> list[Line]:
        """Write changes, unless someone else has changed the report meanwhile; return how all stand now."""
        changed = [(old, new) for old, new in zip(before, after, strict=True) if old.standing != new.standing]
        if not changed:
            return list(after)
        refused: dict[int, Standing] = {}
        moved: list[tuple[Line, Line]] = []
        with self._store.write() as connection:
            for old, new in changed:
                row = connection.execute(select(*STANDING_COLUMNS).where(intents.c.id == old.intent_id)).one()
                current = standing_of(row)
                if current != old.standing:
                    refused[old.intent_id] = current
                    continue
                write_standing(connection, old.intent_id, new.standing)
                if new.standing.state is not old.standing.state:
                    self._moved[new.standing.state.value] += 1
                    moved.append((old, new))
            refresh_lane(connection, before[0].report.lane)
        for old, new in moved:
            _log_move(old, new)
        return [replace(line, standing=refused.get(line.intent_id, line.standing)) for line in after]

    def _keep(self, result: Reconciliation) -> None:
        values = {
            "made_at": result.made_at,
            "windows": result.windows,
            "differences": len(result.findings),
            "result": json.dumps(asdict(result)),
        }
        with self._store.write() as connection:
            connection.execute(insert(reconciliations).values(values))
            connection.execute(delete(facts).where(facts.c.name == _READ_UP_TO))
            if self._unread and self._last:
                reached = json.dumps(astuple(self._last))
                connection.execute(insert(facts).values(name=_READ_UP_TO, value=reached))


def lines_of(connection: Connection, lane: Lane, window: int) -> list[Line]:
    """Read the reports of one hour in the order of their minutes."""
    where = and_(
        intents.c.customer == lane.customer,
        intents.c.event_name == lane.event_name,
        intents.c.window_start == window,
    )
    columns: tuple[Any, ...] = (intents.c.id, intents.c.identifier, *REPORT_COLUMNS, *STANDING_COLUMNS)
    rows = connection.execute(select(*columns).where(where).order_by(intents.c.slot)).all()
    return [Line(row.id, row.identifier, report_of(row), standing_of(row)) for row in rows]


def refresh_lane(connection: Connection, lane: Lane) -> None:
    """Hold a lane as long as a report in it needs someone, and let the pusher look at it again."""
    of_lane = and_(intents.c.customer == lane.customer, intents.c.event_name == lane.event_name)
    holding = select(intents.c.id).where(of_lane, intents.c.state.in_(HOLDING)).limit(1)
    held = connection.execute(holding).first() is not None
    where = and_(lanes.c.customer == lane.customer, lanes.c.event_name == lane.event_name)
    connection.execute(update(lanes).where(where).values(held=held, due_at=0))


def _log_move(old: Line, new: Line) -> None:
    bad = new.standing.state in HOLDING
    log = _log.warning if bad else _log.info
    log(
        "report_moved",
        identifier=new.identifier,
        tenant=new.report.tenant,
        event_id="",
        before=old.standing.state.value,
        after=new.standing.state.value,
        detail=new.standing.detail,
    )


def replace_verified(line: Line, now: int) -> Line:
    """Verify an accepted report by its hour's sum."""
    if line.standing.state is not State.ACCEPTED:
        return line
    return replace(line, standing=replace(line.standing, state=State.VERIFIED, detail="", settled_at=now))


def _adds_up(lines: Sequence[Line], total: int) -> bool:
    """Say whether an hour's sum is exactly what was received, with nothing unknown about it."""
    if _sum(lines, State.UNKNOWN, State.FROZEN, State.SENDING, *HOLDING):
        return False
    return total == _sum(lines, State.VERIFIED, State.ACCEPTED)


def _sum(lines: Sequence[Line], *states: State) -> int:
    return sum(line.report.value for line in lines if line.standing.state in states)


def _blocks(windows: Sequence[int]) -> Iterator[list[int]]:
    """Cut hours into runs that one call can read."""
    block: list[int] = []
    for window in windows:
        if block and window - block[0] >= BLOCK_S:
            yield block
            block = []
        block.append(window)
    if block:
        yield block
