"""The keys of one lane that were counted: a hash table of 128-bit keys and 64-bit fingerprints, 24 bytes a cell."""

import numpy as np
import numpy.typing as npt

from pipeline.batch import Batch
from pipeline.columns import Int8s, Int32s, UInt64s
from pipeline.kernels.tables import count_once, print_of, put_keys, rehash
from pipeline.locks import Bools
from pipeline.ports import Replay

_FIRST_CELLS = 1 << 16
_FULL = 0.7
NONE_LATE: Bools = np.empty(0, np.bool_)


class KeyTable:
    """A set of keys that only grows. Not shared between threads."""

    def __init__(self) -> None:
        self._cells = np.zeros((_FIRST_CELLS, 3), np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, hashes: UInt64s, prints: UInt64s) -> None:
        """Enter keys known from the ledger; one that is there stays one."""
        self._reserve(len(hashes))
        self._count += put_keys(self._cells, np.ascontiguousarray(hashes), np.ascontiguousarray(prints))

    def judge(
        self, batch: Batch, rows: Int32s, known: Int32s, replay: Replay, late: Bools = NONE_LATE
    ) -> Int8s:
        """Count each row once, in order; `known`, `late`, outcomes as in `pipeline.kernels.tables.count_once`."""
        self._reserve(len(rows))
        outcomes: npt.NDArray[np.int8] = np.empty(len(rows), np.int8)
        c = batch.columns
        self._count += count_once(
            self._cells, rows, known, replay.hashes, replay.prints, late, c.verdicts, c.types, batch.hashes,
            batch.targets, batch.prints, outcomes,
        )  # fmt: skip
        return outcomes

    def fingerprint(self, key: UInt64s) -> int:
        """The fingerprint that came with a key that is there."""
        return int(print_of(self._cells, key))

    def _reserve(self, more: int) -> None:
        needed = int((self._count + more) / _FULL) + 1
        if needed <= len(self._cells):
            return
        bigger = np.zeros((1 << (needed - 1).bit_length(), 3), np.uint64)
        rehash(self._cells, bigger)
        self._cells = bigger
