"""Where the time of a run goes: the CPU time of each stage, by wrapping the functions that are the stages."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import wraps
from importlib import import_module
from typing import Any


@dataclass(slots=True)
class Cost:
    """What a stage took, without the stages that it calls."""

    cpu_seconds: float = 0
    wall_seconds: float = 0
    first_cpu_seconds: float = 0
    """How much of it went into the first call on each thread, which loads what is compiled."""
    calls: int = 0


STAGES = (
    ("start: ledger and migrations", "sinks.ledger", "Ledger.__init__"),
    ("start: run number", "sinks.ledger", "Ledger.begin_run"),
    ("start: positions", "sinks.ledger", "Ledger.plan_readings"),
    ("start: keys", "sinks.ledger", "LedgerLane.load_keys"),
    ("read", "pipeline.sources.files", "FileReader.next_chunk"),
    ("read: lines", "pipeline.sources.files", "_lines_of"),
    ("read: Kafka", "pipeline.sources.kafka", "KafkaPartition.next_chunk"),
    ("read: Kafka's client", "pipeline.sources.kafka_native", "NativeClient._fetch"),
    ("read: Kafka's records", "pipeline.sources.kafka_native", "NativeClient._laid_out"),
    ("decode: scan", "pipeline.decode", "scan"),
    ("decode: strict decoder", "pipeline.decode", "Decoder._decode_strictly"),
    ("decode: operations of traffic", "pipeline.decode", "derive_operations"),
    ("decode: columns", "pipeline.decode", "Decoder.decode"),
    ("intern", "pipeline.dictionary", "intern_rows"),
    ("intern: usage", "pipeline.dictionary", "intern_usage"),
    ("keys: templates", "pipeline.template_keys", "TemplateKeys.apply"),
    ("keys: defaults", "pipeline.batch", "default_keys"),
    ("rate: entries", "pipeline.rating", "Rater.find_entries"),
    ("rate: amounts", "pipeline.rating", "Rater.rate"),
    ("seal", "pipeline.batch", "seal"),
    ("prepare: the rest", "pipeline.batch", "Preparer.prepare"),
    ("count once", "pipeline.keys", "count_once"),
    ("count once: growth", "pipeline.keys", "spread"),
    ("lane: rejects", "pipeline.lane", "Lane._refuse"),
    ("lane: the rest", "pipeline.lane", "Lane._judge"),
    ("windows: deltas", "pipeline.spend", "SpendFilter.of_rows"),
    ("windows: sums and crossings", "pipeline.spend", "SpendWindows.take"),
    ("encode: texts", "sinks.blocks", "_add_texts"),
    ("encode: origin", "sinks.blocks", "_add_origin"),
    ("encode: quantities", "sinks.blocks", "_add_quantities"),
    ("encode: amounts", "sinks.blocks", "_add_amounts"),
    ("encode: bytes", "sinks.pending", "Pending.add"),
    ("insert", "sinks.ledger", "insert_pending"),
    ("commit: the rest", "sinks.ledger", "LedgerLane.commit"),
)
"""The stages: name, module, and the function there under the name by which it is called."""


class Stages:
    """Times stages. CPU time is that of the calling thread: what ClickHouse does in its own is not in it."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = defaultdict(Cost)
        self._lock = threading.Lock()
        self._open: dict[int, list[list[float]]] = defaultdict(list)
        self._met: set[tuple[int, str]] = set()

    def watch(self, stages: Iterable[tuple[str, str, str]] = STAGES) -> None:
        """Wrap the stages for the rest of this process. Raises AttributeError for one that is not there."""
        for name, module, path in stages:
            owner: Any = import_module(module)
            *classes, attribute = path.split(".")
            for part in classes:
                owner = getattr(owner, part)
            setattr(owner, attribute, self._timed(name, getattr(owner, attribute)))

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            thread = threading.get_ident()
            inner = self._open[thread]  # a thread's own list: Bytewax's threads forget what is thread-local
            inner.append([0.0, 0.0])
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                spent = (time.thread_time() - cpu, time.perf_counter() - wall)
                self._note(name, thread, spent, inner)

        return timed

    def _note(self, name: str, thread: int, spent: tuple[float, float], inner: list[list[float]]) -> None:
        below = inner.pop()
        if inner:
            inner[-1][0] += spent[0]
            inner[-1][1] += spent[1]
        with self._lock:
            cost = self.costs[name]
            cost.cpu_seconds += spent[0] - below[0]
            cost.wall_seconds += spent[1] - below[1]
            cost.calls += 1
            if (thread, name) not in self._met:
                self._met.add((thread, name))
                cost.first_cpu_seconds += spent[0] - below[0]

    def as_json(self) -> dict[str, dict[str, float]]:
        """All costs, for a file."""
        return {name: asdict(self.costs[name]) for name, _, _ in STAGES if name in self.costs}


def stage_table(lap: dict[str, Any]) -> str:
    """The stages of a lap as a Markdown table, in microseconds of CPU for an event, in the order of the way."""
    events, cpu = lap["events"], lap["cpu_seconds"]
    rows = [
        "|stage|CPU us an event|of it first calls|wall us an event|calls|",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    known = 0.0
    for name, cost in lap["found"]["stages"].items():
        micros = [cost[k] * 1e6 / events for k in ("cpu_seconds", "first_cpu_seconds", "wall_seconds")]
        known += 0 if name.startswith("start") else cost["cpu_seconds"]
        rows.append(f"|{name}|{micros[0]:.3f}|{micros[1]:.3f}|{micros[2]:.3f}|{cost['calls']}|")
    rows.append(f"|elsewhere (the engine's own threads, Bytewax)|{(cpu - known) * 1e6 / events:.3f}||||")
    rows.append(f"|**all of it, from the open ledger on**|**{cpu * 1e6 / events:.3f}**||||")
    return "\n".join(rows) + "\n"
