"""A cluster whose processes die at bad moments: nobody waits for the dead for ever, and nobody says it is well."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sinks.http_front import serving
from tests.kafka.broker import free_port
from tests.test_kafka_live import Live, computes, count, nothing_lives_on

__all__ = ["nothing_lives_on"]

ROOT = Path(__file__).parent.parent
RUN = "import sys; from cli import run_kafka, main; run_kafka.{limit} = 6; sys.exit(main.run(sys.argv[1:]))"
MEET = """
import sys
from pipeline.cluster import Cluster, meet
meet(Cluster(tuple(sys.argv[1].split(",")), 1), 1, None)
"""


@pytest.fixture
def front(_session_ledger, ledger):
    with serving(_session_ledger.url.removeprefix("chdb://")) as front:
        yield front


def started(*command):
    bare = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=bare
    )


@pytest.fixture
def first(mock_kafka, front):
    """Process 0 of two, with a limit of its patience, and where it is to be met and asked."""
    topic = mock_kafka.create_topic(f"cluster-{time.time_ns()}")
    mock_kafka.send(topic, {0: computes(3)})
    addresses, port = ",".join(f"127.0.0.1:{free_port()}" for _ in range(2)), free_port()
    processes = []

    def start(limit):
        process = started(
            sys.executable, "-c", RUN.format(limit=limit), "run", "--brokers", mock_kafka.address, "--topic", topic,
            "--ledger", front.url, "--workers", "1", "--cluster", addresses, "--health-port", str(port),
        )  # fmt: skip
        processes.append(process)
        return process, addresses, port

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_process_whose_other_dies_after_the_meeting_is_not_ready_and_leaves_with_a_sentence(first):
    process, addresses, port = first("_CONNECT_S_MAX")
    other = started(sys.executable, "-c", MEET, addresses)
    _, err = other.communicate(timeout=90)
    assert other.returncode == 0, err
    seen = set()
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                seen.add(answer.status)
        except urllib.error.HTTPError as error:
            seen.add(error.code)
        except OSError:
            time.sleep(0.05)
    assert process.returncode == 1
    assert "another process of the cluster has gone before the work began" in process.communicate()[1]
    assert seen == {503}


def test_a_process_whose_other_never_comes_leaves_with_a_sentence(first):
    process, *_ = first("_MEETING_S_MAX")
    _, err = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "the other processes of the cluster did not come" in err


@pytest.fixture
def two(mock_kafka, front):
    """Both processes of a cluster, and the topic that they read."""
    topic = mock_kafka.create_topic(f"drain-{time.time_ns()}")
    addresses = ",".join(f"127.0.0.1:{free_port()}" for _ in range(2))
    lives = [
        Live(mock_kafka, topic, front.url, "--workers", "1", "--cluster", addresses, "--process", str(number))
        for number in range(2)
    ]
    return lives, topic


def test_one_process_that_is_told_to_stop_drains_the_whole_cluster(mock_kafka, front, two):
    lives, topic = two
    for live in lives:
        live.until("/readyz", 200)
    mock_kafka.send(topic, {p: [*computes(50, 50 * p), *computes(5)] for p in range(4)})
    for live in lives:
        live.until("/metrics", 200, 'millrace_events_total{outcome="accepted"}')
    deadline = time.monotonic() + 60
    while not count(front) and time.monotonic() < deadline:
        time.sleep(0.05)
    code, out, err = lives[1].stop()
    assert code == 0, err
    other, err = lives[0].process.communicate(timeout=60)
    assert lives[0].process.returncode == 0, err
    summaries = [json.loads(text) for text in (out, other)]
    assert sum(s["accepted"] for s in summaries) == count(front)
    asked = "SELECT sum(accepted + duplicates) FROM progress"
    assert sum(s["events"] for s in summaries) == front.keeper.query(asked).first_row[0]
