"""The processes of a cluster meet before they work: what the first knows all learn, and which key goes where.

The meeting is a dataflow of its own, a few milliseconds long: process 0 brings a message, every worker says which
keys Bytewax has given to it, and every process leaves with the same answer. It ends only when all are there, so
what a process does between the meeting and its work comes before anyone's work.
"""

import os
import threading
from dataclasses import dataclass, field
from typing import Any

import bytewax.operators as op
from bytewax._bytewax import cluster_main
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

_KEYS_PER_WORKER = 64

Found = list[tuple[str, str, Any]]
"""For each key: its name, the worker that has it, and the message of process 0."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The processes that work together: `host:port` of each, and which of them this is. None: one alone."""

    addresses: tuple[str, ...] = ()
    process: int = 0

    @property
    def processes(self) -> int:
        """How many there are."""
        return max(len(self.addresses), 1)


ALONE = Cluster()


@dataclass(frozen=True, slots=True)
class Meeting:
    """What all have agreed upon: the message of process 0, and one key for each lane."""

    message: Any
    keys: list[str] = field(default_factory=list)


def meet(cluster: Cluster, workers: int, message: Any) -> Meeting:
    """Meet the other processes; `message` counts in process 0, and must be one that can be pickled.

    Each worker gets exactly one of the keys where Bytewax spreads them so; where it does not, the result is the
    same and only the load is not. Blocks until all processes are there.
    """
    names = [str(i) for i in range(_KEYS_PER_WORKER * workers * cluster.processes)]
    found: Found = []
    flow = Dataflow("meeting")
    named = op.input("names", flow, _Names(names, message))
    placed = op.stateful_map("place", named, lambda state, value: (state, (_here(), value)))
    one = op.map("one", placed, lambda item: ("all", (item[0], *item[1])))
    together = op.fold_final("together", one, list, lambda so_far, entry: [*so_far, entry])
    told = op.flat_map("tell", together, lambda item: [(name, item[1]) for name in names])
    heard = op.stateful_map("hear", told, lambda state, value: (state, value))
    op.output("note", heard, _Note(found))
    cluster_main(flow, list(cluster.addresses), cluster.process, worker_count_per_proc=workers)
    return Meeting(found[0][2], _one_key_each(found, workers * cluster.processes))


def _here() -> str:
    return f"{os.getpid()}-{threading.get_ident()}"


def _one_key_each(found: Found, lanes: int) -> list[str]:
    by_number = sorted(found, key=lambda entry: int(entry[0]))
    first: dict[str, str] = {}
    for name, where, _ in by_number:
        first.setdefault(where, name)
    chosen = list(first.values())
    return chosen if len(chosen) == lanes else [name for name, _, _ in by_number[:lanes]]


class _NamesPartition(StatelessSourcePartition[tuple[str, Any]]):
    def __init__(self, items: list[tuple[str, Any]]) -> None:
        self._items = items

    def next_batch(self) -> list[tuple[str, Any]]:
        """Give all, once."""
        if not self._items:
            raise StopIteration
        items, self._items = self._items, []
        return items


@dataclass(frozen=True)
class _Names(DynamicSource[tuple[str, Any]]):
    names: list[str]
    message: Any

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _NamesPartition:  # noqa: ARG002
        return _NamesPartition([(name, self.message) for name in self.names] if worker_index == 0 else [])


class _NotePartition(StatelessSinkPartition[tuple[str, Found]]):
    def __init__(self, found: Found) -> None:
        self._found = found

    def write_batch(self, items: list[tuple[str, Found]]) -> None:
        """Keep the answer; all are the same."""
        self._found[:] = items[0][1]


@dataclass(frozen=True)
class _Note(DynamicSink[tuple[str, Found]]):
    found: Found

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _NotePartition:  # noqa: ARG002
        return _NotePartition(self.found)


__all__ = ["ALONE", "Cluster", "Meeting", "meet"]
