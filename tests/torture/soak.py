"""`python -m tests.torture.soak`: millions of events through a broker and two processes, one of which is killed.

Two in a hundred events are sent twice, the second time to another partition. In the end each key stands once, the
sums of every tenant are those that were computed while sending, and the rollup equals the ledger. Memory and lag are
noted each second and drawn as docs/soak.svg.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Producer

from pipeline.errors import LedgerAwayError
from sinks.clickhouse import connect, migrate
from tests.kafka.broker import Broker, Kafka, free_port, named_broker
from tests.torture.plot import Moment, drawn

ROOT = Path(__file__).parent.parent.parent
CODE = "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"
PARTITIONS, PROCESSES = 8, 2
TENANTS = 2_000
OPERATIONS = {"ask": 2_000_000_003, "embed": 450_001, "store": 0}
"""Pico-USD of one unit; to price them is the only thing that this file and the pipeline have in common."""
START_MS = 1_767_225_600_000
SPREAD_MS = 90_000_000
AGAIN_EVERY = 50
PICO = "sum(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd)"
LANES = (
    "SELECT partition, lane, max(position) AS position FROM progress WHERE lanes > 1 GROUP BY partition, lane"
)
DURABLE = f"SELECT sum(least) FROM (SELECT min(position) AS least FROM ({LANES}) GROUP BY partition)"


def catalog() -> str:
    """The prices, as a catalog has them: decimal text of micro-USD."""
    entries = [
        f'[operations.{name}]\ncomponents = [{{ source = "s", basis = "per-unit", '
        f'micro_usd = "{pico // 10**6}.{pico % 10**6:06}", quantity = "units" }}]'
        for name, pico in OPERATIONS.items()
    ]
    return "\n".join(['version = "soak"', *entries])


@dataclass
class Sender:
    """Sends events, and keeps what must come of them."""

    seed: int
    events: int
    sent: int = 0
    again: int = 0
    pico: Counter[str] = field(default_factory=Counter)

    def send(self, producer: Producer, topic: str) -> None:
        """Send all; an event that is sent twice has been sent first a while ago."""
        source, names = random.Random(self.seed), list(OPERATIONS)
        recent: list[tuple[bytes, int]] = []
        for number in range(self.events):
            if number % AGAIN_EVERY == AGAIN_EVERY - 1:
                value, partition = recent[source.randrange(len(recent))]
                self._produce(producer, topic, value, (partition + 1) % PARTITIONS)
                self.again += 1
                continue
            tenant, operation = f"acct_{source.randrange(TENANTS):05}", names[number % 3]
            units, partition = source.randrange(1, 1_000), number % PARTITIONS
            at = START_MS + number * SPREAD_MS // self.events
            value = self._line(number, tenant, operation, units, at)
            self.pico[tenant] += units * OPERATIONS[operation]
            self._produce(producer, topic, value, partition)
            if len(recent) < 50_000:
                recent.append((value, partition))
            else:
                recent[number % 50_000] = (value, partition)
        assert producer.flush(300) == 0

    @staticmethod
    def _line(number: int, tenant: str, operation: str, units: int, at_ms: int) -> bytes:
        second, ms = divmod(at_ms, 1000)
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return (
            f'{{"specversion":"1.0","id":"{number:016x}","source":"/soak/{number % 7}","type":"compute",'
            f'"tenant":"{tenant}","subject":"user_{number % 911}","time":"{clock}.{ms:03}Z",'
            f'"data":{{"operation":"{operation}","units":{units},"action":"press-{number % 13}",'
            f'"context":{{"type":"project","name":"p{number % 101}"}},"note":"of event {number}"}}}}'
        ).encode()

    def _produce(self, producer: Producer, topic: str, value: bytes, partition: int) -> None:
        while True:
            try:
                producer.produce(topic, value, partition=partition)
                break
            except BufferError:
                producer.poll(0.05)
        self.sent += 1


@dataclass
class Soak:
    """A broker, a ledger over HTTP, two processes of one run, and what is seen of them each second."""

    sender: Sender
    kafka: Kafka
    folder: Path
    moments: list[Moment] = field(default_factory=list)
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    killed_at_s: float = 0.0
    killed_at: int = 0

    def run(self) -> dict[str, object]:
        """Run it all; the report, after every total was found exact."""
        self.topic = f"soak-{time.time_ns()}"
        self.kafka.create_topic(self.topic, PARTITIONS, retention_bytes="-1")
        (self.folder / "catalog.toml").write_text(catalog())
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/millrace"
        command = [sys.executable, "-m", "sinks.http_front", str(self.folder / "ledger"), str(port)]
        front = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            self._wait_for_front()
            return self._work()
        finally:
            for process in [*self.processes, front]:
                process.kill()
                process.wait()

    def _wait_for_front(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.client = connect(self.url)
                break
            except LedgerAwayError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        migrate(self.client)

    def _work(self) -> dict[str, object]:
        self.begun = time.monotonic()
        self._start()
        producer = self.kafka.producer(
            **{"linger.ms": 20, "compression.type": "lz4", "batch.num.messages": 10_000}
        )
        sending = threading.Thread(target=self.sender.send, args=(producer, self.topic))
        sending.start()
        self._until(self.sender.events // 2)
        victim = self.processes[1]
        victim.kill()
        self.killed_at_s, self.killed_at = time.monotonic() - self.begun, self._durable()
        for process in self.processes:
            process.wait(60)
        self._start()
        self._until(self.sender.events)
        took = time.monotonic() - self.begun
        sending.join()
        self.processes[0].terminate()
        for process in self.processes:
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err.decode()[-2000:]
        return self._report(took)

    def _start(self) -> None:
        addresses = ",".join(f"127.0.0.1:{free_port()}" for _ in range(PROCESSES))
        more = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
        self.processes = [
            subprocess.Popen(
                [
                    sys.executable, "-c", CODE, "run", "--brokers", self.kafka.address, "--topic", self.topic,
                    "--ledger", self.url, "--catalog", str(self.folder / "catalog.toml"), "--workers", "1",
                    "--flush-ms", "1000", "--cluster", addresses, "--process", str(number), "--json",
                ],
                cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=more,
            )
            for number in range(PROCESSES)
        ]  # fmt: skip

    def _durable(self) -> int:
        return int(self.client.query(DURABLE).first_row[0] or 0)

    def _until(self, wanted: int) -> None:
        """Note memory and lag each second until so many records are durable."""
        while True:
            durable = self._durable()
            self.moments.append(
                Moment(
                    time.monotonic() - self.begun,
                    self.sender.sent - durable,
                    [_resident_mb(p.pid) for p in self.processes],
                )
            )
            if durable >= wanted:
                return
            gone = [p for p in self.processes if p.poll() is not None]
            if gone:
                raise AssertionError(f"a process has left: {gone[0].communicate()[1].decode()[-2000:]}")
            time.sleep(1)

    def _ask(self, sql: str) -> list[tuple[object, ...]]:
        return list(self.client.query(sql).result_rows)

    def _report(self, took: float) -> dict[str, object]:
        sender, unique = self.sender, self.sender.events - self.sender.again
        rows, keys, origins = self._ask(
            "SELECT count(), uniqExact(key_hash), uniqExact(partition, offset) FROM ledger"
        )[0]
        assert (rows, keys, origins) == (unique, unique, unique), (rows, keys, origins, unique)
        duplicates = self._ask("SELECT sum(duplicates) FROM progress")[0][0]
        assert duplicates == sender.again, (duplicates, sender.again)
        assert self._ask("SELECT count() FROM rejected_events") == [(0,)]
        for table in ("ledger", "usage_by_quarter"):
            found = {t: int(s) for t, s in self._ask(f"SELECT tenant, {PICO} FROM {table} GROUP BY tenant")}
            assert found == dict(sender.pico), f"{table} is not what was sent"
        return {
            "seed": sender.seed, "events": sender.events, "accepted": rows, "duplicates": duplicates, "rejected": 0,
            "pico_usd": sum(sender.pico.values()), "seconds": round(took),
            "events_a_second": round(sender.events / took),
            "killed_at_event": self.killed_at, "killed_at_s": round(self.killed_at_s),
            "memory_mb_max": max(mb for m in self.moments for mb in m.memory_mb),
            "lag_max": max(m.lag for m in self.moments),
        }  # fmt: skip


def _resident_mb(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def main() -> int:
    """Run the soak, print its report, draw the plot; the exit code is 1 when a total is not exact."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.soak")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "soak.svg")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        named, broker = named_broker(), Broker(Path(folder) / "broker")
        if not named:
            broker.create()
            broker.start()
        try:
            kafka = Kafka(named or broker.address, is_real=True)
            soak = Soak(Sender(options.seed, options.events), kafka, Path(folder))
            report = soak.run()
        finally:
            broker.stop()
    sys.stdout.write(f"{json.dumps(report)}\n")
    options.plot.write_text(drawn(soak.moments, soak.killed_at_s, f"{options.events:,} events"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
