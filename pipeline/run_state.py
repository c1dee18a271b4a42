"""What the workers of a process share: when to stop, what went wrong first, what was counted."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.chunk import Origin
from pipeline.durable import Durable
from pipeline.errors import RejectBudgetError
from pipeline.ports import Tally

REJECTS_IN_A_ROW = 10_000


@dataclass(frozen=True, slots=True)
class RejectBudget:
    """The largest share of rejects, judged after so many events."""

    share: float = 0.2
    after: int = 1_000
    in_a_row: int = REJECTS_IN_A_ROW
    """More rejects of one input with nothing accepted, no duplicate between them, stop the run at any share."""

    def check(self, tally: Tally, in_a_row: int = 0, read: int = 0) -> None:
        """Raise `RejectBudgetError` when the budget is spent.

        Rejects count as soon as they are durable, all other events as soon as they are `read`: lanes make theirs
        durable one after the other, and one that has more than its share must not stop the run for all.
        """
        if in_a_row > self.in_a_row and self.share < 1:
            msg = (
                f"{in_a_row} events in a row were rejected, more than the {self.in_a_row} that may be: "
                "see millrace rejects list, mend the input, or raise --rejects-in-a-row"
            )
            raise RejectBudgetError(msg)
        fresh = max(tally.events, read) - tally.replayed
        if fresh > self.after and tally.rejected > self.share * fresh:
            msg = (
                f"{tally.rejected} of {fresh} events were rejected, more than the budget of {self.share * 100:g}%: "
                "see millrace rejects list, mend the input, or raise --reject-budget"
            )
            raise RejectBudgetError(msg)


@dataclass(frozen=True, slots=True)
class CommitNote:
    """What a lane has just made durable, and how long it took."""

    lane: int
    tallies: dict[Origin, Tally]
    rows: int
    bytes: int
    seconds: float  # a duration, not money
    epoch_seconds: float  # likewise: from the first record of the block until it was durable
    oldest_ms: int
    """When the oldest chunk in it was read, in milliseconds since 1970; 0: not known."""
    keys_held: int


@dataclass(slots=True)
class RunState:
    """What the workers of a process share: the stop flag, the first error, and the counts so far."""

    budget: RejectBudget = field(default_factory=RejectBudget)
    stop: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    """Set when the workers run: in a cluster, when all processes have found each other."""
    error: BaseException | None = None
    total: Tally = field(default_factory=Tally)
    pico_usd: int = 0
    """The cost of all that was accepted."""
    commits: int = 0
    durable: Durable = field(default_factory=lambda: Durable(1, {}))
    """How far each partition is durable in all lanes of all processes."""
    watch: Callable[[CommitNote], None] | None = None
    """Told of every commit of this process."""
    _read: int = 0
    _in_a_row: dict[Origin, int] = field(default_factory=dict)
    """The rejects at the end of what is durable of each input. Lanes go on one by one, so by what came before them
    in another lane and is durable only after them a row may seem shorter, never longer."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def saw(self, events: int) -> None:
        """Note that so many events were read."""
        with self._lock:
            self._read += events

    def count(self, tallies: Mapping[Origin, Tally], pico_usd: int) -> None:
        """Add what a commit has made durable, and hold it against the reject budget."""
        with self._lock:
            self.pico_usd += pico_usd
            for origin, tally in tallies.items():
                self.total.add(tally)
                before = 0 if tally.has_good else self._in_a_row.get(origin, 0)
                self._in_a_row[origin] = before + tally.rejected_last
            in_a_row = max((self._in_a_row[origin] for origin in tallies), default=0)
            self.commits += 1
        self.budget.check(self.total, in_a_row, self._read)

    def fail(self, error: BaseException) -> None:
        """Note the first error and stop everything."""
        with self._lock:
            self.error = self.error or error
        self.stop.set()


def guard(state: RunState, step: Callable[..., Any]) -> Callable[..., Any]:
    """The step, with the first error noted where the main thread finds it whole."""

    def guarded(*arguments: Any) -> Any:
        try:
            return step(*arguments)
        except BaseException as error:
            state.fail(error)
            raise

    return guarded
