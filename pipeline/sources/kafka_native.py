"""A consumer of one partition whose records are copied out of librdkafka's memory, without an object for each.

A batch of messages is taken, looked over, copied and given back within one call, on one thread: no address of a
message outlives it.
"""

import threading
import weakref
from collections.abc import Callable, Mapping
from ctypes import byref, c_int64
from functools import lru_cache

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from pipeline.chunk import Buffers, Bytes, Ints, Origin
from pipeline.kernels import messages as kernel
from pipeline.kernels.layout import PAD
from pipeline.sources.kafka_records import AT_END, BATCH_MAX, Records, Taken, event_of
from pipeline.sources.librdkafka import NO_CONSUMER_CLOSE, ErrorCallback, Library

_FATAL = KafkaError._FATAL  # noqa: SLF001 - librdkafka's own codes are named so
_NOTHING = Taken()
_NO_TEXTS = np.empty(0, np.uint8), np.empty(0, np.int64)


class Room:
    """What a thread takes messages with, one batch at a time."""

    def __init__(self) -> None:
        self.messages: Ints = np.zeros(BATCH_MAX, np.int64)
        self.kinds = np.empty(BATCH_MAX, np.uint8)
        self.found: Ints = np.zeros(kernel.FOUND, np.int64)
        self.answers: Ints = np.zeros(8, np.int64)
        self.scratch = self.answers.ctypes.data
        self.buffers = Buffers()


class Rooms:
    """The rooms of all threads, each made when it is first needed."""

    def __init__(self) -> None:
        self._of_thread: dict[int, Room] = {}

    def own(self) -> Room:
        """The one of this thread."""
        thread = threading.get_ident()
        if thread not in self._of_thread:
            self._of_thread[thread] = Room()
        return self._of_thread[thread]


