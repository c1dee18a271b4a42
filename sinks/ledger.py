"""The ledger: where a run begins, what it knows from before, and the lanes' way in.

The ledger is the only truth. Nothing here is needed that cannot be read back from it: which keys were counted,
how far each input is durable, which records have an outcome.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.batch import SLOTS, Batch
from pipeline.chunk import Origin
from pipeline.columns import Int32s, UInt64s
from pipeline.locks import NO_LOCKS, Locks
from pipeline.ports import Clock, Commit, Correction, Keep, RejectRow, Replay, Voided
from pipeline.sources.bounds import Bounds, check_start
from pipeline.sources.files import InputFile, Reading, is_still, look_at
from sinks.blocks import VoidedRow, accepted_rows, correction_rows, counted_at
from sinks.clickhouse import connect, migrate
from sinks.inserts import Retry, at, insert_block, insert_pending, insert_rows, sql, translated
from sinks.locks import locks_of_run
from sinks.native import Block, strings
from sinks.past import Begin, Past, text_of
from sinks.pending import Pending

_LOOKUP_SIZE = 2_000
"""Hashes in one question; a server takes 128 KiB in one parameter."""
_KEY_BYTES = 24
_WORD = (1 << 64) - 1
HOT_KEYS_MAX = 20_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has begun: its number fences all older ones, the seeds key the ledger's hashes."""

    number: int
    seeds: tuple[int, int]
    locks: Locks = NO_LOCKS
    """The locked billing periods as they stood when it began: it goes by them to its end."""


@dataclass(frozen=True, slots=True)
class Hot:
    """Which keys the lanes hold in memory: those ingested since `since_ms`, all of them when it is 0."""

    since_ms: int = 0
    horizon_ms: int = 0
    keys_max: int = 1 << 62
    """Of all lanes together."""


