"""The broker away and back, and a topic that grows while it is read."""

import signal
import threading
import time
from types import SimpleNamespace

import pytest

from cli import run_kafka
from pipeline.sources.kafka import KafkaSettings, find_partitions
from sinks.http_front import serving
from tests.test_kafka_live import Live, computes, count, nothing_lives_on

__all__ = ["nothing_lives_on"]

WAIT_S = 120


@pytest.fixture
def front(_session_ledger, ledger):
    with serving(_session_ledger.url.removeprefix("chdb://")) as front:
        yield front


@pytest.fixture
def broker(real_kafka):
    if real_kafka.broker is None:
        pytest.skip("a broker named by MILLRACE_TEST_KAFKA is not ours to stop; leave it out to try this")
    yield real_kafka.broker
    if real_kafka.broker.process is None:
        real_kafka.broker.start()


def test_while_the_broker_is_away_a_run_waits_visibly_and_goes_on_by_itself(real_kafka, broker, front):
    topic = real_kafka.create_topic(f"away-{time.time_ns()}", 2)
    letters = real_kafka.create_topic(f"letters-{time.time_ns()}")
    live = Live(real_kafka, topic, front.url, "--dead-letters", letters)
    live.until("/readyz", 200)
    real_kafka.send(topic, {0: [*computes(30), b"bad"], 1: computes(10)})
    live.until("/metrics", 200, 'millrace_events_total{outcome="duplicate"} 10.0')
    broker.stop(signal.SIGKILL)
    live.until("/metrics", 200, "millrace_waiting 1.0")
    assert live.get("/readyz")[0] == 200, (
        "nothing waits that is known of: a broker that is away is no stuck run"
    )
    broker.start()
    real_kafka.send(topic, {0: computes(5, 100), 1: [b"bad too"]})
    live.until("/metrics", 200, 'millrace_events_total{outcome="accepted"} 35.0')
    live.until("/metrics", 200, 'millrace_events_total{outcome="rejected"} 2.0')
    live.until("/metrics", 200, "millrace_waiting 0.0")
    code, _, err = live.stop()
    assert code == 0, err
    assert "the broker does not answer" in err
    assert "the broker answers again" in err
    assert (count(front), count(front, "rejected_events")) == (35, 2)


def test_partitions_that_come_while_a_topic_is_read_are_counted_and_reported_once(
    real_kafka, monkeypatch, capsys
):
    topic = real_kafka.create_topic(f"growing-{time.time_ns()}", 1)
    client = KafkaSettings(real_kafka.address, (topic,), "lag")
    setting = SimpleNamespace(
        client=client, cluster=SimpleNamespace(process=0), kafka=SimpleNamespace(until_end=False)
    )
    monkeypatch.setattr(run_kafka, "_TOPICS_EVERY_S", 0.1)
    counted, looks = [], threading.Semaphore(0)

    def note(number):
        counted.append(number)
        looks.release()

    with run_kafka._new_partitions(setting, find_partitions(client), note):
        assert looks.acquire(timeout=WAIT_S)
        real_kafka.grow_topic(topic, 3)
        deadline = time.monotonic() + WAIT_S
        while counted[-1] != 2 and time.monotonic() < deadline:
            looks.acquire(timeout=1)
        assert looks.acquire(timeout=WAIT_S), "and it goes on looking"
    assert (counted[0], counted[-1]) == (0, 2)
    told = capsys.readouterr().err
    assert told.count(f"there are new partitions, restart to read them: {topic}/1, {topic}/2") == 1
