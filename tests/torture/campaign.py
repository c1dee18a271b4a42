"""One campaign: a seed, what dies in it, and what must stand in the end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sinks.http_front import KINDS, Fault, Front
from tests.hostile import hostile_accounts, hostile_catalogs, hostile_stream
from tests.kafka.broker import Kafka, free_port
from tests.model import Model
from tests.torture.order import Order, decisions_alternate

ROOT = Path(__file__).parent.parent.parent
PARTITIONS = 3
DOORS = ("ledger_in", "rejected_events_in", "progress_in", "cap_decisions_in")
PATIENCE_S, LEAVE_S = 20, 120
CODE = f"""
import sys
from cli import main, run_kafka
run_kafka._MEETING_S_MAX = run_kafka._CONNECT_S_MAX = {PATIENCE_S}
sys.exit(main.run(sys.argv[1:]))
"""
PICO = "sum(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd)"


@dataclass
class Campaign:
    """`kills` runs are killed, of `sizes` processes in turn; then one runs to the end."""

    seed: int
    kafka: Kafka
    front: Front
    folder: Path
    events: int = 1_500
    kills: int = 4
    sizes: tuple[int, ...] = (1, 2, 3, 1)
    with_faults: bool = True
    with_broker_stops: bool = False
    log: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.random = random.Random(self.seed)
        self.now_ms = int(time.time() * 1000)
        self.topic = f"torture-{self.seed}-{time.time_ns()}"
        self.records = {p: [] for p in range(PARTITIONS)}
        self.killed = 0
        (self.folder / "catalog").mkdir(parents=True, exist_ok=True)
        for number, text in enumerate(hostile_catalogs()):
            (self.folder / "catalog" / f"{number}.toml").write_text(text)
        (self.folder / "accounts.toml").write_text(hostile_accounts())

    def run(self):
        """Run it all and check it all; returns the totals."""
        self.kafka.create_topic(self.topic, PARTITIONS)
        lines = [v for v in hostile_stream(self.seed, self.events, self.now_ms) if v.strip()]
        parts = self.kills + 1
        for number in range(self.kills):
            self._produce(lines[number::parts])
            self._torment(self.sizes[number % len(self.sizes)])
        self._produce(lines[self.kills :: parts])
        self.front.faults.clear()
        processes = self._start(1, "--until-end")
        out, err = processes[0].communicate(timeout=300)
        assert processes[0].returncode == 0, err.decode()
        self.last = json.loads(out)
        return self._check()

    def _produce(self, lines):
        """Send lines to partitions at random; some go to two, as from a producer that was not answered."""
        sent = {p: [] for p in self.records}
        for value in lines:
            first = self.random.randrange(PARTITIONS)
            sent[first].append(value)
            if self.random.random() < 0.1:
                sent[(first + 1) % PARTITIONS].append(value)
        self.kafka.send(self.topic, sent, timestamp=self.now_ms)
        for partition, values in sent.items():
            self.records[partition] += [(value, self.now_ms) for value in values]

    def _start(self, processes, *more):
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(processes)]
        started = []
        for number in range(processes):
            arguments = [
                "run", "--brokers", self.kafka.address, "--topic", self.topic, "--ledger", self.front.url,
                "--catalog", str(self.folder / "catalog"), "--accounts", str(self.folder / "accounts.toml"),
                "--json", "--reject-budget", "1", "--workers", str(self.random.choice((1, 2)) if processes == 1 else 1),
                "--block-rows", "40", "--flush-ms", "20", "--cluster", ",".join(addresses), "--process", str(number),
                *more,
            ]  # fmt: skip
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", CODE, *arguments],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")},
                )
            )
        return started

    def _torment(self, size):
        """Start a run, let it work for a while among faults, and kill one or all of its processes."""
        if self.with_faults:
            for _ in range(self.random.randrange(1, 7)):
                kind, door = self.random.choice(KINDS), self.random.choice(DOORS)
                skip = self.random.randrange(5)
                self.front.faults.add(Fault(kind, f"INSERT INTO {door}", 1, skip, 0.3))
        processes = self._start(size)
        if self.random.random() < 0.1:
            time.sleep(self.random.uniform(0, 10))  # at its start, before the meeting or in it
        else:
            self._let_work(processes, self.random.randrange(1, 12))
        time.sleep(self.random.uniform(0, 0.1))
        if self.with_broker_stops and self.kafka.broker is not None and self.random.random() < 0.3:
            self.kafka.broker.stop(signal.SIGKILL)
            time.sleep(self.random.uniform(0, 1))
            self.kafka.broker.start()
        victims = processes if self.random.random() < 0.5 else [self.random.choice(processes)]
        running = [p for p in victims if p.poll() is None]
        self.killed += bool(running)
        for process in running:
            process.kill()
        self._end(processes, len(victims))

    def _let_work(self, processes, commits):
        """Wait for so many commits, or until there is no more to do, however slow the machine is."""
        before = latest = self._commits()
        moved_at, deadline = time.monotonic(), time.monotonic() + 120
        while latest - before < commits and time.monotonic() < deadline:
            if all(p.poll() is not None for p in processes):
                break
            now = self._commits()
            if now != latest:
                latest, moved_at = now, time.monotonic()
            elif latest > before and time.monotonic() - moved_at > 3:
                break
            time.sleep(0.02)

    def _end(self, processes, victims):
        """What is left of a cluster must leave by itself, however far it had come."""
        for number, process in enumerate(processes):
            try:
                process.communicate(timeout=LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                _, err = process.communicate()
                raise AssertionError(
                    f"process {number} of {len(processes)} did not leave after {victims} died: {err[-300:]!r}"
                ) from None

    def _commits(self):
        return int(self._ask("SELECT count() FROM progress")[0][0])

    def _ask(self, sql):
        return self.front.keeper.query(sql).result_rows

    def _check(self):
        ledger = {(p, o) for p, o in self._ask("SELECT partition, offset FROM ledger")}
        rows = self._ask("SELECT count(), uniqExact(partition, offset), uniqExact(key_hash) FROM ledger")[0]
        assert len(set(rows)) == 1, f"rows, origins and keys of the ledger differ: {rows}"
        found = self._ask("SELECT partition, offset, reason FROM rejected_events")
        rejects = {(p, o): r for p, o, r in found}
        assert len(rejects) == len(found), f"{len(found) - len(rejects)} rejects stand twice"
        assert not ledger & rejects.keys()
        model = Model([tomllib.loads(t) for t in hostile_catalogs()], tomllib.loads(hostile_accounts()))
        Order(model, self.topic, self.records, ledger, rejects).replay()
        produced = sum(map(len, self.records.values()))
        duplicates = int(self._ask("SELECT sum(duplicates) FROM progress")[0][0])
        assert duplicates == model.counts["duplicate"], (duplicates, model.counts)
        assert len(ledger) + duplicates + len(rejects) == produced
        wanted = {(t, p): s for (t, p), s in model.sums("tenant", "billing_period").items()}
        for table in ("ledger", "usage_by_quarter"):
            sums = self._ask(f"SELECT tenant, billing_period, {PICO} FROM {table} GROUP BY 1, 2")
            assert {(t, p): int(s) for t, p, s in sums} == wanted, table
        self._check_decisions(model)
        self._reconcile()
        reasons = Counter(rejects.values())
        return {
            "seed": self.seed, "kills": self.killed, "produced": produced, "accepted": len(ledger),
            "duplicates": duplicates, "rejected": len(rejects), "conflicts": reasons["idempotency_conflict"],
            "faults": len(self.front.faults.happened), "pico_usd": sum(wanted.values()),
        }  # fmt: skip

    def _reconcile(self):
        """What operators are told to ask must find nothing, either."""
        command = ["reconcile", "--ledger", self.front.url, "--catalog", str(self.folder / "catalog")]
        command += ["--accounts", str(self.folder / "accounts.toml"), "--state", str(self.folder / "none")]
        done = subprocess.run(
            [sys.executable, "-c", CODE, *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"

    def _check_decisions(self, model):
        decisions = self._ask(
            "SELECT tenant, window, toUnixTimestamp(window_start), threshold_percent, state "
            "FROM cap_decisions ORDER BY sequence"
        )
        last = decisions_alternate(decisions)
        crossed = {(t, w, int(s.timestamp()), p) for t, w, s, p in model.spend.crossed()}
        assert {key for key, state in last.items() if state == "crossed"} == crossed
