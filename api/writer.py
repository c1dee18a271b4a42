"""One writer for the control store: what waits together is written in one transaction, with one fsync.

Writers of the store follow one another in any case. So instead of a queue of threads that each commit, there is one
thread that takes whatever waits, does it piece by piece in one transaction, and commits once. Nobody gets an answer
before the commit. A thousand requests a second then need some dozen commits, not a thousand.

Unit of parallelism: one for each process. Delivery: the future of a piece of work is done after its commit; when it
raises, nothing of it is written.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

from billing.store import Store
from pipeline.errors import StoreError

T = TypeVar("T")
Work = Callable[[Connection], T]
"""Reads and writes through the connection alone and has no other effect: it may be done twice."""
TOGETHER_MAX = 64
"""So many pieces of work share a transaction at most."""
CLOSED = "the control store's writer is closed: the service is being stopped"


@dataclass(slots=True)
class _Piece:
    work: Work[Any]
    future: "Future[Any]" = field(default_factory=Future)


class GroupWriter:
    """Does pieces of work in the order in which they came; safe to use from several threads and loops."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._turn, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work[T]) -> "Future[T]":
        """Queue a piece of work; its future is done when it is durable, or holds what it raised."""
        piece = _Piece(work)
        with self._closing:
            if self._is_closed:
                piece.future.set_exception(StoreError(CLOSED))
            else:
                self._queue.put(piece)
        return piece.future

    def run(self, work: Work[T]) -> T:
        """Do a piece of work and wait for it."""
        return self.submit(work).result()

    @property
    def waiting(self) -> int:
        """How many pieces of work wait."""
        return self._queue.qsize()

    def close(self) -> None:
        """Do what is queued, then end."""
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)
        self._thread.join()

    def _turn(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            pieces = [first]
            is_last = False
            while len(pieces) < TOGETHER_MAX and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    is_last = True
                    break
                pieces.append(more)
            self._do([piece for piece in pieces if piece.future.set_running_or_notify_cancel()])
            if is_last:
                return

    def _do(self, pieces: list[_Piece]) -> None:
        """Do pieces together; where that fails, each by itself, so that one takes no other with it."""
        try:
            with self._store.write() as connection:
                results = [piece.work(connection) for piece in pieces]
        except BaseException as error:  # noqa: BLE001 - whatever it is, the one who asked is told
            if len(pieces) == 1:
                pieces[0].future.set_exception(error)
                return
            for piece in pieces:
                self._do([piece])
            return
        for piece, result in zip(pieces, results, strict=True):
            piece.future.set_result(result)
