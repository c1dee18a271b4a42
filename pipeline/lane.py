"""Counting once: a lane owns the keys of its slots, judges its share of every batch in order, and commits.

shares (any order) -> in the order of their stream -> replayed? -> the key table -> pending block
                                                                              | every `block_rows`, or by age
                                        ledger rows, corrections, rejects, progress -> Delivered
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pipeline.batch import Batch, Share
from pipeline.chunk import Origin
from pipeline.columns import Int8s, Int32s
from pipeline.event import TRIGGER_NAMES, EventType, Reason, Reject
from pipeline.kernels.layout import (
    ATTRIBUTES,
    EVENT_ID,
    KEY,
    SOURCE,
    TENANT,
    VOIDS,
)
from pipeline.kernels.tables import CONFLICT, DUPLICATE, FRESH, KNOWN, LOCKED, NEW, REPLAYED, UNKNOWN
from pipeline.keys import NONE_LATE, HotKeys
from pipeline.locks import Bools, month_of, period_name, read_period
from pipeline.ports import Commit, Correction, LaneLedger, RejectRow, Replay, Tally
from pipeline.spend import Deltas, SpendFilter, exact_sum

_REFUSED = (CONFLICT, UNKNOWN, LOCKED)
_AHEAD_MS = 300_000
"""How far a time stamp may lie ahead of the arrival."""


@dataclass(slots=True)
class Delivered:
    """What a lane has made durable: for each stream all sequences below `below`, and the spend in them."""

    lane: int
    below: dict[str, int]
    pico_usd: int
    """The cost of what was accepted."""
    deltas: list[Deltas] = field(default_factory=list)
    positions: dict[Origin, int] = field(default_factory=dict)
    """For each origin in it: the offset below which all is durable in this lane."""
    tallies: dict[Origin, Tally] = field(default_factory=dict)
    """What was counted of each."""


class Lane:
    """One lane's state. Everything in it can be lost: it is rebuilt from the ledger by the next run.

    Guarantee: of all records with the same key the first in the order of its stream is accepted, whatever the
    number of lanes; a record whose outcome is durable keeps it and counts as replayed.
    """

    def __init__(self, lane: int, ledger: LaneLedger, spend: SpendFilter) -> None:
        self.lane = lane
        self._ledger, self._spend = ledger, spend
        self._keys = HotKeys()
        self._keys.reserve(ledger.keys_expected())
        for hashes, prints in ledger.load_keys():
            self._keys.put(hashes, prints)
        self._hot_since_ms = ledger.hot_since_ms()
        self._keep, self._replay_ends = ledger.keep(), ledger.replay_ends()
        self._now_ms, self._turned_ms = 0, 0
        self._has_turned = False
        self._positions: dict[Origin, int] = {}
        self._locks = ledger.locks()
        self._replays: dict[Origin, Replay] = {}
        self._next: dict[str, int] = {}
        self._early: dict[str, dict[int, Share]] = {}
        self._begin()

    def _begin(self) -> None:
        self._commit = Commit()
        self._deltas: list[Deltas] = []
        self._pico_usd = 0
        self._reject_bytes = 0
        self.pending_rows = 0
        self.has_pending = False

    def take(self, share: Share) -> None:
        """Take a share in; those that come before their turn wait."""
        waiting = self._early.setdefault(share.stream, {})
        waiting[share.sequence] = share
        turn = self._next.get(share.stream, 0)
        while turn in waiting:
            self._judge(waiting.pop(turn))
            turn += 1
        self._next[share.stream] = turn

    def pending_bytes(self) -> int:
        """The size of the rows and rejects that wait to be written."""
        return self._ledger.pending_bytes() + self._reject_bytes

    def keys_held(self) -> int:
        """How many keys the lane knows."""
        return len(self._keys)

    def begin(self) -> Callable[[], Delivered]:
        """Set aside everything taken in; what is returned makes it durable, on any thread, while more is taken in.

        `end` is due when it is done, before the next `begin`.
        """
        self._ledger.set_aside()
        commit = self._commit
        delivered = Delivered(
            self.lane, dict(self._next), self._pico_usd, self._deltas, commit.positions, commit.tallies
        )
        write = partial(self._write, commit, delivered)
        self._begin()
        return write

    def _write(self, commit: Commit, delivered: Delivered) -> Delivered:
        voided = self._ledger.commit(commit)
        delivered.deltas += self._spend.of_corrections(voided)
        delivered.pico_usd += sum(v.pico_usd for v in voided)
        return delivered

    def end(self, delivered: Delivered) -> Delivered:
        """Note what has become durable."""
        self._positions |= delivered.positions
        self._let_keys_go()
        return delivered

    def _let_keys_go(self) -> None:
        """Begin a new horizon where the running one is over; what is let go of is durable, and looked up there."""
        if len(self._keys) <= self._keep.keys_max or self._now_ms - self._turned_ms < self._keep.horizon_ms:
            return
        if not self._is_past_replays():
            return
        self._keys.turn()
        if self._has_turned:  # what came before the last time is gone now
            self._hot_since_ms = self._turned_ms + 1
        self._has_turned, self._turned_ms = True, self._now_ms

    def _is_past_replays(self) -> bool:
        """Whether all records that had an outcome before this run have been read again."""
        self._replay_ends = {o: e for o, e in self._replay_ends.items() if self._positions.get(o, 0) < e}
        return not self._replay_ends

    def _judge(self, share: Share) -> None:
        batch, origin = share.batch, share.batch.chunk.origin
        self._now_ms = max(self._now_ms, batch.chunk.read_at_ms)
        self._turned_ms = self._turned_ms or self._now_ms
        tally = self._commit.tallies.setdefault(origin, Tally())
        rows = batch.rows_of(share.lane)
        replay = self._replay_of(origin)
        known = _known(batch, rows, replay)
        _hold_back(batch, rows, known, replay)
        self._look_up_old(batch, rows)
        late = self._late(batch, rows) if self._locks.refuse and self._locks else NONE_LATE
        outcomes = self._keys.judge(batch, rows, known, replay, late)
        self._accept(share, rows[outcomes == NEW], tally)
        tally.duplicates += int(np.count_nonzero(outcomes == DUPLICATE))
        tally.replayed += int(np.count_nonzero(outcomes == REPLAYED))
        self._refuse(share, rows, outcomes, tally)
        self._commit.positions[origin] = batch.chunk.next_offset
        self.has_pending = True

    def _replay_of(self, origin: Origin) -> Replay:
        replay = self._replays.get(origin)
        if replay is None:
            replay = self._replays[origin] = self._ledger.replay(origin)
        return replay

    def _look_up_old(self, batch: Batch, rows: Int32s) -> None:
        """Bring the keys of events that may be older than the hot keys in from the ledger."""
        if self._hot_since_ms == 0 or not len(rows):
            return
        c = batch.columns
        valid = rows[c.verdicts[rows] == 0]
        voids = valid[c.types[valid] == EventType.CORRECTION]
        old = valid[
            (c.times[valid] < self._hot_since_ms + _AHEAD_MS) & (c.types[valid] != EventType.CORRECTION)
        ]
        wanted = np.concatenate([batch.hashes[old], batch.hashes[voids], batch.targets[voids]])
        if len(wanted):
            self._keys.put(*self._ledger.find_keys(wanted, is_past_replays=self._has_turned))

    def _late(self, batch: Batch, rows: Int32s) -> Bools:
        """What a locked period refuses: a correction only where the period of what it voids is locked, too.

        What this run has accepted is of open periods, so only durable rows have to be looked at.
        """
        late = self._locks.are_late(batch, rows)
        voiding = np.flatnonzero(late & (batch.columns.types[rows] == EventType.CORRECTION))
        if len(voiding):
            targets = batch.targets[rows[voiding]]
            found = self._ledger.billing_periods(targets)
            for place, (high, low) in zip(voiding.tolist(), targets.tolist(), strict=True):
                tenant, period = batch.columns.text(int(rows[place]), TENANT), found.get((high, low))
                late[place] = period is not None and read_period(period) in self._locks.of(tenant)
        return late

    def _accept(self, share: Share, rows: Int32s, tally: Tally) -> None:
        batch = share.batch
        is_correction = batch.columns.types[rows] == EventType.CORRECTION
        self._commit.corrections += [_correction(share, row) for row in rows[is_correction].tolist()]
        plain = rows[~is_correction]
        if len(plain):
            self._ledger.append(batch, plain)
            self._deltas += self._spend.of_rows(share, plain)
            self._pico_usd += exact_sum(batch.rates.pico[plain])
        tally.accepted += len(rows)
        self.pending_rows += len(rows)

    def _refuse(self, share: Share, rows: Int32s, outcomes: Int8s, tally: Tally) -> None:
        is_bad = (outcomes < 0) | np.isin(outcomes, _REFUSED)
        good = np.flatnonzero((outcomes == NEW) | (outcomes == DUPLICATE))
        behind = int(good[-1]) + 1 if len(good) else 0
        tally.rejected_last = int(np.count_nonzero(is_bad[behind:])) + (0 if behind else tally.rejected_last)
        for i in np.flatnonzero(is_bad).tolist():
            tally.rejected += 1
            tally.conflicts += int(outcomes[i] == CONFLICT)
            self._reject(share, int(rows[i]), int(outcomes[i]))

    def _reject(self, share: Share, row: int, outcome: int) -> None:
        batch, origin = share.batch, share.batch.chunk.origin
        reason, detail = _why(batch, row, outcome, self._keys)
        raw, offset = batch.columns.raw(row), int(batch.chunk.offsets[row])
        written = self._replays[origin].written_rejects
        if written and (offset, reason.code, hashlib.sha256(raw).digest()) in written:
            return
        self._commit.rejects.append(RejectRow(reason.code, detail, raw, origin, offset))
        self.pending_rows += 1
        self._reject_bytes += len(raw)


def _known(batch: Batch, rows: Int32s, replay: Replay) -> Int32s:
    """For each row: FRESH, or KNOWN where it has its outcome, or the number of its row in `replay.accepted`."""
    known = np.full(len(rows), FRESH, np.int32)
    offsets = batch.chunk.offsets[rows]
    if not len(rows) or offsets[0] >= replay.end:
        return known
    known[(offsets < replay.positions[batch.slots[rows]]) | np.isin(offsets, replay.rejected)] = KNOWN
    places = np.searchsorted(replay.accepted, offsets)
    places[places == len(replay.accepted)] = 0
    found = replay.accepted[places] == offsets if len(replay.accepted) else np.zeros(len(rows), bool)
    known[found] = places[found]
    return known


def _hold_back(batch: Batch, rows: Int32s, known: Int32s, replay: Replay) -> None:
    """Refuse corrections of what stands behind them in their own origin and is in the ledger already.

    Without a crash between them they would have found nothing to void; keys of other origins were there.
    """
    if not len(rows) or not len(replay.accepted) or batch.chunk.offsets[rows[0]] >= replay.end:
        return
    c = batch.columns
    is_open = (known == FRESH) & (c.verdicts[rows] == 0) & (c.types[rows] == EventType.CORRECTION)
    for row in rows[is_open].tolist():
        behind = replay.accepted > batch.chunk.offsets[row]
        if np.any(behind & np.all(replay.hashes == batch.targets[row], axis=1)):
            c.reject(row, Reject(Reason.VOIDS_UNKNOWN, _nothing_to_void(batch, row)))


def _nothing_to_void(batch: Batch, row: int) -> str:
    c = batch.columns
    return f"tenant {c.text(row, TENANT)!r} has no accepted event with the key {c.text(row, VOIDS)!r} to void"


def _correction(share: Share, row: int) -> Correction:
    """The correction by itself, so that it does not keep its batch alive until the commit."""
    batch, c = share.batch, share.batch.columns
    return Correction(
        c.text(row, TENANT),
        c.text(row, VOIDS),
        c.text(row, KEY),
        c.text(row, EVENT_ID),
        c.text(row, SOURCE),
        TRIGGER_NAMES[c.triggers[row]], c.text(row, ATTRIBUTES), int(c.times[row]), batch.chunk.read_at_ms,
        (int(batch.hashes[row, 0]), int(batch.hashes[row, 1])),
        (int(batch.targets[row, 0]), int(batch.targets[row, 1])),
        share.stream, share.sequence, batch.chunk.origin, int(batch.chunk.offsets[row]),
    )  # fmt: skip


def _why(batch: Batch, row: int, outcome: int, keys: HotKeys) -> tuple[Reason, str]:
    c = batch.columns
    if outcome == CONFLICT:
        first = keys.fingerprint(batch.hashes[row])
        detail = (
            f"key {c.text(row, KEY)!r} of tenant {c.text(row, TENANT)!r} stands for other content: "
            f"the first has fingerprint {first:016x}, this one {int(batch.prints[row]):016x}"
        )
        return Reason.IDEMPOTENCY_CONFLICT, detail
    if outcome == UNKNOWN:
        return Reason.VOIDS_UNKNOWN, _nothing_to_void(batch, row)
    if outcome == LOCKED:
        period = period_name(month_of(int(c.times[row])))
        detail = f"the billing period {period} of tenant {c.text(row, TENANT)!r} is locked, and late usage is refused"
        return Reason.BILLING_PERIOD_LOCKED, detail
    return Reason(int(c.verdicts[row])), c.details.get(row, "")
