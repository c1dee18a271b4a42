"""One lap: a competitor does the job once, in a process of its own, and tells how it went.

This module is all that a competitor of another environment imports of the project: it needs the standard
library alone.
"""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Job:
    """What a lap is about: the files, an empty folder for what it stores, how many workers, where to answer."""

    events: str
    catalog: str
    accounts: str
    folder: str
    answer: str
    workers: int = 2
    is_digested: bool = False
    """Whether the rows are to be compared with those of others, not only their number and sum."""
    is_profiled: bool = False
    """Whether to tell where the time goes."""
    brokers: str = ""
    """The Kafka cluster that has the events, for who reads from there."""
    topic: str = ""
    """The topic that has them, a record for each line."""
    lines: int = 0
    """How many events there are, for who cannot tell where a topic ends."""

    def text(self) -> str:
        """The job as one argument of a command."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Lap:
    """How a lap went, told from inside.

    `seconds` and `cpu_seconds` (of all threads, user and system) are those of the work alone, from when all is
    open to when the last of it is done; `events` were taken in. `found` is what came of them, to be held
    against what must come of them.
    """

    seconds: float
    cpu_seconds: float
    events: int
    peak_bytes: int
    found: dict[str, Any] = field(default_factory=dict)


class Stopwatch:
    """Measures from its start to its last stop, which may come from any thread."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin to measure, anew if need be."""
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()
        self.stop()

    def stop(self) -> None:
        """Note the time; a later stop counts instead."""
        self.seconds = time.perf_counter() - self._wall
        self.cpu_seconds = _cpu_seconds() - self._cpu


def _cpu_seconds() -> float:
    """Of all threads of this process, and of its children that have ended."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system


def read_job(arguments: list[str]) -> Job:
    """The job that a process was started with."""
    return Job(**json.loads(arguments[1]))


def answer(job: Job, watch: Stopwatch, events: int, peak: int | None = None, **found: Any) -> None:
    """Leave the lap where the job asks for it; `peak` where not only this process holds memory."""
    lap = Lap(watch.seconds, watch.cpu_seconds, events, peak or peak_bytes(), found)
    Path(job.answer).write_text(json.dumps(asdict(lap)), encoding="utf-8")


def read_lap(path: Path) -> Lap:
    """The lap that a process has left. Raises OSError and ValueError when there is none."""
    return Lap(**json.loads(path.read_text(encoding="utf-8")))


def of_children() -> tuple[float, int]:
    """CPU seconds and peak memory of all processes that this one has started and that are still there."""
    parents, cpu, peak = {}, {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            status = (folder / "status").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        number = int(folder.name)
        parents[number] = int(stat[1])
        cpu[number] = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        peak[number] = sum(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    ours = {os.getpid()}
    while more := {number for number, parent in parents.items() if parent in ours} - ours:
        ours |= more
    ours.discard(os.getpid())
    return sum(cpu[number] for number in ours), sum(peak[number] for number in ours)


def peak_bytes() -> int:
    """The most memory that this process has held so far (resident), without that of its children."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return _peak_of_usage()
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def _peak_of_usage() -> int:
    import resource  # noqa: PLC0415 - not on all systems

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
