"""The service put together: stores, doors, routes and the server, opened in order and closed in reverse."""

import hmac
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

import structlog
import typer
from fastapi import APIRouter

from api.admin import router as admin_router
from api.app import Mount, create_app
from api.billing import router as caps_router
from api.internal import router as internal_router
from api.keys import KnownKey, RecentKeys
from api.limits import Limit, Rate, RateLimits
from api.pricing import pricing_router
from api.reading import router as reading_router
from api.services import ApiSettings, Services
from api.tokens import TokenDoor
from api.webhooks import PATH as STRIPE_PATH
from api.webhooks import stripe_router
from billing import api_keys
from billing.accounts import load_file
from billing.audit import By
from billing.credits import lapse
from billing.policy import Policy
from billing.store import Store, open_store
from billing.webhooks import BODY_MAX as STRIPE_BODY_MAX
from cli.alerting import AlertOptions, alert_loops, targets_of
from cli.analysts import analysts_beside
from cli.clock import SystemClock
from cli.console_serving import ConsoleParts, console_on
from cli.http_server import HttpSettings, listening
from cli.ledger_metrics import LedgerMetrics, watched
from cli.ledger_reader import LedgerReader
from cli.running import frozen_heap
from cli.secret import read_secret
from cli.serving_caps import TOUCHED_EVERY_MS, CapsDesk, Loop, Touched, open_caps
from cli.serving_flow import EmbeddedFlow, make_intake
from cli.serving_ingest import IngestOptions, open_ingest
from cli.stripe_beside import stripe_beside
from cli.stripe_webhooks import SECRET_VARIABLE, read_secrets, taker
from cli.token import ADMIN_SECRET, SERVICE_SECRET
from pipeline.accounts import load_accounts
from pipeline.catalog import Catalog, default_catalog, load_catalog
from pipeline.errors import LedgerAwayError, UsageError
from pipeline.ports import Clock, EventLog
from sinks.caps_reader import LedgerSpend
from sinks.clickhouse import connect, migrate

CALLER_SECRET = "BILLING_CALLER_HASH_KEY"  # noqa: S105 - the name of a variable
ACCOUNTS_EVERY_MS = 1_000
LAPSE_EVERY_MS = 60_000


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the flags say."""

    host: str
    port: int
    state: Path
    rates: Mapping[Limit, Rate]
    control: str | None = None
    ledger: str | None = None
    catalog: Path | None = None
    accounts: Path | None = None
    issuer: str = "loa-finn"
    audience: str = "arrakis-internal"
    admin_issuer: str = "millrace"
    admin_audience: str = "millrace-admin"
    body_max: int = 64 * 1024
    body_timeout_s: int = 10
    head_timeout_s: int = 10
    grace_s: int = 25
    access_log: bool = True
    stripe: bool = False
    analysts_port: int | None = None
    is_development: bool = False
    alerts: AlertOptions = field(default_factory=AlertOptions)
    refresh_ms: int = 250
    policy: Policy = field(default_factory=Policy)
    ingest: IngestOptions | None = None
    """None: no events are taken."""
    has_console: bool = True
    """The console needs a ledger to show."""
    demo_token: str = ""
    """Lets into the console by a link: for a demonstration only."""
    greet: Callable[[int], None] | None = None
    """Told the port in place of the usual line."""


@dataclass(slots=True)
class Parts:
    """What the service is made of beside its own routes: a part that is opened adds what it has."""

    routers: list[APIRouter] = field(default_factory=list)
    mounts: list[Mount] = field(default_factory=list)
    body_max: dict[str, int] = field(default_factory=dict)
    metrics: list[Callable[[], bytes]] = field(default_factory=list)
    sick: list[Callable[[], Sequence[str]]] = field(default_factory=list)
    flow: EmbeddedFlow | None = None
    """Where it is there, it has the main thread until the stop."""


def run_service(options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT; raises `UsageError` and `MillraceError` before anything is listened on."""
    log_as_json()
    stop = threading.Event()
    with ExitStack() as stack, _stopping(stop):
        services, parts, desk = _open(options, stack)
        parts.metrics += stack.enter_context(
            stripe_beside(
                options.stripe, options.ledger or "", options.state, options.control, options.accounts
            )
        )
        stack.enter_context(analysts_beside(options.analysts_port, options.ledger or ""))
        if options.ledger:
            seen = LedgerMetrics(services.clock.now_ms)
            parts.metrics.append(seen.text)
            stack.enter_context(watched(options.ledger, seen, is_wanted=True))
        application = create_app(services, [*_routers(), *parts.routers], parts.mounts)
        listen = HttpSettings(options.host, options.port, options.head_timeout_s, grace_s=options.grace_s)

        def tell(port: int) -> None:
            if options.greet:
                options.greet(port)
                return
            typer.echo(f"serving at http://{options.host}:{port}; stop with SIGTERM", err=True)

        @contextmanager
        def serving() -> Iterator[int]:
            with desk.turning(), listening(application, listen) as port:
                yield port

        if parts.flow is not None and not stop.is_set():
            parts.flow.run(serving, tell)
        elif parts.flow is None:
            with serving() as port, frozen_heap():
                tell(port)
                stop.wait()


