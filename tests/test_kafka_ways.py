"""Records copied out of librdkafka's memory are those that its Python client makes objects of."""

import json
import random
import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.chunk import Origin
from pipeline.errors import MillraceError
from pipeline.sources import kafka as source
from pipeline.sources import kafka_native, librdkafka
from pipeline.sources.kafka_records import Taken, event_of
from tests.kafka import ways
from tests.kafka.broker import free_port

ATTRIBUTES = ["ce_id", "ce_source", "ce_type", "ce_tenant", "ce_time", "ce_", 'ce_ü"\\\n']
OTHERS = ["content-type", "Content-Type", "traceparent", "", "c", "ce", "CE_id", "xce_id"]
CONTENTS = [
    None, b"", b"1.0", b"application/json", b"Application/CloudEvents+json; charset=utf-8", b"\xff\x00",
    'ü"'.encode(), b"x" * 3000,
]  # fmt: skip
VALUES = [
    None, b"", b" ", b"{}", b'{"a":1}', b"not json", b"\n", b"\x00\xff\n\n", b"[]", b"1},{", b"{" + b" " * 9000 + b"}",
]  # fmt: skip


@pytest.fixture(params=ways.WAYS)
def way(request, monkeypatch):
    ways.go(request.param, monkeypatch)
    return request.param


def random_headers(chance):
    """Often none; of those of a record, often one that makes it an event in binary mode."""
    if chance.random() < 0.5:
        return None
    names = chance.choices([*OTHERS, *(ATTRIBUTES if chance.random() < 0.6 else [])], k=chance.randrange(5))
    return [(name, chance.choice(CONTENTS)) for name in names]


def random_value(chance):
    kind = chance.random()
    if kind < 0.6:
        return chance.choice(VALUES)
    return chance.randbytes(chance.choice([1, 7, 8, 9, 63, 64, 65, 300, 70_000]))


def send_random(kafka, topic, seed, count):
    chance = random.Random(seed)
    producer = kafka.producer(**{"compression.type": chance.choice(["none", "lz4"])})
    for _ in range(count):
        producer.produce(
            topic, random_value(chance), partition=1, headers=random_headers(chance),
            timestamp=chance.choice([1_700_000_000_123, 1_000, 9_000_000_000_000]),
        )  # fmt: skip
    assert producer.flush(30) == 0


def look(partition, until):
    """Take what comes until something is so."""
    deadline = time.monotonic() + ways.WAIT_S
    while not until():
        assert time.monotonic() < deadline
        partition.next_chunk()
        time.sleep(0.005)


@pytest.mark.parametrize("seed", range(4))
def test_any_records_come_the_same_in_both_ways(kafka, seed):
    topic = kafka.create_topic(f"ways-{seed}-{time.time_ns()}", 2, message_timestamp_after_max_ms=str(2**62))
    send_random(kafka, topic, seed, 400)
    by_objects = ways.read(kafka.address, topic, partitions=[1], as_objects=True)
    assert len(by_objects) == 400
    assert {arrival for _, arrival, _ in by_objects} == {1_700_000_000_123, ways.NOW_MS}
    assert sum(raw.startswith(b'{"') for *_, raw in by_objects) > 20, (
        "there are events in binary mode among them"
    )
    assert ways.read(kafka.address, topic, partitions=[1]) == by_objects


def in_structured_mode(value, headers):
    """What binary mode means, said once more, slowly."""
    kinds = [content or b"" for name, content in headers if name.lower() == "content-type"]
    attributes = [(name[3:], content or b"") for name, content in headers if name.startswith("ce_")]
    if not attributes or (kinds and kinds[0].lower().startswith(b"application/cloudevents")):
        return value or b""
    members = []
    for name, content in attributes:
        try:
            quoted = json.dumps(content.decode(), ensure_ascii=False).encode()
        except UnicodeDecodeError:
            quoted = b'"' + content + b'"'
        members.append(json.dumps(name, ensure_ascii=False).encode() + b":" + quoted)
    if value is not None:
        try:
            json.loads(value)
        except ValueError:
            return value
        members.append(b'"data":' + value)
    return b"{" + b",".join(members) + b"}"


@pytest.mark.parametrize("seed", range(20))
def test_binary_mode_is_put_together_member_by_member(seed):
    chance = random.Random(seed)
    for _ in range(200):
        value, headers = chance.choice(VALUES), random_headers(chance) or []
        assert event_of(value, headers) == in_structured_mode(value, headers), (value, headers)
        assert event_of(value, None) == (value or b"")


def test_names_and_contents_that_are_no_text_stay_what_they_are():
    name = b"ce_\xff".decode(errors="surrogateescape")
    assert event_of(None, [(name, b"\xfe"), ("ce_id", b"1")]) == b'{"\xff":"\xfe","id":"1"}'


