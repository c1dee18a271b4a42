"""Blocks that wait for their insert, written once: the engine reads them where they are."""

import os
import tempfile
from collections.abc import Sequence

_PARTS_AT_ONCE = 512
"""A system takes 1 024 pieces in one call."""


class Pending:
    """Blocks of one lane, in a file in memory that is used again, so that its pages are made once.

    One thread. What was added stays until `clear`, however often it is read.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._file = os.fdopen(os.memfd_create("rows"), "r+b", buffering=0)
        else:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it lives on
        self._size = 0

    def __len__(self) -> int:
        """The size in bytes of what waits."""
        return self._size

    def add(self, parts: Sequence[bytes | memoryview]) -> None:
        """Add a block, in pieces. Raises OSError where there is no room."""
        for start in range(0, len(parts), _PARTS_AT_ONCE):
            some = parts[start : start + _PARTS_AT_ONCE]
            wanted = sum(map(len, some))
            written = os.pwritev(self._file.fileno(), some, self._size)
            if written < wanted:
                self._write(b"".join(some)[written:], self._size + written)
            self._size += wanted

    def _write(self, rest: bytes, place: int) -> None:
        while rest:
            written = os.pwrite(self._file.fileno(), rest, place)
            rest, place = rest[written:], place + written

    def path(self) -> str | None:
        """Where the engine of this process finds exactly what waits; None where the system has no such place."""
        self._file.truncate(self._size)
        place = f"/proc/self/fd/{self._file.fileno()}"
        return place if os.path.exists(place) else None  # noqa: PTH110 - not what it links to

    def read(self) -> bytes:
        """All that waits."""
        return os.pread(self._file.fileno(), self._size, 0) if self._size else b""

    def close(self) -> None:
        """Give the memory back."""
        self._file.close()

    def clear(self) -> None:
        """Begin anew; the memory is kept."""
        self._size = 0


__all__ = ["Pending"]