class NativeClient:
    """By librdkafka's own functions; see `pipeline.sources.kafka_records.Client`."""

    def __init__(  # noqa: PLR0913, PLR0917 - a part of the composition
        self, library: Library, rooms: Rooms, config: Mapping[str, object], origin: Origin, start: int,
        note: Callable[[KafkaError], None],
    ) -> None:  # fmt: skip
        self._library, self._rooms, self._origin, self._note = library, rooms, origin, note
        self._heard: list[tuple[int, str]] = []
        heard = self._heard.append

        def hear(_handle: int, code: int, why: bytes | None, _opaque: int) -> None:
            heard((code, (why or b"").decode(errors="replace")))

        callback = ErrorCallback(hear)
        c = library.c
        handle = library.consumer(config, callback)
        self._handle, self._queue = handle, c.rd_kafka_queue_get_consumer(handle)
        self._calls = threading.Lock()
        self._is_open = True

        def forsake(queue: int, callback: object) -> None:  # noqa: ARG001 - it must live as long as the consumer
            c.rd_kafka_queue_destroy(queue)
            c.rd_kafka_destroy_flags(handle, NO_CONSUMER_CLOSE)

        self._forsaken = weakref.finalize(self, forsake, self._queue, callback)
        self._forsaken.atexit = False
        library.at(
            origin.topic, origin.partition, start, lambda listed: int(c.rd_kafka_assign(handle, listed))
        )

    def take(self) -> Taken:
        """See `Client`."""
        room = self._rooms.own()
        count = self._fetch(room)
        try:
            self._tell_heard()
            if not count:
                return _NOTHING
            kernel.survey(room.messages, count, self._library.addresses, room.scratch, room.kinds, room.found)
            told, is_at_end = self._told(room, count)
            records = self._laid_out(room, count) if room.found[kernel.FOUND_RECORDS] else None
        finally:
            kernel.let_go(room.messages, count, self._library.addresses)
        return Taken(records, told, is_at_end)

    def commit(self, position: int) -> None:
        """See `Client`."""
        commit, handle = self._library.c.rd_kafka_commit, self._handle
        self._library.at(
            self._origin.topic,
            self._origin.partition,
            position,
            lambda listed: int(commit(handle, listed, 1)),
        )

    def end(self) -> int:
        """See `Client`."""
        low, high = c_int64(), c_int64()
        with self._calls:
            if self._is_open:
                name, partition = self._origin.topic.encode(), self._origin.partition
                self._library.c.rd_kafka_get_watermark_offsets(
                    self._handle, name, partition, byref(low), byref(high)
                )
        return high.value

    def close(self) -> None:
        """See `Client`."""
        with self._calls:
            self._is_open = False
        if alive := self._forsaken.detach():
            _, _, (queue, _callback), _ = alive
            self._library.c.rd_kafka_queue_destroy(queue)
            self._library.c.rd_kafka_consumer_close(self._handle)
            self._library.c.rd_kafka_destroy(self._handle)

    def _fetch(self, room: Room) -> int:
        if not self._is_open:
            return 0
        c = self._library.c
        count = int(c.rd_kafka_consume_batch_queue(self._queue, 0, room.messages.ctypes.data, BATCH_MAX))
        if count < 0:
            raise KafkaException(self._library.error(c.rd_kafka_last_error()))
        return count

    def _tell_heard(self) -> None:
        while self._heard:
            code, why = self._heard.pop(0)
            if code == _FATAL:
                raise KafkaException(self._library.fatal_error(self._handle))
            self._note(KafkaError(code, why))

    def _told(self, room: Room, count: int) -> tuple[tuple[KafkaError, ...], bool | None]:
        last = int(room.found[kernel.FOUND_LAST])
        if room.found[kernel.FOUND_RECORDS] == count:
            return (), False
        at = np.flatnonzero(room.kinds[:count] == kernel.TROUBLE).tolist()
        told = tuple(self._library.message_error(int(room.messages[i])) for i in at)
        ends = [i for i, error in zip(at, told, strict=True) if error.code() == AT_END]
        return told, ends[-1] > last if ends else (None if last < 0 else False)

    def _laid_out(self, room: Room, count: int) -> Records:
        functions, found = self._library.addresses, room.found
        texts, text_ends = self._events(room, count) if found[kernel.FOUND_BINARY] else _NO_TEXTS
        records = int(found[kernel.FOUND_RECORDS])
        buffer = room.buffers.take(int(found[kernel.FOUND_BYTES]) + len(texts) + records)
        starts, ends, offsets, moments = (np.empty(records, np.int64) for _ in range(4))
        used = int(
            kernel.lay_out(
                room.messages, count, functions, room.kinds, texts, text_ends, buffer, starts, ends, offsets, moments
            )
        )  # fmt: skip
        buffer[used : used + PAD] = 0
        return Records(buffer, used, starts, ends, offsets, moments)

    def _events(self, room: Room, count: int) -> tuple[Bytes, Ints]:
        """The events of the records with attributes in their headers, and where each ends."""
        found = room.found
        out = np.empty(int(found[kernel.FOUND_PIECES_BYTES]), np.uint8)
        sizes = np.empty(int(found[kernel.FOUND_PIECES]), np.int64)
        counts = np.empty(int(found[kernel.FOUND_BINARY]), np.int64)
        kernel.gather_pieces(
            room.messages, count, self._library.addresses, room.scratch, room.kinds, out, sizes, counts
        )
        pieces, at, events = _pieces(out.tobytes(), sizes), 0, []
        for headers in counts.tolist():
            behind = at + 1 + 2 * headers
            names, contents = map(_name, pieces[at + 1 : behind : 2]), pieces[at + 2 : behind : 2]
            events.append(event_of(pieces[at], zip(names, contents, strict=True)))
            at = behind
        ends = np.cumsum(np.fromiter(map(len, events), np.int64, len(events)))
        return np.frombuffer(b"".join(events), np.uint8), ends


def _pieces(texts: bytes, sizes: Ints) -> list[bytes | None]:
    ends = np.cumsum(np.maximum(sizes, 0)).tolist()
    return [
        texts[start:end] if size >= 0 else None
        for start, end, size in zip([0, *ends], ends, sizes.tolist(), strict=False)
    ]


@lru_cache(1024)
def _name(piece: bytes | None) -> str:
    return (piece or b"").decode(errors="surrogateescape")
