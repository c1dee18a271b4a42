"""`millrace rejects replay`: rejects through the same pipeline again, once."""

import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.clock import SystemClock
from cli.known_accounts import known_accounts
from cli.progress import Progress, quiet_stdout
from cli.reading import existing
from cli.run_kafka import KafkaOptions
from cli.running import RunOptions, describe, frozen_heap, load_kernels, make_preparer, stopping, summary_of
from cli.telling import say
from pipeline.catalog import default_catalog, load_catalog
from pipeline.errors import UsageError
from pipeline.flow import CommitPolicy, FlowParts, RejectBudget, RunState, run_flow
from pipeline.formats import FORMAT_NAMES, load_mapping
from pipeline.lane import Lane
from pipeline.ports import DecisionSink
from pipeline.sources.files import FormatChoice
from pipeline.sources.replays import ORIGIN, ReplayFormats, ReplayReader, format_of
from pipeline.spend import SpendFilter, SpendWindows
from queries.rejects import find_reject
from sinks.clickhouse import connect
from sinks.decisions import LedgerDecisions, load_windows
from sinks.inserts import Retry
from sinks.kafka import ConfirmedProducer, PublishedDecisions
from sinks.ledger import HOT_KEYS_MAX, NOTHING_READ_AGAIN, Ledger, LedgerLane, Run
from sinks.replay_log import Reading, ReplayLog, Selection

