"""The console at the end of a demonstration: the whole service on the demonstration's ledger, until interrupted."""

import secrets
import socket
import sys
from pathlib import Path

import typer

from cli.running import RunOptions
from cli.serve import default_rates
from cli.serving import ServeOptions, run_service
from cli.serving_ingest import IngestOptions

HOST, PORT = "127.0.0.1", 8080
TOKEN_BYTES = 24


def serve_console(folder: Path, ledger: str, events: Path, port: int | None, workers: int) -> None:
    """Serve until SIGINT or SIGTERM; the link that is printed lets whoever has it in, until then."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    run = RunOptions(
        [],
        ledger,
        catalog=events / "catalog.toml",
        accounts=events / "accounts.toml",
        workers=workers,
        reject_budget=1,
    )

    def greet(bound: int) -> None:
        typer.echo(
            f"\nThe console: http://{HOST}:{bound}/console/enter?key={token}\nIt is served until Ctrl-C."
        )
        sys.stdout.flush()

    run_service(
        ServeOptions(
            HOST,
            _port() if port is None else port,
            folder,
            default_rates(),
            ledger=ledger,
            catalog=run.catalog,
            accounts=run.accounts,
            access_log=False,
            ingest=IngestOptions(run, folder / "spool"),
            demo_token=token,
            greet=greet,
        )
    )


def _port() -> int:
    """The usual port where it is free, else any (0)."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, PORT))
        except OSError:
            return 0
    return PORT
