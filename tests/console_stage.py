"""A stage for the console: a ledger filled by the real pipeline, a clock that stands still, a server, a browser."""

import itertools
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from fastapi import FastAPI

from billing.meters import load_meters
from billing.planning import Planning, plan_reports
from billing.reconcile import Reconciler
from billing.store import Store, open_store
from cli.console_parts import Book, LogReplayer, StoredMoney, books_of
from cli.http_server import HttpSettings, listening
from cli.ledger_reader import LedgerReader
from cli.progress import quiet_stdout
from cli.run import RunOptions, run_files
from cli.serving_flow import make_intake
from cli.stripe_desk import STAMP
from dashboards.console.app import mount
from dashboards.console.outbox import SqlStripe
from dashboards.console.services import ConsoleServices, HealthView, Viewer
from pipeline.catalog import load_catalog
from queries.events_index import add_events_index
from sinks.stripe_usage import LedgerUsage

NOW = datetime(2026, 3, 10, 12, 5, tzinfo=UTC)
ADMIN, ACME_KEY = "an-admin-token", "mrk_acme"
CHROMIUM = "MILLRACE_TEST_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

CATALOG = """
version = "v1"
[kinds.traffic]
components = [{ source = "egress", basis = "per-mb", micro_usd = "90", quantity = "bytes" }]
[operations.ask]
components = [
  { source = "compute", basis = "per-call", micro_usd = "50" },
  { source = "openai", basis = "per-1k-tokens", micro_usd = "2000.5" },
]
[operations.render]
components = [{ source = "gpu", basis = "per-second", micro_usd = "1500" }]
settlement = { method = "credit" }
[operations.never]
components = []
"""
ACCOUNTS = """
[tenants.acme]
display_name = "Acme Ltd"
time_zone = "Europe/Berlin"
stripe_customer = "cus_acme"
thresholds_percent = [50, 100]
spendLimit.dailySpendUsd = "0.2"
spendLimit.monthlySpendUsd = "5"
[tenants.globex]
display_name = "Globex <script>alert(1)</script>"
spendLimit.monthlySpendUsd = "0.01"
"""


@dataclass(slots=True)
class StandingClock:
    """A clock that moves when it is told to."""

    ms: int = int(NOW.timestamp()) * 1000

    def now_ms(self) -> int:
        return self.ms


def event(key: str, at: datetime, operation: str, **more: Any) -> dict[str, Any]:
    """An event as a service would send it; `tenant`, `subject`, `type` and members of `data` go into `more`."""
    attributes = {name: more.pop(name) for name in ("tenant", "subject", "type") if name in more}
    return {
        "specversion": "1.0",
        "id": key,
        "source": "/tests",
        "type": "compute",
        "tenant": "acme",
        "idempotencykey": key,
        "time": at.isoformat().replace("+00:00", "Z"),
        **attributes,
        "data": {"operation": operation, **more},
    }


def events() -> Iterator[dict[str, Any]]:
    """Nine days of three tenants, with every kind of context, corrections, credits and what has no price."""
    contexts: list[dict[str, str]] = [
        {"type": "project", "name": "p1", "display": "Projekt Grün"},
        {"type": "admin"},
        {"type": "workspace", "name": "w7"},
        {},
    ]
    for number in range(120):
        at = NOW - timedelta(hours=number * 2, minutes=number % 7)
        who = {"tenant": ("acme", "acme", "globex", "initech")[number % 4], "subject": f"user-{number % 5}"}
        place = {"context": contexts[number % 4], "action": "click"} if number % 3 else {}
        if number % 5 == 0:
            yield event(
                f"t{number}",
                at,
                "GET /files",
                type="traffic",
                method="GET",
                endpoint="/files",
                response_bytes=70_001 * number,
                **who,
            )
        elif number % 5 == 1:
            yield event(f"r{number}", at, "render", usage={"gpu": number}, **who, **place)
        elif number % 5 == 2:
            yield event(f"u{number}", at, "mystery", **who)
        else:
            yield event(f"a{number}", at, "ask", usage={"openai": 1000 + number}, **who, **place)
    yield {
        "specversion": "1.0",
        "id": "c1",
        "source": "/tests",
        "type": "correction",
        "tenant": "acme",
        "time": (NOW - timedelta(minutes=3)).isoformat().replace("+00:00", "Z"),
        "data": {"voids": "a4", "reason": "wrong model"},
    }


