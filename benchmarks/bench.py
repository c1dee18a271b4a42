"""The benchmark: who does the job how fast, in rounds (A B A B), each lap in a process of its own.

A lap has the file in the page cache, an empty folder for its ledger, and as many cores as workers. What came of
it is held against what must come of it: a lap that lost or invented a pico-USD is an error, not a result.
"""

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bench_field import KAFKA, Competitor
from benchmarks.bench_input import Expected, Input
from benchmarks.bench_lap import Job, Lap, read_lap
from benchmarks.kafka.topic import Kafka
from pipeline.errors import MillraceError

ROOT = Path(__file__).parent.parent
LAP_SECONDS_MAX = 3600
_READ = 1 << 24


class LapFailedError(MillraceError):
    """A lap ended without an answer: nothing is known of who ran it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A lap from inside and from outside: `total_seconds` from the start of the process to its end."""

    lap: Lap
    total_seconds: float
    total_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Range:
    """The middle of some measurements, and how far they lie apart."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: list[float]) -> "Range":
        """The range of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(slots=True)
class Standing:
    """A competitor with its laps, one for each round."""

    competitor: Competitor
    laps: list[Measured] = field(default_factory=list)

    def speed(self) -> Range:
        """Events a second of the work alone."""
        return Range.of([m.lap.events / m.lap.seconds for m in self.laps])

    def total_speed(self) -> Range:
        """Events a second with the start and the end of the process."""
        return Range.of([m.lap.events / m.total_seconds for m in self.laps])

    def cpu_seconds(self) -> Range:
        """CPU seconds for a million events, of the work alone."""
        return Range.of([m.lap.cpu_seconds * 1e6 / m.lap.events for m in self.laps])

    def peak_bytes(self) -> int:
        """The most memory of any lap."""
        return max(m.lap.peak_bytes for m in self.laps)

    def ratio(self, other: "Standing") -> Range:
        """How many times as fast as another, round by round."""
        pairs = zip(self.laps, other.laps, strict=True)
        return Range.of([(a.lap.events / a.lap.seconds) / (b.lap.events / b.lap.seconds) for a, b in pairs])


class Course:
    """Where laps are run: a folder for what they store, the peers' environments, a cluster for who reads topics."""

    def __init__(self, folder: Path, environments: Path | None = None, kafka: Kafka | None = None) -> None:
        self._folder, self._environments, self._kafka = folder, environments, kafka
        self._topics: dict[Path, str] = {}

    def run(self, competitor: Competitor, given: Input, **options: Any) -> Measured:
        """Run one lap. Raises `MillraceError` when it fails, or when something else came of it than must come."""
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=f"{competitor.name}-") as folder:
            job = Job(
                events=str(given.events),
                catalog=str(given.catalog),
                accounts=str(given.accounts),
                folder=f"{folder}/ledger",
                answer=f"{folder}/answer.json",
                workers=competitor.workers,
                **(self._topic_of(given) if competitor.reads == KAFKA else {}),
                **options,
            )
            warm(given.events)
            measured = self._started(competitor, job, Path(folder))
        _hold(competitor, measured.lap, given.expected)
        return measured

    def _topic_of(self, given: Input) -> dict[str, Any]:
        """The topic that has the input; it is filled once, and stays for as long as the broker does."""
        if self._kafka is None:
            msg = "a topic is to be read, but there is no broker: name one with --brokers"
            raise MillraceError(msg)
        if given.events not in self._topics:
            self._topics[given.events] = self._kafka.create_topic()
            self._kafka.fill(self._topics[given.events], given.events)
        return {
            "brokers": self._kafka.address,
            "topic": self._topics[given.events],
            "lines": given.expected.lines,
        }

    def _started(self, competitor: Competitor, job: Job, folder: Path) -> Measured:
        python = competitor.python(self._environments)
        if python is None:
            raise MillraceError(f"{competitor.name} cannot run: {competitor.why_left_out()}")
        command = [python, "-m", competitor.module, job.text(), *competitor.arguments]
        begun = time.perf_counter()
        with (folder / "said").open("w+b") as said, on_cores(job.workers):
            process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)  # noqa: S603 - from the field
            status, usage = _wait(process)
            total = time.perf_counter() - begun
            said.seek(0)
            last = said.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        try:
            lap = read_lap(Path(job.answer))
        except (OSError, ValueError):
            why = " ".join(last) or f"it ended with status {status}"
            raise LapFailedError(f"the lap of {competitor.name} failed: {why}") from None
        return Measured(lap, total, usage.ru_utime + usage.ru_stime)


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, Any]:
    """Wait for a process and return its status and its usage; one that never ends is killed."""
    guard = threading.Timer(LAP_SECONDS_MAX, process.kill)
    guard.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        guard.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


def warm(path: Path) -> None:
    """Read a file or a folder of files, so that it lies in the page cache; let what was written before settle."""
    os.sync()
    buffer = bytearray(_READ)
    for file in path.iterdir() if path.is_dir() else [path]:
        with file.open("rb", buffering=0) as raw:
            while raw.readinto(buffer):
                pass


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Let the processes that are started meanwhile have only so many cores, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _hold(competitor: Competitor, lap: Lap, expected: Expected) -> None:
    once = competitor.counts_once
    wanted = {
        "events": expected.lines,
        "rows": expected.keys if once else expected.lines,
        "pico_usd": expected.pico_usd_of_keys if once else expected.pico_usd_of_lines,
    }
    found = {"events": lap.events, **lap.found}
    for name, value in wanted.items():
        if name in found and int(found[name]) != value:
            msg = f"the lap of {competitor.name} does not count: {name} must be {value}, but it found {found[name]}"
            raise MillraceError(msg)


def run_rounds(
    course: Course, competitors: list[Competitor], given: Input, rounds: int, tell: Callable[[str], None]
) -> list[Standing]:
    """Let everyone run in turn, round by round; `tell` hears of each lap."""
    standings = [Standing(competitor) for competitor in competitors]
    for number in range(1, rounds + 1):
        for standing in standings:
            measured = course.run(standing.competitor, given)
            standing.laps.append(measured)
            tell(f"round {number} of {rounds}: {standing.competitor.name}: {_said(measured)}")
    return standings


def _said(measured: Measured) -> str:
    lap = measured.lap
    cpu = lap.cpu_seconds * 1e6 / lap.events
    return f"{lap.events / lap.seconds:,.0f} events/s, {cpu:.2f} CPU seconds for a million"


def as_json(standings: list[Standing]) -> list[dict[str, Any]]:
    """The standings with all their laps, for a file."""
    return [
        {
            **asdict(standing.competitor),
            "events_per_second": asdict(standing.speed()),
            "events_per_second_with_start": asdict(standing.total_speed()),
            "cpu_seconds_per_million": asdict(standing.cpu_seconds()),
            "peak_bytes": standing.peak_bytes(),
            "laps": [asdict(measured) for measured in standing.laps],
        }
        for standing in standings
    ]


def from_json(entries: list[dict[str, Any]]) -> list[Standing]:
    """The standings of a file."""
    return [Standing(_competitor(entry), [_measured(lap) for lap in entry["laps"]]) for entry in entries]


def _competitor(entry: dict[str, Any]) -> Competitor:
    known = {name: entry[name] for name in Competitor.__dataclass_fields__}
    return Competitor(**{**known, "arguments": tuple(known["arguments"]), "needs": tuple(known["needs"])})


def _measured(entry: dict[str, Any]) -> Measured:
    return Measured(Lap(**entry["lap"]), entry["total_seconds"], entry["total_cpu_seconds"])