def test_where_a_transaction_was_taken_back_both_ways_skip_the_same_offsets(real_kafka):
    topic = real_kafka.create_topic(f"ways-gaps-{time.time_ns()}", 1)
    producer = real_kafka.producer(**{"transactional.id": topic})
    producer.init_transactions(30)
    for number in range(12):
        producer.begin_transaction()
        for i in range(number):
            producer.produce(topic, f"{number} {i}", partition=0)
        producer.flush(10)
        (producer.abort_transaction if number % 3 == 0 else producer.commit_transaction)(30)
    by_objects = ways.read(real_kafka.address, topic, as_objects=True)
    offsets = [offset for offset, *_ in by_objects]
    assert len(offsets) == sum(n for n in range(12) if n % 3)
    assert offsets != list(range(offsets[0], offsets[0] + len(offsets)))
    assert ways.read(real_kafka.address, topic) == by_objects


def test_a_position_that_is_not_there_is_told_with_the_same_sentence(mock_kafka, way):
    topic = mock_kafka.create_topic(f"ways-gone-{time.time_ns()}")
    mock_kafka.send(topic, {0: [b"{}"]})
    with pytest.raises(
        MillraceError, match=rf"records of {topic}/0 from 77 on are gone: .*--accept-gap"
    ) as told:
        ways.read(mock_kafka.address, topic, start=77)
    assert "out of range" in str(told.value)


class Told:
    """A client that has nothing but an error to tell."""

    def __init__(self, code):
        self.code = code

    def take(self):
        return Taken(None, (KafkaError(self.code, "so it is"),))

    def end(self):
        return 0


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "t/0 cannot be read: so it is"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "t/0 cannot be read: so it is"),
        (KafkaError._AUTO_OFFSET_RESET, "records of t/0 from 3 on are gone: so it is; bring them back"),
        (KafkaError._TRANSPORT, None),
        (KafkaError._PARTITION_EOF, None),
    ],
)
def test_an_error_of_the_broker_ends_the_reading_and_one_that_passes_does_not(code, sentence):
    owner = ways.reader("127.0.0.1:1", "t", start=3, until_end=False)
    partition = source.KafkaPartition(owner, Told(code), Origin("t", 0), 3)
    if sentence is None:
        assert partition.next_chunk() is None
    else:
        with pytest.raises(MillraceError, match=sentence):
            partition.next_chunk()


def test_a_broker_that_is_away_is_noted_once_and_when_it_answers_again(mock_kafka, way):
    said = []
    away = ways.reader(f"127.0.0.1:{free_port()}", "t", report=said.append)
    said.clear()
    partition = ways.opened(away)
    deadline = time.monotonic() + ways.WAIT_S
    while not away.waiting_for and time.monotonic() < deadline:
        assert partition.next_chunk() is None
        time.sleep(0.01)
    assert "the broker does not answer: " in away.waiting_for
    for _ in range(50):
        partition.next_chunk()
        time.sleep(0.01)
    assert len(said) == 1
    assert said[0].endswith("; waiting for it")
    away.note_answer()
    assert said[1:] == ["the broker answers again"]
    partition.close()


def test_the_end_of_a_partition_is_known_and_so_is_its_lag(mock_kafka, way):
    topic = mock_kafka.create_topic(f"ways-end-{time.time_ns()}")
    mock_kafka.send(topic, {0: [b"{}"] * 7})
    partition = ways.opened(ways.reader(mock_kafka.address, topic, until_end=False))
    assert (partition.high(), partition.at_end) == (0, False)
    look(partition, lambda: partition.at_end)
    assert (partition.high(), partition.at_end, partition.lag(), partition.read_to) == (7, True, 7, 7)
    mock_kafka.send(topic, {0: [b"{}"]})
    look(partition, lambda: partition.read_to == 8)
    look(partition, lambda: partition.at_end)
    assert (partition.high(), partition.lag(), partition.records_read) == (8, 8, 8)
    partition.close()


@pytest.mark.parametrize(("age_ms", "is_old"), [(-(10**15), True), (10**15, False)])
def test_a_process_is_behind_when_what_it_reads_is_old_and_much_lies_before_all_its_partitions(
    mock_kafka, monkeypatch, age_ms, is_old
):
    monkeypatch.setattr(kafka_native, "BATCH_MAX", 5)
    monkeypatch.setattr(source, "_BEHIND", 25)
    monkeypatch.setattr(source, "_BEHIND_MS", age_ms)
    topic = mock_kafka.create_topic(f"ways-behind-{time.time_ns()}")
    mock_kafka.send(topic, {p: [b"{}"] * 20 for p in range(2)})
    both = ways.reader(mock_kafka.address, topic, partitions=range(2))
    first, second = (both.open(name) for name in both.names())
    seen = []
    for partition in (first, second, first):
        while (chunk := partition.next_chunk()) is None:
            time.sleep(0.005)
        seen.append((chunk.is_behind, both.ahead()))
        del chunk
    assert seen == [(False, 15), (is_old, 30), (False, 25)]
    for partition in (first, second):
        partition.close()