def _routers() -> list[APIRouter]:
    return [caps_router, internal_router, admin_router, reading_router, pricing_router()]


def _open(options: ServeOptions, stack: ExitStack) -> tuple[Services, Parts, CapsDesk]:
    """Open what the routes need; the stack closes it again."""
    clock, parts = SystemClock(), Parts()
    service_door, admin_door = _doors(options)
    catalog = _catalog_of(options.catalog)
    catalog()  # a mistake in it is told now
    store = open_store(
        options.control or f"sqlite:///{options.state.absolute() / 'control.db'}", may_be_away=True
    )
    stack.callback(store.close)
    _open_stripe(store, parts)
    log = _open_ingest(options.ingest, parts, stack)
    ledger = _open_ledger(options.ledger, is_open=parts.flow is not None)
    reader = LedgerSpend(ledger.client) if ledger else None
    policy = replace(options.policy, caller_key=_caller_key(service_door, admin_door))
    desk = open_caps(store, clock, secrets.token_hex, policy, reader, log, options.refresh_ms)
    stack.callback(desk.caps.close)
    if parts.flow is not None and reader is not None:
        desk.loops.append(_touched_loop(parts, parts.flow, store, reader, clock))
    parts.metrics.append(desk.metrics)
    parts.sick.append(desk.sick)
    desk.loops.append(Loop("lapse", LAPSE_EVERY_MS, lambda: lapse(store, clock.now_ms())))
    desk.loops.extend(alert_loops(store, clock, targets_of(options.alerts)))
    if options.accounts:
        desk.loops.append(_accounts_loop(store, options.accounts, clock))
    services = Services(
        store=store,
        caps=desk.caps,
        clock=clock,
        monotonic_ns=time.monotonic_ns,
        random_hex=secrets.token_hex,
        keys=RecentKeys(_finder(store)),
        service_door=service_door,
        admin_door=admin_door,
        limits=RateLimits(clock, options.rates),
        catalog=catalog,
        ledger=ledger,
        log=log,
        settings=ApiSettings(
            is_development=options.is_development,
            body_max=options.body_max,
            body_max_by_path=parts.body_max,
            body_timeout_s=options.body_timeout_s,
            logs_requests=options.access_log,
            version=metadata.version("millrace"),
        ),
        sick=lambda: [sentence for look in parts.sick for sentence in look()],
        more_metrics=parts.metrics,
    )
    if options.has_console and ledger is not None:
        parts.mounts.append(_console(options, services, parts, ledger))
    return services, parts, desk


