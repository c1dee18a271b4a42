"""The console on a service: what it works with, put together from the service's own parts."""

import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from api.keys import KnownKey
from api.tokens import TokenDoor
from billing.store import Store
from cli.console_parts import Book, LogReplayer, StoredMoney, books_of, health_of, meters_of, sign_in_by
from cli.ledger_reader import LedgerReader
from dashboards.console.app import mount
from dashboards.console.outbox import SqlStripe
from dashboards.console.services import ConsoleServices
from pipeline.catalog import Catalog
from pipeline.errors import MillraceError
from pipeline.health import Health
from pipeline.intake import Intake
from pipeline.ports import Clock, EventLog
from queries.events_index import add_events_index

TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class ConsoleParts:
    """What of a service the console works with."""

    store: Store
    ledger: LedgerReader
    clock: Clock
    find_key: Callable[[str, int], KnownKey | None]
    admin_door: TokenDoor | None
    accounts: Path | None
    catalog: Callable[[], Catalog]
    sick: Callable[[], Sequence[str]]
    health: Health | None = None
    """How the flow in this process is; None where none runs here."""
    log: EventLog | None = None
    make_intake: Callable[[], Intake] | None = None
    demo_token: str = ""
    """Lets in by a link: for a demonstration only."""


def console_on(parts: ConsoleParts) -> Callable[[FastAPI], None]:
    """Make what mounts the console; the ledger gets the index that lists of events of all tenants need."""
    meters = meters_of(os.environ)  # a mistake in the file is told now

    def mount_console(app: FastAPI) -> None:
        with suppress(MillraceError):  # a ledger that is away now is indexed at the next start
            add_events_index(parts.ledger.client())
        book = Book(parts.store, parts.accounts, parts.clock)
        owed = books_of(parts.store, parts.ledger, book, parts.clock, meters)
        replayer = None
        if parts.log is not None and parts.make_intake is not None:
            replayer = LogReplayer(parts.ledger, parts.make_intake, parts.log, parts.clock)
        mount(
            app,
            ConsoleServices(
                clients=parts.ledger.client,
                clock=parts.clock,
                sign_in=sign_in_by(parts.find_key, parts.admin_door, parts.clock, parts.demo_token),
                draw_token=lambda: secrets.token_urlsafe(TOKEN_BYTES),
                accounts=book,
                catalog=parts.catalog,
                health=health_of(parts.sick, parts.health),
                stripe=SqlStripe(parts.store, owed, meters.finalizes_after_s),
                money=StoredMoney(parts.store, parts.clock),
                rejects=replayer,
                links_sign_in=bool(parts.demo_token),
            ),
        )

    return mount_console
