"""A broker for tests: one JVM of Apache Kafka 4 in KRaft mode, or librdkafka's mock cluster.

A broker may have doors with passwords and with certificates beside the open one. The jars are resolved by Maven from
`pom.xml` beside this file into `build/kafka-jars`, once.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

HERE = Path(__file__).parent
JARS = HERE.parent.parent / "build" / "kafka-jars"
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
_RESOLVED = JARS / ".resolved"

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/log
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.retention.ms=-1
log.retention.check.interval.ms=1000
log.initial.task.delay.ms=500
log.segment.delete.delay.ms=100
file.delete.delay.ms=100
"""
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


class NoBrokerError(Exception):
    """There can be no broker here; the message says what is missing."""


def jars() -> Path:
    """The folder of the broker's jars, resolved by Maven where they are not there yet."""
    if shutil.which("java") is None:
        msg = "no java on the path (Apache Kafka 4 needs Java 17)"
        raise NoBrokerError(msg)
    if _RESOLVED.exists() and _RESOLVED.stat().st_mtime >= (HERE / "pom.xml").stat().st_mtime:
        return JARS
    if shutil.which("mvn") is None:
        msg = "no mvn on the path to resolve the jars of Apache Kafka"
        raise NoBrokerError(msg)
    command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
    try:
        found = subprocess.run(
            [*command, f"-DoutputDirectory={JARS}"], capture_output=True, text=True, timeout=300, check=False
        )
    except subprocess.TimeoutExpired as error:
        msg = "mvn did not resolve the jars of Apache Kafka in five minutes"
        raise NoBrokerError(msg) from error
    if found.returncode:
        last = (found.stdout + found.stderr).strip().splitlines()[:1]
        msg = f"mvn cannot resolve the jars of Apache Kafka: {last}"
        raise NoBrokerError(msg)
    _RESOLVED.touch()
    return JARS


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(slots=True)
class Broker:
    """A broker that can be stopped (in order, or as by a power cut) and started again with what it kept."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    doors: dict[str, int] = field(default_factory=dict)
    """The ports of its doors with passwords and certificates, by their names in `DOORS`."""

    @property
    def certificate(self) -> Path:
        """What a client of the doors with TLS trusts."""
        return self.folder / "certificate.pem"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def create(self) -> None:
        """Lay out its storage."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = PROPERTIES.format(port=self.port, controller=free_port(), folder=self.folder)
        if self.doors:
            self._make_certificate()
            text += self._secure(text)
        (self.folder / "server.properties").write_text(text)
        arguments = ["format", "-t", CLUSTER_ID, "-c", str(self.folder / "server.properties")]
        if self.doors:
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                arguments += ["--add-scram", f'{mechanism}=[name={USER},password="{PASSWORD}"]']
        subprocess.run(
            self._java("kafka.tools.StorageTool", *arguments), capture_output=True, check=True, timeout=120
        )

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

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                self._java("kafka.Kafka", str(self.folder / "server.properties")),
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.wait_until_up()

    def wait_until_up(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        deadline = time.monotonic() + 90
        while True:
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise NoBrokerError(f"the broker does not start: {(self.folder / 'out').read_text()[-2000:]}")
            try:
                if admin.list_topics(timeout=2).brokers:
                    return
            except KafkaException:
                time.sleep(0.2)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it; SIGKILL is the power cut."""
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def _java(self, main: str, *arguments: str) -> list[str]:
        memory = ["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return ["java", *memory, "-cp", f"{jars()}/*", main, *arguments]


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
