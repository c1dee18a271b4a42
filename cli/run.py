"""`millrace run`: usage events in, money out."""

import json
import secrets
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.analysts import analysts_beside
from cli.clock import SystemClock
from cli.known_accounts import known_accounts
from cli.progress import Progress, quiet_stdout
from cli.run_kafka import KafkaOptions, run_kafka
from cli.running import (
    RunOptions,
    describe,
    frozen_heap,
    load_kernels,
    make_preparer,
    named_ledger,
    stopping,
    summary_of,
)
from cli.stripe_beside import stripe_beside
from cli.telling import say
from pipeline.catalog import default_catalog, load_catalog
from pipeline.errors import UsageError
from pipeline.flow import CommitPolicy, FlowParts, RejectBudget, RunState, run_flow
from pipeline.formats import FORMAT_NAMES, load_mapping
from pipeline.lane import Lane
from pipeline.run_state import REJECTS_IN_A_ROW
from pipeline.sources.files import FileReader, FormatChoice, find_files, look_at
from pipeline.spend import SpendFilter, SpendWindows
from pipeline.strict import TENANT_MAX
from sinks.clickhouse import is_embedded
from sinks.decisions import LedgerDecisions, load_windows
from sinks.inserts import Retry
from sinks.ledger import HOT_KEYS_MAX, Ledger, LedgerLane

app = typer.Typer(help="Read usage events and write the ledger.")
_HOUR_MS = 3_600_000
_COMMIT_AGE_MS = 10_000
"""Files wait for no one: large blocks rather than soon."""
_STOPPED = (
    "millrace: stopped, as asked, before the end of the input: what was read is in the ledger, "
    "and the same command goes on from there"
)


