"""Kafka as streams of chunks: one consumer for each partition, read from where the ledger says.

Parallelism: one partition of Kafka is one of Bytewax, read in micro-batches by the worker that has it. Delivery:
a record is read again after a crash unless its outcome is durable. The ledger alone says where to read; what is
committed to the consumer group afterwards is for lag tools. Offsets are never reset: what the broker no longer
has stops the run.
"""

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.chunk import Chunk, Origin
from pipeline.durable import Durable
from pipeline.errors import MillraceError, SourceAwayError, UsageError
from pipeline.kernels.layout import PREFIX
from pipeline.sources.bounds import Bounds
from pipeline.sources.kafka_native import NativeClient, Rooms
from pipeline.sources.kafka_records import AT_END, BATCH_MAX, Client, MessageClient, Records
from pipeline.sources.librdkafka import Library, NoLibraryError, find_library
from pipeline.timestamp import TIME_MIN_MS

_SMALL_CHUNKS = 4
"""So many times as many chunks may be under way while they are small: who waits for a commit goes on reading."""
_BEHIND, _BEHIND_MS = 50_000, 2_000
"""A process is behind that has more than so many records before it, in all its partitions, and reads what is older."""
_ARRIVAL_MAX_MS = 4_102_444_800_000
"""2100-01-01: a record's timestamp beyond it is a broken clock."""
_COMMIT_EVERY_MS = 1_000
_RESERVED = ("enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset", "enable.partition.eof")
_GONE = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - librdkafka's own codes are named so
_REFUSED = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001 - likewise


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Which topics of which cluster; `options` go to librdkafka as they are."""

    brokers: str
    topics: tuple[str, ...]
    group: str
    options: Mapping[str, str] = field(default_factory=dict)

    def client(self) -> dict[str, object]:
        """What every client of this cluster is configured with."""
        return {"bootstrap.servers": self.brokers, "log_level": 2, **self.options}

    def consumer(self) -> dict[str, object]:
        """The configuration of a consumer; raises `UsageError` for an option that would lose or reset."""
        for name in _RESERVED:
            if name in self.options:
                raise UsageError(
                    f"the Kafka option {name} is not yours to set: where to read is the ledger's to say"
                )
        return {
            "isolation.level": "read_committed", "queued.max.messages.kbytes": 16_384, "fetch.queue.backoff.ms": 10,
            "fetch.wait.max.ms": 100, **self.client(), "group.id": self.group, "enable.auto.commit": False,
            "enable.auto.offset.store": False, "auto.offset.reset": "error", "enable.partition.eof": True,
        }  # fmt: skip


def find_partitions(settings: KafkaSettings, timeout_s: int = 30) -> list[Bounds]:
    """All partitions of the topics and what the broker has of them.

    Raises `SourceAwayError` when no broker answers in time, `MillraceError` for a topic that is not there.
    """
    told: list[KafkaError] = []
    consumer = _consumer(settings, error_cb=told.append)
    try:
        _let_in(consumer, settings, told, timeout_s)
        found = []
        for topic in settings.topics:
            for origin in _origins(consumer, topic, timeout_s):
                low, high = consumer.get_watermark_offsets(
                    TopicPartition(topic, origin.partition), timeout=timeout_s, cached=False
                )
                found.append(Bounds(origin, int(low), int(high)))
    except KafkaException as error:
        consumer.poll(0)
        raise SourceAwayError(_away(settings.brokers, told[-1] if told else error)) from error
    else:
        return found
    finally:
        consumer.close()


def _let_in(consumer: Consumer, settings: KafkaSettings, told: list[KafkaError], timeout_s: int) -> None:
    """Wait until a broker answers; one that refuses who we are, or whom we do not trust, will not by waiting."""
    for left in range(timeout_s, 0, -1):
        try:
            consumer.list_topics(settings.topics[0], timeout=1)
        except KafkaException:
            consumer.poll(0)
            for error in told:
                if error.code() in _REFUSED:
                    msg = (
                        f"the broker at {settings.brokers} and this client do not trust each other: {error.str()}; "
                        "check the sasl. and ssl. settings given with --kafka"
                    )
                    raise MillraceError(msg) from None
            if left == 1:
                raise
        else:
            return


@contextmanager
def _refusing_wrong_settings() -> Iterator[None]:
    try:
        yield
    except (KafkaException, TypeError, ValueError) as error:
        raise UsageError(f"a Kafka setting is wrong: {_text(error)}") from error


def _consumer(settings: KafkaSettings, **more: object) -> Consumer:
    with _refusing_wrong_settings():
        return Consumer({**settings.consumer(), **more})


def _origins(consumer: Consumer, topic: str, timeout_s: int) -> list[Origin]:
    known = consumer.list_topics(topic, timeout=timeout_s).topics.get(topic)
    if known is None or known.error is not None or not known.partitions:
        why = f": {known.error.str()}" if known is not None and known.error is not None else ""
        raise MillraceError(f"there is no topic {topic!r} to read{why}; create it or check --topic")
    return [Origin(topic, number) for number in sorted(known.partitions)]


def _away(brokers: str, error: Exception | KafkaError) -> str:
    return f"the broker at {brokers} does not answer: {_text(error)}; check --brokers, and that it is up"


def _text(error: Exception | KafkaError) -> str:
    first = error.args[0] if isinstance(error, Exception) and error.args else error
    return str(first.str() if isinstance(first, KafkaError) else first)


class KafkaInput:
    """The partitions of the topics, each opened on the worker that reads it (`pipeline.flow.PartitionedReader`).

    `until_end` ends each partition where it ended when it was first read to its end; else the run goes on until
    it is told to stop.

    Records are copied out of librdkafka's own memory where that can be done (`find_library`), else they come as
    Python objects, which costs some 2 microseconds more for each and is reported; `as_objects` asks for it.
    """

    def __init__(  # noqa: PLR0913 - a part of the composition
        self, settings: KafkaSettings, starts: Mapping[Origin, int], durable: Durable, now_ms: Callable[[], int],
        report: Callable[[str], None] = lambda _sentence: None, *, until_end: bool = False, in_flight_max: int = 4,
        as_objects: bool = False,
    ) -> None:  # fmt: skip
        self._settings, self._starts, self._durable = settings, dict(starts), durable
        self._now_ms, self._report = now_ms, report
        self._library = None if as_objects else self._find_library()
        self._rooms = Rooms()
        self.until_end, self._in_flight_max = until_end, in_flight_max
        self.opened: dict[str, KafkaPartition] = {}
        self.bytes_read = 0
        self.waiting_for = ""
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The names of all partitions."""
        return [_name(origin) for origin in self._starts]

    def open(self, name: str) -> "KafkaPartition":
        """Begin to read a partition; called on its worker."""
        origin = next(o for o in self._starts if _name(o) == name)
        partition = KafkaPartition(self, self._client(origin), origin, self._starts[origin])
        self.opened[name] = partition
        return partition

    def _find_library(self) -> Library | None:
        try:
            return find_library(self._settings.consumer())
        except NoLibraryError as error:
            self._report(f"records come as Python objects, which takes longer: {error}")
            return None

    def _client(self, origin: Origin) -> Client:
        config, start, note = self._settings.consumer(), self._starts[origin], self._note_error
        with _refusing_wrong_settings():
            if self._library is None:
                return MessageClient(config, origin, start, note)
            return NativeClient(self._library, self._rooms, config, origin, start, note)

    def _note_error(self, error: KafkaError) -> None:
        sentence = f"the broker does not answer: {error.str()}"
        with self._lock:
            is_news = not self.waiting_for
            self.waiting_for = sentence
        if is_news:
            self._report(f"{sentence}; waiting for it")

    def note_answer(self) -> None:
        """A record or the end of a partition has come: the broker is there."""
        if self.waiting_for:
            self.waiting_for = ""
            self._report("the broker answers again")

    def note_read(self, size: int) -> None:
        """Count what was read, in bytes."""
        with self._lock:
            self.bytes_read += size

    def now_ms(self) -> int:
        """The clock that this input was handed."""
        return self._now_ms()

    def ahead(self) -> int:
        """How many offsets lie before the partitions that this process reads, as far as is known."""
        return sum(partition.ahead for partition in list(self.opened.values()))

    def watched(self) -> list["KafkaPartition"]:
        """The partitions that this process reads."""
        return list(self.opened.values())

    def moved_at_ms(self, origin: Origin) -> int:
        """When a partition last became durable further, in all lanes."""
        return self._durable.moved_at_ms(origin)

    def durable_position(self, origin: Origin) -> int:
        """How far a partition is durable in all lanes."""
        return self._durable.position(origin)

    @property
    def in_flight_max(self) -> int:
        """How many chunks of a partition may be under way; of small ones more."""
        return self._in_flight_max


