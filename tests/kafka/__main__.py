"""A Kafka to try things on, without Docker: the broker of the tests, for one machine.

python -m tests.kafka serve FOLDER PORT TOPIC[:PARTITIONS] ...    until it is stopped; FOLDER keeps what it has
python -m tests.kafka send HOST:PORT TOPIC FILE ...               one record for each line, a tenant's in order
"""

import re
import signal
import sys
import zlib
from collections import defaultdict
from pathlib import Path

from tests.kafka.broker import Broker, Kafka, NoBrokerError


def main(arguments: list[str]) -> int:
    """Do what is asked; 2 for a wrong use, 1 where there can be no broker."""
    match arguments:
        case ["serve", folder, port, *topics] if port.isdigit():
            return _serve(Path(folder), int(port), topics)
        case ["send", address, topic, *files] if files:
            return _send(Kafka(address, is_real=True), topic, files)
    sys.stderr.write(__doc__ or "")
    return 2


def _serve(folder: Path, port: int, topics: list[str]) -> int:
    broker = Broker(folder.resolve(), port)
    stopped = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stopped)
    try:
        if not (broker.folder / "server.properties").exists():
            broker.create()
        broker.start()
    except NoBrokerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    kafka = Kafka(broker.address, is_real=True, broker=broker)
    there = kafka.admin().list_topics(timeout=30).topics
    for topic in topics:
        name, _, partitions = topic.partition(":")
        if name not in there:
            kafka.create_topic(name, int(partitions or 1))
    sys.stderr.write(f"a broker at localhost:{port}, its records in {broker.folder}\n")
    signal.sigwait(stopped)
    broker.stop()
    return 0


def _send(kafka: Kafka, topic: str, files: list[str]) -> int:
    """Spread by tenant, so that an event and its retry stand in one partition, in their order."""
    partitions = len(kafka.admin().list_topics(topic, timeout=30).topics[topic].partitions)
    sent: dict[int, list[bytes | None]] = defaultdict(list)
    for file in files:
        for line in Path(file).read_bytes().splitlines():
            if line.strip():
                sent[_partition(line, partitions)].append(line)
    kafka.send(topic, sent)
    sys.stdout.write(f"{sum(map(len, sent.values()))} records sent to {topic}\n")
    return 0


def _partition(line: bytes, partitions: int) -> int:
    tenant = re.search(rb'"tenant":"([^"]*)"', line)
    return zlib.crc32(tenant[1] if tenant else b"") % partitions


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