_HOUR_MS = 3_600_000
_COMMIT_AGE_MS = 10_000


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What a replay is told beside what all runs are told."""

    selection: Selection
    header: str = ""
    kafka: KafkaOptions | None = None
    """Where decisions are published, too."""


def replay(  # noqa: PLR0913, PLR0917 - one argument for each flag
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME ...]", help="Rejects, by how their names begin; none: all."),
    ] = None,
    ledger: Annotated[
        str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Only this reason.")] = "",
    topic: Annotated[str, typer.Option(help="Only what came from this topic or source name.")] = "",
    tenant: Annotated[str, typer.Option(help="Only what names this tenant, as far as it can be read.")] = "",
    since: Annotated[str, typer.Option(help="Only what was rejected from this moment on (UTC).")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Also what was handed in before and refused again.")
    ] = False,
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
    format_: Annotated[
        str, typer.Option("--format", envvar="MILLRACE_FORMAT", help=f"auto, {', '.join(FORMAT_NAMES)}.")
    ] = "auto",
    mapping: Annotated[
        Path | None, typer.Option(envvar="MILLRACE_MAPPING", help="Columns to events (csv, json).")
    ] = None,
    header: Annotated[str, typer.Option(help="The first line of the CSV file that the lines are of.")] = "",
    log_tenant: Annotated[str | None, typer.Option(help="Who pays, where a log does not say.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, envvar="MILLRACE_WORKERS", help="Worker threads.")
    ] = 2,
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
    hot_keys_max: Annotated[
        int,
        typer.Option(
            min=0, envvar="MILLRACE_HOT_KEYS_MAX", help="Up to so many keys all are held in memory."
        ),
    ] = HOT_KEYS_MAX,
    block_rows: Annotated[
        int, typer.Option(min=1, envvar="MILLRACE_BLOCK_ROWS", help="Rows of a block of the ledger.")
    ] = 250_000,
    brokers: Annotated[
        str | None, typer.Option(envvar="MILLRACE_BROKERS", help="Kafka: host:port of brokers, by commas.")
    ] = None,
    decisions_topic: Annotated[
        str | None, typer.Option(envvar="MILLRACE_DECISIONS_TOPIC", help="Kafka: a topic for cap decisions.")
    ] = None,
    kafka: Annotated[
        list[str] | None,
        typer.Option(envvar="MILLRACE_KAFKA", metavar="KEY=VALUE", help="Kafka: any setting of librdkafka."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", envvar="MILLRACE_JSON", help="The summary as JSON, alone on stdout.")
    ] = False,
) -> None:
    """Hand rejects in again, as they came or as they were mended; each once, however often this is called.

    What is refused again is a new reject: mend that one, or hand it in by its name or with --again.
    """
    if unknown_tenants not in {"accept", "refuse"}:
        raise UsageError(f"--unknown-tenants is accept or refuse, got {unknown_tenants!r}")
    if late not in {"adjust", "refuse"}:
        raise UsageError(f"--late is adjust or refuse, got {late!r}")
    if decisions_topic and not brokers:
        msg = "--decisions-topic needs the brokers that have it: give --brokers host:port"
        raise UsageError(msg)
    options = RunOptions(
        [], existing(ledger), format_, mapping, None, log_tenant, catalog, accounts, workers, 1,
        unknown_tenants == "refuse", unattributed_tenant, dedupe_horizon_hours, block_rows,
        hot_keys_max=hot_keys_max, refuse_late=late == "refuse", control=control,
    )  # fmt: skip
    publishing = KafkaOptions(brokers or "", "", "millrace", kafka or [], decisions_topic=decisions_topic)
    chosen = Selection(tuple(names or ()), reason, topic, tenant, since, again)
    with quiet_stdout():
        summary = run_replay(options, ReplayOptions(chosen, header, publishing if decisions_topic else None))
    typer.echo(json.dumps(summary) if json_ else _text(summary))


def run_replay(options: RunOptions, more: ReplayOptions) -> dict[str, Any]:
    """Enter what is selected into the replay log and run the flow over what of the log was not read yet.

    Returns the summary of a run, with `handed_in`: how many lines were entered now.
    """
    begun = time.monotonic()
    load_kernels()
    catalog = load_catalog(options.catalog) if options.catalog else default_catalog()
    accounts = known_accounts(options.accounts, options.control)
    formats = FormatChoice(
        options.format_name, load_mapping(options.mapping) if options.mapping else None, options.tenant
    )
    if options.format_name != "auto":
        formats.make(
            options.format_name, more.header.encode()
        )  # what does not fit is told before anything is begun
    clock = SystemClock()
    store = Ledger(options.ledger, clock)
    state = RunState(RejectBudget(1))
    retry = Retry(state.stop, report=say)
    selection = _whole_names(store, more.selection)
    run_ = store.begin_run(secrets.randbits(128), refuse_late=options.refuse_late)
    log = ReplayLog(connect(options.ledger), clock, retry)
    entered = log.append(
        selection, Reading(partial(format_of, chosen=options.format_name), more.header), run_
    )
    bounds = log.bounds()
    starts, replays, _ = store.plan_partitions([bounds], run_, accept_gap=False)
    reader = ReplayReader(log, starts[ORIGIN], clock.now_ms, 8 + 4 * options.workers)
    at_start = SpendWindows(0, 1, accounts, load_windows(store.client, accounts))
    hot = store.hot_keys(options.dedupe_horizon_hours * _HOUR_MS, options.hot_keys_max)
    decisions = _decisions(options, more.kafka, run_, retry, state.stop)
    decisions("start", after_start=False).write(at_start.settle())
    windows = at_start.state()
    parts = FlowParts(
        reader,
        lambda: make_preparer(
            options, catalog, accounts, ReplayFormats(formats, reader), run_, options.workers
        ),
        lambda lane: Lane(
            lane,
            LedgerLane(
                options.ledger, run_, lane, options.workers, hot, replays, NOTHING_READ_AGAIN, clock, retry
            ),
            SpendFilter(accounts),
        ),
        lambda lane: SpendWindows(lane, options.workers, accounts, windows),
        lambda: decisions(str(threading.get_ident()), after_start=True),
        CommitPolicy(options.block_rows, age_ms=_COMMIT_AGE_MS),
        state,
        options.workers,
    )
    with stopping(state), frozen_heap(), Progress(reader, state, 0):
        run_flow(parts)
    if not reader.done:
        say("stopped, as asked, before the end of the replay log: the same command goes on from there")
    return {**summary_of(state, time.monotonic() - begun), "handed_in": entered}


def _decisions(
    options: RunOptions, kafka: KafkaOptions | None, run_: Run, retry: Retry, stop: threading.Event
) -> Callable[..., DecisionSink]:
    def make(worker: str, *, after_start: bool) -> DecisionSink:
        sink = LedgerDecisions(options.ledger, run_, worker, SystemClock(), retry, after_start=after_start)
        if kafka is None or kafka.decisions_topic is None:
            return sink
        return PublishedDecisions(kafka.decisions_topic, ConfirmedProducer(kafka.kafka(), stop, say), sink)

    return make


def _whole_names(store: Ledger, chosen: Selection) -> Selection:
    """Replace the beginnings of names; raises `UsageError` for one that no reject has, or several."""
    return replace(
        chosen, names=tuple(str(find_reject(store.client, name)["reject"]) for name in chosen.names)
    )


def _text(summary: dict[str, Any]) -> str:
    entered = summary["handed_in"]
    many = "1 reject was" if entered == 1 else f"{entered:,} rejects were"
    first = f"{many} handed in" if entered else "there was no reject to hand in"
    return f"{first}\n{describe(summary)}" if summary["events"] else first
