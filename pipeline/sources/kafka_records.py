"""What a consumer of one partition hands over, and one that takes it as Python objects, message by message."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter, methodcaller
from typing import Protocol

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.chunk import Bytes, Ints, Origin, new_buffer
from pipeline.kernels.layout import PREFIX

BATCH_MAX = 24_000
"""The most records that are taken at once."""
AT_END = KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's own codes are named so
_raw, _encode = msgspec.json.Decoder(msgspec.Raw), msgspec.json.Encoder().encode
_value_of, _headers_of, _offset_of = methodcaller("value"), methodcaller("headers"), methodcaller("offset")
_timestamp_of, _moment_of = methodcaller("timestamp"), itemgetter(1)


@dataclass(frozen=True, slots=True)
class Records:
    """Events of some records behind one another from PREFIX on, an LF behind each; columns as those of `Chunk`."""

    buffer: Bytes
    used: int
    starts: Ints
    ends: Ints
    offsets: Ints
    moments: Ints
    """The records' own timestamps, -1 where there is none."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a consumer had: records, and what it told beside them, in order."""

    records: Records | None = None
    told: tuple[KafkaError, ...] = ()
    is_at_end: bool | None = None
    """Whether the end of the partition was told behind the last record; None when neither has come."""


class Client(Protocol):
    """A consumer of one partition, on the worker that reads it; no call waits for the broker."""

    def take(self) -> Taken:
        """What has come; raises `KafkaException` where nothing can come any more."""

    def commit(self, position: int) -> None:
        """Tell the group's broker a position, later; raises `KafkaException` where that cannot be."""

    def end(self) -> int:
        """The end of the partition when the broker last told it, else 0 or less; also from other threads."""

    def close(self) -> None:
        """Leave; does not raise."""


class MessageClient:
    """By confluent-kafka's client: an object for each message."""

    def __init__(
        self, config: Mapping[str, object], origin: Origin, start: int, note: Callable[[KafkaError], None]
    ) -> None:
        self._consumer = Consumer({**config, "error_cb": note})
        self._origin = origin
        self._consumer.assign([self._at(start)])

    def take(self) -> Taken:
        """See `Client`."""
        messages: list[Message] = []
        told: list[KafkaError] = []
        is_at_end = None
        for message in self._consumer.consume(BATCH_MAX, 0):
            error = message.error()
            if error is None:
                messages.append(message)
                is_at_end = False
            else:
                told.append(error)
                is_at_end = True if error.code() == AT_END else is_at_end
        return Taken(_records_of(messages) if messages else None, tuple(told), is_at_end)

    def commit(self, position: int) -> None:
        """See `Client`."""
        self._consumer.commit(offsets=[self._at(position)], asynchronous=True)

    def end(self) -> int:
        """See `Client`."""
        with suppress(KafkaException, RuntimeError):
            bounds = self._consumer.get_watermark_offsets(self._at(0), cached=True)
            return int(bounds[1]) if bounds else 0
        return 0

    def close(self) -> None:
        """See `Client`."""
        with suppress(KafkaException, RuntimeError):
            self._consumer.close()

    def _at(self, offset: int) -> TopicPartition:
        return TopicPartition(self._origin.topic, self._origin.partition, offset)


def _records_of(messages: list[Message]) -> Records:
    values = list(map(_value_of, messages))
    headers = list(map(_headers_of, messages))
    if any(headers) or not all(values):
        values = list(map(event_of, values, headers))
    payload = b"\n".join(values) + b"\n"
    sizes = np.fromiter(map(len, values), np.int64, len(values)) + 1
    ends = PREFIX + np.cumsum(sizes) - 1
    buffer = new_buffer(len(payload))
    buffer[PREFIX : PREFIX + len(payload)] = np.frombuffer(payload, np.uint8)
    offsets = np.fromiter(map(_offset_of, messages), np.int64, len(messages))
    moments = np.fromiter(map(_moment_of, map(_timestamp_of, messages)), np.int64, len(messages))
    return Records(buffer, PREFIX + len(payload), ends - sizes + 1, ends, offsets, moments)


_CONTENT_TYPE = "content-type"


def event_of(value: bytes | None, headers: Iterable[tuple[str, bytes | None]] | None) -> bytes:
    """The event of a record as one JSON object.

    A record in CloudEvents' binary mode (attributes in `ce_` headers, data in the value) becomes the same event
    in structured mode, its data as they came; any other record is taken as it is. A tombstone is empty, and so
    unreadable; so is data that is not one JSON value.
    """
    kind, attributes = None, []
    for name, content in headers or ():
        if name.startswith("ce_"):
            attributes.append((name[3:], content or b""))
        elif kind is None and len(name) == len(_CONTENT_TYPE) and name.lower() == _CONTENT_TYPE:
            kind = content or b""
    if not attributes or (kind and kind.lower().startswith(b"application/cloudevents")):
        return value or b""
    if value is None:
        return b"{" + _members(attributes) + b"}"
    try:
        _raw.decode(value)
    except msgspec.DecodeError:
        return value
    return b"{" + _members(attributes) + b',"data":' + value + b"}"


def _members(attributes: list[tuple[str, bytes]]) -> bytes:
    """The attributes as members of a JSON object, in their order, one that comes twice twice."""
    with suppress(UnicodeError):
        named = {name: content.decode() for name, content in attributes}
        if len(named) == len(attributes):
            return _encode(named)[1:-1]
    return b",".join(
        _quoted(name.encode(errors="surrogateescape")) + b":" + _quoted(content)
        for name, content in attributes
    )


def _quoted(text: bytes) -> bytes:
    """A JSON string; bytes that are no UTF-8 stay what they are, for the decoder to refuse."""
    try:
        return _encode(text.decode())
    except UnicodeDecodeError:
        return b'"' + text + b'"'
