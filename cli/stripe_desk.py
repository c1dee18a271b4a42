"""What every command of `millrace stripe` works with: its flags, the control store, the declaration, the client."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import stripe as sdk
import structlog
import typer

from billing import accounts as stored
from billing.binding import bind, meter_ids
from billing.meters import Declaration, load_meters
from billing.outbox import Stamp
from billing.planning import Planning
from billing.restore import FileMark, notice_restore
from billing.store import Store, open_store
from cli.clock import SystemClock
from cli.known_accounts import both
from pipeline.accounts import Accounts, load_accounts
from pipeline.errors import UsageError
from sinks.stripe import API_VERSION, SDK_VERSION, Key, account_of, make_client, read_key

STAMP = Stamp(API_VERSION, SDK_VERSION)
KEY_VARIABLE = "STRIPE_SECRET_KEY"


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"


LedgerOption = Annotated[
    str | None,
    typer.Option("--ledger", envvar="MILLRACE_LEDGER", help="The URL of the ledger; none: plan nothing new."),
]
StateOption = Annotated[
    Path, typer.Option("--state", envvar="MILLRACE_STATE", help="The folder of the control store.")
]
ControlOption = Annotated[
    str | None,
    typer.Option(
        "--control", envvar="MILLRACE_CONTROL", help="The control store's URL, in place of --state."
    ),
]
MetersOption = Annotated[
    Path | None,
    typer.Option("--meters", envvar="MILLRACE_METERS", help="The meters file; none: one meter of all cost."),
]
AccountsOption = Annotated[
    Path | None,
    typer.Option("--accounts", envvar="MILLRACE_ACCOUNTS", help="Who the tenants' Stripe customers are."),
]
UrlOption = Annotated[
    str,
    typer.Option(
        "--stripe-url", envvar="MILLRACE_STRIPE_URL", help="Another address than Stripe's: a stand-in."
    ),
]
LiveOption = Annotated[
    bool, typer.Option("--live", envvar="MILLRACE_STRIPE_LIVE", help="Allow a live key: real invoices.")
]
StreamOption = Annotated[
    bool,
    typer.Option(
        "--stream",
        envvar="MILLRACE_STRIPE_STREAM",
        help="Send through the meter event stream, for high rates; its proof is weaker.",
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to write it.")]


@dataclass(frozen=True, slots=True)
class Desk:
    """What every command works with."""

    store: Store
    mark: FileMark
    declaration: Declaration
    accounts: Accounts
    client: sdk.StripeClient | None
    now: int

    def customer_of(self, tenant: str) -> str:
        """Name the customer that the accounts have for a tenant, or none."""
        return self.accounts.get(tenant).stripe_customer

    def planning(self, *, running: bool) -> Planning:
        """Gather what a planning at this moment needs to know."""
        return Planning(self.declaration, self.customer_of, STAMP, self.now, running)


@contextmanager
def open_desk(  # noqa: PLR0913, PLR0917 - what the flags say
    state: Path,
    control: str | None,
    meters: Path | None = None,
    accounts: Path | None = None,
    key: Key | None = None,
    url: str = "",
) -> Iterator[Desk]:
    """Open the control store and what goes with it.

    The tenants are those of the control store and of the accounts file, which wins for whom it names. Raises
    `UsageError` where the key is of another account than the store is for.
    """
    declaration = load_meters(meters)
    given = load_accounts(accounts) if accounts else Accounts()
    client = make_client(key, url) if key else None
    store = open_store(control or f"sqlite:///{state.absolute() / 'control.db'}")
    try:
        if client and key:
            bind(store, account_of(client), is_live=key.is_live)
        mark = FileMark(state.absolute() / "control.mark")
        desk = Desk(store, mark, declaration, both(given, stored.accounts(store)), client, now())
        notice_restore(store, mark, desk.now)
        yield desk
    finally:
        store.close()


def now() -> int:
    """Read this machine's clock, in whole seconds."""
    return SystemClock().now_ms() // 1000


def log_to_stderr(*, verbose: bool) -> None:
    """Keep stdout for results."""
    level = logging.INFO if verbose else logging.WARNING
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def read_key_of_environment(live: bool) -> Key | None:
    """Read the key; the environment is the only place for it."""
    text = os.environ.get(KEY_VARIABLE, "").strip()
    return read_key(text, allow_live=live) if text else None


def meters_at_stripe(desk: Desk) -> dict[str, str]:
    """Give the ids of the declared meters, as setup noted them; raises `UsageError` where it has not run."""
    known = meter_ids(desk.store)
    missing = [meter.event_name for meter in desk.declaration.meters if meter.event_name not in known]
    if missing:
        msg = f"meter {missing[0]!r} has not been set up in Stripe: run `millrace stripe setup --yes` first"
        raise UsageError(msg)
    return known
