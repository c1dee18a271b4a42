"""The dataflow; with `inputs` and `cluster` all that knows Bytewax.

    input --> prepare --> commit (keyed by lane) --> spend (keyed by spend lane) --> decisions

A lane is one key for each worker, so that Bytewax moves a handful of items for a batch and not one for each
event. Which key goes to which worker is Bytewax's business; `balanced_keys` asks it by a dry run. State lives in
the ledger, so none of Bytewax's recovery is used, and workers may come and go between runs.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bytewax._bytewax import cluster_main
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from pipeline.batch import Preparer, SentShare, Share
from pipeline.chunk import Chunk
from pipeline.cluster import ALONE, Cluster, Meeting, meet
from pipeline.errors import MillraceError
from pipeline.inputs import ChunkReader, Halt, Halts, PartitionedInput, PartitionedReader, SharedInput
from pipeline.lane import Delivered, Lane
from pipeline.ports import Decision, DecisionSink
from pipeline.run_state import CommitNote, RejectBudget, RunState, guard
from pipeline.spend import SpendWindows

AGE_BEHIND_MS = 2_000
_REST_A_COMMIT = 3
"""How many times as long as its last commit took a lane rests: it commits a quarter of its time at most."""
_REST_MS_A_LANE = 25
"""So that all lanes of a cluster together make 40 parts a second at most."""
_PAUSE_MS_MAX = 50
_LOOK_AGAIN_S = 0.005
"""How soon a lane that has nothing else to do looks again whether its block is written."""
_EPOCH = timedelta(days=365)
"""At the end of an epoch all workers wait for each other, spinning; it is for Bytewax's recovery, which is not used."""


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """When a lane makes its pending block durable: at so many rows or bytes, or at that age.

    Who is behind (`Chunk.is_behind`) waits up to `AGE_BEHIND_MS`, so that not all time goes into small blocks and
    their merges. Events that are counted as they happen (`is_live`) wait no longer than for the end of a rest after
    the commit before: where commits are quick and few that is at once.
    """

    rows: int = 250_000
    bytes: int = 192 << 20
    age_ms: int = 2_000
    is_live: bool = False
    writes_beside: bool = False
    """Whether a lane fills its next block while one is written. With a ledger elsewhere, a run of one worker ends a
    quarter sooner by it; with one in this process only more threads contend for the cores: 8 % more CPU, no sooner."""

    def due_ms(self, *, is_behind: bool) -> int:
        """The age at which a block is written at the latest."""
        return max(self.age_ms, AGE_BEHIND_MS) if is_behind else self.age_ms

    def rest_ms(self, took_ms: int, lanes: int, *, is_behind: bool) -> int | None:
        """How long after a commit that took so long the next may come before its block has that age; None: never."""
        if is_behind or not self.is_live:
            return None
        return max(took_ms * _REST_A_COMMIT, lanes * _REST_MS_A_LANE)

    @property
    def pause_ms(self) -> int:
        """How long a partition rests after a small chunk: each costs 2 ms, however few records it has."""
        return min(self.age_ms // 4, _PAUSE_MS_MAX) if self.is_live else 0


@dataclass(frozen=True, slots=True)
class FlowParts:
    """What the dataflow is made of; the factories are called on the worker that uses their result."""

    reader: ChunkReader | PartitionedReader
    make_preparer: Callable[[], Preparer]
    make_lane: Callable[[int], Lane]
    make_windows: Callable[[int], SpendWindows]
    make_decision_sink: Callable[[], DecisionSink]
    policy: CommitPolicy
    state: RunState
    workers: int
    cluster: Cluster = ALONE
    meeting: Meeting | None = None
    """What the processes have agreed upon; alone, it is found here."""

    @property
    def lanes(self) -> int:
        """One for each worker of the cluster."""
        return self.workers * self.cluster.processes


def run_flow(parts: FlowParts) -> None:
    """Run until the input ends or the stop flag is set; everything taken in is durable on return.

    Raises the first error of any worker.
    """
    flow = _build(parts)
    try:
        cluster_main(
            flow,
            list(parts.cluster.addresses),
            parts.cluster.process,
            epoch_interval=_EPOCH,
            worker_count_per_proc=parts.workers,
        )
    except BaseException as error:  # noqa: BLE001 - Bytewax wraps what a worker raised; the first error is the cause
        parts.state.stop.set()  # a commit that is on its way beside the workers tries no longer
        raise (parts.state.error or _of_the_cluster(parts.cluster, error)) from None
    if parts.state.error is not None:
        raise parts.state.error


def _of_the_cluster(cluster: Cluster, error: BaseException) -> BaseException:
    """What it means when the lines between the processes break."""
    if cluster.processes == 1 or type(error).__name__ != "PanicException":
        return error
    return MillraceError(
        f"another process of the cluster has gone, so this one ({cluster.process}) stops too: start all of them "
        "again, nothing is lost"
    )


def _build(parts: FlowParts) -> Dataflow:
    keys = (parts.meeting or meet(ALONE, parts.workers, None)).keys
    preparers = _Preparers(parts.make_preparer)

    def prepare(chunk: Chunk | Halt) -> list[tuple[str, Share | Halt]]:
        if isinstance(chunk, Halt):
            return [(key, chunk) for key in keys]
        parts.state.saw(len(chunk.offsets))
        batch = preparers.own().prepare(chunk)
        return [(key, Share(chunk.stream, chunk.sequence, lane, batch)) for lane, key in enumerate(keys)]

    def spread(item: tuple[str, Delivered]) -> list[tuple[str, tuple[int, Delivered]]]:
        return [(key, (lane, item[1])) for lane, key in enumerate(keys)]

    flow = Dataflow("millrace")
    chunks = _input(flow, parts)
    shares = op.flat_map("prepare", chunks, guard(parts.state, prepare))
    delivered = op.stateful_batch("commit", shares, lambda _: _LaneLogic(parts, preparers))
    spread_out = op.flat_map("spread", delivered, spread)
    decisions = op.stateful_batch("spend", spread_out, lambda _: _SpendLogic(parts))
    op.output("decisions", op.key_rm("unkey", decisions), _Decisions(parts))
    return flow


class _Preparers:
    """One preparer for each worker thread, made when it is first needed.

    Found by the number of the thread: what is `threading.local` is gone when Bytewax calls the next time.
    """

    def __init__(self, make: Callable[[], Preparer]) -> None:
        self._make = make
        self._of_thread: dict[int, Preparer] = {}

    def own(self) -> Preparer:
        thread = threading.get_ident()
        found = self._of_thread.get(thread)
        if found is None:
            found = self._of_thread[thread] = self._make()
        return found


def _input(flow: Dataflow, parts: FlowParts) -> Any:
    if not isinstance(parts.reader, PartitionedReader):
        return op.input("input", flow, SharedInput(parts.reader, parts.state))
    chunks = op.input("input", flow, PartitionedInput(parts.reader, parts.state, parts.policy.pause_ms))
    halts = op.input("halt", flow, Halts(parts.reader, parts.state))
    return op.merge("all", chunks, halts)


@dataclass(slots=True)
class _Writing:
    """A commit on its way, on a thread of its own."""

    rows: int
    bytes: int
    oldest: float
    """When the first of its records were taken in."""
    oldest_ms: int
    begun: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    done: Future[Delivered] = field(default_factory=Future)

    def run(self, write: Callable[[], Delivered]) -> None:
        """Write, and note when it was done."""
        try:
            delivered = write()
        except BaseException as error:  # noqa: BLE001 - raised where the result is taken
            self.done.set_exception(error)
        else:
            self.ended = time.monotonic()
            self.done.set_result(delivered)


class _LaneLogic(StatefulBatchLogic[Share | SentShare | Halt, Delivered, None]):
    """A lane on the worker that owns it; of its blocks one at a time is on its way."""

    def __init__(self, parts: FlowParts, preparers: _Preparers) -> None:
        self._parts, self._preparers = parts, preparers
        self._lane: Lane | None = None
        self._oldest: float | None = None
        self._oldest_ms = 0
        self._is_behind = False
        self._ended, self._took_ms = 0.0, 0
        """When the last commit was done, and how long it took."""
        self._writer = ThreadPoolExecutor(1, "commit")
        self._writing: _Writing | None = None

    def on_batch(self, values: list[Share | SentShare | Halt]) -> tuple[list[Delivered], bool]:
        shares = [value for value in values if not isinstance(value, Halt)]
        if len(shares) < len(values):
            self._parts.state.stop.set()
        return guard(self._parts.state, self._take)(shares), StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[list[Delivered], bool]:
        return guard(self._parts.state, self._look)(), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[Delivered], bool]:
        return guard(self._parts.state, self._end)(), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        due = self._due_at() if self._writing is None else time.monotonic() + _LOOK_AGAIN_S
        if due is None:
            return None
        return datetime.now(UTC) + timedelta(seconds=max(due - time.monotonic(), 0))

    def _due_at(self) -> float | None:
        """When the pending block is written."""
        if self._oldest is None:
            return None
        latest = self._oldest + self._parts.policy.due_ms(is_behind=self._is_behind) / 1000
        rest = self._parts.policy.rest_ms(self._took_ms, self._parts.lanes, is_behind=self._is_behind)
        return latest if rest is None else min(latest, self._ended + rest / 1000)

    def snapshot(self) -> None:
        return None

    def _look(self) -> list[Delivered]:
        """What is written by now; and begin to write what is due."""
        delivered = self._written(wait=False)
        due = self._due_at()
        if self._writing is None and due is not None and due <= time.monotonic():
            delivered += self._commit()
        return delivered

    def _end(self) -> list[Delivered]:
        try:
            return [] if self._parts.state.error is not None else self._commit() + self._written(wait=True)
        finally:
            self._writer.shutdown()

    def _take(self, shares: list[Share | SentShare]) -> list[Delivered]:
        if self._lane is None and shares:
            self._lane = self._parts.make_lane(shares[0].lane)
        delivered: list[Delivered] = []
        if self._lane is None:
            return delivered
        delivered += self._written(wait=False)
        for sent in shares:
            share = sent.prepared(self._preparers.own()) if isinstance(sent, SentShare) else sent
            self._lane.take(share)
            self._is_behind = share.batch.chunk.is_behind
            if self._lane.has_pending and self._oldest is None:
                self._oldest = time.monotonic()
                self._oldest_ms = share.batch.chunk.read_at_ms
            if self._is_full(self._lane):
                delivered += self._commit()
        return delivered

    def _is_full(self, lane: Lane) -> bool:
        policy = self._parts.policy
        return lane.pending_rows >= policy.rows or lane.pending_bytes() >= policy.bytes

    def _commit(self) -> list[Delivered]:
        """Write what is pending, or begin to, when what was begun before is written; gives what is written."""
        delivered = self._written(wait=True)
        lane, oldest = self._lane, self._oldest
        self._oldest = None
        if lane is not None and lane.has_pending:
            writing = _Writing(
                lane.pending_rows, lane.pending_bytes(), oldest or time.monotonic(), self._oldest_ms
            )
            write = guard(self._parts.state, lane.begin())
            self._writing = writing
            if self._parts.policy.writes_beside:
                self._writer.submit(writing.run, write)
            else:
                writing.run(write)
                delivered += self._written(wait=True)
        return delivered

    def _written(self, *, wait: bool) -> list[Delivered]:
        """What the commit on its way has made durable, if it is done; raises what went wrong."""
        lane, writing = self._lane, self._writing
        if lane is None or writing is None or not (wait or writing.done.done()):
            return []
        delivered = lane.end(writing.done.result())
        self._writing = None
        took = writing.ended - writing.begun
        self._ended, self._took_ms = writing.ended, int(took * 1000)
        state = self._parts.state
        if state.watch is not None:
            epoch, held = writing.ended - writing.oldest, lane.keys_held()
            state.watch(
                CommitNote(
                    lane.lane,
                    delivered.tallies,
                    writing.rows,
                    writing.bytes,
                    took,
                    epoch,
                    writing.oldest_ms,
                    held,
                )
            )
        state.count(delivered.tallies, delivered.pico_usd)
        return [delivered]


