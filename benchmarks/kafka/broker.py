"""A broker on this machine: one JVM of Apache Kafka 4 in KRaft mode, for the benchmark and for tests.

The jars are resolved by Maven from `pom.xml` beside this file into `build/kafka-jars`, once.
"""

import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

HERE = Path(__file__).parent
JARS = HERE.parent.parent / "build" / "kafka-jars"
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"
_RESOLVED = JARS / ".resolved"
LIGHT = ("-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""A JVM that starts soon."""
FAST = ("-Xmx1g", "-Xms1g", "-XX:+UseSerialGC")
"""A JVM that runs long; two cores have no threads to spare for a concurrent collector."""
_UP_WITHIN_S = 90

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
        found = subprocess.run(  # noqa: S603 - our own
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
    """A port of loopback that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(slots=True)
class Broker:
    """A broker that can be stopped (in order, or as by a power cut) and started again with what it kept."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    java: tuple[str, ...] = LIGHT

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    def create(self) -> None:
        """Lay out its storage."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.properties").write_text(self.properties())
        arguments = ["format", "-t", CLUSTER_ID, "-c", str(self.folder / "server.properties")]
        subprocess.run(  # noqa: S603 - our own
            self._java("kafka.tools.StorageTool", *arguments, *self.format_arguments()),
            capture_output=True,
            check=True,
            timeout=120,
        )

    def properties(self) -> str:
        """Its settings."""
        return PROPERTIES.format(port=self.port, controller=free_port(), folder=self.folder)

    def format_arguments(self) -> list[str]:
        """What its storage is laid out with beside the settings."""
        return []

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(  # noqa: S603 - our own
                self._java("kafka.Kafka", str(self.folder / "server.properties")),
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Wait until it answers; raises `NoBrokerError` when it does not."""
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        deadline = time.monotonic() + _UP_WITHIN_S
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
        return ["java", *self.java, "-cp", f"{jars()}/*", main, *arguments]