def _name(origin: Origin) -> str:
    return f"{origin.topic}/{origin.partition}"


class KafkaPartition:
    """One partition on the worker that reads it: chunks in order, numbered from 0 in each run."""

    def __init__(self, owner: KafkaInput, client: Client, origin: Origin, start: int) -> None:
        self._owner, self._client = owner, client
        self.origin = origin
        self.read_to = start
        """The offset behind the last record that was read."""
        self.ahead = 0
        """How many offsets lay before it when it last read some."""
        self.records_read = 0
        """How many records were read."""
        self.at_end = False
        """Whether the broker had no more when it was last asked."""
        self.done = False
        self._sequence, self._chunks_out, self._records_out = 0, 0, 0
        self._committed, self._committed_ms = start, 0

    def next_chunk(self) -> Chunk | None:
        """The next micro-batch, or None when there is none now or enough are under way."""
        if self.done:
            return None
        self._commit_group()
        most = self._owner.in_flight_max
        if self._records_out >= most * BATCH_MAX or self._chunks_out >= most * _SMALL_CHUNKS:
            return None
        records = self._take()
        if records is None:
            self.done = self._owner.until_end and self.at_end
            return None
        chunk = self._chunk(records)
        self.ahead = self.high() - self.read_to
        age = chunk.read_at_ms - int(chunk.arrivals[-1])
        chunk.is_behind = age > _BEHIND_MS and self._owner.ahead() > _BEHIND
        self._sequence += 1
        self._chunks_out += 1
        self._records_out += len(chunk.offsets)
        weakref.finalize(chunk, self._let_go, len(chunk.offsets))
        return chunk

    @property
    def name(self) -> str:
        """What it is called: topic/partition."""
        return _name(self.origin)

    def durable(self) -> int:
        """Below which offset all is durable in all lanes."""
        return self._owner.durable_position(self.origin)

    def moved_at_ms(self) -> int:
        """When that last moved, in milliseconds since 1970."""
        return self._owner.moved_at_ms(self.origin)

    def lag(self) -> int:
        """How many offsets lie between what is durable and the end of the partition, as far as is known."""
        position = self._owner.durable_position(self.origin)
        if self.at_end and position >= self.read_to:
            return 0
        return max(self.high() - position, self.read_to - position, 0)

    def high(self) -> int:
        """The end of the partition when the broker last told it."""
        return max(self._client.end(), self.read_to)

    def close(self) -> None:
        """Leave; neither raises nor waits for anything."""
        self._client.close()

    def _let_go(self, records: int) -> None:
        self._chunks_out -= 1
        self._records_out -= records

    def _commit_group(self) -> None:
        now = self._owner.now_ms()
        if now - self._committed_ms < _COMMIT_EVERY_MS:
            return
        self._committed_ms = now
        position = self._owner.durable_position(self.origin)
        if position > self._committed:
            with suppress(KafkaException):
                self._client.commit(position)
                self._committed = position

    def _take(self) -> Records | None:
        try:
            taken = self._client.take()
        except KafkaException as error:
            raise MillraceError(f"{_name(self.origin)} cannot be read: {_text(error)}") from error
        for trouble in taken.told:
            self._note(trouble)
        if taken.is_at_end is not None:
            self.at_end = taken.is_at_end
        if taken.told or taken.records is not None:
            self._owner.note_answer()
        return taken.records

    def _note(self, error: KafkaError) -> None:
        if error.code() == AT_END:
            return
        if error.code() == _GONE:
            msg = (
                f"records of {_name(self.origin)} from {self.read_to} on are gone: {error.str()}; bring them back, "
                "or give them up with --accept-gap"
            )
            raise MillraceError(msg)
        if error.code() > 0 and not error.retriable():
            raise MillraceError(f"{_name(self.origin)} cannot be read: {error.str()}")

    def _chunk(self, records: Records) -> Chunk:
        now, arrivals = self._owner.now_ms(), records.moments
        arrivals[(arrivals < TIME_MIN_MS) | (arrivals > _ARRIVAL_MAX_MS)] = now
        self.read_to = int(records.offsets[-1]) + 1
        self.records_read += len(records.offsets)
        self._owner.note_read(records.used - PREFIX)
        return Chunk(
            self.name, self._sequence, self.origin, records.buffer, records.used, records.starts, records.ends,
            records.offsets, arrivals, self.read_to, read_at_ms=now,
        )  # fmt: skip


def commit_group(settings: KafkaSettings, positions: Mapping[Origin, int]) -> None:
    """Tell the consumer group where the ledger is, for tools that show lag; a failure is no matter."""
    offsets = [TopicPartition(o.topic, o.partition, position) for o, position in positions.items()]
    if not offsets:
        return
    consumer = _consumer(settings)
    with suppress(KafkaException):
        consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()
