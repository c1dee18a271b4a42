"""Laps over a topic of a real broker: Millrace, and the peers whose environments MILLRACE_TEST_PEERS names."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bench import Course
from benchmarks.bench_field import KAFKA, OTHERS, YARDSTICK_B, Competitor, millrace_from_kafka
from benchmarks.bench_input import Input, InputPlan, make_input
from benchmarks.bench_lap import of_children
from benchmarks.kafka.broker import NoBrokerError
from benchmarks.kafka.topic import PARTITIONS, Kafka
from benchmarks.peers.quix_sums import count_once, key_of
from cli import bench_lap, bench_parts
from cli.bench_parts import Bench
from pipeline.errors import MillraceError
from tests.kafka.broker import Kafka as AnyKafka

PEERS = os.environ.get("MILLRACE_TEST_PEERS")
QUIX, PYFLINK = (competitor for competitor in OTHERS if competitor.reads == KAFKA)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Input:
    return make_input(tmp_path_factory.mktemp("input"), InputPlan(4000), lambda _lines: None)


@pytest.fixture
def course(real_kafka: AnyKafka, tmp_path: Path) -> Course:
    return Course(tmp_path, Path(PEERS) if PEERS else None, Kafka(real_kafka.address))


def test_a_topic_has_each_line_and_those_of_a_tenant_in_one_partition(
    real_kafka: AnyKafka, given: Input
) -> None:
    kafka = Kafka(real_kafka.address)
    topic = kafka.create_topic()
    assert kafka.fill(topic, given.events) == 4000
    consumer, found = real_kafka.consumer(topic), []
    while len(found) < 4000:
        message = consumer.poll(10)
        assert message is not None, f"{len(found)} of 4000 records are there"
        found.append((message.key(), message.partition(), message.value()))
    consumer.close()
    assert sorted(value for _, _, value in found) == sorted(given.events.read_bytes().splitlines())
    places: dict[str, set[int]] = {}
    for _, place, value in found:
        places.setdefault(json.loads(value)["tenant"], set()).add(place)
    assert all(len(partitions) == 1 for partitions in places.values())
    assert {place for _, place, _ in found} == set(range(PARTITIONS))
    kafka.delete_topics()
    assert topic not in real_kafka.admin().list_topics(timeout=10).topics


def test_millrace_takes_a_topic_to_its_end_and_finds_what_the_file_comes_to(
    given: Input, course: Course
) -> None:
    ours = millrace_from_kafka(2, bench_lap.__name__)
    lap = course.run(ours, given).lap
    assert (lap.events, int(lap.found["rows"])) == (4000, given.expected.keys)
    assert int(lap.found["pico_usd"]) == given.expected.pico_usd_of_keys
    wrong = replace(given.expected, keys=given.expected.keys + 1)
    with pytest.raises(MillraceError, match="the lap of millrace-2-kafka does not count: rows must be"):
        course.run(ours, replace(given, expected=wrong))


@pytest.mark.parametrize("peer", [QUIX, PYFLINK], ids=lambda peer: peer.name)
def test_a_peer_finds_each_key_once_and_is_an_error_when_it_does_not(
    peer: Competitor, given: Input, course: Course
) -> None:
    if peer.python(Path(PEERS) if PEERS else None) is None:
        pytest.skip(f"{peer.name}: {peer.why_left_out()}; MILLRACE_TEST_PEERS=DIR here")
    lap = course.run(peer, given).lap
    assert (lap.events, lap.found["rows"]) == (4000, given.expected.keys)
    wrong = replace(given.expected, keys=given.expected.lines)
    with pytest.raises(MillraceError, match=f"the lap of {peer.name} does not count: rows must be 4000"):
        course.run(peer, replace(given, expected=wrong))


class State(dict[str, int]):
    """As much of a state store as a tenant needs."""

    def exists(self, name: str) -> bool:
        return name in self

    def set(self, name: str, value: int) -> None:
        self[name] = value


def test_quix_counts_a_key_once_and_adds_its_bytes_once() -> None:
    state = State()
    event = {"id": "1", "source": "s", "idempotencykey": "k", "data": {"request_bytes": 5}}
    other = {"id": "2", "source": "s", "data": {"operation": "webhook.delivery", "event": {"delivery": "d"}}}
    assert [count_once(e, state) for e in (event, {**event, "id": "3"}, other, event)] == [1, 0, 1, 0]
    assert state["bytes"] == 5
    assert [key_of(e) for e in (event, other, {"id": "4", "source": "s", "data": {}})] == [
        "k",
        "hook:d",
        "s 4",
    ]


def test_a_peer_needs_all_that_its_environment_must_hold(tmp_path: Path) -> None:
    python = tmp_path / "pyflink" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert PYFLINK.python(tmp_path) is None
    assert (
        "mvn dependency:copy -Dartifact=org.apache.flink:flink-sql-connector-kafka:" in PYFLINK.why_left_out()
    )
    assert "-DoutputDirectory=DIR/pyflink/jars`" in PYFLINK.why_left_out()
    (tmp_path / "pyflink" / "jars").mkdir()
    (tmp_path / "pyflink" / "jars" / "flink-sql-connector-kafka-4.jar").touch()
    assert PYFLINK.python(tmp_path) == str(python)


def test_without_a_broker_those_who_read_a_topic_are_left_out_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_here(*_arguments: object) -> Iterator[Kafka]:
        raise NoBrokerError("no java on the path")

    monkeypatch.setattr(bench_parts, "kafka_at", none_here)
    monkeypatch.setattr(bench_parts, "WARM_UP_EVENTS", 1000)
    found = Bench(tmp_path, 1, [2], None).compare(1000, 1, [YARDSTICK_B, "millrace-2-kafka"])
    assert [c["name"] for c in found["competitors"]] == [YARDSTICK_B]
    assert found["left_out"] == {
        "millrace-2-kafka": "there is no broker here (no java on the path): name one with --brokers"
    }
    with pytest.raises(MillraceError, match="the latency from Kafka is not measured: there is no broker"):
        Bench(tmp_path, 1, [2], None).latency(1000, 100, 1)


def test_only_those_who_read_a_file_run_where_no_topic_is_asked_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1, [1, 2], None)
    names = [c.name for c in bench.everyone()]
    assert names[:3] == ["millrace-1", "millrace-2", "millrace-2-kafka"]
    assert names[-2:] == ["quix", "pyflink"]


def test_what_children_use_is_seen_while_they_are_there() -> None:
    import subprocess
    import sys

    burn = (
        "import sys; x = bytearray(64 << 20); sum(range(4_000_000)); print(1, flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    cpu, peak = of_children()
    child.communicate(b"")
    assert cpu > 0
    assert peak > 64 << 20


def test_the_profile_of_a_topic_tells_what_its_records_take(
    real_kafka: AnyKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_parts, "WARM_UP_EVENTS", 1000)
    before = set(real_kafka.admin().list_topics(timeout=10).topics)
    found = Bench(tmp_path, 1, [1], None, real_kafka.address).profile(1000, with_kafka=True)
    stages = found["found"]["stages"]
    assert {"read: Kafka", "read: Kafka's client", "read: Kafka's records", "insert"} <= set(stages)
    assert "read" not in stages
    assert set(real_kafka.admin().list_topics(timeout=10).topics) - before <= {"__consumer_offsets"}


def test_a_peer_that_cannot_run_is_left_out_with_what_it_said_and_one_of_ours_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "peers" / "pathway" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho there is no such framework >&2; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(bench_parts, "WARM_UP_EVENTS", 1000)
    found = Bench(tmp_path, 1, [2], tmp_path / "peers").compare(1000, 1, [YARDSTICK_B, "pathway"])
    assert [c["name"] for c in found["competitors"]] == [YARDSTICK_B]
    assert found["left_out"] == {"pathway": "the lap of pathway failed: there is no such framework"}
    broken = [replace(c, module="benchmarks.gone") for c in OTHERS if c.name == YARDSTICK_B]
    monkeypatch.setattr(Bench, "everyone", lambda _self: broken)
    with pytest.raises(MillraceError, match=r"the lap of yardstick-b failed: .*gone"):
        Bench(tmp_path, 1, [2], None).compare(1000, 1, [])
