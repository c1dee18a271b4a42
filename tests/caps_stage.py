"""A stage for the caps: a store of each kind, a clock that stands still, and a ledger that lags as it is told."""

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from billing.accounts import Change, add, change
from billing.asks import Ask, Caller, Outcome
from billing.audit import By
from billing.cap_tables import usage_events
from billing.caps import Caps
from billing.policy import Policy
from billing.refresh import refresh
from billing.store import Store, open_store
from pipeline.spans import Reading, Span

NOON_MS = 1_795_262_400_000  # 2026-11-21T12:00:00Z
PICO = 1_000_000


@dataclass
class Clock:
    ms: int = NOON_MS

    def now_ms(self) -> int:
        return self.ms


@dataclass
class LaggingLedger:
    """A pipeline in plain lists: what was handed to it counts only when it was told to catch up."""

    waiting: list[dict] = field(default_factory=list)
    rows: list[tuple[str, str, int, int]] = field(default_factory=list)
    """(tenant, key, occurred_at_ms, pico): keys once."""
    reads: int = 0

    def take(self, lines: Sequence[bytes]) -> None:
        self.waiting += [json.loads(line) for line in lines]

    def catch_up(self, count: int | None = None) -> None:
        count = len(self.waiting) if count is None else count
        for event in self.waiting[:count]:
            at_ms = _ms(event["time"])
            self.spend(
                event["tenant"], event["data"]["usage"]["settled_micro_usd"] * PICO, at_ms, event["id"]
            )
        del self.waiting[:count]

    def spend(self, tenant: str, pico: int, at_ms: int, key: str = "") -> None:
        if not key or (tenant, key) not in {row[:2] for row in self.rows}:
            self.rows.append((tenant, key, at_ms, pico))

    def read(self, spans: Sequence[Span], settled_since_ms: int) -> Reading:
        self.reads += 1
        pico = {}
        for span in spans:
            for tenant in span.tenants:
                inside = [
                    r[3] for r in self.rows if r[0] == tenant and span.start_s <= r[2] // 1000 < span.end_s
                ]
                pico[tenant, span.start_s, span.end_s] = sum(inside)
        settled = {(r[0], r[1]): r[3] for r in self.rows if r[1] and r[2] >= settled_since_ms}
        return Reading(pico, settled)


def _ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return round(moment.timestamp() * 1000)


@dataclass
class CapsStage:
    store: Store
    clock: Clock
    ledger: LaggingLedger
    caps: Caps
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def ask(self, ask: Ask, once=None, caller: Caller = Caller("service:loa-finn", "req-1")) -> Outcome:
        return self.caps.ask(ask, caller, once).result(30)

    def refresh(self) -> int:
        return refresh(self.store, self.ledger, self.clock)

    def hand_over(self) -> None:
        """What the courier to the event log does."""
        with self.store.write() as connection:
            rows = connection.execute(
                select(usage_events).where(usage_events.c.sent_at_ms.is_(None)).order_by(usage_events.c.id)
            ).all()
            self.ledger.take([row.line.encode() for row in rows])
            for row in rows:
                connection.execute(
                    usage_events.update().where(usage_events.c.id == row.id).values(sent_at_ms=self.clock.ms)
                )

    def limit(self, tenant: str, *, day: str = "none", month: str = "none", **more: object) -> None:
        wanted = Change(daily_limit=day, monthly_limit=month, **more)
        try:
            add(self.store, tenant, wanted, By("test", self.clock.ms))
        except Exception:  # noqa: BLE001 - it is there
            change(self.store, tenant, wanted, By("test", self.clock.ms))

    def random_hex(self, count: int) -> str:
        return f"{next(self.numbers):0{2 * count}x}"

    def by(self) -> By:
        return By("admin:ann", self.clock.ms, "req-9")


def make_stage(url: str, policy: Policy | None = None) -> CapsStage:
    store, clock, ledger = open_store(url), Clock(), LaggingLedger()
    numbers = itertools.count(1)
    caps = Caps(
        store, clock, lambda n: f"{next(numbers):0{2 * n}x}", policy or Policy(caller_key=b"k"), ledger
    )
    return CapsStage(store, clock, ledger, caps, numbers)


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path, empty_store: Path) -> Iterator[str]:
    """A store of each kind that is up to date: copied, since to migrate takes longer than most tests."""
    if request.param == "sqlite":
        shutil.copy(empty_store, tmp_path / "control.db")
        yield f"sqlite:///{tmp_path}/control.db"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


@pytest.fixture
def caps_stage(migrated_url: str) -> Iterator[CapsStage]:
    stage = make_stage(migrated_url)
    yield stage
    stage.caps.close()
    stage.store.close()
