"""Bytewax as its documentation shows it: an item for each event, a pydantic model for it, keyed by tenant.

`python -m benchmarks.peers.bytewax_per_event JOB`. Half of the file goes to each worker, and a worker is a
process: two threads would share one interpreter lock.
"""

import os
import socket
import sys
import tomllib
from collections.abc import Callable, Iterator
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import bytewax.operators as op
from bytewax._bytewax import cluster_main
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.bench_lap import Job, Stopwatch, answer, peak_bytes, read_job

DOES = "one pydantic model for each event, exact prices, keys seen and spend kept per tenant"
DOES_NOT = "no ledger: nothing is written or survives; no rejects, conflicts, corrections or windows"
_LINES = 1000
_DIVISORS = {"per-1k-tokens": 1000, "per-mb": 1_000_000}
_MICRO = 1_000_000


class Data(BaseModel):
    """The data of an event of any type."""

    model_config = ConfigDict(extra="allow")
    operation: str = ""
    method: str = ""
    endpoint: str = ""
    request_bytes: int = Field(0, ge=0)
    response_bytes: int = Field(0, ge=0)
    delta_bytes: int = 0
    units: Decimal = Field(Decimal(1), ge=0)
    usage: dict[str, Decimal] = {}


class Event(BaseModel):
    """A usage event."""

    specversion: Literal["1.0"]
    id: str = Field(min_length=1, max_length=256)
    source: str = Field(min_length=1, max_length=255)
    type: Literal["traffic", "compute", "storage", "webhook"]
    tenant: str = Field(min_length=1, max_length=128)
    subject: str = "@unattributed"
    time: str
    idempotencykey: str = ""
    data: Data


class Prices:
    """The catalog, looked at once for each event."""

    def __init__(self, catalog: Path) -> None:
        read = tomllib.loads(catalog.read_text(encoding="utf-8"))
        self._kinds, self._operations = read["kinds"], read["operations"]

    def pico_usd(self, event: Event, operation: str) -> int:
        """The price of an event, each component rounded half to even."""
        entry = self._operations.get(operation, {})
        kind = self._kinds.get(event.type, {})
        components = entry.get("components", kind.get("components", ()))
        weight = entry.get("weight", 1) if event.type == "compute" else 0
        return sum(self._component(c, event.data, weight) for c in components)

    @staticmethod
    def _component(component: dict[str, str], data: Data, weight: int) -> int:
        price = Decimal(component["micro_usd"]) * _MICRO / _DIVISORS.get(component["basis"], 1)
        match component.get("quantity", component["basis"]):
            case "per-call":
                quantity = Decimal(1)
            case "per-unit":
                quantity = data.units * weight
            case "bytes":
                quantity = Decimal(data.request_bytes + data.response_bytes)
            case "stored_bytes":
                quantity = Decimal(data.delta_bytes)
            case _:
                quantity = data.usage.get(component["source"], Decimal(0))
        return int((quantity * price).to_integral_value())  # the context rounds half to even


class _Part(StatefulSourcePartition[bytes, int]):
    """The lines that begin in a range of the file."""

    def __init__(self, path: str, start: int, end: int) -> None:
        self._file, self._end = Path(path).open("rb"), end  # noqa: SIM115 - closed with the part
        self._file.seek(max(start - 1, 0))
        if start:
            self._file.readline()

    def next_batch(self) -> list[bytes]:
        lines = list(self._lines())
        if not lines:
            raise StopIteration
        return lines

    def _lines(self) -> Iterator[bytes]:
        for _ in range(_LINES):
            if self._file.tell() >= self._end:
                return
            yield self._file.readline()

    def snapshot(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class _Source(FixedPartitionedSource[bytes, int]):
    def __init__(self, path: str, parts: int) -> None:
        self._path, self._parts = path, parts

    def list_parts(self) -> list[str]:
        return [str(n) for n in range(self._parts)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Part:  # noqa: ARG002
        size, n = os.path.getsize(self._path), int(for_part)  # noqa: PTH202
        return _Part(self._path, size * n // self._parts, size * (n + 1) // self._parts)


Counted = tuple[str, tuple[str, int]]
Outcome = tuple[bool, int]


def read_event(line: bytes, prices: Prices) -> Counted:
    """Validate a line and price it: (tenant, (key, pico-USD))."""
    event = Event.model_validate_json(line)
    data = event.data
    operation = data.operation or f"{data.method} {data.endpoint}"
    if event.type == "compute" and not data.operation:
        msg = f"event {event.id} names no operation"
        raise ValueError(msg)
    delivery = (data.model_extra or {}).get("event", {}).get("delivery")
    by_template = f"hook:{delivery}" if operation == "webhook.delivery" else f"{event.source} {event.id}"
    return event.tenant, (event.idempotencykey or by_template, prices.pico_usd(event, operation))


def count_once(seen: set[str] | None, keyed: tuple[str, int]) -> tuple[set[str], Outcome]:
    """Whether a tenant's key is new, and what it adds."""
    seen = set() if seen is None else seen
    key, pico = keyed
    if key in seen:
        return seen, (False, 0)
    seen.add(key)
    return seen, (True, pico)


class _Sums(StatelessSinkPartition[tuple[str, Outcome]]):
    def __init__(self, sums: dict[str, int]) -> None:
        self._sums = sums

    def write_batch(self, items: list[tuple[str, Outcome]]) -> None:
        for tenant, (is_new, pico) in items:
            self._sums["events"] += 1
            self._sums["rows"] += is_new
            self._sums["pico_usd"] += pico
            self._sums[f"tenant {tenant}"] = self._sums.get(f"tenant {tenant}", 0) + pico


class _Sink(DynamicSink[tuple[str, Outcome]]):
    def __init__(self, sums: dict[str, int]) -> None:
        self._sums = sums

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Sums:  # noqa: ARG002
        return _Sums(self._sums)


def run_process(job: Job, addresses: list[str], number: int, done: Callable[[dict[str, int]], Any]) -> None:
    """One process of the cluster, from its start to its end."""
    prices = Prices(Path(job.catalog))
    sums = {"events": 0, "rows": 0, "pico_usd": 0}
    flow = Dataflow("per_event")
    lines = op.input("lines", flow, _Source(job.events, job.workers))
    keyed = op.map("read", lines, lambda line: read_event(line, prices))
    counted = op.stateful_map("count", keyed, count_once)
    op.output("sums", counted, _Sink(sums))
    cluster_main(flow, addresses, number)
    done({**sums, "peak": peak_bytes()})


def _free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def main() -> None:
    """Run one lap."""
    job = read_job(sys.argv)
    addresses = _free_addresses(job.workers)
    context = get_context("fork")
    watch, results = Stopwatch(), context.SimpleQueue()
    processes = [
        context.Process(target=run_process, args=(job, addresses, n, results.put)) for n in range(job.workers)
    ]
    for process in processes:
        process.start()
    parts = [results.get() for _ in processes]
    for process in processes:
        process.join()
    watch.stop()
    found = {name: sum(part[name] for part in parts) for name in ("events", "rows", "pico_usd", "peak")}
    answer(job, watch, **found)


if __name__ == "__main__":
    main()