class Ledger:
    """One open ledger, for the thread that starts and ends a run."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url, self._clock = url, clock
        self.client = connect(url)
        migrate(self.client)
        self._past = Past(self.client)

    def begin_run(self, draw_seed: int, *, refuse_late: bool = False) -> Run:
        """Take the next run number and fence the older runs; what they still send is refused from now on.

        `draw_seed` (128 random bits) becomes the ledger's own seed when it has none yet.
        """
        try:
            seeds = self._seeds(draw_seed)
            number = self._take_number(f"{draw_seed:032x}")
            self.client.command(
                "KILL QUERY WHERE Settings['log_comment'] LIKE 'run-%' "
                "AND Settings['log_comment'] != {own:String} SYNC",
                parameters={"own": f"run-{number}"},
            )
            locks = locks_of_run(self.client, number, refuse=refuse_late)
        except ClickHouseError as error:
            raise translated(error, "beginning a run") from error
        return Run(number, seeds, locks)

    def _take_number(self, token: str) -> int:
        """The next free run number; where two ask at once, the later insert is dropped and asks again."""
        while True:
            number = int(self.client.query("SELECT max(run) FROM runs").result_rows[0][0]) + 1
            names, row = ["run", "started_at", "token"], [number, at(self._clock.now_ms()), token]
            insert_rows(self.client, "runs", names, [row], f"run-{number}")
            found = self.client.query(
                "SELECT token FROM runs WHERE run = {run:UInt32}", parameters={"run": number}
            )
            if [row[0] for row in found.result_rows] == [token]:
                return number

    def _seeds(self, draw: int) -> tuple[int, int]:
        found = self.client.query("SELECT value FROM meta WHERE name = 'seed'").result_rows
        if not found:
            insert_rows(self.client, "meta", ["name", "value"], [["seed", f"{draw:032x}"]])
            found = [(f"{draw:032x}",)]
        return int(found[0][0][:16], 16), int(found[0][0][16:], 16)

    def hot_keys(self, horizon_ms: int, keys_max: int = HOT_KEYS_MAX) -> Hot:
        """All keys while they are few, else those of the dedupe horizon."""
        count = int(self.client.query("SELECT count() FROM ledger").result_rows[0][0])
        since_ms = 0 if count <= keys_max else self._clock.now_ms() - horizon_ms
        return Hot(since_ms, horizon_ms, keys_max)

    def plan_readings(
        self, files: list[InputFile], run: Run
    ) -> tuple[list[Reading], dict[Origin, Replay], "ReadAgain"]:
        """Where to begin in each file, and what is known of its records.

        A pass that was cut is taken up again where it is durable; after a pass that came to the end, or when
        the file has changed otherwise than by growing, a new pass reads it from its first line.
        """
        names = [file.source_name for file in files]
        passes, positions = self._past.last_passes(names), self._past.positions(names)
        begins: dict[Origin, Begin] = {}
        new: dict[Origin, InputFile] = {}
        for file in files:
            last = passes.get(file.source_name)
            if last and not last.has_ended and is_still(file, last.look):
                origin = Origin(file.source_name, 0, last.number)
                begins[origin] = Begin(positions.get(origin, np.zeros(SLOTS, np.int64)), last.first_run)
            else:
                new[Origin(file.source_name, 0, last.number + 1 if last else 1)] = file
        replays = self._known_of(begins, new)
        self._begin_passes(new, run)
        of_file = {origin.topic: origin for origin in replays}
        readings = [
            Reading(file, origin.pass_number, int(replays[origin].positions.min()))
            for file in files
            for origin in (of_file[file.source_name],)
        ]
        first_runs = {o: begins[o].first_run if o in begins else run.number for o in replays}
        return readings, replays, ReadAgain(replays, first_runs)

    def _known_of(self, begins: dict[Origin, Begin], new: Iterable[Origin]) -> dict[Origin, Replay]:
        replays = self._past.replays(begins) | {origin: Replay() for origin in new}
        written = self._past.written_rejects([o.topic for o in replays if o.pass_number > 1])
        for origin, replay in replays.items():
            replay.written_rejects = written.get(origin.topic, frozenset())
        return replays

    def _begin_passes(self, new: dict[Origin, InputFile], run: Run) -> None:
        now = at(self._clock.now_ms())
        looks = [(origin, look_at(file)) for origin, file in new.items()]
        self._note_passes(
            [[o.topic, o.pass_number, run.number, k.size, text_of(k), 0, now] for o, k in looks]
        )

    def plan_partitions(
        self, bounds: list[Bounds], run: Run, *, accept_gap: bool
    ) -> tuple[dict[Origin, int], dict[Origin, Replay], list[Bounds]]:
        """Where to begin in each partition, what is known of its records, and which partitions are new.

        A new one begins at the earliest record; that is noted first, so that a gap is seen ever after. Raises
        `MillraceError` where the broker does not have what comes next.
        """
        positions = self._past.positions(sorted({b.origin.topic for b in bounds}))
        begun = [b for b in bounds if b.origin not in positions]
        lows = {b.origin: b.low for b in begun}
        for b in bounds:
            if b.origin not in lows and accept_gap and int(positions[b.origin].min()) < b.low:
                lows[b.origin] = b.low
        self._note_begun(lows, run)
        starts, begins = {}, {}
        for b in bounds:
            slots = positions.setdefault(b.origin, np.zeros(SLOTS, np.int64))
            np.maximum(slots, lows.get(b.origin, 0), out=slots)
            starts[b.origin] = int(slots.min())
            check_start(b, starts[b.origin])
            begins[b.origin] = Begin(slots, 0)
        return starts, self._past.replays(begins), begun

    def _note_begun(self, lows: dict[Origin, int], run: Run) -> None:
        """A lane that has all slots is durable up to where a partition begins, without having counted."""
        now = at(self._clock.now_ms())
        rows = [[run.number, 0, 1, o.topic, o.partition, o.pass_number, low, now] for o, low in lows.items()]
        columns = ["run", "lane", "lanes", "topic", "partition", "pass", "position", "written_at"]
        if rows:
            insert_rows(self.client, "progress", columns, rows)

    def finish_passes(self, readings: list[Reading], run: Run) -> None:
        """Note that files were read to their end, after everything in them is durable."""
        now = at(self._clock.now_ms())
        self._note_passes([[r.file.source_name, r.pass_number, run.number, 0, "", 1, now] for r in readings])

    def _note_passes(self, rows: list[list[object]]) -> None:
        columns = ["topic", "pass", "first_run", "head_bytes", "head_digest", "finished", "written_at"]
        if rows:
            insert_rows(self.client, "passes", columns, rows)


class ReadAgain:
    """The records that this run reads again although they may have rows: whose keys are not loaded."""

    def __init__(self, replays: dict[Origin, Replay], first_runs: dict[Origin, int]) -> None:
        zones = [(o, r) for o, r in replays.items() if len(r.accepted)]
        self.parameters: dict[str, object] = {
            "topics": [o.topic for o, _ in zones],
            "partitions": [o.partition for o, _ in zones],
            "offsets": [int(r.positions.min()) for _, r in zones],
            "runs": [first_runs[o] for o, _ in zones],
        }


NOTHING_READ_AGAIN = ReadAgain({}, {})


@dataclass(slots=True)
class LedgerLane:
    """One lane's way into the ledger (see `pipeline.ports.LaneLedger`); a client for its thread, one for commits."""

    url: str
    run: Run
    lane: int
    lanes: int
    hot: Hot
    replays: dict[Origin, Replay]
    read_again: ReadAgain
    clock: Clock
    retry: Retry
    dead_letters: Callable[[list[RejectRow]], None] | None = None
    """Makes rejects durable elsewhere, before they are in the ledger."""
    _client: Client | None = None
    _writer: Client | None = None
    _rows: Pending | None = None
    _aside: Pending | None = None
    _spare: list[Pending] = field(default_factory=list)
    """What was written, to be filled again: where nothing is filled meanwhile, there is only one."""
    _commits: int = 0

    @property
    def client(self) -> Client:
        """The connection of the lane's thread, opened when it is first needed."""
        if self._client is None:
            self._client = connect(self.url)
        return self._client

    @property
    def writer(self) -> Client:
        """The connection of the thread that commits."""
        if self._writer is None:
            self._writer = connect(self.url)
        return self._writer

    def hot_since_ms(self) -> int:
        """See `LaneLedger`."""
        return self.hot.since_ms

    def keys_expected(self) -> int:
        """See `LaneLedger`."""
        ((count,),) = self._ask("hot_keys_count", {"since_ms": self.hot.since_ms})
        return int(count) // self.lanes

    def load_keys(self) -> Iterator[tuple[UInt64s, UInt64s]]:
        """See `LaneLedger`."""
        parameters: dict[str, object] = {
            "run": self.run.number,
            "since_ms": self.hot.since_ms,
            "lanes": self.lanes,
            "lane": self.lane,
            **self.read_again.parameters,
        }
        rest = b""
        own_thread = {"max_threads": 1}  # the lanes load side by side
        with self.client.raw_stream(
            sql("hot_keys"), parameters=parameters, settings=own_thread, fmt="RowBinary"
        ) as stream:
            while data := stream.read(_KEY_BYTES * 65_536):
                data = rest + data
                whole = len(data) // _KEY_BYTES * _KEY_BYTES
                rest = data[whole:]
                if whole:
                    yield _keys_of(data[:whole])

    def keep(self) -> Keep:
        """See `LaneLedger`."""
        return Keep(self.hot.keys_max // self.lanes, self.hot.horizon_ms)

    def replay_ends(self) -> dict[Origin, int]:
        """See `LaneLedger`."""
        return {origin: replay.end for origin, replay in self.replays.items()}

    def find_keys(self, hashes: UInt64s, *, is_past_replays: bool) -> tuple[UInt64s, UInt64s]:
        """See `LaneLedger`."""
        before_run = self.run.number + is_past_replays  # what this run has let go of is among them then
        read_again = NOTHING_READ_AGAIN if is_past_replays else self.read_again
        found: list[Any] = []
        numbers = [(int(high) << 64) | int(low) for high, low in hashes]
        for start in range(0, len(numbers), _LOOKUP_SIZE):
            parameters = {
                "hashes": numbers[start : start + _LOOKUP_SIZE], "run": before_run, **read_again.parameters
            }  # fmt: skip
            found += self._ask("known_keys", parameters)
        words = [(h >> 64, h & _WORD, p) for h, p in found]
        table = np.array(words, np.uint64).reshape(-1, 3)
        return table[:, :2], table[:, 2]

    def replay(self, origin: Origin) -> Replay:
        """See `LaneLedger`."""
        return self.replays.get(origin) or Replay()

    def locks(self) -> Locks:
        """See `LaneLedger`."""
        return self.run.locks

    def billing_periods(self, hashes: UInt64s) -> dict[tuple[int, int], str]:
        """See `LaneLedger`."""
        numbers = {_number((high, low)): (high, low) for high, low in hashes.tolist()}
        wanted, found = list(numbers), {}
        for start in range(0, len(wanted), _LOOKUP_SIZE):
            for key, period in self._ask("billing_periods", {"hashes": wanted[start : start + _LOOKUP_SIZE]}):
                found[numbers[int(key)]] = str(period)
        return found

    def append(self, batch: Batch, rows: Int32s) -> None:
        """See `LaneLedger`."""
        if self._rows is None:
            self._rows = self._spare.pop() if self._spare else Pending()
        self._rows.add(accepted_rows(batch, rows, self.run.number, self.run.locks).parts())

    def pending_bytes(self) -> int:
        """See `LaneLedger`."""
        return 0 if self._rows is None else len(self._rows)

    def set_aside(self) -> None:
        """See `LaneLedger`."""
        self._aside, self._rows = self._rows, None

    def commit(self, commit: Commit) -> list[Voided]:
        """See `LaneLedger`."""
        self._commits += 1
        if rows := self._aside:
            token = self._token("rows")
            self.retry.until_done(
                "ledger_in", lambda: insert_pending(self.writer, "ledger_in", rows, token, self.run.number)
            )
            rows.clear()
            self._spare.append(rows)
        voided = self._void(commit.corrections) if commit.corrections else []
        now = self.clock.now_ms()
        if commit.rejects:
            if self.dead_letters is not None:
                self.dead_letters(commit.rejects)
            self._insert(
                "rejected_events_in", [_reject_rows(commit.rejects, self.run.number, now)], "rejects"
            )
        self._insert("progress_in", [self._progress_rows(commit, now)], "progress")
        return voided

    def _insert(self, table: str, blocks: list[bytes], kind: str) -> None:
        token = self._token(kind)
        self.retry.until_done(table, lambda: insert_block(self.writer, table, blocks, token, self.run.number))

    def _token(self, kind: str) -> str:
        return f"{self.run.number}-{self.lane}-{self._commits}-{kind}"

    def _ask(self, name: str, parameters: dict[str, object], client: Client | None = None) -> list[Any]:
        def attempt() -> list[Any]:
            try:
                settings = {
                    "max_query_size": 1 << 28,
                    "max_ast_elements": 1 << 24,
                    "max_expanded_ast_elements": 1 << 24,
                }
                return list(
                    (client or self.client)
                    .query(sql(name), parameters=parameters, settings=settings)
                    .result_rows
                )
            except (ClickHouseError, OSError) as error:
                raise translated(error, "looking keys up") from error

        return self.retry.until_done(name, attempt)

    def _void(self, corrections: list[Correction]) -> list[Voided]:
        targets = sorted({_number(c.target_hash) for c in corrections})
        rows: dict[int, VoidedRow] = {}
        for start in range(0, len(targets), _LOOKUP_SIZE):
            some = targets[start : start + _LOOKUP_SIZE]
            for row in self._ask("voided_rows", {"hashes": some}, self.writer):
                rows[int(row[0])] = VoidedRow(*row)
        pairs = [(c, rows[_number(c.target_hash)]) for c in corrections]
        locks = self.run.locks
        self._insert("ledger_in", [correction_rows(pairs, self.run.number, locks)], "corrections")
        return [Voided(c, counted_at(c, v, locks)[0], -v.pico_usd, v.settlement) for c, v in pairs]

    def _progress_rows(self, commit: Commit, now: int) -> bytes:
        origins = list(commit.positions)
        tallies = [commit.tallies[o] for o in origins]
        block = Block(len(origins))
        block.repeated("run", "UInt32", self.run.number, "<u4")
        block.repeated("lane", "UInt32", self.lane, "<u4")
        block.repeated("lanes", "UInt32", self.lanes, "<u4")
        block.data("topic", "String", strings([o.topic for o in origins]))
        block.data("partition", "UInt32", np.array([o.partition for o in origins], np.uint32))
        block.data("pass", "UInt32", np.array([o.pass_number for o in origins], np.uint32))
        block.data("position", "UInt64", np.array([commit.positions[o] for o in origins], np.uint64))
        for name in ("accepted", "duplicates", "conflicts", "rejected", "replayed"):
            block.data(name, "UInt64", np.array([getattr(t, name) for t in tallies], np.uint64))
        block.repeated("written_at", "DateTime64(3, 'UTC')", now, "<i8")
        return block.bytes()


def _number(words: tuple[int, int]) -> int:
    return (words[0] << 64) | words[1]


def _keys_of(data: bytes) -> tuple[UInt64s, UInt64s]:
    words = np.frombuffer(data, "<u8").reshape(-1, 3)
    return np.ascontiguousarray(words[:, 1::-1]), np.ascontiguousarray(words[:, 2])


def _reject_rows(rejects: list[RejectRow], run: int, now: int) -> bytes:
    block = Block(len(rejects))
    for name in ("reason", "topic"):
        values = [r.reason if name == "reason" else r.origin.topic for r in rejects]
        distinct = list(dict.fromkeys(values))
        codes = np.array([distinct.index(v) for v in values], np.int64)
        block.low_cardinality(name, strings(distinct), len(distinct), codes)
    block.data("detail", "String", strings([r.detail for r in rejects]))
    block.data("raw", "String", strings([r.raw for r in rejects]))
    block.data("partition", "UInt32", np.array([r.origin.partition for r in rejects], np.uint32))
    block.data("offset", "UInt64", np.array([r.offset for r in rejects], np.uint64))
    block.repeated("rejected_at", "DateTime64(3, 'UTC')", now, "<i8")
    block.repeated("run", "UInt32", run, "<u4")
    return block.bytes()
