"""A run that lives on: stopped, without its ledger, without its broker, fenced off, looked at from outside."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipeline.health import Health
from sinks.http_front import Fault, serving
from tests.event_lines import event, line
from tests.kafka.broker import free_port

ROOT = Path(__file__).parent.parent
CODE = "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"
WAIT_S = 120
METRICS = (
    "lag", "position", "commits_total", "commit_seconds_bucket", "commit_rows_bucket", "commit_bytes_total",
    "dedupe_keys", "last_commit_timestamp_seconds", "event_to_ledger_seconds_bucket", "waiting",
    "epoch_seconds_bucket", "last_commit_age_seconds", "consumed_records_total",
)  # fmt: skip


@pytest.fixture
def front(_session_ledger, ledger):
    with serving(_session_ledger.url.removeprefix("chdb://")) as front:
        yield front


@pytest.fixture
def topic(mock_kafka):
    return mock_kafka.create_topic(f"live-{time.time_ns()}", 4)


_started = []


@pytest.fixture(autouse=True)
def nothing_lives_on():
    """End what a test that failed has left running."""
    yield
    for process in _started:
        process.kill()
        process.communicate()
    _started.clear()


class Live:
    """A run in a process of its own."""

    def __init__(self, kafka, topic, url, *more):
        self.port = free_port()
        arguments = ["run", "--brokers", kafka.address, "--topic", topic, "--ledger", url, "--json"]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                CODE,
                *arguments,
                "--health-port",
                str(self.port),
                "--stuck-after-s",
                "2",
                *more,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")},
        )
        _started.append(self.process)

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def until(self, path, status, text=""):
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.communicate()
            got = self.get(path)
            if got[0] == status and text in got[1]:
                return got[1]
            time.sleep(0.05)
        raise AssertionError(f"{path} does not become {status} with {text!r}: {self.get(path)}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, err


def computes(count, first=0):
    return [line(event(id=f"e{first + i}", time="2026-01-01T00:00:00Z")) for i in range(count)]


def count(front, table="ledger"):
    return front.keeper.query(f"SELECT count() FROM {table}").first_row[0]


def test_what_comes_is_durable_soon_and_a_stop_drains_and_ends_well(mock_kafka, topic, front):
    live = Live(mock_kafka, topic, front.url)
    live.until("/readyz", 200)
    mock_kafka.send(topic, {0: computes(50), 1: [*computes(10), b"bad"]})
    shown = live.until("/metrics", 200, 'millrace_events_total{outcome="accepted"} 50.0')
    assert live.until("/healthz", 200) == "ok\n"
    for name in METRICS:  # fmt: skip
        assert f"millrace_{name}" in shown
    mock_kafka.send(topic, {2: computes(5, 100)})
    code, out, err = live.stop()
    assert code == 0, err
    assert json.loads(out)["accepted"] == count(front)


def test_without_its_ledger_a_run_says_so_is_unhealthy_and_goes_on_by_itself(mock_kafka, topic, front):
    live = Live(mock_kafka, topic, front.url)
    live.until("/readyz", 200)
    front.faults.add(Fault("refuse", "INSERT INTO", times=10**6))
    mock_kafka.send(topic, {3: computes(20)})
    told = live.until("/healthz", 503)
    assert f"{topic}/3: 20 records wait" in told
    live.until("/metrics", 200, "millrace_waiting 1.0")
    assert count(front) == 0
    front.faults.clear()
    live.until("/healthz", 200)
    live.until("/metrics", 200, 'millrace_events_total{outcome="accepted"} 20.0')
    code, _, err = live.stop()
    assert code == 0
    assert "does not answer" in err


def test_stopped_without_its_ledger_a_run_fails_in_time_with_the_position_unmoved(mock_kafka, topic, front):
    live = Live(mock_kafka, topic, front.url, "--grace-s", "10")
    live.until("/readyz", 200)
    before = front.keeper.query("SELECT sum(position) FROM progress").first_row
    front.faults.add(Fault("refuse", "INSERT INTO", times=10**6))
    mock_kafka.send(topic, {0: computes(20)})
    live.until("/metrics", 200, "millrace_waiting 1.0")
    begun = time.monotonic()
    code, _, err = live.stop()
    assert code == 1
    assert time.monotonic() - begun < 15
    assert "the ledger does not answer" in err
    assert front.keeper.query("SELECT sum(position) FROM progress").first_row == before


def test_a_second_run_fences_the_first_off(mock_kafka, topic, front):
    first = Live(mock_kafka, topic, front.url)
    first.until("/readyz", 200)
    second = Live(mock_kafka, topic, front.url)
    second.until("/readyz", 200)
    mock_kafka.send(topic, {0: computes(20)})
    _, err = first.process.communicate(timeout=WAIT_S)
    assert first.process.returncode == 1
    assert "a newer run has taken over" in err
    second.until("/metrics", 200, 'millrace_events_total{outcome="accepted"} 20.0')
    assert second.stop()[0] == 0
    assert count(front) == 20


def test_an_embedded_ledger_with_several_processes_is_refused(mock_kafka, topic, tmp_path):
    live = Live(mock_kafka, topic, f"chdb://{tmp_path}", "--cluster", "127.0.0.1:1,127.0.0.1:2")
    _, err = live.process.communicate(timeout=WAIT_S)
    assert live.process.returncode == 2
    assert "an embedded ledger has one process, this cluster has 2" in err


class Partition:
    """A partition as health sees it."""

    name = "t/0"

    def __init__(self):
        self.position, self.waiting = 0, 0

    def durable(self):
        return self.position

    def lag(self):
        return self.waiting


@pytest.mark.parametrize(
    ("steps", "is_stuck"),
    [
        ([(0, 0, 0), (100, 0, 0)], False),  # nothing waits: idle is well
        ([(0, 0, 5), (100, 0, 5)], True),  # waits and nothing moves
        ([(0, 0, 5), (9, 3, 5), (18, 6, 5), (27, 9, 5)], False),  # behind, but it moves
        ([(0, 0, 5), (50, 3, 5), (61, 3, 5)], True),  # moved, then no more
        ([(0, 0, 0), (100, 0, 5), (105, 0, 5)], False),  # it has only just come
    ],
)
def test_health_is_progress(steps, is_stuck):
    partition, now = Partition(), [0.0]
    health = Health(lambda: [partition], lambda: now[0], 10)
    stuck = []
    for now[0], partition.position, partition.waiting in steps:
        stuck = health.look()
    assert [s.name for s in stuck] == (["t/0"] if is_stuck else [])
