"""How pages read: in a few threads, each with its own client of the ledger, never on the event loop.

What several viewers ask for at the same time is asked once: an answer is good for a moment, and viewers who come
while it is on its way wait for it.
"""

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from dashboards.console.services import ConsoleServices, LedgerClient
from dashboards.console.sessions import Session, Sessions
from pipeline.catalog import Catalog
from queries.named import find_query, run

THREADS = 4
GOOD_FOR_S = 0.9  # a duration, not money
KEPT_MAX = 256
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pulse:
    """How much there is: where it differs from before, something is new."""

    events: int
    rejects: int
    decisions: int


class Ledger:
    """The named queries of the ledger, for one thread at a time."""

    def __init__(self, client: LedgerClient) -> None:
        self.client = client

    def rows(self, query: str, **params: Any) -> list[dict[str, Any]]:
        """Run a named query and give its rows by column; `from_` stands for `from`."""
        given = {name.rstrip("_"): value for name, value in params.items()}
        return run(self.client, find_query(query), given).dicts()


class Desk:
    """What all pages of this process share. Lives on one event loop."""

    def __init__(self, services: ConsoleServices) -> None:
        self.services = services
        self.sessions = Sessions(services)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="console")
        self._own = threading.local()
        self._answers: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}

    async def catalog(self) -> Catalog | None:
        """Load the prices in force; raises `ConfigError` where they cannot be read now."""
        return await self.work(self.services.catalog)

    @property
    def now_s(self) -> int:
        """The moment, in whole epoch seconds."""
        return self.services.clock.now_ms() // 1000

    async def ask(self, read: Callable[[Ledger], T]) -> T:
        """Read the ledger in one of the threads. Raises what reading raises."""
        return await self.work(lambda: read(self._ledger()))

    async def shared(self, key: Hashable, read: Callable[[Ledger], T]) -> T:
        """Read, or take what was read under this key a moment ago."""
        now = asyncio.get_running_loop().time()
        held = self._answers.get(key)
        if held is None or now - held[0] > GOOD_FOR_S:
            while len(self._answers) >= KEPT_MAX:
                self._answers.pop(next(iter(self._answers)))
            self._answers.pop(key, None)
            held = self._answers[key] = (now, asyncio.create_task(self.ask(read)))
        answer: T = await asyncio.shield(held[1])
        return answer

    async def work(self, job: Callable[[], T]) -> T:
        """Do what may block in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, job)

    async def session_of(self, token: str) -> Session | None:
        """Give the session that a cookie names."""
        return await self.work(lambda: self.sessions.find(token)) if token else None

    async def pulse(self) -> Pulse:
        """Say how much there is; cheap, and asked at most once in a moment for all viewers."""
        return await self.shared("pulse", lambda ledger: Pulse(**ledger.rows("console_pulse")[0]))

    def ledger_here(self) -> Ledger:
        """The ledger for the thread that calls; for what streams outside of the event loop."""
        return self._ledger()

    def _ledger(self) -> Ledger:
        ledger: Ledger | None = getattr(self._own, "ledger", None)
        if ledger is None:
            ledger = self._own.ledger = Ledger(self.services.clients())
        return ledger
