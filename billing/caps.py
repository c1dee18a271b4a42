"""Caps that hold: the one door to authorize, reserve, release, finalize and settle. No HTTP here.

    caps = Caps(store, clock, random_hex, Policy(), reader)
    outcome = caps.ask(Reserve("acme", 250_000), caller, once).result()

Each ask is one atomic decision in one transaction of the control store, together with its stored answer: there is
no moment at which a killed process leaves one without the other. Asks that wait together share a transaction.

Unit of parallelism: two threads for each process, one that decides what moves money and one for authorizations, which
hold nothing and so wait for nobody (`billing.authorizing`); on PostgreSQL any number of processes, which meet at the
tenant's row. Delivery: an outcome is given when it is durable (an authorization, which moves no money, when it
survives the process).
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

from billing.asks import Ask, Authorize, Caller, Once, Outcome
from billing.authorizing import authorize
from billing.book import Piece, open_book
from billing.moves import Desk, answer
from billing.policy import Policy
from billing.refresh import refresh
from billing.store import Store
from billing.windows import SpendReader
from pipeline.errors import LedgerError, StoreError
from pipeline.ports import Clock

TOGETHER_MAX = 256
"""So many asks share a transaction at most."""
GATHER_S = 0.0005
"""Where asks come faster than groups are done, the next group waits so long for company: an authorization by itself
takes 200 microseconds of a core on SQLite and 300 on PostgreSQL, one of five 80 and 90."""
LEDGER_PAUSE_MS = 1_000
_READS_MAX = 5
_log = structlog.get_logger("millrace.caps")
_CLOSED = "the caps are closed: the service is being stopped"


Tell = Callable[[Outcome | None, BaseException | None], object]
"""Told the outcome, or the error where there is none, on a thread of the caps; returns at once."""
_Waiting = tuple[Piece, Tell]


class _Lane:
    """A queue, and the thread that does what waits in it, group by group."""

    def __init__(self, name: str, do: Callable[[list[_Waiting]], None]) -> None:
        self._do = do
        self.queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._turn, name=name, daemon=True)
        self.thread.start()

    def _turn(self) -> None:
        while True:
            first = self.queue.get()
            if first is None:
                return
            group, is_last = [first], False
            while len(group) < TOGETHER_MAX and not self.queue.empty():
                more = self.queue.get()
                if more is None:
                    is_last = True
                    break
                group.append(more)
            self._do(group)
            if is_last:
                return
            if len(group) > 1 or not self.queue.empty():
                time.sleep(GATHER_S)


class Caps:
    """The caps of all tenants; safe to use from several threads."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        random_hex: Callable[[int], str],
        policy: Policy | None = None,
        reader: SpendReader | None = None,
    ) -> None:
        self._store, self._clock, self._reader = store, clock, reader
        self._desk = Desk(policy or Policy(), random_hex)
        self._failed: tuple[LedgerError | None, int] = (None, 0)
        self._closing = threading.Lock()
        self._is_closed = False
        self._questions, self._moves = _Lane("caps-questions", self._do), _Lane("caps-moves", self._do)

    @property
    def waiting(self) -> int:
        """How many asks wait."""
        return self._questions.queue.qsize() + self._moves.queue.qsize()

    def ask(self, ask: Ask, caller: Caller | None = None, once: Once | None = None) -> Future[Outcome]:
        """Queue an ask; the future holds its outcome when it is durable.

        The future raises `StoreError` where the control store, `LedgerError` where the ledger of a tenant that was
        never read before cannot be used; then nothing was done.
        """
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()  # what is queued is done
        self.put(Piece(ask, caller or Caller(), once), partial(_resolve, future))
        return future

    def put(self, piece: Piece, tell: Tell) -> None:
        """Queue an ask as `ask` does, for who waits in another way than by a future."""
        lane = self._questions if isinstance(piece.ask, Authorize) else self._moves
        with self._closing:
            if not self._is_closed:
                lane.queue.put((piece, tell))
                return
        tell(None, StoreError(_CLOSED))

    def close(self) -> None:
        """Finish what is queued and stop."""
        lanes = self._questions, self._moves
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                for lane in lanes:
                    lane.queue.put(None)
        for lane in lanes:
            lane.thread.join()

    def _do(self, group: list[_Waiting]) -> None:
        """Do a group in one transaction; where that fails, each by itself, so that one takes no other with it.

        Where the store is away all fail at once: each would wait for it as long as the first did.
        """
        try:
            outcomes = self._decide([piece for piece, _ in group])
        except BaseException as error:  # noqa: BLE001 - whatever it is, the one who asked is told
            if len(group) == 1 or _is_away(error):
                for _, tell in group:
                    _say(tell, None, error)
                return
            for one in group:
                self._do([one])
            return
        for (_, tell), outcome in zip(group, outcomes, strict=True):
            _say(tell, outcome, None)

    def _decide(self, pieces: Sequence[Piece]) -> list[Outcome]:
        moves_money = not isinstance(pieces[0].ask, Authorize)
        if not moves_money:
            outcomes = authorize(
                self._store, self._desk, self._clock, pieces, needs_figures=self._reader is not None
            )
            if outcomes is not None:
                return outcomes
        for _ in range(_READS_MAX):
            with self._store.write(is_alone=False, survives_power_cut=moves_money) as connection:
                book = open_book(connection, self._store, pieces, self._clock.now_ms())
                unread = book.unread() if self._reader is not None else []
                if not unread:
                    outcomes = [answer(book, self._desk, piece) for piece in pieces]
                    book.flush()
                    return outcomes
            self._read_ledger(unread)
        msg = "the ledger's figures of a new tenant could not be kept"
        raise StoreError(msg)

    def _read_ledger(self, unread: Sequence[str]) -> None:
        """Read the figures of tenants that were never read; where the ledger is away, ask it once a second only.

        While it is asked all others wait.
        """
        assert self._reader is not None  # noqa: S101 - nothing is unread without one
        failed, until_ms = self._failed
        if failed is not None and self._clock.now_ms() < until_ms:
            raise failed
        try:
            refresh(self._store, self._reader, self._clock, unread)
        except LedgerError as error:
            self._failed = (error, self._clock.now_ms() + LEDGER_PAUSE_MS)
            raise
        self._failed = (None, 0)


def _say(tell: Tell, outcome: Outcome | None, error: BaseException | None) -> None:
    """Tell it, also to who is gone: such as an event loop that was closed."""
    try:
        tell(outcome, error)
    except Exception:  # noqa: BLE001 - what is wrong with one who asked concerns no other
        _log.exception("caps_not_told")


def _resolve(future: Future[Outcome], outcome: Outcome | None, error: BaseException | None) -> None:
    if outcome is not None:
        future.set_result(outcome)
    else:
        future.set_exception(error)


def _is_away(error: BaseException) -> bool:
    return isinstance(error, StoreError) and isinstance(
        error.__cause__, OperationalError | InterfaceError | None
    )
