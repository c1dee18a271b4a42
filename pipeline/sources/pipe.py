"""What can be read only once: standard input, a named pipe, a device."""

import io
import os
import select
from typing import Any

from pipeline.sources.packed import MAGIC_BYTES


class Pipe(io.RawIOBase):
    """Bytes as they come, from a file descriptor that is closed with it.

    Guarantee: it never waits, so that a worker that asks in vain can write what it has, or stop: `read` and
    `readinto` give None while nothing has come. A named pipe begins when its first writer does.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLIN)
        self._first = b""
        self._has_ended = False

    def readable(self) -> bool:
        """Always."""
        return True

    def magic(self) -> bytes | None:
        """The first bytes, which stay to be read; None while too few have come."""
        while len(self._first) < MAGIC_BYTES and not self._has_ended:
            if not self._ready.poll(0):
                return None
            more = os.read(self._descriptor, MAGIC_BYTES - len(self._first))
            self._first += more
            self._has_ended = not more
        return self._first

    def readinto(self, into: Any) -> int | None:
        """Fill the front of `into` with what has come; 0 at the end."""
        if self._first:
            count = min(len(into), len(self._first))
            into[:count] = self._first[:count]
            self._first = self._first[count:]
            return count
        if self._has_ended:
            return 0
        return os.readv(self._descriptor, [into]) if self._ready.poll(0) else None

    def close(self) -> None:
        """Close the descriptor too."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()
