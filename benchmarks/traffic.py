"""Made-up traffic for a stack on one machine: a seeded sample, sent to Kafka at an even pace until it is stopped.

    python -m benchmarks.traffic --brokers localhost:9092 --topic usage --rate 200

The events have no `time`: they happen when they arrive. Each start draws other keys, so nothing of a start before is
a duplicate; retries, conflicts, corrections and faults are in it as in `millrace sample`.
"""

import argparse
import itertools
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Producer

from benchmarks.sample_columns import CHUNK, DAY_MS, Source
from benchmarks.sample_lines import lines, tenant_names

_TIME = re.compile(rb'"time":"[^"]*",?')
_A_SECOND = 10
"""Sendings in a second."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent: the same values give the same lines."""

    seed: int
    tenants: int
    now_ms: int

    def lines(self) -> Iterator[bytes]:
        """Give lines without end, each sample with a seed of its own."""
        names = tenant_names(self.tenants)
        for number in itertools.count():
            source = Source(CHUNK, self.seed + number, self.tenants, self.now_ms - DAY_MS, 1)
            for line in lines(source.chunk(0), names):
                yield _TIME.sub(b"", line)


def send(traffic: Traffic, producer: Producer, topic: str, rate: int, stop: threading.Event) -> int:
    """Send until stopped; returns how many lines were confirmed or are on their way no more."""
    sent, pending = 0, traffic.lines()
    while not stop.is_set():
        for line in itertools.islice(pending, max(rate // _A_SECOND, 1)):
            producer.produce(topic, line)
            sent += 1
        producer.poll(0)
        stop.wait(1 / _A_SECOND)
    return sent - int(producer.flush(30))


def main(arguments: list[str]) -> None:
    """Send until SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.traffic", description="Made-up traffic to Kafka."
    )
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", default="usage")
    parser.add_argument("--rate", type=int, default=200, help="events in a second")
    parser.add_argument("--tenants", type=int, default=300)
    given = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    producer = Producer({"bootstrap.servers": given.brokers, "acks": "all", "enable.idempotence": True})
    now_ms = int(time.time() * 1000)
    sent = send(Traffic(now_ms // 1000, given.tenants, now_ms), producer, given.topic, given.rate, stop)
    sys.stderr.write(f"{sent} events sent\n")


if __name__ == "__main__":
    main(sys.argv[1:])
