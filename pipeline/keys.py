"""The keys of one lane that were counted: a hash table of 128-bit keys and 64-bit fingerprints, 24 bytes a cell.

A large table grows by a quarter, in place: 32 to 40 bytes for a key, also while it grows.
"""

import mmap

import numpy as np
import numpy.typing as npt

from pipeline.batch import Batch
from pipeline.columns import Int8s, Int32s, UInt64s
from pipeline.kernels.tables import count_once, find_keys, print_of, put_keys, spread
from pipeline.locks import Bools
from pipeline.ports import Replay

_FIRST_CELLS = 1 << 20
_CELL_BYTES = 24
_FULL_PERCENT, _GROWN_PERCENT = 75, 125
_ASIDE = 1 << 16
NONE_LATE: Bools = np.empty(0, np.bool_)


class KeyTable:
    """A set of keys that only grows. Not shared between threads."""

    def __init__(self, cells: int = _FIRST_CELLS, older: "KeyTable | None" = None) -> None:
        """`older` holds keys that are known too; it takes no more."""
        self._memory = _zeros(cells) if cells else None
        self._cells = _view(self._memory)
        _touch(self._cells)
        self._older = older._cells if older else _view(None)  # noqa: SLF001 - of its own class
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def bytes_held(self) -> int:
        """The size of the table."""
        return self._cells.nbytes

    def reserve(self, more: int) -> None:
        """Have room for so many more keys: growing step by step costs more than entering them."""
        needed, cells = (self._count + more) * 100 // _FULL_PERCENT + 1, len(self._cells)
        while cells < needed:
            cells = max(needed, cells * _GROWN_PERCENT // 100 + 1)
        if cells > len(self._cells):
            self._grow(cells)

    def put(self, hashes: UInt64s, prints: UInt64s) -> None:
        """Enter keys known from the ledger; one that is there stays one."""
        self.reserve(len(hashes))
        self._count += put_keys(self._cells, np.ascontiguousarray(hashes), np.ascontiguousarray(prints))

    def judge(
        self, batch: Batch, rows: Int32s, known: Int32s, replay: Replay, late: Bools = NONE_LATE
    ) -> Int8s:
        """Count each row once, in order; `known`, `late`, outcomes as in `pipeline.kernels.tables.count_once`."""
        self.reserve(len(rows))
        outcomes: npt.NDArray[np.int8] = np.empty(len(rows), np.int8)
        c = batch.columns
        self._count += count_once(
            self._cells, self._older, rows, known, replay.hashes, replay.prints, late, c.verdicts, c.types,
            batch.hashes, batch.targets, batch.prints, outcomes,
        )  # fmt: skip
        return outcomes

    def find(self, hashes: UInt64s) -> Bools:
        """Tell of each key whether it is there."""
        found = np.empty(len(hashes), np.bool_)
        find_keys(self._cells, np.ascontiguousarray(hashes), found)
        return found

    def forget_older(self) -> None:
        """Let go of the keys of the older table."""
        self._older = _view(None)

    def fingerprint(self, key: UInt64s) -> int:
        """The fingerprint that came with a key; 0 where the key is not there."""
        return int(print_of(self._cells, key)) if len(self._cells) else 0

    def _grow(self, cells: int) -> None:
        before = len(self._cells)
        del self._cells  # memory that is looked at cannot be given more
        self._memory = _more(self._memory, cells) if self._memory else _zeros(cells)
        self._cells = _view(self._memory)
        _touch(self._cells[before:])
        aside: UInt64s = np.empty((min(_ASIDE, before), 3), np.uint64)
        spread(self._cells, before, aside)


class HotKeys:
    """The keys that a lane holds: those of the running horizon and of the one before it."""

    def __init__(self) -> None:
        self._young, self._old = KeyTable(), KeyTable(0)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def reserve(self, more: int) -> None:
        """See `KeyTable.reserve`."""
        self._young.reserve(more)

    def put(self, hashes: UInt64s, prints: UInt64s) -> None:
        """Enter keys known from the ledger; one that is there stays one."""
        self._young.put(hashes, prints)

    def judge(
        self, batch: Batch, rows: Int32s, known: Int32s, replay: Replay, late: Bools = NONE_LATE
    ) -> Int8s:
        """See `KeyTable.judge`."""
        return self._young.judge(batch, rows, known, replay, late)

    def fingerprint(self, key: UInt64s) -> int:
        """The fingerprint that came with a key that is there."""
        return self._young.fingerprint(key) or self._old.fingerprint(key)

    def turn(self) -> None:
        """Begin a new horizon, and let the keys go that were there before the last time."""
        self._old, self._young = self._young, KeyTable(older=self._young)
        self._old.forget_older()


def _zeros(cells: int) -> mmap.mmap:
    """Memory of zeros."""
    return mmap.mmap(-1, cells * _CELL_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _touch(cells: UInt64s) -> None:
    """Write to memory that is still zero.

    A page that is first read, as a search does, is mapped to a shared page of zeros; the write that follows then
    stops all threads of the process for a moment.
    """
    cells.fill(0)


def _more(memory: mmap.mmap, cells: int) -> mmap.mmap:
    """The same memory with zeros behind it; where the system cannot add to it, a copy."""
    try:
        memory.resize(cells * _CELL_BYTES)
    except SystemError:
        copy = _zeros(cells)
        copy.write(memory)
        return copy
    return memory


def _view(memory: mmap.mmap | None) -> UInt64s:
    if memory is None:
        return np.empty((0, 3), np.uint64)
    return np.frombuffer(memory, np.uint64).reshape(-1, 3)
