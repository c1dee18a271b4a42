"""What the ledger knows of inputs from the runs before: how far they are durable, which records have an outcome."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client

from pipeline.batch import SLOTS
from pipeline.chunk import Origin
from pipeline.columns import Int64s
from pipeline.ports import Replay
from pipeline.sources.files import Look
from sinks.inserts import sql

_WORD = (1 << 64) - 1
_NAMES_BYTES = 16_384
"""Names in one question; a server takes 128 KiB in one parameter, and each byte may be written as three."""

Place = tuple[str, int]
"""A topic and a partition."""


@dataclass(frozen=True, slots=True)
class Begin:
    """From where on an input is read again: the durable position of each slot, and the run that began it."""

    slots: Int64s
    first_run: int


@dataclass(frozen=True, slots=True)
class Pass:
    """A reading of a file: its number, whether it came to the end, the run that began it, the file then."""

    number: int
    has_ended: bool
    first_run: int
    look: Look


class Past:
    """What is known from before, asked for many inputs at once; one thread, one client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def last_passes(self, topics: list[str]) -> dict[str, Pass]:
        """The newest pass over each file."""
        found = {}
        for group in _groups(topics):
            rows = self._ask("last_passes", {"topics": group})
            found.update(
                {r[0]: Pass(int(r[1]), bool(r[2]), int(r[3]), _look(int(r[4]), str(r[5]))) for r in rows}
            )
        return found

    def positions(self, topics: list[str]) -> dict[Origin, Int64s]:
        """For each input that a run has written something of: below which offset each slot is durable."""
        found: dict[Origin, Int64s] = {}
        for group in _groups(topics):
            for topic, partition, number, lane, lanes, position in self._ask(
                "slot_positions", {"topics": group}
            ):
                slots = found.setdefault(Origin(topic, partition, number), np.zeros(SLOTS, np.int64))
                own = slots[int(lane) :: int(lanes)]
                np.maximum(own, int(position), out=own)
        return found

    def replays(self, begins: Mapping[Origin, Begin]) -> dict[Origin, Replay]:
        """What is known of the records that are read again."""
        rows: dict[Place, list[tuple[int, int, int]]] = {(o.topic, o.partition): [] for o in begins}
        rejects: dict[Place, list[int]] = {place: [] for place in rows}
        for zones in _zones(begins):
            for topic, partition, *row in self._ask("known_rows", zones):
                rows[topic, partition].append((row[0], row[1], row[2]))
            for topic, partition, offset in self._ask("known_rejects", zones):
                rejects[topic, partition].append(offset)
        return {
            o: _replay(b, rows[o.topic, o.partition], rejects[o.topic, o.partition])
            for o, b in begins.items()
        }

    def _ask(self, name: str, parameters: dict[str, object]) -> list[Any]:
        return list(self._client.query(sql(name), parameters=parameters).result_rows)

    def written_rejects(self, topics: list[str]) -> dict[str, frozenset[tuple[int, str, bytes]]]:
        """What was rejected of files in any run: (line, reason, SHA-256 of the line)."""
        found: dict[str, set[tuple[int, str, bytes]]] = {}
        for group in _groups(topics):
            rows = self._client.query(
                sql("written_rejects"), parameters={"topics": group}, column_formats={"digest": "bytes"}
            ).result_rows
            for topic, offset, reason, digest in rows:
                found.setdefault(topic, set()).add((int(offset), str(reason), bytes(digest)))
        return {topic: frozenset(rejects) for topic, rejects in found.items()}


def text_of(look: Look) -> str:
    """What is kept of a look at a file, beside its size."""
    return f"{look.digest}:{look.modified_ns}"


def _look(size: int, text: str) -> Look:
    digest, _, modified_ns = text.partition(":")
    return Look(size, int(modified_ns or 0), digest)


def _groups(topics: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for topic in topics:
        if group and size + len(topic.encode()) > _NAMES_BYTES:
            yield group
            group, size = [], 0
        group.append(topic)
        size += len(topic.encode()) + 8
    if group:
        yield group


def _zones(begins: Mapping[Origin, Begin]) -> Iterator[dict[str, object]]:
    by_topic: dict[str, list[tuple[int, Begin]]] = {}
    for origin, begin in begins.items():
        by_topic.setdefault(origin.topic, []).append((origin.partition, begin))
    for group in _groups(by_topic):
        zones = [(topic, partition, begin) for topic in group for partition, begin in by_topic[topic]]
        yield {
            "topics": [topic for topic, _, _ in zones],
            "partitions": [partition for _, partition, _ in zones],
            "offsets": [int(begin.slots.min()) for _, _, begin in zones],
            "runs": [begin.first_run for _, _, begin in zones],
            "least_run": min(begin.first_run for _, _, begin in zones),
        }


def _replay(begin: Begin, rows: list[tuple[int, int, int]], rejected: list[int]) -> Replay:
    accepted = np.array([row[0] for row in rows], np.int64)
    refused = np.array(rejected, np.int64)
    words = np.array([(h >> 64, h & _WORD) for _, h, _ in rows], np.uint64).reshape(-1, 2)
    prints = np.array([row[2] for row in rows], np.uint64)
    last = max((int(found[-1]) for found in (accepted, refused) if len(found)), default=-1)
    return Replay(begin.slots, accepted, words, prints, refused, max(int(begin.slots.max()), last + 1))
