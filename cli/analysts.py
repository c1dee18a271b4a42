"""`millrace analysts`: let people and their tools read the ledger, and nothing else.

An embedded ledger is served here (or beside `millrace run`, with `--analysts-port`); on a ClickHouse server a role
and a user are made. The password comes from MILLRACE_ANALYSTS_PASSWORD, or from the file that
MILLRACE_ANALYSTS_PASSWORD_FILE names.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from urllib.parse import urlsplit

import typer
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli.reading import opened
from cli.running import named_ledger
from cli.secret import read_secret
from pipeline.errors import LedgerError, UsageError
from sinks.analysts import Account, Limits, analysts_served
from sinks.analysts_grants import grants, without_password
from sinks.clickhouse import connect, is_embedded, migrate

app = typer.Typer(help="Let people and their tools read the ledger, and nothing else.")
PASSWORD = "MILLRACE_ANALYSTS_PASSWORD"  # noqa: S105 - the name of a variable
PORT = 8124
LedgerOption = Annotated[str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")]
UserOption = Annotated[
    str, typer.Option("--user", envvar="MILLRACE_ANALYSTS_USER", help="The name that analysts give.")
]
SecondsOption = Annotated[int, typer.Option(min=1, help="Longest time of a statement, in seconds.")]
RowsOption = Annotated[int, typer.Option(min=1, help="Most rows of an answer.")]
DevelopmentOption = Annotated[
    bool, typer.Option("--development", help="Take a weak password. For a machine that nobody else reaches.")
]


@app.command()
def serve(  # noqa: PLR0913, PLR0917 - one argument for each flag
    ledger: LedgerOption = None,
    host: Annotated[str, typer.Option(help="The address to listen on; keep it on loopback.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0: a free one.")] = PORT,
    user: UserOption = "analyst",
    seconds_max: SecondsOption = 30,
    rows_max: RowsOption = 1_000_000,
    development: DevelopmentOption = False,
) -> None:
    """Serve an embedded ledger to Grafana, DBeaver, clickhouse-connect and curl, until SIGTERM."""
    url = named_ledger(ledger)
    folder = folder_of(url)
    account = account_of(user, is_development=development)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    limits = Limits(seconds_max, rows_max)
    with opened(url), analysts_served(folder, account, limits, host, port) as address:
        typer.echo(f"analysts read at {address} as {account.user}; stop with SIGTERM", err=True)
        stop.wait()


@app.command()
def grant(  # noqa: PLR0913, PLR0917 - one argument for each flag
    ledger: LedgerOption = None,
    user: UserOption = "analyst",
    seconds_max: SecondsOption = 30,
    rows_max: RowsOption = 1_000_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the statements and run none.")] = False,
    development: DevelopmentOption = False,
) -> None:
    """Make a role and a user that read the ledger on a ClickHouse server; again is no harm."""
    url = named_ledger(ledger)
    if is_embedded(url) and not dry_run:
        msg = "an embedded ledger has no users: serve it with `millrace analysts serve`"
        raise UsageError(msg)
    account = account_of(user, is_development=development)
    client = connect(url)
    migrate(client)
    tables = [row[0] for row in client.query("SHOW TABLES").result_rows]
    statements = grants(client.database or "default", tables, account, Limits(seconds_max, rows_max))
    for statement in statements:
        typer.echo(f"{without_password(statement)};")
        if not dry_run:
            try:
                client.command(statement)
            except ClickHouseError as error:
                first = str(error).splitlines()[0][:300].replace(account.password, "***")
                msg = f"the server refused a grant: {first}: give --ledger a user that may manage users"
                raise LedgerError(msg) from None
    client.close()


def account_of(user: str, *, is_development: bool) -> Account:
    """Who may read; raises `UsageError` where no password is set, or a weak one."""
    secret = read_secret(PASSWORD, is_development=is_development)
    if secret is None:
        raise UsageError(f"set {PASSWORD}, or {PASSWORD}_FILE: analysts need a password")
    return Account(user, secret.text)


def folder_of(url: str) -> str:
    """The folder of an embedded ledger; raises `UsageError` for a server, which needs no door."""
    if not is_embedded(url):
        msg = "a ClickHouse server needs no door: make a user that only reads with `millrace analysts grant`"
        raise UsageError(msg)
    return urlsplit(url).path


@contextmanager
def analysts_beside(port: int | None, url: str) -> Iterator[str | None]:
    """Serve the ledger to analysts beside the body where a port is named; gives the address."""
    if port is None:
        yield None
        return
    account = account_of("analyst", is_development=False)
    limits = Limits(threads=1)  # no second core from the run; a small question is answered sooner so
    with analysts_served(folder_of(url), account, limits, port=port) as address:
        typer.echo(f"analysts read at {address} as {account.user}", err=True)
        yield address
