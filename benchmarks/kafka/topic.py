"""A topic of a broker filled from a file of events: a record for each line, those of a tenant in one partition."""

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from benchmarks.kafka.broker import FAST, Broker, NoBrokerError
from pipeline.errors import MillraceError

PARTITIONS = 4
_TENANT = re.compile(rb'"tenant":"([^"]*)"')
_WITHIN_S = 60
_PRODUCER = {
    "linger.ms": 20,
    "batch.size": 1 << 20,
    "queue.buffering.max.messages": 500_000,
    "queue.buffering.max.kbytes": 1 << 18,
    "log_level": 2,
    "acks": "all",
    "enable.idempotence": True,
}


@dataclass(frozen=True, slots=True)
class Kafka:
    """A cluster that laps read from."""

    address: str
    topics: list[str] = field(default_factory=list)
    """Those that were made here."""

    def create_topic(self, partitions: int = PARTITIONS) -> str:
        """Make an empty topic of a new name; raises `MillraceError` where that cannot be."""
        name = f"millrace-bench-{secrets.token_hex(4)}"
        admin = self._admin()
        try:
            for made in admin.create_topics([NewTopic(name, partitions, 1)]).values():
                made.result(_WITHIN_S)
            self._wait_for(admin, name, partitions)
        except KafkaException as error:
            raise MillraceError(f"no topic can be made at {self.address}: {error.args[0].str()}") from error
        self.topics.append(name)
        return name

    @staticmethod
    def _wait_for(admin: AdminClient, name: str, partitions: int) -> None:
        deadline = time.monotonic() + _WITHIN_S
        while time.monotonic() < deadline:
            found = admin.list_topics(name, timeout=10).topics.get(name)
            if found is not None and found.error is None and len(found.partitions) >= partitions:
                return
            time.sleep(0.05)
        raise MillraceError(f"the topic {name} does not appear within {_WITHIN_S} s")

    def delete_topics(self) -> None:
        """Take away what was made here."""
        admin = self._admin()
        for gone in admin.delete_topics(self.topics).values() if self.topics else ():
            gone.result(_WITHIN_S)
        self.topics.clear()

    def fill(self, topic: str, events: Path) -> int:
        """Send each line of a file; returns how many, all confirmed by the broker."""
        producer, count = self.producer(), 0
        with events.open("rb") as file:
            for line in file:
                value = line.rstrip(b"\n")
                found = _TENANT.search(value)
                send(producer, topic, value, found[1] if found else b"")
                count += 1
        left = producer.flush(_WITHIN_S)
        if left:
            raise MillraceError(f"{left} records were not taken by the broker at {self.address}")
        return count

    def producer(self, **more: object) -> Producer:
        """A client that sends in large batches."""
        return Producer({"bootstrap.servers": self.address, **_PRODUCER, **more})

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.address})


def send(producer: Producer, topic: str, value: bytes, key: bytes) -> None:
    """Hand one record over; waits while the client's queue is full."""
    while True:
        try:
            producer.produce(topic, value, key)
        except BufferError:
            producer.poll(0.1)
        else:
            return


@contextmanager
def kafka_at(address: str | None, folder: Path) -> Iterator[Kafka]:
    """The cluster that is named, else a broker of its own in `folder`; raises `NoBrokerError` without either."""
    if address:
        named = Kafka(address)
        try:
            yield named
        finally:
            named.delete_topics()
        return
    broker = Broker(folder, java=FAST)
    try:
        broker.create()
        broker.start()
        yield Kafka(broker.address)
    finally:
        broker.stop()


__all__ = ["Kafka", "NoBrokerError", "kafka_at", "send"]
