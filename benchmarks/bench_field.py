"""The field: who runs, how each is started, and what each does and does not do."""

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import bytewax_per_event, pathway_sums, pyflink_sums, quix_sums
from pipeline.errors import UsageError

MILLRACE, YARDSTICK_A, YARDSTICK_B = "millrace", "yardstick-a", "yardstick-b"
FILE, KAFKA = "file", "kafka"
_LOADS = "parses, prices and inserts into the same table with the same rollup, fsync and threads"
_LOADS_NOT = "no validation, no rejects, nothing counted once, no corrections, no windows, no way to resume"


@dataclass(frozen=True, slots=True)
class Competitor:
    """Someone who can run a lap; `module` and `arguments` are what a Python is started with."""

    name: str
    title: str
    does: str
    does_not: str
    module: str
    arguments: tuple[str, ...] = ()
    workers: int = 2
    counts_once: bool = True
    """Whether a retry adds no row."""
    environment: str = ""
    """The folder of its own environment among those of the peers; the program's own when empty."""
    requirement: str = ""
    """The package that the environment must have."""
    reads: str = FILE
    """Where it takes the events from: the file, or a topic of a real broker that shares the cores."""
    needs: tuple[str, str] = ("", "")
    """What its environment must hold beside packages: a pattern of paths, and the command that brings it."""

    def python(self, environments: Path | None) -> str | None:
        """The interpreter that runs it; None when its environment is not there."""
        if not self.environment:
            return sys.executable
        folder = environments / self.environment if environments else None
        if folder is None or not (folder / "bin" / "python").exists():
            return None
        pattern, _ = self.needs
        return str(folder / "bin" / "python") if not pattern or any(folder.glob(pattern)) else None

    def why_left_out(self) -> str:
        """What to do so that it can run."""
        folder, (_, brings) = f"DIR/{self.environment}", self.needs
        more = f", `{brings.format(folder=folder)}`" if brings else ""
        return (
            f"it has no environment: `uv venv {folder}`, `uv pip install --python {folder} {self.requirement}`{more}, "
            "then --peers DIR"
        )


def millrace(workers: int, module: str) -> Competitor:
    """Millrace with so many workers, run by a module of the command line; one worker has one core for itself."""
    return Competitor(
        f"{MILLRACE}-{workers}",
        f"Millrace, {workers} worker{'s' * (workers > 1)}",
        "the whole contract: validates, refuses with reasons, prices, counts once, watches limits, can resume",
        "no network: the file is read from the page cache, the ledger is in the process",
        module,
        workers=workers,
    )


def millrace_from_kafka(workers: int, module: str) -> Competitor:
    """Millrace over a topic, with the broker on the same cores."""
    return Competitor(
        f"{MILLRACE}-{workers}-kafka",
        f"Millrace, {workers} worker{'s' * (workers > 1)}, from Kafka",
        "the whole contract from a topic, to its end",
        "no cluster: one process, the ledger is in it",
        module,
        workers=workers,
        reads=KAFKA,
    )


OTHERS = (
    Competitor(
        YARDSTICK_A,
        "ClickHouse, JSONEachRow",
        f"yardstick A, what a user would write: {_LOADS}",
        _LOADS_NOT,
        "benchmarks.yardsticks",
        ("json_each_row",),
        counts_once=False,
    ),
    Competitor(
        YARDSTICK_B,
        "ClickHouse, JSONExtract",
        f"yardstick B, the fastest SQL we know: {_LOADS}",
        _LOADS_NOT,
        "benchmarks.yardsticks",
        ("json_extract",),
        counts_once=False,
    ),
    Competitor(
        "bytewax",
        "Bytewax, event by event",
        bytewax_per_event.DOES,
        bytewax_per_event.DOES_NOT,
        "benchmarks.peers.bytewax_per_event",
    ),
    Competitor(
        "pathway",
        "Pathway",
        pathway_sums.DOES,
        pathway_sums.DOES_NOT,
        "benchmarks.peers.pathway_sums",
        environment="pathway",
        requirement="pathway",
    ),
    Competitor(
        "quix",
        "Quix Streams, from Kafka",
        quix_sums.DOES,
        quix_sums.DOES_NOT,
        "benchmarks.peers.quix_sums",
        environment="quix",
        requirement="quixstreams",
        reads=KAFKA,
    ),
    Competitor(
        "pyflink",
        "PyFlink's Table API, from Kafka",
        pyflink_sums.DOES,
        pyflink_sums.DOES_NOT,
        "benchmarks.peers.pyflink_sums",
        environment="pyflink",
        requirement="apache-flink",
        reads=KAFKA,
        needs=(
            "jars/flink-sql-connector-kafka-*.jar",
            f"mvn dependency:copy -Dartifact={pyflink_sums.CONNECTOR} -DoutputDirectory={{folder}}/jars",
        ),
    ),
)


def chosen(everyone: list[Competitor], names: list[str]) -> list[Competitor]:
    """Those who are to run, in their order; no names mean all. Raises `UsageError` for one who is not there."""
    known = {c.name for c in everyone}
    if unknown := sorted(set(names) - known):
        msg = f"--only names {', '.join(unknown)}, but those who can run are {', '.join(sorted(known))}"
        raise UsageError(msg)
    return [c for c in everyone if not names or c.name in names]
