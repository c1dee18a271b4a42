"""Where a service puts the events that it takes: a spool with the flow behind it in this process, or Kafka."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import APIRouter

from api.ingest import BODY_MAX, PATH, ingest_router
from api.ingest_metrics import IngestMetrics
from cli.run_kafka import KafkaOptions
from cli.running import RunOptions, load_kernels
from cli.serving_flow import EmbeddedFlow, FlowOptions, make_intake
from cli.telling import say
from pipeline.errors import UsageError
from pipeline.ports import EventLog
from sinks.clickhouse import is_embedded
from sinks.kafka_log import KafkaLog
from sinks.spool import SpoolLimits


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What the flags say of the way of events; `run.ledger` is empty where no ledger is named."""

    run: RunOptions
    spool: Path
    is_spool_named: bool = False
    types: Path | None = None
    brokers: str | None = None
    topic: str | None = None
    kafka: Sequence[str] = ()
    flush_ms: int = 100
    grace_s: int = 25
    stuck_after_s: int = 60
    limits: SpoolLimits = field(default_factory=SpoolLimits)


@dataclass(slots=True)
class Ingest:
    """What the service gets of it."""

    log: EventLog | None = None
    flow: EmbeddedFlow | None = None
    """Where it is there, it has the main thread."""
    routers: list[APIRouter] = field(default_factory=list)
    body_max: dict[str, int] = field(default_factory=dict)
    metrics: list[Callable[[], bytes]] = field(default_factory=list)
    sick: list[Callable[[], Sequence[str]]] = field(default_factory=list)


def open_ingest(options: IngestOptions, stack: ExitStack) -> Ingest:
    """Open the log of events, and the flow where it runs here; the stack closes both.

    Raises `UsageError` for flags that do not go together, `MillraceError` where log or ledger cannot be opened.
    """
    found = Ingest()
    if options.brokers or options.topic:
        waiting = _open_kafka(options, found, stack)
    elif options.run.ledger and (options.is_spool_named or is_embedded(options.run.ledger)):
        waiting = _open_spool(options, found, stack)
    else:
        if options.is_spool_named:
            raise UsageError("--spool needs a ledger for the flow that follows it: give --ledger")  # noqa: EM101
        return found
    metrics = IngestMetrics(waiting)
    found.metrics.append(metrics.text)
    load_kernels()
    found.routers.append(ingest_router(make_intake(options.run, options.types), metrics, time.monotonic_ns))
    found.body_max[PATH] = BODY_MAX
    return found


def _open_kafka(options: IngestOptions, found: Ingest, stack: ExitStack) -> Callable[[], int]:
    if not (options.brokers and options.topic):
        raise UsageError("events go to Kafka with both --brokers and --topic: give the other one, too")  # noqa: EM101
    if options.is_spool_named:
        raise UsageError("events go to a spool or to Kafka: leave out --spool, or --brokers and --topic")  # noqa: EM101
    log = KafkaLog(
        KafkaOptions(options.brokers, options.topic, "millrace", list(options.kafka)).kafka(),
        options.topic,
        report=say,
    )
    stack.callback(log.close)
    found.log = log
    found.sick.append(lambda: [log.away()] if log.away() else [])
    return log.waiting_bytes


def _open_spool(options: IngestOptions, found: Ingest, stack: ExitStack) -> Callable[[], int]:
    flow = EmbeddedFlow(
        FlowOptions(
            options.run,
            options.spool,
            options.flush_ms,
            options.grace_s,
            options.stuck_after_s,
            options.limits,
        )
    )
    stack.callback(flow.log.close)
    found.log, found.flow = flow.log, flow
    found.metrics.append(flow.metrics.text)
    found.sick.append(flow.sick)
    return flow.log.waiting_bytes
