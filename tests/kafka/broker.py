"""A broker for tests: the benchmark's own, or librdkafka's mock cluster.

A broker may have doors with passwords and with certificates beside the open one.
"""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from benchmarks.kafka import broker
from benchmarks.kafka.broker import NoBrokerError, free_port, jars

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
DOORS = {"SASL": "SASL_PLAINTEXT", "TLS": "SSL", "SASLTLS": "SASL_SSL"}
USER, PASSWORD = "millrace", "a pass;word=1"
SECURE = """
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{protocols}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
{logins}
ssl.keystore.type=PKCS12
ssl.keystore.location={folder}/keys.p12
ssl.keystore.password=changeit
ssl.client.auth=none
"""


@dataclass(slots=True)
class Broker(broker.Broker):
    """A broker with doors: their ports by their names in `DOORS`."""

    doors: dict[str, int] = field(default_factory=dict)

    @property
    def certificate(self) -> Path:
        """What a client of the doors with TLS trusts."""
        return self.folder / "certificate.pem"

    def properties(self) -> str:
        text = broker.Broker.properties(self)
        if not self.doors:
            return text
        self._make_certificate()
        return text + self._secure(text)

    def format_arguments(self) -> list[str]:
        named = [f'{m}=[name={USER},password="{PASSWORD}"]' for m in ("SCRAM-SHA-256", "SCRAM-SHA-512")]
        return [argument for name in named for argument in ("--add-scram", name)] if self.doors else []

    def _make_certificate(self) -> None:
        keys = ["-keystore", str(self.folder / "keys.p12"), "-storepass", "changeit", "-alias", "broker"]
        made = [
            "-genkeypair",
            "-keyalg",
            "EC",
            "-dname",
            "CN=broker",
            "-ext",
            "san=ip:127.0.0.1",
            "-validity",
            "2",
        ]
        told = ["-exportcert", "-rfc", "-file", str(self.certificate)]
        for command in (made, told):
            subprocess.run(["keytool", *command, *keys], capture_output=True, check=True, timeout=60)

    def _secure(self, text: str) -> str:
        lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        more = [f"{name}://127.0.0.1:{port}" for name, port in self.doors.items()]
        logins = []
        for name in self.doors:
            if DOORS[name].startswith("SASL"):
                start = f"listener.name.{name.lower()}"
                logins.append(f'{start}.plain.sasl.jaas.config={PLAIN} required user_{USER}="{PASSWORD}";')
                logins += [
                    f"{start}.{m}.sasl.jaas.config={SCRAM} required;"
                    for m in ("scram-sha-256", "scram-sha-512")
                ]
        return SECURE.format(
            listeners=",".join([lines["listeners"], *more]),
            advertised=",".join([lines["advertised.listeners"], *more]),
            protocols=",".join(f"{name}:{DOORS[name]}" for name in self.doors),
            logins="\n".join(logins),
            folder=self.folder,
        )


@dataclass(frozen=True, slots=True)
class Kafka:
    """A cluster to talk to, real or mock, and what tests do with it."""

    address: str
    is_real: bool
    broker: Broker | None = None

    def create_topic(self, name: str, partitions: int = 1, **config: str) -> str:
        if not self.is_real:
            self.producer().list_topics(name, timeout=10)  # the mock makes it, with four partitions
            self._wait_for(name, 1)
            return name
        topic = NewTopic(name, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})
        admin = self.admin()
        for result in admin.create_topics([topic]).values():
            result.result(30)
        self._wait_for(name, partitions)
        return name

    def grow_topic(self, name: str, partitions: int) -> None:
        admin = self.admin()
        for result in admin.create_partitions([NewPartitions(name, partitions)]).values():
            result.result(30)
        self._wait_for(name, partitions)

    def _wait_for(self, name: str, partitions: int) -> None:
        deadline, admin = time.monotonic() + 30, self.admin()
        while time.monotonic() < deadline:
            topic = admin.list_topics(name, timeout=10).topics.get(name)
            if topic is not None and topic.error is None and len(topic.partitions) >= partitions:
                return
            time.sleep(0.05)
        raise TimeoutError(name)

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.address})

    def producer(self, **more: object) -> Producer:
        return Producer({"bootstrap.servers": self.address, "linger.ms": 1, **more})

    def consumer(self, topic: str) -> Consumer:
        """Reads a topic from its beginning."""
        consumer = Consumer(
            {"bootstrap.servers": self.address, "group.id": "reader", "enable.auto.commit": False}
        )
        found = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in found])
        return consumer

    def send(self, topic: str, lines: Mapping[int, list[bytes | None]], **more: object) -> None:
        """Append values to partitions, in order."""
        producer = self.producer()
        for partition, values in lines.items():
            for value in values:
                while True:
                    try:
                        producer.produce(topic, value, partition=partition, **more)
                        break
                    except BufferError:
                        producer.poll(0.1)
        assert producer.flush(60) == 0


def named_broker() -> str | None:
    return os.environ.get("MILLRACE_TEST_KAFKA")


__all__ = [
    "DOORS",
    "PASSWORD",
    "USER",
    "Broker",
    "Kafka",
    "NoBrokerError",
    "free_port",
    "jars",
    "named_broker",
]