@pytest.mark.parametrize(("full", "out"), [(5, 1), (100, 4)])
def test_of_small_chunks_more_may_be_under_way_than_of_full_ones(mock_kafka, monkeypatch, full, out):
    monkeypatch.setattr(kafka_native, "BATCH_MAX", 5)
    monkeypatch.setattr(source, "BATCH_MAX", full)
    topic = mock_kafka.create_topic(f"ways-small-{time.time_ns()}")
    mock_kafka.send(topic, {0: [b"{}"] * 100})
    partition = ways.opened(ways.reader(mock_kafka.address, topic, in_flight_max=1))
    held = []
    deadline = time.monotonic() + ways.WAIT_S
    while len(held) < out and time.monotonic() < deadline:
        held += [chunk for chunk in [partition.next_chunk()] if chunk is not None]
    assert len(held) == out
    assert partition.next_chunk() is None
    held.pop()
    assert partition.next_chunk() is not None
    partition.close()


def test_what_is_durable_is_committed_to_the_group(mock_kafka, way):
    class Durable(ways.NothingDurable):
        def position(self, _origin):
            return 5

    topic = mock_kafka.create_topic(f"ways-group-{time.time_ns()}")
    mock_kafka.send(topic, {0: [b"{}"] * 7})
    partition = ways.opened(ways.reader(mock_kafka.address, topic, durable=Durable()))
    list(ways.chunks(partition))
    asked = Consumer({"bootstrap.servers": mock_kafka.address, "group.id": "ways"})
    deadline = time.monotonic() + ways.WAIT_S
    while (found := asked.committed([TopicPartition(topic, 0)], timeout=10)[0].offset) != 5:
        assert time.monotonic() < deadline, found
        partition.next_chunk()
        time.sleep(0.01)
    asked.close()
    partition.close()


def test_a_partition_can_be_left_twice_and_asked_afterwards_from_any_thread(mock_kafka, way):
    topic = mock_kafka.create_topic(f"ways-left-{time.time_ns()}")
    mock_kafka.send(topic, {0: [b"{}"] * 3})
    partition = ways.opened(ways.reader(mock_kafka.address, topic))
    rows = sum(len(chunk.offsets) for chunk in ways.chunks(partition))
    done = threading.Event()

    def ask():
        while not done.is_set():
            assert partition.high() == 3
            partition.lag()

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    partition.close()
    partition.close()
    done.set()
    for asker in askers:
        asker.join(10)
    assert (rows, partition.high()) == (3, 3)


def test_a_setting_that_is_wrong_is_refused_with_the_same_sentence(mock_kafka, monkeypatch):
    told = set()
    for way in ways.WAYS:
        with monkeypatch.context() as patch:
            ways.go(way, patch)
            with pytest.raises(source.UsageError) as refused:
                ways.opened(ways.reader(mock_kafka.address, "t", options={"fetch.wait.max.ms": "soon"}))
            told.add(str(refused.value))
    assert len(told) == 1
    assert "a Kafka setting is wrong: " in told.pop()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"plugin.library.paths": "x"}, "plugin.library.paths needs confluent-kafka's own client"),
        (
            {"sasl.oauthbearer.metadata.authentication.type": "aws_iam"},
            "sasl.oauthbearer.metadata.authentication.type needs confluent-kafka's own client",
        ),
    ],
)
def test_what_needs_python_goes_by_objects_and_says_so(mock_kafka, options, why):
    said = []
    ways.reader(mock_kafka.address, "t", options=options, report=said.append)
    assert said == [f"records come as Python objects, which takes longer: {why}"]


def test_without_librdkafkas_functions_records_come_as_objects_and_that_is_said(mock_kafka, monkeypatch):
    topic = mock_kafka.create_topic(f"ways-none-{time.time_ns()}")
    mock_kafka.send(topic, {0: [b"{}"]})
    monkeypatch.setattr(librdkafka.cimpl, "__file__", "/nowhere/at/all.so")
    said = []
    assert [raw for *_, raw in ways.read(mock_kafka.address, topic, report=said.append)] == [b"{}"]
    assert said[0].startswith(
        "records come as Python objects, which takes longer: librdkafka's functions are not found"
    )


def test_a_library_that_lacks_a_function_is_not_used(monkeypatch):
    monkeypatch.setitem(librdkafka._PROTOTYPES, "rd_kafka_of_the_future", (None,))
    with pytest.raises(librdkafka.NoLibraryError, match="rd_kafka_of_the_future"):
        librdkafka.find_library({})


def test_errors_have_the_codes_and_texts_that_the_python_client_gives_them():
    library = librdkafka.find_library({})
    for code in (KafkaError._PARTITION_EOF, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._FATAL):
        assert library.error(code) == KafkaError(code)
        assert library.error(code).str() == KafkaError(code).str()
    with pytest.raises(KafkaException):
        library.at("t", 0, 0, lambda _listed: KafkaError._STATE)