def _console(options: ServeOptions, services: Services, parts: Parts, ledger: LedgerReader) -> Mount:
    ingest = options.ingest
    return console_on(
        ConsoleParts(
            services.store,
            ledger,
            services.clock,
            services.keys.find,
            services.admin_door,
            options.accounts,
            services.catalog,
            services.sick,
            parts.flow.health if parts.flow else None,
            services.log,
            (lambda: make_intake(ingest.run, ingest.types)) if ingest else None,
            options.demo_token,
        )
    )


def _doors(options: ServeOptions) -> tuple[TokenDoor | None, TokenDoor | None]:
    """Read the secrets; raises `UsageError` where both doors have the same one."""
    service = read_secret(SERVICE_SECRET, is_development=options.is_development)
    admin = read_secret(ADMIN_SECRET, is_development=options.is_development)
    if service is not None and admin is not None and service.text == admin.text:
        raise UsageError(f"{SERVICE_SECRET} and {ADMIN_SECRET} are the same: give each door its own")
    return (
        None if service is None else TokenDoor(service, options.issuer, options.audience),
        None if admin is None else TokenDoor(admin, options.admin_issuer, options.admin_audience),
    )


def _finder(store: Store) -> Callable[[str, int], KnownKey | None]:
    def find(secret: str, now_ms: int) -> KnownKey | None:
        key = api_keys.find(store, secret, now_ms)
        return None if key is None else KnownKey(key.id, key.tenant, key.scopes, key.tenant_from_subject)

    return find


def _open_ledger(url: str | None, *, is_open: bool) -> LedgerReader | None:
    """Make what reads the ledger; where no flow has opened it, its tables are made if it answers now."""
    if not url:
        return None
    if not is_open:
        try:
            migrate(connect(url))
        except LedgerAwayError as error:
            structlog.get_logger("millrace.serve").warning("ledger_away", detail=str(error))
    return LedgerReader(url)


def _accounts_loop(store: Store, path: Path, clock: Clock) -> Loop:
    """Load the accounts file once, as soon as the store answers; raises `ConfigError` where it is wrong."""
    load_accounts(path)
    done: list[object] = []

    def load() -> None:
        if not done:
            done.append(load_file(store, path, By("serve", clock.now_ms())))

    return Loop("accounts", ACCOUNTS_EVERY_MS, load)


def _caller_key(*doors: TokenDoor | None) -> bytes:
    """The key of the keyed hash of callers: of its own variable, else made of the first door's secret."""
    own = read_secret(CALLER_SECRET, is_development=True)
    if own is not None:
        return own.text.encode()
    text = next((door.secret.text for door in doors if door), "")
    return hmac.digest(text.encode(), b"millrace caller hash", "sha256")


def _catalog_of(path: Path | None) -> Callable[[], Catalog]:
    return default_catalog if path is None else lambda: load_catalog(path)


def _touched_loop(
    parts: Parts, flow: EmbeddedFlow, store: Store, reader: LedgerSpend, clock: SystemClock
) -> Loop:
    touched = Touched()
    flow.note_counted, flow.note_durable = touched.add, touched.counted
    parts.metrics.append(touched.metrics)
    return Loop("touched", TOUCHED_EVERY_MS, lambda: touched.read(store, reader, clock))


def _open_ingest(options: IngestOptions | None, parts: Parts, stack: ExitStack) -> EventLog | None:
    if options is None:
        return None
    ingest = open_ingest(options, stack)
    parts.routers += ingest.routers
    parts.body_max.update(ingest.body_max)
    parts.metrics += ingest.metrics
    parts.sick += ingest.sick
    parts.flow = ingest.flow
    return ingest.log


def _open_stripe(store: Store, parts: Parts) -> None:
    """Take Stripe's webhooks in where their secret is set."""
    if os.environ.get(SECRET_VARIABLE):
        parts.routers.append(stripe_router(taker(store, read_secrets())))
        parts.body_max[STRIPE_PATH] = STRIPE_BODY_MAX


def log_as_json() -> None:
    """Log on stderr, a JSON object in each line, from INFO on."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