@app.command()
def run(  # noqa: PLR0913, PLR0917 - one argument for each flag
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH ...]", help="Files or folders; - is stdin.")
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", envvar="MILLRACE_FORMAT", help=f"auto, {', '.join(FORMAT_NAMES)}.")
    ] = "auto",
    mapping: Annotated[
        Path | None, typer.Option(envvar="MILLRACE_MAPPING", help="Columns to events (csv, json).")
    ] = None,
    source: Annotated[
        str | None, typer.Option(envvar="MILLRACE_SOURCE", help="Stable name of a log.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(envvar="MILLRACE_TENANT", help="Who pays, where a log does not say.")
    ] = None,
    ledger: Annotated[
        str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(envvar="MILLRACE_STATE", help="Local state; none is needed: the ledger has it all."),
    ] = None,
    catalog: Annotated[
        Path | None, typer.Option(envvar="MILLRACE_CATALOG", help="Prices: a file or a folder.")
    ] = None,
    accounts: Annotated[
        Path | None, typer.Option(envvar="MILLRACE_ACCOUNTS", help="Limits and time zones.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            envvar="MILLRACE_CONTROL", help="The control store's URL: its tenants' limits hold, too."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, envvar="MILLRACE_WORKERS", help="Worker threads.")
    ] = 2,
    reject_budget: Annotated[
        float, typer.Option(min=0, max=1, envvar="MILLRACE_REJECT_BUDGET", help="Largest share of rejects.")
    ] = 0.2,
    rejects_in_a_row: Annotated[
        int,
        typer.Option(
            min=1,
            envvar="MILLRACE_REJECTS_IN_A_ROW",
            help="More than so many one after the other stop the run; with --reject-budget 1 nothing does.",
        ),
    ] = REJECTS_IN_A_ROW,
    unknown_tenants: Annotated[
        str,
        typer.Option(envvar="MILLRACE_UNKNOWN_TENANTS", help="accept, or refuse those not in the accounts."),
    ] = "accept",
    late: Annotated[
        str,
        typer.Option(envvar="MILLRACE_LATE", help="Usage for a locked billing period: adjust, or refuse it."),
    ] = "adjust",
    unattributed_tenant: Annotated[
        str | None,
        typer.Option(envvar="MILLRACE_UNATTRIBUTED_TENANT", help="The tenant of events that name none."),
    ] = None,
    dedupe_horizon_hours: Annotated[
        int, typer.Option(min=1, envvar="MILLRACE_DEDUPE_HORIZON_HOURS", help="How long keys stay in memory.")
    ] = 24,
    block_rows: Annotated[
        int, typer.Option(min=1, envvar="MILLRACE_BLOCK_ROWS", help="Rows of a block of the ledger.")
    ] = 250_000,
    hot_keys_max: Annotated[
        int,
        typer.Option(
            min=0,
            envvar="MILLRACE_HOT_KEYS_MAX",
            help="Up to so many keys all are held in memory, else the horizon's.",
        ),
    ] = HOT_KEYS_MAX,
    chunk_bytes: Annotated[
        int,
        typer.Option(min=1024, envvar="MILLRACE_CHUNK_BYTES", help="How much of a file is read at a time."),
    ] = 8 << 20,
    strict_only: Annotated[
        bool,
        typer.Option("--strict-only", envvar="MILLRACE_STRICT_ONLY", help="Decode without the fast scanner."),
    ] = False,
    brokers: Annotated[
        str | None, typer.Option(envvar="MILLRACE_BROKERS", help="Kafka: host:port of brokers, by commas.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option(envvar="MILLRACE_TOPIC", help="Kafka: the topic, or topics by commas.")
    ] = None,
    group: Annotated[
        str, typer.Option(envvar="MILLRACE_GROUP", help="Kafka: the group that lag tools look at.")
    ] = "millrace",
    kafka: Annotated[
        list[str] | None,
        typer.Option(envvar="MILLRACE_KAFKA", metavar="KEY=VALUE", help="Kafka: any setting of librdkafka."),
    ] = None,
    dead_letters: Annotated[
        str | None, typer.Option(envvar="MILLRACE_DEAD_LETTERS", help="Kafka: a topic for rejects.")
    ] = None,
    decisions_topic: Annotated[
        str | None,
        typer.Option(envvar="MILLRACE_DECISIONS_TOPIC", help="Kafka: a compacted topic for cap decisions."),
    ] = None,
    flush_ms: Annotated[
        int,
        typer.Option(
            min=1,
            envvar="MILLRACE_FLUSH_MS",
            help="Kafka: how old rows get at the most before they are written; 2 s while far behind.",
        ),
    ] = 200,
    until_end: Annotated[
        bool,
        typer.Option("--until-end", envvar="MILLRACE_UNTIL_END", help="Kafka: stop when all is read."),
    ] = False,
    accept_gap: Annotated[
        bool,
        typer.Option("--accept-gap", envvar="MILLRACE_ACCEPT_GAP", help="Kafka: go on behind what is gone."),
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(envvar="MILLRACE_CLUSTER", help="Kafka: host:port of every process, by commas."),
    ] = None,
    process: Annotated[
        int, typer.Option(min=0, envvar="MILLRACE_PROCESS", help="Kafka: which process this is, from 0.")
    ] = 0,
    grace_s: Annotated[
        int, typer.Option(min=1, envvar="MILLRACE_GRACE_S", help="Kafka: seconds to drain in when stopped.")
    ] = 25,
    health_port: Annotated[
        int | None,
        typer.Option(envvar="MILLRACE_HEALTH_PORT", help="Kafka: serve /healthz, /readyz and /metrics here."),
    ] = None,
    health_host: Annotated[
        str, typer.Option(envvar="MILLRACE_HEALTH_HOST", help="Kafka: the address that they are served on.")
    ] = "127.0.0.1",
    stuck_after_s: Annotated[
        int,
        typer.Option(min=1, envvar="MILLRACE_STUCK_AFTER_S", help="Kafka: no progress so long is unhealthy."),
    ] = 60,
    stripe: Annotated[
        bool, typer.Option("--stripe", envvar="MILLRACE_STRIPE", help="Report to Stripe beside the run.")
    ] = False,
    analysts_port: Annotated[
        int | None,
        typer.Option(
            envvar="MILLRACE_ANALYSTS_PORT", help="Let analysts read an embedded ledger on this port."
        ),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", envvar="MILLRACE_JSON", help="The summary as JSON, alone on stdout.")
    ] = False,
) -> None:
    """Read usage events, price them, count each once, write the ledger."""
    if not paths and not (brokers and topic):
        msg = (
            "nothing to read: name files or folders of events (- is standard input), "
            "or a Kafka topic with --brokers and --topic"
        )
        raise UsageError(msg)
    _check_account("--tenant", tenant)
    _check_account("--unattributed-tenant", unattributed_tenant)
    if unknown_tenants not in {"accept", "refuse"}:
        raise UsageError(f"--unknown-tenants is accept or refuse, got {unknown_tenants!r}")
    if late not in {"adjust", "refuse"}:
        raise UsageError(f"--late is adjust or refuse, got {late!r}")
    options = RunOptions(
        paths or [], named_ledger(ledger), format_, mapping, source, tenant, catalog, accounts, workers, reject_budget,
        unknown_tenants == "refuse", unattributed_tenant, dedupe_horizon_hours, block_rows, not strict_only,
        chunk_bytes, hot_keys_max, late == "refuse", rejects_in_a_row, control,
    )  # fmt: skip
    with (
        quiet_stdout(),
        analysts_beside(analysts_port, options.ledger),
        stripe_beside(stripe, options.ledger, state, control, accounts) as told,
    ):
        if options.paths or not (brokers and topic):
            summary = run_files(options)
        else:
            kafka_options = KafkaOptions(
                brokers, topic, group, kafka or [], dead_letters, decisions_topic, flush_ms, until_end, accept_gap,
                cluster, process, grace_s, health_port, health_host, stuck_after_s,
            )  # fmt: skip
            summary = run_kafka(options, kafka_options, told)
    typer.echo(json.dumps(summary) if json_ else describe(summary))


def _check_account(flag: str, name: str | None) -> None:
    is_text = name is None or name == name.encode(errors="replace").decode()
    if name is not None and not (is_text and 0 < len(name) <= TENANT_MAX):
        raise UsageError(f"{flag} takes 1 to {TENANT_MAX} characters of UTF-8, got {name!r}: name an account")


def run_files(options: RunOptions) -> dict[str, Any]:
    """Run the flow over files until their end; returns the summary of the contract."""
    begun = time.monotonic()
    load_kernels()
    catalog = load_catalog(options.catalog) if options.catalog else default_catalog()
    accounts = known_accounts(options.accounts, options.control)
    formats = FormatChoice(
        options.format_name, load_mapping(options.mapping) if options.mapping else None, options.tenant
    )
    files = find_files(options.paths, options.source)
    for file in files:
        look_at(file)  # one that cannot be read is told before anything is begun
    clock = SystemClock()
    store = Ledger(options.ledger, clock)
    run_ = store.begin_run(secrets.randbits(128), refuse_late=options.refuse_late)
    readings, replays, read_again = store.plan_readings(files, run_)
    reader = FileReader(readings, formats, clock.now_ms, options.chunk_bytes, 4 + 2 * options.workers)
    state = RunState(RejectBudget(options.reject_budget, in_a_row=options.rejects_in_a_row))
    retry = Retry(state.stop, report=say)
    at_start = SpendWindows(0, 1, accounts, load_windows(store.client, accounts))
    hot = store.hot_keys(options.dedupe_horizon_hours * _HOUR_MS, options.hot_keys_max)
    settled = LedgerDecisions(options.ledger, run_, "start", clock, retry, after_start=False)
    settled.write(at_start.settle())  # what the run before could not write: decisions follow the ledger
    windows = at_start.state()
    parts = FlowParts(
        reader,
        lambda: make_preparer(options, catalog, accounts, formats, run_, options.workers),
        lambda lane: Lane(
            lane,
            LedgerLane(options.ledger, run_, lane, options.workers, hot, replays, read_again, clock, retry),
            SpendFilter(accounts),
        ),
        lambda lane: SpendWindows(lane, options.workers, accounts, windows),
        lambda: LedgerDecisions(options.ledger, run_, str(threading.get_ident()), clock, retry),
        CommitPolicy(
            options.block_rows, age_ms=_COMMIT_AGE_MS, writes_beside=not is_embedded(options.ledger)
        ),
        state,
        options.workers,
    )
    with stopping(state), frozen_heap(), Progress(reader, state, sum(_size(f.path) for f in files)):
        run_flow(parts)
        store.finish_passes(reader.finished, run_)
    if not reader.done:
        typer.echo(_STOPPED, err=True)
    return summary_of(state, time.monotonic() - begun)


def _size(path: Path | None) -> int:
    return path.stat().st_size if path else 0


__all__ = ["RunOptions", "app", "describe", "run_files"]
