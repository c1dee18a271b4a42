"""What the dataflow needs from outside: a ledger for each lane, a place for decisions, and a clock."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pipeline.batch import SLOTS, Batch
from pipeline.chunk import Origin
from pipeline.columns import Int32s, Int64s, UInt64s
from pipeline.locks import Locks


class Clock(Protocol):
    """Wall-clock time; handed in so that tests own it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""


@dataclass(slots=True)
class Tally:
    """What became of the records of one origin."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    """Those of the rejected that were idempotency conflicts."""
    rejected: int = 0
    replayed: int = 0
    rejected_last: int = field(default=0, compare=False)
    """Those of the rejected with nothing accepted and no duplicate behind them."""

    def add(self, other: "Tally") -> None:
        """Add another tally to this one, of what comes after it."""
        self.rejected_last = other.rejected_last + (0 if other.has_good else self.rejected_last)
        self.accepted += other.accepted
        self.duplicates += other.duplicates
        self.conflicts += other.conflicts
        self.rejected += other.rejected
        self.replayed += other.replayed

    @property
    def has_good(self) -> bool:
        """Whether anything was accepted, or a duplicate."""
        return self.accepted + self.duplicates > 0

    @property
    def events(self) -> int:
        """All records that were read."""
        return self.accepted + self.duplicates + self.rejected + self.replayed


@dataclass(slots=True)
class Replay:
    """What is known of an origin from before this run.

    A record has its outcome already when its offset is below the position of its slot (`positions` int64[256])
    or when it has a row in the ledger (`accepted` int64[m], sorted, with the keys that it counted) or among the
    rejects (`rejected` int64[k], sorted). From `end` on nothing is known. The keys of these ledger rows are not
    among the hot keys: they enter when their record comes by, so that what lies between is judged as it was.
    """

    positions: Int64s = field(default_factory=lambda: np.zeros(SLOTS, np.int64))
    accepted: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    hashes: UInt64s = field(default_factory=lambda: np.empty((0, 2), np.uint64))
    prints: UInt64s = field(default_factory=lambda: np.empty(0, np.uint64))
    rejected: Int64s = field(default_factory=lambda: np.empty(0, np.int64))
    end: int = 0
    written_rejects: frozenset[tuple[int, str, bytes]] = frozenset()
    """(offset, reason, SHA-256 of the raw bytes) of the rejects that earlier readings of the file wrote."""


@dataclass(frozen=True, slots=True)
class RejectRow:
    """A rejected record on its way to `rejected_events`."""

    reason: str
    detail: str
    raw: bytes
    origin: Origin
    offset: int


@dataclass(frozen=True, slots=True)
class Correction:
    """An accepted correction on its way to the ledger, on its own: what it takes back is read there.

    What is summed by (principal, operation, action, context) comes from the voided row, so that every sum is
    right afterwards.
    """

    tenant: str
    voids: str
    idempotency_key: str
    event_id: str
    source: str
    trigger: str
    attributes: str
    occurred_at_ms: int
    ingested_at_ms: int
    key_hash: tuple[int, int]
    """Of (tenant, voids) in the domain of corrections; the high word first, as in all hashes here."""
    target_hash: tuple[int, int]
    """Of the voided key."""
    stream: str
    sequence: int
    origin: Origin
    offset: int


@dataclass(slots=True)
class Commit:
    """What a lane makes durable in one go, beside the rows that it has appended."""

    rejects: list[RejectRow] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)
    positions: dict[Origin, int] = field(default_factory=dict)
    tallies: dict[Origin, Tally] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Voided:
    """What a correction took back, as written to the ledger."""

    correction: Correction
    occurred_at_ms: int
    """Of the correction's row: of the voided one, or its own where that one's billing period is locked."""
    pico_usd: int
    settlement: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Which keys a lane holds in memory: all of them up to so many, beyond that those of the dedupe horizon.

    Keys go by the horizon as a whole, so those of up to two horizons are held.
    """

    keys_max: int = 1 << 62
    horizon_ms: int = 0


class LaneLedger(Protocol):
    """One lane's way to the ledger; used by one thread, but for `commit`, which may run on another beside it.

    Delivery: `commit` returns only when everything is durable, rows before rejects before the progress row; a
    block that is sent again is stored once. Parallelism: one for each lane, and one commit of it at a time.
    """

    def load_keys(self) -> Iterator[tuple[UInt64s, UInt64s]]:
        """The lane's hot keys from earlier runs: hashes uint64[n, 2] and fingerprints uint64[n]."""

    def keys_expected(self) -> int:
        """About how many keys `load_keys` gives, so that there is room for them at once."""

    def hot_since_ms(self) -> int:
        """All keys ingested at or after this moment are among the hot keys; 0 when all keys are."""

    def keep(self) -> Keep:
        """How long the lane holds keys."""

    def find_keys(self, hashes: UInt64s, *, is_past_replays: bool) -> tuple[UInt64s, UInt64s]:
        """Those of the hashes that the ledger of earlier runs holds, with their fingerprints.

        Without those of records that will be read again; where all of these have been, also those that this run
        has counted.
        """

    def replay(self, origin: Origin) -> Replay:
        """What is known of an origin from before this run."""

    def replay_ends(self) -> dict[Origin, int]:
        """For each origin of which records may be read again: the offset from which on they are new."""

    def locks(self) -> Locks:
        """The locked billing periods that this run goes by."""

    def billing_periods(self, hashes: UInt64s) -> dict[tuple[int, int], str]:
        """The billing period of each of these keys that the ledger holds, as far as it is durable."""

    def append(self, batch: Batch, rows: Int32s) -> None:
        """Take accepted rows (no corrections) of a batch into the pending block."""

    def pending_bytes(self) -> int:
        """The size of the pending block."""

    def set_aside(self) -> None:
        """Keep the pending block for the next `commit`, and begin another; not before the commit before is done."""

    def commit(self, commit: Commit) -> list[Voided]:
        """Make the block that was set aside and the commit durable; returns what the corrections took back.

        Raises `LedgerFencedError` when a newer run has taken over, `LedgerError` when the ledger cannot be
        written and the run was told to stop.
        """


@dataclass(frozen=True, slots=True)
class Decision:
    """A threshold of a spend window was crossed, or cleared again."""

    tenant: str
    window: str
    window_start_s: int
    limit_micro_usd: int
    current_micro_usd: int
    threshold_percent: int
    state: str
    topic: str = ""
    partition: int = 0
    offset: int = 0
    """The event that caused it; empty and 0 where it was found at a start."""


class DecisionSink(Protocol):
    """Where decisions go.

    Delivery: `write` returns when they are durable; each decision is handed over once by a run, and a run that
    starts hands over what the one before it could not. Parallelism: one for each worker.
    """

    def write(self, decisions: list[Decision]) -> None:
        """Make decisions durable."""


class EventLog(Protocol):
    """Where events are durable before anyone is told that they were taken.

    Delivery: the future is done when all lines are durable (synced to disk, or confirmed by all replicas in
    sync), in the order of the calls of one caller; after an error they may be there or not, so the caller sends
    them again, under the same keys. Parallelism: any number of threads; those that wait share one sync.
    """

    def append(self, lines: Sequence[bytes], arrived_at_ms: int, keys: Sequence[str] = ()) -> Future[None]:
        """Take event lines (one JSON object each, no LF) that arrived at one moment; does not wait.

        `keys` (one for each line, as a rule the tenant) tells which lines must keep their order in a log of
        several partitions. Raises `LogAwayError`, at once or by the future, when the log cannot take them.
        """
