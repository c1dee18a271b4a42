"""How soon an event counts: from the moment at which it is handed to Kafka until its tenant's window shows it.

Among a steady load there are probes: events of tenants of their own, all of one price, a few of each tenant on their
way at a time. A window's sum, divided by that price, says how many of the tenant's probes are in it.

    probe 1 of a tenant    handed over at t1 ----------------> a reading that began after t1 and shows 1: its end
    probe 2                         t2 -----------------------------------------> a reading that shows 2: its end

What is measured is never less than what it was: a reading counts from its end.
"""

import gc
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fresh_lines import FreshLines, stamp
from benchmarks.kafka.topic import Kafka, send
from benchmarks.percentiles import Percentiles

PROBES = 100
"""Tenants that are probed, one after the other."""
PRICE_PICO_USD = 400_000_000
OPERATION = "report.run"
"""Priced for each call by the catalog of the input."""
WARM_UP_S = 5
_TICK_S = 0.02
_LATE_SHARE_MOST = 0.02
_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BAR = 760, 210, 120, 34, 46, 18
_SHOWN = ("p50", "p90", "p99", "p99.9", "p100")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent: so many events a second, for so long after the warm-up; a probe fifty times a second."""

    rate: int
    seconds: int

    @property
    def ticks(self) -> int:
        """How many probes, those of the warm-up among them."""
        return int((WARM_UP_S + self.seconds) / _TICK_S)


def probe_tenant(number: int) -> str:
    """The tenant of a probe."""
    return f"probe-{number % PROBES:03d}"


def probe_line(number: int, now_ms: int) -> bytes:
    """A probe as an event."""
    event = {
        "specversion": "1.0", "id": f"probe-{number}", "source": "/bench/latency", "type": "compute",
        "tenant": probe_tenant(number), "subject": "probe", "time": stamp(now_ms),
        "idempotencykey": f"probe-{number}", "data": {"operation": OPERATION, "units": 1},
    }  # fmt: skip
    return json.dumps(event, separators=(",", ":")).encode()


@dataclass(slots=True)
class Seen:
    """What readings have shown: the latency of each probe that was sent after the warm-up."""

    sent_ns: list[int]
    """When each probe was handed over, in their order."""
    first: int = 0
    """The first probe after the warm-up."""
    latencies: Percentiles = field(default_factory=Percentiles)
    counts: dict[str, int] = field(default_factory=dict)

    def note(self, tenant: str, count: int, at_ns: int) -> None:
        """A reading that ended then shows so many probes of a tenant."""
        for place in range(self.counts.get(tenant, 0), count):
            number = place * PROBES + int(tenant.removeprefix("probe-"))
            if number >= self.first:
                self.latencies.add((at_ns - self.sent_ns[number]) // 1000)
        self.counts[tenant] = max(count, self.counts.get(tenant, 0))

    @property
    def count(self) -> int:
        """How many probes are visible."""
        return sum(self.counts.values())


def result_of(plan: Plan, seen: Seen, readings: Percentiles, sent: dict[str, Any]) -> dict[str, Any]:
    """The result; it kept up when the load came at its pace."""
    found = {
        "rate": plan.rate,
        "seconds": plan.seconds,
        "probes": seen.latencies.count,
        "visible_us": seen.latencies.shown(),
        "reading_us": readings.shown(),
        "events": sent["events"],
        "sent_per_second": sent["events"] / sent["seconds"],
        "kept_up": sent["events"] / sent["seconds"] >= plan.rate * (1 - _LATE_SHARE_MOST),
    }
    return found | {"table": table(found)}


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    names = list(found["visible_us"])
    rows = [["", *names], ["---", *["---:"] * len(names)]]
    for what, key in (
        ("produced to visible in the spend window", "visible_us"),
        ("a reading by itself", "reading_us"),
    ):
        rows.append([what, *(f"{found[key][name] / 1000:,.0f} ms" for name in names)])
    head = (
        f"{found['probes']:,} probes beside {found['rate']:,} events a second ({found['sent_per_second']:,.0f} were "
        f"sent), {found['seconds']} s after a warm-up of {WARM_UP_S} s.\n\n"
    )
    return head + "\n".join(f"|{'|'.join(row)}|" for row in rows)


def svg(found: dict[str, Any], style: str) -> str:
    """The percentiles as bars."""
    title = f"Produced to visible in the spend window, milliseconds, beside {found['rate']:,} events a second"
    most = max(found["visible_us"][name] for name in _SHOWN)
    height = _TOP + _ROW * len(_SHOWN) + 10
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{title}</title><style>{style}</style>",
        f'<text class="note" x="8" y="22">{title}</text>',
    ]
    for place, name in enumerate(_SHOWN):
        us, top = found["visible_us"][name], _TOP + place * _ROW
        wide = (_WIDTH - _LEFT - _RIGHT) * us / most
        body += [
            f'<text x="{_LEFT - 10}" y="{top + _BAR / 2 + 4:.0f}" text-anchor="end">{name}</text>',
            f'<rect class="ours" x="{_LEFT}" y="{top}" width="{wide:.1f}" height="{_BAR}" rx="2"/>',
            f'<text x="{_LEFT + wide + 8:.0f}" y="{top + _BAR / 2 + 4:.0f}">{us / 1000:,.0f}</text>',
        ]
    return "\n".join([*body, "</svg>"]) + "\n"


def produce(plan: Plan, kafka: Kafka, topic: str, lines: FreshLines) -> dict[str, Any]:
    """Send load and probes at their pace; the moments of the probes, by the clock of all processes.

    The load is laid out before, so that the machine is measured with as little of its generator as can be.
    """
    producer, load = kafka.producer(**{"linger.ms": 5}), _load(plan, lines)
    keys = lines.tenants
    a_tick = plan.rate * _TICK_S
    sent_ns: list[int] = []
    gc.collect()
    gc.freeze()
    sent, begun = 0, time.monotonic_ns()
    for tick in range(plan.ticks):
        ahead = begun + int(tick * _TICK_S * 1e9) - time.monotonic_ns()
        if ahead > 0:
            time.sleep(ahead / 1e9)
        until = int((tick + 1) * a_tick)
        for number in range(sent, until):
            send(producer, topic, load[number], keys[number % lines.count])
        sent = until
        line = probe_line(tick, time.time_ns() // 1_000_000)
        sent_ns.append(time.monotonic_ns())
        send(producer, topic, line, probe_tenant(tick).encode())
        producer.poll(0)
    seconds = (time.monotonic_ns() - begun) / 1e9
    left = producer.flush(60)
    return {"events": sent + len(sent_ns) - left, "seconds": seconds, "sent_ns": sent_ns}


def _load(plan: Plan, lines: FreshLines) -> list[bytes]:
    """All events of a plan, each with the moment at which its pass begins to be sent."""
    events = int(plan.ticks * plan.rate * _TICK_S)
    now_ms, load = time.time_ns() // 1_000_000, []
    for number in range(-(-events // lines.count)):
        load += lines.block(number, stamp(now_ms + number * lines.count * 1000 // plan.rate)).splitlines()
    return load


def main() -> None:
    """Send, as a process of its own: `python -m benchmarks.latency SPEC`."""
    spec = json.loads(sys.argv[1])
    lines = FreshLines(Path(spec["events"]))
    sent = produce(Plan(**spec["plan"]), Kafka(spec["address"]), spec["topic"], lines)
    Path(spec["answer"]).write_text(json.dumps(sent), encoding="utf-8")


def spec_of(plan: Plan, kafka: Kafka, topic: str, events: Path, answer: Path) -> str:
    """What `main` is started with."""
    return json.dumps({
        "plan": asdict(plan), "address": kafka.address, "topic": topic, "events": str(events), "answer": str(answer),
    })  # fmt: skip


if __name__ == "__main__":
    main()
