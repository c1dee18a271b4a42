"""What a rate of events needs: partitions, processes, ClickHouse, memory, storage; from figures that were measured.

`python -m benchmarks.sizing > docs/sizing.md` writes the page anew. After a new complete run the figures in `MEASURED`
are what to change: each says which result has it.
"""

import sys
from dataclasses import asdict, dataclass
from importlib import resources
from math import ceil

RATES = (1_000, 10_000, 100_000, 300_000, 1_000_000)
HEADROOM = 2
"""Nothing is sized for more than half of what it can do: that is where the latency is measured, and a backlog shrinks
as fast as it grew."""
WORKERS = 2
"""Of a process; each has a core."""
NODE_CORES = 8
"""Of a node of ClickHouse."""
MERGES = 2
"""What merging in the background costs, as a multiple of what inserting costs: assumed, not measured."""
HORIZONS_HOURS = (24, 1)
"""The default of `--dedupe-horizon-hours`, and the shortest."""
PROCESS_BYTES = 64 * 10**9
"""What one process may hold of keys: more of them is more processes."""
MONTH_S = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Measured:
    """What the sizing is derived from. CPU is that of two cores of the machine below."""

    machine: str
    events_a_second: int
    """bench.json: millrace-2-kafka, `events_per_second.median`: one process; two cores, broker and ledger on them."""
    cpu_us: float
    """The same profile: of an event from Kafka, the embedded ledger's included."""
    engine_cpu_us: float
    """`millrace bench --profile --from-kafka`: of that, the stage "insert" and what is elsewhere."""
    event_bytes: int
    """bench.json: `input.expected.bytes` / `lines`."""
    row_bytes: int
    """`millrace bench --horizon` over 6 million events: `row_bytes`, projections in it; 54 at 100 million."""
    key_bytes: float
    """flat.json: `keys.bytes_a_key`."""
    keys_read_a_second: int
    """flat.json: `restart.keys` / `restart.seconds`, one core."""


MEASURED = Measured(
    machine="two cores of an AMD EPYC",
    events_a_second=300_414,
    cpu_us=4.0,
    engine_cpu_us=2.5,
    event_bytes=342,
    row_bytes=86,
    key_bytes=39.1,
    keys_read_a_second=3_160_000,
)


@dataclass(frozen=True, slots=True)
class Size:
    """What a rate needs."""

    rate: int
    processes: int
    partitions: int
    nodes: int
    keys: int
    """Within the horizon."""
    key_bytes: int
    """Of all processes, at the most: the keys of two horizons."""
    restart_s: int
    storage_bytes: int
    """A month, one copy."""
    network_bytes: int
    """A second, from the broker."""
    is_measured: bool
    """Whether one process ran at twice the rate when it was measured; what is more is computed."""


def size_of(rate: int, given: Measured = MEASURED, horizon_hours: int = HORIZONS_HOURS[0]) -> Size:
    """What so many events a second need."""
    own_cores = rate * HEADROOM * (given.cpu_us - given.engine_cpu_us) / 1e6
    engine_cores = rate * HEADROOM * given.engine_cpu_us * MERGES / 1e6
    keys = rate * horizon_hours * 3600
    key_bytes = int(2 * keys * given.key_bytes)
    processes = max(ceil(own_cores / WORKERS), ceil(key_bytes / PROCESS_BYTES), 1)
    return Size(
        rate,
        processes,
        2 * WORKERS * processes,
        max(ceil(engine_cores / NODE_CORES), 1),
        keys,
        key_bytes,
        ceil(keys / processes / WORKERS / given.keys_read_a_second),
        rate * MONTH_S * given.row_bytes,
        rate * given.event_bytes,
        rate * HEADROOM <= given.events_a_second,
    )


def table(given: Measured = MEASURED, horizon_hours: int = HORIZONS_HOURS[0]) -> str:
    """The sizes as Markdown."""
    rows = [
        ["events a second", "processes", "partitions", "ClickHouse nodes", "keys in the horizon", "memory for keys",
         "restart", "storage a month", "from the broker", "throughput is"],
        [*["---:"] * 9, "---"],
    ]  # fmt: skip
    rows += [_row(size_of(rate, given, horizon_hours)) for rate in RATES]
    return "\n".join(f"|{'|'.join(row)}|" for row in rows)


def _row(size: Size) -> list[str]:
    return [
        f"{size.rate:,}", f"{size.processes}", f"{size.partitions}", f"{size.nodes}",
        f"{size.keys / 1e6:,.0f} million", _bytes(size.key_bytes), _seconds(size.restart_s),
        _bytes(size.storage_bytes), f"{_bytes(size.network_bytes)}/s", "measured" if size.is_measured else "computed",
    ]  # fmt: skip


def _bytes(count: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}" if count < 10 * size else f"{count / size:,.0f} {unit}"
    return f"{count / 1000:,.0f} kB"


def _seconds(count: int) -> str:
    return f"{count} s" if count < 120 else f"{ceil(count / 60)} min"  # noqa: PLR2004 - two minutes


def page(given: Measured = MEASURED) -> str:
    """The page of the docs."""
    text = (resources.files("benchmarks") / "sizing.txt").read_text(encoding="utf-8")
    long, short = HORIZONS_HOURS
    return text.format(
        **asdict(given), table=table(given, long), short_table=table(given, short), long=long, short=short,
        workers=WORKERS, headroom=HEADROOM, node_cores=NODE_CORES, merges=MERGES, month_s=MONTH_S,
        process_bytes=_bytes(PROCESS_BYTES),
    )  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(page())