class _SpendLogic(StatefulBatchLogic[tuple[int, Delivered], Decision, None]):
    """The windows of a spend lane on the worker that owns it."""

    def __init__(self, parts: FlowParts) -> None:
        self._parts = parts
        self._windows: SpendWindows | None = None

    def on_batch(self, values: list[tuple[int, Delivered]]) -> tuple[list[Decision], bool]:
        return guard(self._parts.state, self._take)(values), StatefulBatchLogic.RETAIN

    def snapshot(self) -> None:
        return None

    def _take(self, values: list[tuple[int, Delivered]]) -> list[Decision]:
        if self._windows is None:
            self._windows = self._parts.make_windows(values[0][0])
        decisions = []
        for _, delivered in values:
            self._parts.state.durable.note(delivered.lane, delivered.positions)
            decisions += self._windows.take(delivered.lane, delivered.below, delivered.deltas)
        return decisions


class _DecisionPartition(StatelessSinkPartition[Decision]):
    def __init__(self, parts: FlowParts) -> None:
        self._parts = parts
        self._sink: DecisionSink | None = None

    def write_batch(self, items: list[Decision]) -> None:
        guard(self._parts.state, self._write)(items)

    def _write(self, items: list[Decision]) -> None:
        if self._sink is None:
            self._sink = self._parts.make_decision_sink()
        self._sink.write(items)


@dataclass(frozen=True)
class _Decisions(DynamicSink[Decision]):
    parts: FlowParts

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _DecisionPartition:  # noqa: ARG002
        return _DecisionPartition(self.parts)


class _NowherePartition(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        """Let the items go."""


class _Nowhere(DynamicSink[Any]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _NowherePartition:  # noqa: ARG002
        return _NowherePartition()


__all__ = ["CommitNote", "CommitPolicy", "FlowParts", "RejectBudget", "RunState", "run_flow"]
