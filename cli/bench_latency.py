"""`millrace bench --latency`: a run over a topic, a producer beside it, and a reader that polls the spend windows.

The run is `millrace run` as anyone starts it, with limits to watch and the door for analysts open. The windows are
read through that door by what the caps read them by (`sinks/caps_reader.py`).
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import clickhouse_connect

from benchmarks.bench_input import Input, InputPlan, make_input
from benchmarks.kafka.broker import free_port
from benchmarks.kafka.topic import Kafka
from benchmarks.latency import PRICE_PICO_USD, PROBES, WARM_UP_S, Plan, Seen, probe_tenant, result_of, spec_of
from benchmarks.percentiles import Percentiles
from cli.analysts import PASSWORD
from pipeline.errors import MillraceError
from pipeline.spans import Span
from sinks.caps_reader import LedgerSpend

BLOCK_LINES = 100_000
_RUN = [sys.executable, "-c", "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))", "run"]
_SENT = "sent.json"
_DAY_S = 86_400
_STARTS_WITHIN_S = 120
_SHOWS_WITHIN_S = 60
_STOPS_WITHIN_S = 60
_MEANS = ("commit_seconds", "commit_rows", "event_to_ledger_seconds")
_READING_EVERY_S = 0.1


def measure(folder: Path, plan: Plan, kafka: Kafka, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure at a rate; raises `MillraceError` when not every event that was sent counts once."""
    given = make_input(
        folder / f"input-{BLOCK_LINES}-{seed}", InputPlan(BLOCK_LINES, seed), lambda _lines: None
    )
    tell(f"latency beside {plan.rate:,} events a second, {WARM_UP_S + plan.seconds} s")
    topic = kafka.create_topic()
    with tempfile.TemporaryDirectory(dir=folder, prefix="latency-") as place:
        with _running(given, kafka, topic, Path(place)) as run:
            spec = spec_of(plan, kafka, topic, given.events, Path(place, _SENT))
            found = _measured(plan, run, Path(place), spec)
            found["run_means"] = run.means()
        summary = run.stop()
    if summary["events"] != found["events"] or summary["rejected"]:
        msg = f"{found['events']} events were sent, but the run took {summary['events']} and refused some"
        raise MillraceError(f"the latency does not count: {msg} ({summary['rejected']})")
    return found


class _Run:
    """A `millrace run` over a topic, with its door for analysts."""

    def __init__(self, given: Input, kafka: Kafka, topic: str, folder: Path) -> None:
        self._said, self._health = folder / "said", free_port()
        self._door, self._password = free_port(), secrets.token_hex(32)
        flags = [
            "--brokers", kafka.address, "--topic", topic, "--group", topic, "--ledger", f"chdb://{folder}/ledger",
            "--catalog", str(given.catalog), "--accounts", str(given.accounts), "--workers", "2", "--json",
            "--health-port", str(self._health), "--analysts-port", str(self._door),
        ]  # fmt: skip
        own = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*_RUN, *flags], stdout=subprocess.PIPE, stderr=said, env={**own, PASSWORD: self._password}
            )

    def wait_until_ready(self) -> None:
        """Wait until it reads."""
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise MillraceError(f"the run does not start: {self._said.read_text()[-500:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._health}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004 - the status of all that is well
        except OSError:
            return False

    def windows(self) -> LedgerSpend:
        """What reads the windows of this run's ledger."""
        client = clickhouse_connect.get_client(
            host="127.0.0.1", port=self._door, username="analyst", password=self._password
        )
        return LedgerSpend(lambda: client)

    def means(self) -> dict[str, float]:
        """Of its commits: how long one took, how many rows it had, how long its oldest records had waited."""
        with urlopen(f"http://127.0.0.1:{self._health}/metrics", timeout=5) as answer:
            lines = (line.rpartition(" ") for line in answer.read().decode().splitlines() if line[0] != "#")
            found = {name: float(value) for name, _, value in lines}
        return {
            name: round(found[f"millrace_{name}_sum"] / max(found[f"millrace_{name}_count"], 1), 4)
            for name in _MEANS
        }

    def stop(self) -> dict[str, Any]:
        """Let it drain; what it has counted."""
        self._process.send_signal(signal.SIGTERM)
        try:
            told, _ = self._process.communicate(timeout=_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise MillraceError(f"the run does not drain within {_STOPS_WITHIN_S} s") from None
        if self._process.returncode:
            raise MillraceError(f"the run failed: {self._said.read_text()[-500:]}")
        summary: dict[str, Any] = json.loads(told)
        return summary

    def kill(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextmanager
def _running(given: Input, kafka: Kafka, topic: str, folder: Path) -> Iterator[_Run]:
    run = _Run(given, kafka, topic, folder)
    try:
        run.wait_until_ready()
        yield run
    except BaseException:
        run.kill()
        raise


def _measured(plan: Plan, run: _Run, folder: Path, spec: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.latency", spec]
    windows, day = run.windows(), int(time.time()) // _DAY_S * _DAY_S
    with (folder / "producer").open("w+b") as said:
        producer = subprocess.Popen(command, stdout=said, stderr=said)  # noqa: S603 - our own
        try:
            readings = _read_until_all(windows, day, plan.ticks, producer)
            status = producer.wait(_STOPS_WITHIN_S)
        finally:
            producer.kill()
            producer.wait()
        said.seek(0)
        last = said.read().decode("utf-8", "replace")[-500:]
    if status:
        raise MillraceError(f"the producer failed: {last}")
    sent = json.loads((folder / _SENT).read_text(encoding="utf-8"))
    seen = Seen(sent["sent_ns"], first=plan.ticks * WARM_UP_S // (WARM_UP_S + plan.seconds))
    took = Percentiles()
    for begun_ns, ended_ns, counts in readings:
        took.add((ended_ns - begun_ns) // 1000)
        for tenant, count in counts.items():
            seen.note(tenant, count, ended_ns)
    if seen.count != plan.ticks:
        raise MillraceError(f"{plan.ticks} probes were sent, but the windows show {seen.count}")
    return result_of(plan, seen, took, sent)


_Reading = tuple[int, int, dict[str, int]]


def _read_until_all(
    windows: LedgerSpend, day: int, probes: int, producer: "subprocess.Popen[bytes]"
) -> list[_Reading]:
    """Read again and again until all probes are visible, or nothing more comes; what changed each time."""
    tenants = tuple(probe_tenant(number) for number in range(PROBES))
    span = Span(day, day + 2 * _DAY_S, tenants)
    readings: list[_Reading] = []
    known: dict[str, int] = {}
    deadline = float("inf")
    while sum(known.values()) < probes and time.monotonic() < deadline:
        begun = time.monotonic_ns()
        pico = windows.read([span], (day + _DAY_S) * 1000).pico
        ended = time.monotonic_ns()
        counts = {tenant: amount // PRICE_PICO_USD for (tenant, _, _), amount in pico.items()}
        readings.append((begun, ended, {t: n for t, n in counts.items() if n != known.get(t, 0)}))
        known = counts
        if deadline == float("inf") and producer.poll() is not None:
            deadline = time.monotonic() + _SHOWS_WITHIN_S
        time.sleep(max(0.0, _READING_EVERY_S - (ended - begun) / 1e9))
    return readings
