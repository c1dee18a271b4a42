"""The distinct strings of a batch: each row of a kind of few values carries the number of its value."""

from dataclasses import dataclass

import numpy as np

from pipeline.columns import Columns, Int32s
from pipeline.kernels.layout import INTERNED_FIELDS, KIND_USAGE, KINDS
from pipeline.kernels.tables import intern_rows, intern_usage

_FIELDS = np.array(INTERNED_FIELDS, np.int64)


@dataclass(slots=True)
class Dictionary:
    """codes int32[n, kinds]; values of kind k: `buffer[starts[k, c]:][:sizes[k, c]]` for c below counts[k]."""

    codes: Int32s
    usage_codes: Int32s
    starts: Int32s
    sizes: Int32s
    counts: Int32s

    @classmethod
    def of(cls, columns: Columns) -> "Dictionary":
        """Number the distinct values of the batch's valid rows."""
        n = len(columns)
        room = max(n, columns.usage_used, 1)
        table = np.full((KINDS, 1 << (2 * room - 1).bit_length()), -1, np.int32)
        starts, sizes = np.empty((KINDS, room), np.int32), np.empty((KINDS, room), np.int32)
        counts = np.zeros(KINDS, np.int32)
        codes = np.zeros((n, len(INTERNED_FIELDS)), np.int32)
        usage_codes = np.empty(columns.usage_used, np.int32)
        buffer = columns.chunk.buffer
        intern_rows(
            buffer, columns.verdicts, columns.at, columns.length, _FIELDS, table, starts, sizes, counts, codes
        )
        intern_usage(
            buffer, columns.usage_at, columns.usage_length, columns.usage_used, table, starts, sizes, counts,
            KIND_USAGE, usage_codes,
        )  # fmt: skip
        return cls(codes, usage_codes, starts, sizes, counts)

    def values(self, kind: int, columns: Columns) -> list[str]:
        """The distinct values of a kind, by number."""
        buffer = columns.chunk.buffer
        ranges = zip(
            self.starts[kind, : self.counts[kind]].tolist(),
            self.sizes[kind, : self.counts[kind]].tolist(),
            strict=True,
        )
        return [buffer[start : start + size].tobytes().decode() for start, size in ranges]
