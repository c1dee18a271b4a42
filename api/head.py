"""Heads of requests within limits of time and size, before there is a request that the frame could see.

uvicorn waits for ever for a head that does not end. Here a connection that has not sent a whole head in time is
answered and closed, as is one whose head is too large.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_MAX = 64 * 1024


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a limit on the head; the body's limits are the frame's."""

    head_timeout_s: ClassVar[int] = 10
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._come()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head, and pass it on."""
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()
        if self._timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX and not self._ends_head(data):
                self._close(431)
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._come()
        super().on_headers_complete()

    def _ends_head(self, data: bytes) -> bool:
        """Whether a head ends in time, and what is large is the body behind it."""
        end = data.find(b"\r\n\r\n")
        return end >= 0 and self._head_bytes - len(data) + end <= HEAD_MAX

    def _wait(self) -> None:
        self._head_bytes = 0
        self._timer = self.loop.call_later(self.head_timeout_s, self._too_late)

    def _come(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._close(408 if self._head_bytes else 0)

    def _close(self, status: int) -> None:
        self._come()
        if self.transport.is_closing():
            return
        if status:
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


def protocol(head_timeout_s: int) -> type[PatientProtocol]:
    """Make the protocol with a timeout."""
    return type("Protocol", (PatientProtocol,), {"head_timeout_s": head_timeout_s})