@dataclass
class FileLog:
    """A log of events that keeps lines; the test runs them."""

    lines: list[bytes] = field(default_factory=list)

    def append(self, lines: Sequence[bytes], arrived_at_ms: int, keys: Sequence[str] = ()) -> Future[None]:
        self.lines += lines
        done: Future[None] = Future()
        done.set_result(None)
        return done


class NoSummaries:
    """Stripe's sums where nothing was sent."""

    reads = 0


@dataclass
class ConsoleStage:
    """Everything behind a console."""

    folder: Path
    url: str
    client: Client
    clock: StandingClock = field(default_factory=StandingClock)
    log: FileLog = field(default_factory=FileLog)
    viewers: dict[str, Viewer] = field(
        default_factory=lambda: {
            ADMIN: Viewer("admin:ops", may_replay=True),
            ACME_KEY: Viewer("key:acme-1", "acme"),
            "looker": Viewer("admin:looker"),
        }
    )
    complaints: list[str] = field(default_factory=list)
    _files: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        (self.folder / "catalog.toml").write_text(CATALOG)
        (self.folder / "accounts.toml").write_text(ACCOUNTS)

    def run(self, given: Sequence[Mapping[str, Any]] | Sequence[bytes]) -> dict[str, Any]:
        """Put events or lines through the pipeline, on the main thread."""
        file = self.folder / f"events-{next(self._files)}.ndjson"
        lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in given]
        file.write_bytes(b"\n".join(lines) + b"\n")
        paths = {name: self.folder / f"{name}.toml" for name in ("catalog", "accounts")}
        with quiet_stdout():
            return run_files(RunOptions([str(file)], self.url, **paths, workers=1, reject_budget=1))

    def services(self, store: Store) -> ConsoleServices:
        """Put together what `millrace serve` puts together, on this stage's clock and doors."""
        ledger = LedgerReader(self.url)
        book = Book(store, self.folder / "accounts.toml", self.clock)
        catalog = load_catalog(self.folder / "catalog.toml")
        paths = {name: self.folder / f"{name}.toml" for name in ("catalog", "accounts")}
        replayer = LogReplayer(ledger, lambda: make_intake(RunOptions([], "", **paths)), self.log, self.clock)
        return ConsoleServices(
            clients=ledger.client,
            clock=self.clock,
            sign_in=self.viewers.get,
            draw_token=lambda: secrets.token_urlsafe(32),
            accounts=book,
            catalog=lambda: catalog,
            health=lambda: HealthView(tuple(self.complaints)),
            stripe=SqlStripe(store, books_of(store, ledger, book, self.clock, load_meters(None)), 3600),
            money=StoredMoney(store, self.clock),
            rejects=replayer,
            links_sign_in=True,
        )

    def plan_reports(self, store: Store) -> None:
        """Put what the ledger owes to Stripe into the outbox, and compare what was told (nothing yet)."""
        now = self.clock.now_ms() // 1000
        wanted = Planning(
            load_meters(None), lambda tenant: "cus_acme" if tenant == "acme" else "", STAMP, now
        )
        plan_reports(store, LedgerUsage(self.client), wanted, write=True)
        Reconciler(store, NoSummaries(), now).run()  # type: ignore[arg-type]


@contextmanager
def served(stage: ConsoleStage) -> Iterator[str]:
    """Serve the console; gives its address. A process has one: NiceGUI keeps one application."""
    store = open_store(f"sqlite:///{stage.folder / 'control.db'}")
    add_events_index(stage.client)
    stage.plan_reports(store)
    app = FastAPI()
    mount(app, stage.services(store))
    try:
        with listening(app, HttpSettings("127.0.0.1", 0, grace_s=1)) as port:
            yield f"http://127.0.0.1:{port}/console"
    finally:
        store.close()


def chromium() -> str:
    """Where a Chromium is; skips where there is none."""
    named = os.environ.get(CHROMIUM) or next((path for name in _NAMES if (path := shutil.which(name))), None)
    if named is None:
        pytest.skip(f"no Chromium: install Debian's package chromium, or name one in {CHROMIUM}")
    return named


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield opened
        opened.close()
