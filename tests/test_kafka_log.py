"""The topic as the log of events by HTTP: confirmed before anyone is told, refused in time when the broker is away."""

import json
import signal
import time
from pathlib import Path

import pytest

from pipeline.errors import LogAwayError, MillraceError, UsageError
from pipeline.sources.kafka import KafkaSettings
from sinks.kafka_log import KafkaLog, KafkaLogLimits
from tests.kafka.broker import Broker, Kafka, NoBrokerError, free_port
from tests.serve_process import Service

ARRIVED = 1_790_000_000_000


def log_on(kafka: Kafka, topic: str, **more: object) -> KafkaLog:
    return KafkaLog(KafkaSettings(kafka.address, (topic,), "g"), topic, **more)


def records(kafka: Kafka, topic: str, count: int) -> list[tuple[int, int, bytes, bytes, int]]:
    """Partition, offset, key, value, timestamp of the first `count` records."""
    consumer, found = kafka.consumer(topic), []
    deadline = time.monotonic() + 20
    while len(found) < count and time.monotonic() < deadline:
        found += [
            (m.partition(), m.offset(), m.key(), m.value(), m.timestamp()[1])
            for m in consumer.consume(1_000, 0.2)
            if m.error() is None
        ]
    consumer.close()
    return sorted(found)


def test_what_is_answered_is_on_the_topic_with_its_arrival(kafka: Kafka) -> None:
    topic = kafka.create_topic(f"log-{kafka.is_real}", partitions=4)
    log = log_on(kafka, topic)
    futures = [
        log.append([b'{"n":%d}' % (10 * n + i) for i in range(10)], ARRIVED + n, [f"t{n % 3}"] * 10)
        for n in range(30)
    ]
    for future in futures:
        future.result(20)
    found = records(kafka, topic, 300)
    assert {value for *_, value, _ in found} == {b'{"n":%d}' % n for n in range(300)}
    assert all(at == ARRIVED + int(value[5:-1]) // 10 for *_, value, at in found)
    for tenant in (b"t0", b"t1", b"t2"):
        mine = [(partition, value) for partition, _, key, value, _ in found if key == tenant]
        assert len({partition for partition, _ in mine}) == 1
        numbers = [int(value[5:-1]) for _, value in mine]
        assert numbers == sorted(numbers)
    assert log.waiting_bytes() == 0
    log.close()


def test_a_broker_that_is_away_is_told_in_time_and_what_waits_is_bounded() -> None:
    away = Kafka(f"127.0.0.1:{free_port()}", is_real=False)
    said: list[str] = []
    log = log_on(away, "events", limits=KafkaLogLimits(confirmed_within_ms=1_000), report=said.append)
    begun = time.monotonic()
    waiting = log.append([b"{}"], ARRIVED)
    with pytest.raises(LogAwayError, match="does not answer") as refused:
        log.append([b"{}"], ARRIVED)
    assert refused.value.retry_after_s > 0
    with pytest.raises(LogAwayError, match="does not confirm"):
        waiting.result(10)
    assert time.monotonic() - begun < 8
    assert said
    assert log.waiting_bytes() == 0
    log.close()
    with pytest.raises(LogAwayError, match="being closed"):
        log.append([b"{}"], ARRIVED)


def test_more_than_may_wait_is_refused(mock_kafka: Kafka) -> None:
    topic = mock_kafka.create_topic("log-bounded")
    log = log_on(mock_kafka, topic, limits=KafkaLogLimits(waiting_lines=100))
    futures = [log.append([b"{}"] * 90, ARRIVED)]
    refused = 0
    for _ in range(20):
        try:
            futures.append(log.append([b"{}"] * 90, ARRIVED))
        except LogAwayError:
            refused += 1
    assert refused > 0
    for future in futures:
        future.result(10)
    log.close()


def test_options_that_would_answer_too_early_are_refused() -> None:
    settings = KafkaSettings("127.0.0.1:1", ("t",), "g", {"acks": "1"})
    with pytest.raises(UsageError, match="acks is not yours to set"):
        KafkaLog(settings, "t")


def test_a_topic_that_is_not_there_is_told_at_the_start(real_kafka: Kafka) -> None:
    with pytest.raises(MillraceError, match="no topic 'nowhere'"):
        log_on(real_kafka, "nowhere")


def test_a_killed_broker_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    try:
        broker.create()
        broker.start()
    except NoBrokerError as error:
        pytest.skip(f"no Kafka to kill: {error}")
    kafka = Kafka(broker.address, is_real=True, broker=broker)
    try:
        topic = kafka.create_topic("log")
        log = log_on(kafka, topic, limits=KafkaLogLimits(confirmed_within_ms=3_000))
        answered: list[bytes] = []
        for n in range(400):
            line = b'{"n":%d}' % n
            if n == 150:
                broker.stop(signal.SIGKILL)
            if n == 153:
                broker.start()
            try:
                log.append([line], ARRIVED).result(20)
            except LogAwayError:
                continue
            answered.append(line)
        assert len(answered) > 300
        there = {value for *_, value, _ in records(kafka, topic, len(answered))}
        assert set(answered) <= there
        log.close()
    finally:
        broker.stop()


def test_a_service_answers_when_the_topic_has_the_event(mock_kafka: Kafka, tmp_path: Path) -> None:
    topic = mock_kafka.create_topic("served")
    service = Service(tmp_path, ("--brokers", mock_kafka.address, "--topic", topic))
    key = service.make_key("acme")
    service.start()
    try:
        event = {
            "specversion": "1.0",
            "id": "1",
            "source": "s",
            "type": "compute",
            "data": {"operation": "ask"},
        }
        answer = service.ask("POST", "/api/v1/events", [event], Authorization=f"Bearer {key}")
        assert answer == (204, b"")
        (_, _, tenant, value, _), *more = records(mock_kafka, topic, 1)
        assert (tenant, json.loads(value), more) == (b"acme", {**event, "tenant": "acme"}, [])
    finally:
        assert service.stop() == 0, service.said()
