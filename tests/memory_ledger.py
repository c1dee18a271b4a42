"""A ledger in memory behind the lanes' protocol, and runs of lanes over it that may be cut at any step.

It keeps what commits have written and nothing else, so a run that begins after a cut knows what a real one
would know. It says nothing of how rows look in the real ledger: that is for the sinks' own tests.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.accounts import Accounts
from pipeline.batch import SLOTS, Batch, Preparer, Share
from pipeline.catalog import Catalog, load_catalog
from pipeline.chunk import Chunk, Origin, new_buffer
from pipeline.decode import Decoder
from pipeline.kernels.layout import KEY, PREFIX, TENANT
from pipeline.lane import Delivered, Lane
from pipeline.locks import NO_LOCKS, Locks, month_of, period_name, read_period
from pipeline.ports import Commit, Correction, Keep, RejectRow, Replay, Voided
from pipeline.rating import Rater
from pipeline.spend import SpendFilter
from pipeline.strict import Rules

SEEDS = (3, 5)
FILE = Origin("f", 0)
Hash = tuple[int, int]


class CutError(Exception):
    """The process died here."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """What the lanes need of a row in the ledger."""

    key_hash: Hash
    fingerprint: int
    tenant: str
    key: str
    origin: Origin
    offset: int
    run: int
    ingested_at_ms: int
    occurred_at_ms: int
    pico_usd: int
    settlement: str
    voids: str = ""
    period: str = ""


@dataclass(slots=True)
class Disk:
    """What survives a run."""

    rows: list[StoredRow] = field(default_factory=list)
    rejects: list[tuple[RejectRow, int]] = field(default_factory=list)
    positions: dict[tuple[Origin, int], int] = field(default_factory=dict)
    """By origin and slot."""
    duplicates: int = 0
    """As counted with the positions."""
    run: int = 0

    def slots_of(self, origin: Origin) -> np.ndarray:
        return np.array([self.positions.get((origin, slot), 0) for slot in range(SLOTS)], np.int64)

    def replay(self, origin: Origin) -> Replay:
        """What is known of an origin of a pass that goes on; all runs are taken to be of that pass."""
        slots = self.slots_of(origin)
        rows = sorted((r for r in self.rows if self._is_of(r, origin, slots)), key=lambda r: r.offset)
        refused = sorted(r.offset for r, _ in self.rejects if r.origin == origin and r.offset >= slots.min())
        offsets = [row.offset for row in rows]
        return Replay(
            slots,
            np.array(offsets, np.int64),
            np.array([row.key_hash for row in rows], np.uint64).reshape(-1, 2),
            np.array([row.fingerprint for row in rows], np.uint64),
            np.array(refused, np.int64),
            max(int(slots.max()), *(offset + 1 for offset in (*offsets[-1:], *refused[-1:])), 0),
            self._written_rejects(origin),
        )

    @staticmethod
    def _is_of(row: StoredRow, origin: Origin, slots: np.ndarray) -> bool:
        return row.origin == origin and row.offset >= slots.min()

    def _written_rejects(self, origin: Origin) -> frozenset[tuple[int, str, bytes]]:
        """Of earlier passes over the same file."""
        return frozenset(
            (r.offset, r.reason, hashlib.sha256(r.raw).digest())
            for r, _ in self.rejects
            if r.origin.topic == origin.topic and r.origin.pass_number < origin.pass_number
        )


KEEP_ALL = Keep()


@dataclass(slots=True)
class MemoryLane:
    """One lane's way to the disk (see `pipeline.ports.LaneLedger`)."""

    disk: Disk
    lane: int
    lanes: int
    origins: list[Origin]
    """Those that this run reads."""
    before_step: Callable[[], None] = lambda: None
    hot_since: int = 0
    run_locks: Locks = NO_LOCKS
    run_keep: Keep = KEEP_ALL
    looked_up: list[Hash] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    run: int = field(init=False)
    _replays: dict[Origin, Replay] = field(init=False)
    """As of the beginning of the run: what the other lanes write from then on is not looked at."""
    _pending: list[StoredRow] = field(default_factory=list)
    _aside: list[StoredRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = self.disk.run
        self._replays = {origin: self.disk.replay(origin) for origin in self.origins}

    def load_keys(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        mine = [r for r in self._known() if (r.key_hash[0] >> 56) % self.lanes == self.lane]
        hot = [r for r in mine if r.ingested_at_ms >= self.hot_since]
        for part in (hot[:7], hot[7:]):
            if part:
                yield _keys_of(part)

    def keys_expected(self) -> int:
        return len(self._known()) // self.lanes

    def hot_since_ms(self) -> int:
        return self.hot_since

    def keep(self) -> Keep:
        return self.run_keep

    def replay_ends(self) -> dict[Origin, int]:
        return {origin: replay.end for origin, replay in self._replays.items()}

    def find_keys(self, hashes: np.ndarray, *, is_past_replays: bool) -> tuple[np.ndarray, np.ndarray]:
        wanted = {(int(high), int(low)) for high, low in hashes}
        self.looked_up += sorted(wanted)
        known = self.disk.rows if is_past_replays else self._known()
        return _keys_of([r for r in known if r.key_hash in wanted])

    def _known(self) -> list[StoredRow]:
        """Rows of earlier runs, but for those of records that are read again."""
        zones = {origin: int(replay.positions.min()) for origin, replay in self._replays.items()}
        return [
            r
            for r in self.disk.rows
            if r.run < self.run and not (r.origin in zones and r.offset >= zones[r.origin])
        ]

    def replay(self, origin: Origin) -> Replay:
        return self._replays.get(origin) or Replay()

    def locks(self) -> Locks:
        return self.run_locks

    def billing_periods(self, hashes: np.ndarray) -> dict[Hash, str]:
        wanted = {(int(high), int(low)) for high, low in hashes}
        return {r.key_hash: r.period for r in self.disk.rows if r.key_hash in wanted and not r.voids}

    def _billed(self, tenant: str, occurred_at_ms: int) -> str:
        return period_name(self.run_locks.first_open(tenant, month_of(occurred_at_ms)))

    def append(self, batch: Batch, rows: np.ndarray) -> None:
        c, entries = batch.columns, batch.rater.entries
        for row in rows.tolist():
            assert c.types[row] != 4
            self._pending.append(
                StoredRow(
                    (int(batch.hashes[row, 0]), int(batch.hashes[row, 1])),
                    int(batch.prints[row]),
                    c.text(row, TENANT),
                    c.text(row, KEY),
                    batch.chunk.origin,
                    int(batch.chunk.offsets[row]),
                    self.run,
                    batch.chunk.read_at_ms,
                    int(c.times[row]),
                    int(batch.rates.pico[row]),
                    str(entries[batch.rates.entries[row]].settlement),
                    period=self._billed(c.text(row, TENANT), int(c.times[row])),
                )
            )

    def pending_bytes(self) -> int:
        return 100 * len(self._pending)

    def set_aside(self) -> None:
        assert not self._aside
        self._aside, self._pending = self._pending, []

    def commit(self, commit: Commit) -> list[Voided]:
        """Rows, then corrections, then rejects, then progress, as the protocol says."""
        self.commits.append(commit)
        self.before_step()
        self.disk.rows += self._aside
        self._aside = []
        self.before_step()
        voided = [self._void(correction) for correction in commit.corrections]
        self.before_step()
        self.disk.rejects += [(reject, self.run) for reject in commit.rejects]
        self.before_step()
        self.disk.duplicates += sum(tally.duplicates for tally in commit.tallies.values())
        for origin, position in commit.positions.items():
            for slot in range(self.lane, SLOTS, self.lanes):
                place = (origin, slot)
                self.disk.positions[place] = max(position, self.disk.positions.get(place, 0))
        return voided

    def _void(self, c: Correction) -> Voided:
        [target] = [r for r in self.disk.rows if r.key_hash == c.target_hash]
        assert (target.tenant, target.key, target.voids) == (c.tenant, c.voids, "")
        is_locked = read_period(target.period) in self.run_locks.of(c.tenant)
        at_ms = c.occurred_at_ms if is_locked else target.occurred_at_ms
        voided = Voided(c, at_ms, -target.pico_usd, target.settlement)
        key = c.idempotency_key
        self.disk.rows.append(
            StoredRow(
                c.key_hash, 0, c.tenant, key, c.origin, c.offset, self.run, c.ingested_at_ms,
                at_ms, -target.pico_usd, target.settlement, c.voids,
                self._billed(c.tenant, at_ms) if is_locked else target.period,
            )
        )  # fmt: skip
        return voided


def commit(lane: Lane) -> Delivered:
    """Make everything that a lane has taken in durable, at once."""
    return lane.end(lane.begin()())


@dataclass
class Writing:
    """Commits that are on their way, one of a lane."""

    delivered: list[Delivered]
    writes: dict[int, Callable[[], Delivered]] = field(default_factory=dict)

    def begin(self, lane: Lane) -> None:
        self.end(lane)
        if lane.has_pending:
            self.writes[lane.lane] = lane.begin()

    def end(self, lane: Lane) -> None:
        if lane.lane in self.writes:
            self.delivered.append(lane.end(self.writes.pop(lane.lane)()))


def _keys_of(rows: list[StoredRow]) -> tuple[np.ndarray, np.ndarray]:
    hashes = np.array([r.key_hash for r in rows], np.uint64).reshape(-1, 2)
    return hashes, np.array([r.fingerprint for r in rows], np.uint64)


def loaded(text: str, folder: Path) -> Catalog:
    """A catalog of one version."""
    (folder / "catalog.toml").write_text(text)
    return load_catalog(folder / "catalog.toml")


class NoFormats:
    """Lines are events as they stand."""

    def of(self, _chunk: Chunk) -> None:
        return None


def chunk_of(
    records: list[tuple[int, bytes]], now_ms: int, sequence: int = 0, origin: Origin = FILE
) -> Chunk:
    """Numbered lines as one chunk."""
    lines = [line for _, line in records]
    joined = b"\n".join(lines)
    buffer = new_buffer(len(joined))
    buffer[PREFIX : PREFIX + len(joined)] = np.frombuffer(joined, np.uint8)
    sizes = np.array([len(line) for line in lines], np.int64)
    ends = PREFIX + np.cumsum(sizes + 1) - 1
    offsets = np.array([number for number, _ in records], np.int64)
    return Chunk(
        "files", sequence, origin, buffer, PREFIX + len(joined), ends - sizes, ends, offsets,
        np.full(len(lines), now_ms, np.int64), int(offsets[-1]) + 1, read_at_ms=now_ms,
    )  # fmt: skip


@dataclass(slots=True)
class World:
    """A disk, the settings, and the clock of the runs over it."""

    catalog: Catalog
    accounts: Accounts = field(default_factory=Accounts)
    now_ms: int = 1_793_600_600_000
    run_locks: Locks = NO_LOCKS
    hot_since: int = 0
    """From when on the lanes of `run` hold all keys in memory."""
    keep: Keep = KEEP_ALL
    disk: Disk = field(default_factory=Disk)

    def shares(self, chunk: Chunk, lanes: int) -> list[Share]:
        """What a prepared chunk gives to each lane."""
        preparer = Preparer(Decoder(Rules()), Rater(self.catalog), NoFormats(), SEEDS, lanes)
        batch = preparer.prepare(chunk)
        return [Share(chunk.stream, chunk.sequence, lane, batch) for lane in range(lanes)]

    def lane(self, number: int = 0, lanes: int = 1, origin: Origin = FILE, **more) -> Lane:
        """A lane of a run of its own."""
        self.disk.run += 1
        return Lane(
            number, MemoryLane(self.disk, number, lanes, [origin], **more), SpendFilter(self.accounts)
        )

    def run(
        self,
        lines: list[bytes],
        plan: random.Random,
        lanes: int = 1,
        origin: Origin = FILE,
        steps: int = -1,
    ) -> list[Delivered]:
        """One run over a file from where it is durable: chunks, arrivals and commits as the plan has them.

        After `steps` steps of commits the process dies: `CutError`.
        """
        self.disk.run += 1
        left = [steps]

        def before_step() -> None:
            left[0] -= 1
            if left[0] == -1:
                raise CutError

        ledgers = [
            MemoryLane(self.disk, n, lanes, [origin], before_step, self.hot_since, self.run_locks, self.keep)
            for n in range(lanes)
        ]
        made = [Lane(n, ledger, SpendFilter(self.accounts)) for n, ledger in enumerate(ledgers)]
        delivered: list[Delivered] = []
        writing = Writing(delivered)
        for share in self._arrivals(lines, plan, lanes, origin):
            lane = made[share.lane]
            lane.take(share)
            if plan.random() < 0.15:
                writing.begin(lane)
            if plan.random() < 0.15:  # until then more is taken in beside it
                writing.end(lane)
        for lane in made:
            writing.begin(lane)
            writing.end(lane)
        return delivered

    def _arrivals(
        self, lines: list[bytes], plan: random.Random, lanes: int, origin: Origin
    ) -> Iterator[Share]:
        """The shares of all chunks, each lane's in some order of its own."""
        first = int(self.disk.slots_of(origin).min())
        records = [(number, line) for number, line in enumerate(lines, 1) if number >= first]
        waiting: list[Share] = []
        sequence = 0
        while records:
            size = plan.randrange(1, 9)
            chunk = chunk_of(records[:size], self.now_ms, sequence, origin)
            records = records[size:]
            waiting += self.shares(chunk, lanes)
            sequence += 1
        window = plan.choice((1, lanes, 4 * lanes, 1000))
        while waiting:
            yield waiting.pop(plan.randrange(min(window, len(waiting))))
