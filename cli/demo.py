"""`millrace demo`: the main job on made-up events, from lines to what Stripe would get."""

import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from clickhouse_connect.driver.client import Client

from benchmarks.sample import Expected, Sample, write_sample
from billing.meters import load_meters
from billing.planner import Plan
from billing.planning import Planning, plan_reports
from billing.store import open_store
from cli.clock import SystemClock
from cli.progress import quiet_stdout
from cli.reading import opened
from cli.run import RunOptions, describe, run_files
from cli.stripe_desk import STAMP
from pipeline.accounts import Accounts, load_accounts
from pipeline.errors import MillraceError, UsageError
from queries.named import find_query, run
from queries.table import laid_out
from sinks.stripe_usage import LedgerUsage

app = typer.Typer(help="Try it all on made-up events.", add_completion=False)

TOP = 5
_MARK = ".millrace-demo"

Out = Annotated[Path, typer.Option(metavar="DIR", help="The folder for it; emptied first.")]
Events = Annotated[int, typer.Option(min=1000, help="How many lines of events.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed gives other events.")]
Console = Annotated[
    bool | None,
    typer.Option("--console/--no-console", help="Serve the console at the end; else on a terminal only."),
]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Its port; else 8080, or any that is free.")]
Workers = Annotated[int, typer.Option(min=1, max=64, envvar="MILLRACE_WORKERS", help="Worker threads.")]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a demonstration plays."""

    folder: Path

    @property
    def events(self) -> Path:
        """The folder of the sample."""
        return self.folder / "events"

    @property
    def ledger(self) -> str:
        """The URL of its ledger."""
        return f"chdb://{self.folder / 'ledger'}"

    def clear(self) -> None:
        """Make the folder empty; one that no demonstration made is left alone: `UsageError`."""
        if self.folder.exists() and not (self.folder / _MARK).exists() and any(self.folder.iterdir()):
            msg = f"{self.folder} holds other things than a demonstration: give another folder with --out"
            raise UsageError(msg)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.events.mkdir(parents=True)
        (self.folder / _MARK).touch()


@app.command()
def demo(  # noqa: PLR0913, PLR0917 - one argument for each flag
    out: Out = Path("demo"),
    events: Events = 100_000,
    seed: Seed = 1,
    workers: Workers = 2,
    console: Console = None,
    port: Port = None,
) -> None:
    """Make up events, run the main job on them with an embedded ledger, and show what came of it.

    On a terminal the console is served at the end, until it is interrupted.
    """
    stage = Stage(out.absolute())
    stage.clear()
    now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=SystemClock().now_ms())
    _say(f"making up {events:,} lines of events in {stage.events} ...")
    expected = write_sample(Sample(events, seed, 300, 30, now), stage.events, lambda _lines: None)
    _say("reading, pricing, counting once, writing the ledger ...")
    summary = _run(stage, workers)
    accounts = load_accounts(stage.events / "accounts.toml")
    with opened(stage.ledger) as client:
        _report(client, stage, summary, accounts, now)
        _hold(summary, _rejects(client), expected)
    _next_steps(stage, now)
    if sys.stdin.isatty() and sys.stdout.isatty() if console is None else console:
        from cli.demo_console import serve_console  # noqa: PLC0415 - slow to load: only who wants it waits

        serve_console(stage.folder, stage.ledger, stage.events, port, workers)


def _run(stage: Stage, workers: int) -> dict[str, Any]:
    options = RunOptions(
        [str(stage.events / "events.ndjson")],
        stage.ledger,
        catalog=stage.events / "catalog.toml",
        accounts=stage.events / "accounts.toml",
        workers=workers,
    )
    with quiet_stdout():
        return run_files(options)


def _report(client: Client, stage: Stage, summary: dict[str, Any], accounts: Accounts, now: datetime) -> None:
    _say(f"\n{describe(summary)}")
    _table("Rejects by reason", ["reason", "events"], _rejects(client).items())
    top = run(client, find_query("spend_by_tenant")).dicts()[:TOP]
    rows = [(r["tenant"], accounts.get(r["tenant"]).display_name, r["events"], r["cost_usd"]) for r in top]
    _table("Top tenants", ["tenant", "name", "events", "USD"], rows)
    _table(
        "Caps crossed by them, and cleared by corrections: the newest",
        ["tenant", "window", "from", "percent", "state", "limit in micro-USD", "spent by then"],
        [row for tenant in top for row in _crossings(client, tenant["tenant"])],
    )
    _stripe(_plan(client, stage, accounts, now))


def _rejects(client: Client) -> dict[str, int]:
    return {row["reason"]: row["rejects"] for row in run(client, find_query("rejects_by_reason")).dicts()}


def _crossings(client: Client, tenant: str) -> list[tuple[Any, ...]]:
    found = run(client, find_query("cap_decisions_of"), {"tenant": tenant, "limit": 2}).dicts()
    names = ("window", "window_start", "threshold_percent", "state", "limit_micro_usd", "current_micro_usd")
    return [(tenant, *(row[name] for name in names)) for row in found]


def _plan(client: Client, stage: Stage, accounts: Accounts, now: datetime) -> Plan:
    """Plan what Stripe would be told; nothing is kept or sent."""
    store = open_store(f"sqlite:///{stage.folder / 'control.db'}")
    try:
        moment = int(now.timestamp())
        planning = Planning(
            load_meters(None), lambda tenant: accounts.get(tenant).stripe_customer, STAMP, moment
        )
        return plan_reports(store, LedgerUsage(client), planning, write=False)
    finally:
        store.close()


def _stripe(plan: Plan) -> None:
    units = sum(report.value for report in plan.reports)
    customers = len({report.customer for report in plan.reports})
    told = f"{len(plan.reports):,} reports, {units:,} micro-USD of {customers:,} customers"
    rows = [(r.customer, r.event_name, r.value, r.identifier) for r in plan.reports[:3]]
    _table(f"Stripe would get {told}, such as", ["customer", "event name", "units", "identifier"], rows)


def _hold(summary: dict[str, Any], rejects: dict[str, int], expected: Expected) -> None:
    """Compare what came out with what the sample foretells; a difference is a bug."""
    pico = summary["cost_micro_usd"] * 10**6 + summary["residual_pico_usd"]
    found = (summary["accepted"], summary["duplicates"], pico, rejects)
    foretold = sum(sum(amounts) for amounts in expected.settled.values())
    wanted = (expected.accepted, expected.duplicates, foretold, dict(+expected.rejects))
    if found != wanted:
        msg = f"the run found {found} where the sample foretells {wanted}: this is a bug, please report it"
        raise MillraceError(msg)
    _say("\nAll of it is as the sample foretells, to the pico-USD.")


def _next_steps(stage: Stage, now: datetime) -> None:
    program, folder, ledger = (shlex.quote(word) for word in (sys.argv[0], str(stage.folder), stage.ledger))
    _say("\nTry next:")
    _say(f"  {program} query spend_by_source --ledger {ledger}")
    _say(f"  {program} export principals --period {now:%Y-%m} --out {folder}/export --ledger {ledger}")
    _say(f"  {program} stripe push --dry-run --state {folder} --ledger {ledger}")


def _table(title: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    cells = [[str(cell) for cell in row] for row in rows]
    numeric = [all(cell.replace(".", "").isdigit() for cell in column) for column in zip(*cells, strict=True)]
    table = laid_out(names, numeric or [False] * len(names), cells).splitlines()[:-1]
    _say("\n".join([f"\n{title}", *table]))


def _say(text: str) -> None:
    typer.echo(text)
