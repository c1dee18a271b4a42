"""How many events a second a service takes: batches over kept connections, each 204 a synced spool.

The senders are a process of their own. All events have keys of their own, so that nothing is a cheap duplicate, and
the flow of the service counts them meanwhile. `processor_s` is what the service used until the last one was counted.
"""

import json
import multiprocessing
import threading
import time
from dataclasses import asdict, dataclass, field
from queue import SimpleQueue
from typing import Any

from benchmarks.service import Asker, Service, quantiles
from pipeline.errors import MillraceError

PATH = "/api/v1/events"
_MARK = b"NNNNNNNN"
_COUNTED_S = 300
_TAKEN = 204


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: so many events in a batch, over so many connections, for so long."""

    batch: int = 1_000
    connections: int = 4
    seconds: float = 10
    events_a_second: int = 0
    """0: as fast as it goes."""


@dataclass(slots=True)
class Sent:
    """What came of it."""

    events: int = 0
    seconds: float = 0
    refused: int = 0
    answers_s: list[float] = field(default_factory=list)


def body_of(batch: int) -> bytes:
    """A batch of events of some 340 bytes with a place in each key for the number of the request."""
    return json.dumps(
        [
            {
                "specversion": "1.0", "id": f"{_MARK.decode()}-{n:06d}", "source": "https://api.example.com/load",
                "type": "traffic", "time": "2026-11-01T12:00:00Z", "subject": f"user_{n % 97:04d}",
                "data": {
                    "method": "GET", "endpoint": "/v1/things/list", "status": 200, "request_bytes": 312 + n,
                    "response_bytes": 5_120 + n, "context": {"type": "project", "name": f"project-{n % 13}"},
                },
            }
            for n in range(batch)
        ],
        separators=(",", ":"),
    ).encode()  # fmt: skip


def measure_ingest(service: Service, key: str, load: Load) -> dict[str, Any]:
    """Send, wait until all is counted, and tell the figures."""
    for number in range(3):
        send_all(service.port, key, Load(load.batch, 1, 0.5), 90_000_000 + number * 100_000)  # warm-up
    before_s, before = service.processor_s(), service.metric("millrace_ingest_events_total")
    sent = send_all(service.port, key, load, 0)
    taking_s = service.processor_s() - before_s
    begun = time.monotonic()
    while _lag(service) > 0:
        if time.monotonic() - begun > _COUNTED_S:
            msg = f"the service does not count what it took: {_lag(service):.0f} events wait"
            raise MillraceError(msg)
        time.sleep(0.05)
    return {
        "load": asdict(load),
        "events": sent.events,
        "events_a_second": int(sent.events / sent.seconds) if sent.seconds else 0,
        "refused_requests": sent.refused,
        "request": quantiles(sent.answers_s),
        "bytes_an_event": len(body_of(load.batch)) // load.batch,
        "taken_by_the_service": int(service.metric("millrace_ingest_events_total") - before),
        "processor_s_while_taking": round(taking_s, 2),
        "processor_s_until_counted": round(service.processor_s() - before_s, 2),
        "counted_s_later": round(time.monotonic() - begun, 2),
    }


def _lag(service: Service) -> float:
    connection = service.connect()
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("millrace_lag{"))


def send_all(port: int, key: str, load: Load, first: int) -> Sent:
    """Send from a process of its own; requests are numbered from `first` on."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send_all, args=(theirs, port, key, load, first), daemon=True)
    process.start()
    theirs.close()
    try:
        sent: Sent = mine.recv()
    except EOFError:
        msg = "the senders ended without a word: see above"
        raise MillraceError(msg) from None
    process.join()
    return sent


def _send_all(pipe: Any, port: int, key: str, load: Load, first: int) -> None:
    service = Service([], folder=None, port=port)  # type: ignore[arg-type]  # only connects
    numbers: SimpleQueue[int] = SimpleQueue()
    template, parts = body_of(load.batch), [Sent() for _ in range(load.connections)]
    for number in range(first, first + 99_999):
        numbers.put(number)
    begun = time.monotonic()
    threads = [
        threading.Thread(target=_send, args=(service, key, load, template, numbers, part, begun, first))
        for part in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send(
        Sent(
            sum(part.events for part in parts), time.monotonic() - begun, sum(part.refused for part in parts),
            [one for part in parts for one in part.answers_s],
        )
    )  # fmt: skip


def _send(  # noqa: PLR0913, PLR0917 - a thread's own
    service: Service, key: str, load: Load, template: bytes, numbers: "SimpleQueue[int]", part: Sent, begun: float,
    first: int,
) -> None:  # fmt: skip
    asker = Asker(service.connect(), key)
    while time.monotonic() - begun < load.seconds:
        number = numbers.get()
        if load.events_a_second:
            due = begun + (number - first) * load.batch / load.events_a_second
            time.sleep(max(due - time.monotonic(), 0))
        body = template.replace(_MARK, b"%08d" % number)
        sent_at = time.monotonic()
        if asker.post(PATH, body) == _TAKEN:
            part.events += load.batch
            part.answers_s.append(time.monotonic() - sent_at)
        else:
            part.refused += 1
