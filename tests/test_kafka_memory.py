"""Messages are given back once, and not a byte is looked at that is not theirs or no longer.

Whatever a message points to ends where a page ends, behind which nothing may be read, and nothing of a message may
be read once it was given back: a look too far or too late ends this process.
"""

import ctypes
import gc
import mmap
import random
import time
from ctypes import CFUNCTYPE, c_int, c_int64, c_size_t, c_void_p

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from pipeline.chunk import Origin
from pipeline.kernels import messages as kernel
from pipeline.sources import kafka_native
from pipeline.sources.kafka_native import NativeClient, Rooms
from pipeline.sources.kafka_records import BATCH_MAX, event_of
from pipeline.sources.librdkafka import Library, Message
from tests.kafka import ways

PAGE = mmap.PAGESIZE
NO_ENTRY = KafkaError._NOENT
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = (c_void_p, c_size_t, c_int)


class Guarded:
    """Bytes whose end is the end of what may be read."""

    def __init__(self, data):
        room = max(-(-len(data) // PAGE), 1) * PAGE
        self._map = mmap.mmap(-1, room + PAGE)
        self._base, self._room = ctypes.addressof(ctypes.c_char.from_buffer(self._map)), room
        self._map[room - len(data) : room] = data
        self.address = self._base + room - len(data)
        assert libc.mprotect(self._base + room, PAGE, 0) == 0

    def forbid(self):
        assert libc.mprotect(self._base, self._room, 0) == 0


class Sent:
    """A message as librdkafka would hand it over."""

    def __init__(self, value=None, headers=None, offset=0, moment=-1, err=0):
        self.value, self.headers, self.offset, self.moment, self.err = value, headers, offset, moment, err
        self.parts = [] if value is None else [Guarded(value)]
        payload = self.parts[0].address if self.parts else 0
        self.names = [Guarded(name.encode() + b"\0") for name, _ in headers or []]
        self.contents = [None if content is None else Guarded(content) for _, content in headers or []]
        length = len(value or b"") if value is not None else 7  # of what is null nothing may be read
        self.whole = Guarded(bytes(Message(err, 0, 0, payload, length, 0, 0, offset, 0)))
        self.address = self.whole.address

    def give_back(self):
        for part in [*self.parts, *self.names, *filter(None, self.contents), self.whole]:
            part.forbid()


class Client:
    """librdkafka's functions over messages of a test."""

    def __init__(self):
        self.batch, self.given_back, self.known, self.calls = [], [], {}, []

    def __getattr__(self, name):
        return lambda *_arguments: self.calls.append(name) or 0

    def rd_kafka_queue_get_consumer(self, _handle):
        return 2

    def rd_kafka_consume_batch_queue(self, _queue, _timeout, room, most):
        assert len(self.batch) <= most
        self.known = {sent.address: sent for sent in self.batch}
        addresses = [sent.address for sent in self.batch]
        ctypes.memmove(room, (c_int64 * len(addresses))(*addresses), 8 * len(addresses))
        self.batch, self.given_back = [], []
        return len(addresses)

    def rd_kafka_message_errstr(self, message):
        return self.known[message].value

    def rd_kafka_message_timestamp(self, message, _kind):
        return self.known[message].moment

    def rd_kafka_message_headers(self, message, out):
        if self.known[message].headers is None:
            return NO_ENTRY
        c_int64.from_address(out).value = message
        return 0

    def rd_kafka_header_get_all(self, message, index, name, value, size):
        sent = self.known[message]
        if index >= len(sent.names):
            return NO_ENTRY
        content = sent.contents[index]
        c_int64.from_address(name).value = sent.names[index].address
        c_int64.from_address(value).value = content.address if content else 0
        c_int64.from_address(size).value = len(sent.headers[index][1]) if content else 99
        return 0

    def rd_kafka_message_destroy(self, message):
        self.given_back.append(message)
        self.known[message].give_back()


class FakeLibrary(Library):
    def __init__(self):
        self.c = Client()
        prototypes = [
            CFUNCTYPE(c_int64, c_int64, c_int64), CFUNCTYPE(c_int, c_int64, c_int64),
            CFUNCTYPE(c_int, c_int64, c_int64, c_int64, c_int64, c_int64), CFUNCTYPE(None, c_int64),
        ]  # fmt: skip
        self.functions = [
            prototype(getattr(self.c, name))
            for prototype, name in zip(prototypes, kernel.FUNCTIONS, strict=True)
        ]
        self.addresses = np.array([ctypes.cast(f, c_void_p).value for f in self.functions], np.int64)
        self.tell = None

    def consumer(self, config, error_callback):
        self.tell = error_callback
        return 1


@pytest.fixture
def fake():
    return FakeLibrary()


@pytest.fixture
def noted():
    return []


@pytest.fixture
def client(fake, noted):
    return NativeClient(fake, Rooms(), {}, Origin("t", 0), 0, noted.append)


HEADERS = [
    None, [], [("traceparent", b"00-1")], [("ce_id", b"a"), ("ce_type", b"compute"), ("content-type", None)],
    [("", b""), ("c", b"x"), ("ce", None), ("ce_", b"")],
    [("ce_id", b"1"), ("Content-Type", b"application/cloudevents")],
]  # fmt: skip
ENDS = KafkaError._PARTITION_EOF


def anything(chance, offset):
    if chance.random() < 0.1:
        return Sent(
            b"a text of an error", err=chance.choice([ENDS, ENDS, KafkaError._TRANSPORT]), offset=offset
        )
    value = chance.choice([None, b"", b"{}", chance.randbytes(chance.randrange(200)), chance.randbytes(9000)])
    headers = chance.choice(HEADERS) if chance.random() < 0.4 else None
    return Sent(value, headers, offset, chance.choice([-1, 0, 1_700_000_000_000]))


def is_at_end(batch):
    told = [sent.err == ENDS for sent in batch if sent.err in (0, ENDS)]
    return told[-1] if told else None


def rows_of(records):
    if records is None:
        return []
    return [
        (int(offset), int(moment), records.buffer[start:end].tobytes())
        for offset, moment, start, end in zip(
            records.offsets, records.moments, records.starts, records.ends, strict=True
        )
    ]


@pytest.mark.parametrize("seed", range(30))
def test_each_message_is_given_back_once_and_nothing_else_of_memory_is_looked_at(client, fake, seed):
    chance = random.Random(seed)
    for _ in range(4):
        batch = [anything(chance, offset) for offset in range(chance.randrange(25))]
        fake.c.batch, expected = list(batch), [sent for sent in batch if not sent.err]
        taken = client.take()
        assert rows_of(taken.records) == [
            (sent.offset, sent.moment, event_of(sent.value, sent.headers)) for sent in expected
        ]
        assert [error.code() for error in taken.told] == [sent.err for sent in batch if sent.err]
        assert {error.str() for error in taken.told} <= {"a text of an error"}
        assert taken.is_at_end == is_at_end(batch)
        assert sorted(fake.c.given_back) == sorted(sent.address for sent in batch)


def test_messages_are_given_back_once_when_an_event_cannot_be_put_together(client, fake, monkeypatch):
    def fails(_value, _headers):
        raise MemoryError

    monkeypatch.setattr(kafka_native, "event_of", fails)
    batch = [Sent(b"{}"), Sent(b"{}", [("ce_id", b"1")]), Sent(b"{}")]
    fake.c.batch = list(batch)
    with pytest.raises(MemoryError):
        client.take()
    assert sorted(fake.c.given_back) == sorted(sent.address for sent in batch)
    assert not client._rooms.own().messages.any()


def test_a_client_that_can_do_no_more_says_why_and_gives_back_what_it_had(client, fake, noted):
    def fatal(_handle, why, size):
        ctypes.memmove(why, b"fenced\0", min(size, 7))
        return KafkaError.FENCED_INSTANCE_ID

    fake.c.rd_kafka_fatal_error = fatal
    fake.tell(1, KafkaError._TRANSPORT, b"away", None)
    fake.tell(1, KafkaError._FATAL, b"something", None)
    batch = [Sent(b"{}")]
    fake.c.batch = list(batch)
    with pytest.raises(KafkaException) as raised:
        client.take()
    assert raised.value.args[0] == KafkaError(KafkaError.FENCED_INSTANCE_ID)
    assert raised.value.args[0].str() == "fenced"
    assert [(error.code(), error.str()) for error in noted] == [(KafkaError._TRANSPORT, "away")]
    assert fake.c.given_back == [batch[0].address]


def test_what_cannot_be_asked_for_is_raised(client, fake):
    fake.c.rd_kafka_consume_batch_queue = lambda *_: -1
    fake.c.rd_kafka_last_error = lambda: KafkaError._STATE
    fake.c.rd_kafka_err2str = lambda _code: b"Local: Erroneous state"
    with pytest.raises(KafkaException, match="Erroneous state"):
        client.take()


def test_a_full_batch_fits(client, fake):
    sent = Sent(b"x" * 10, offset=5, moment=6)
    fake.c.batch = [sent] * BATCH_MAX
    fake.c.rd_kafka_message_destroy = lambda _message: None
    fake.addresses[3] = ctypes.cast(
        count := CFUNCTYPE(None, c_int64)(fake.c.given_back.append), c_void_p
    ).value
    taken = client.take()
    assert len(taken.records.offsets) == BATCH_MAX
    assert taken.records.used == kernel.PREFIX + 11 * BATCH_MAX
    assert count


def test_a_client_is_left_once_and_takes_nothing_afterwards(client, fake):
    client.close()
    client.close()
    left = [name for name in fake.c.calls if "close" in name or "destroy" in name]
    assert left == [
        "rd_kafka_topic_partition_list_destroy", "rd_kafka_queue_destroy", "rd_kafka_consumer_close",
        "rd_kafka_destroy",
    ]  # fmt: skip
    fake.c.batch = [Sent(b"{}")]
    assert client.take().records is None
    assert client.end() == 0


def test_a_client_that_nobody_leaves_is_ended_with_its_object(fake):
    client = NativeClient(fake, Rooms(), {}, Origin("t", 0), 0, lambda _error: None)
    del client
    assert fake.c.calls[-2:] == ["rd_kafka_queue_destroy", "rd_kafka_destroy_flags"]


def test_the_layout_of_a_message_is_that_of_the_kernel():
    offsets = [Message.err.offset, Message.payload.offset, Message.len.offset, Message.offset.offset]
    assert offsets == [kernel.ERR, kernel.PAYLOAD, kernel.LENGTH, kernel.OFFSET]


class Allocated(ctypes.Structure):
    """`struct mallinfo2` of the GNU C library."""

    _fields_ = tuple(
        (name, c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def allocated():
    """The bytes that are in use of what the C library handed out, whoever took them."""
    gc.collect()
    libc.mallinfo2.restype = Allocated
    return libc.mallinfo2().uordblks


@pytest.mark.skipif(
    not hasattr(libc, "mallinfo2"), reason="counting bytes needs mallinfo2, of glibc 2.33 and later"
)
def test_a_topic_that_is_read_again_and_again_takes_no_more_memory(mock_kafka):
    topic = mock_kafka.create_topic(f"memory-{time.time_ns()}")
    mock_kafka.send(topic, {0: [b"x" * 300] * 6000}, headers=[("ce_id", b"1")])
    mock_kafka.send(topic, {0: [b"x" * 300] * 6000})
    rows = len(ways.read(mock_kafka.address, topic))
    assert rows > 10_000
    before = allocated()
    for _ in range(4):
        assert len(ways.read(mock_kafka.address, topic)) == rows
    assert allocated() - before < 1_000_000, "the records alone are 14 million bytes"
