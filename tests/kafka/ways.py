"""The two ways in which records come out of librdkafka: copied out of its memory, or as Python objects."""

import time
from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.chunk import Chunk, Origin
from pipeline.sources import kafka as source
from pipeline.sources.kafka import KafkaInput, KafkaPartition, KafkaSettings
from pipeline.sources.librdkafka import NoLibraryError

COPIED, OBJECTS = "copied", "objects"
WAYS = [COPIED, OBJECTS]
WAIT_S = 60
NOW_MS = 1_790_000_000_000


def go(way: str, monkeypatch) -> None:
    """Let all that is read from now on come in one way only."""

    def is_not_there(_options):
        raise NoLibraryError("it was taken away for a test")

    def is_not_wanted(*_arguments):
        raise AssertionError("this was to come the other way")

    if way == OBJECTS:
        monkeypatch.setattr(source, "find_library", is_not_there)
    monkeypatch.setattr(source, "NativeClient" if way == OBJECTS else "MessageClient", is_not_wanted)


class NothingDurable:
    """What is durable, as a partition asks for it."""

    def position(self, _origin: Origin) -> int:
        return 0

    def moved_at_ms(self, _origin: Origin) -> int:
        return 0


def reader(address: str, topic: str, start: int = 0, partitions: Iterable[int] = (0,), **more) -> KafkaInput:
    settings = KafkaSettings(address, (topic,), "ways", more.pop("options", {}))
    more.setdefault("until_end", True)
    starts = dict.fromkeys((Origin(topic, partition) for partition in partitions), start)
    return KafkaInput(settings, starts, more.pop("durable", NothingDurable()), lambda: NOW_MS, **more)


def opened(reader: KafkaInput) -> KafkaPartition:
    return reader.open(reader.names()[0])


def chunks(partition: KafkaPartition) -> Iterator[Chunk]:
    """All chunks up to the end of the partition."""
    deadline = time.monotonic() + WAIT_S
    while not partition.done:
        chunk = partition.next_chunk()
        if chunk is not None:
            yield chunk
        else:
            assert time.monotonic() < deadline, "the end does not come"
            time.sleep(0.002)


def read(address: str, topic: str, **more) -> list[tuple[int, int, bytes]]:
    """Offset, arrival and bytes of all records of a partition."""
    partition = opened(reader(address, topic, **more))
    rows = []
    for chunk in chunks(partition):
        assert chunk.starts[0] == 64
        assert np.array_equal(chunk.starts[1:], chunk.ends[:-1] + 1)
        assert chunk.used == chunk.ends[-1] + 1
        assert set(chunk.buffer[chunk.ends].tolist()) == {10}
        assert chunk.buffer[:13].tobytes() == b"@unattributed"
        assert chunk.next_offset == chunk.offsets[-1] + 1
        rows += [
            (offset, arrival, chunk.raw(row))
            for row, (offset, arrival) in enumerate(
                zip(chunk.offsets.tolist(), chunk.arrivals.tolist(), strict=True)
            )
        ]
        del chunk
    partition.close()
    return rows
