"""`millrace measure`: how fast a service of this machine takes events, how soon it refuses, what the console reads."""

import json
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.console_reads import LimitedAccounts, Subject
from benchmarks.console_reads import measure as measure_console
from benchmarks.ingest import Load, measure_ingest
from benchmarks.large_ledger import Large, fill, tenant_name
from benchmarks.overshoot import Trial, accounts_of, measure_overshoot
from benchmarks.service import Service
from billing import api_keys
from billing.audit import By
from billing.store import open_store
from cli.clock import SystemClock
from pipeline.catalog import default_catalog
from pipeline.errors import UsageError
from queries.events_index import add_events_index
from sinks.ledger import Ledger

app = typer.Typer(help="Measure a service over HTTP, or what the console reads, in a folder of its own.")
_SERVE = [sys.executable, "-c", "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))", "serve"]
QUARTER_MS = 900_000
Folder = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where the service keeps its data; else a temporary folder."),
]


@app.command()
def ingest(  # noqa: PLR0913, PLR0917 - one argument for each flag
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Events of a request.")] = 1_000,
    connections: Annotated[int, typer.Option(min=1, max=64, help="How many send at once.")] = 4,
    seconds: Annotated[int, typer.Option(min=1, help="How long.")] = 10,
    rate: Annotated[int, typer.Option(min=0, help="Events a second; 0: as fast as it goes.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Threads of the service that count.")] = 1,
    out: Folder = None,
) -> None:
    """Send batches of events; every 204 is a synced spool. Prints the figures as JSON."""
    with _folder(out) as folder:
        (key,) = _keys(folder, ["load"])
        with Service(_SERVE, folder, ["--workers", str(workers)]) as service:
            _tell(measure_ingest(service, key, Load(batch, connections, seconds, rate)))


@app.command()
def overshoot(
    rates: Annotated[
        str, typer.Option(help="Events a second of others, by commas; 0: none.")
    ] = "0,100,1000,10000",
    trials: Annotated[
        int, typer.Option(min=1, help="How many tenants go over their limit at each rate.")
    ] = 50,
    out: Folder = None,
) -> None:
    """Measure from the 204 of the event that goes over a limit to the first 402. Prints the figures as JSON."""
    numbers = _numbers(rates)
    names = [f"over-{number}" for number in range(trials * len(numbers))]
    with _folder(out) as folder:
        (folder / "accounts.toml").write_text(accounts_of(names))
        load_key, *keys = _keys(folder, ["load", *names])
        tried = [Trial(name, key) for name, key in zip(names, keys, strict=True)]
        with Service(_SERVE, folder, ["--accounts", str(folder / "accounts.toml")]) as service:
            found = [
                measure_overshoot(service, load_key, tried[n * trials : (n + 1) * trials], rate)
                for n, rate in enumerate(numbers)
            ]
            _tell({"limits": "reported spend only, no reservations", "rates": found})


@app.command()
def console(
    rows: Annotated[int, typer.Option(min=1000, help="Events of the ledger that is made.")] = 10_000_000,
    tenants: Annotated[
        int, typer.Option(min=10, help="Tenants; the n-th has a share of about 1/n.")
    ] = 10_000,
    only: Annotated[str, typer.Option(help="Only reads whose page or name holds this.")] = "",
    out: Folder = None,
) -> None:
    """Make a large ledger and measure each read of each page of the console on it. Prints the figures as JSON.

    A ledger that is in --out already is measured as it is. 100 million events take 10 GB and some twenty minutes.
    """
    with _folder(out) as folder:
        ledger = Ledger(f"chdb://{folder}/ledger", SystemClock())
        client = ledger.client
        add_events_index(client)
        end_ms = SystemClock().now_ms() // QUARTER_MS * QUARTER_MS
        if not int(str(client.command("SELECT count() FROM progress"))):
            ledger.begin_run(secrets.randbits(128))
            fill(
                client, Large(rows, end_ms, tenants), lambda there: typer.echo(f"{there:,} events", err=True)
            )
        newest = "SELECT toUnixTimestamp64Milli(max(ingested_at)) FROM ledger"
        large, small = tenant_name(client, 1), tenant_name(client, tenants // 2)
        key = "SELECT idempotency_key FROM ledger WHERE tenant = {tenant:String} LIMIT 1"
        found = client.query(key, parameters={"tenant": large}).result_rows
        now_s = int(client.query(newest).result_rows[0][0]) // 1000
        asked = Subject(now_s, large, small, str(found[0][0]), default_catalog(), LimitedAccounts())
        _tell({"reads": [asdict(figures) for figures in measure_console(client, asked, only)]})


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--rates is a list of numbers such as 0,100,1000, not {text!r}") from None


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        yield out.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="millrace-measure-") as made:
        yield Path(made)


def _keys(folder: Path, tenants: list[str]) -> list[str]:
    """A key for each tenant."""
    store, now_ms = open_store(f"sqlite:///{folder}/control.db"), SystemClock().now_ms()
    try:
        return [
            api_keys.create(
                store, tenant, name="measure", by=By("measure", now_ms), random_hex=secrets.token_hex
            )[1]
            for tenant in tenants
        ]
    finally:
        store.close()


def _tell(figures: dict[str, Any]) -> None:
    typer.echo(json.dumps(figures, indent=2))
