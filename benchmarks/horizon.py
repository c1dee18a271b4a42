"""Memory over time while keys are let go beyond the dedupe horizon: what is sampled, what it says, its chart."""

from dataclasses import asdict, dataclass
from typing import Any

SAMPLES_MAX = 600
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 300, 70, 90, 40, 36

_LINES = ".line{stroke-width:2}.line.ours{stroke:#0969da;fill:none}.line.other{stroke:#8c959f;fill:none}"


@dataclass(frozen=True, slots=True)
class Sample:
    """How a run stood at a moment."""

    seconds: float
    events: int
    """Durable by then."""
    keys: int
    """In memory."""
    resident_bytes: int


def result_of(samples: list[Sample], events: int, horizon_s: int) -> dict[str, Any]:
    """The samples, and the most memory in the second and in the last third of the events."""
    thirds = [[s for s in samples if n * events <= 3 * s.events < (n + 1) * events] for n in (0, 1)]
    rest = [s for s in samples if 3 * s.events >= 2 * events]
    before, after = (max((s.resident_bytes for s in part), default=0) for part in (thirds[1], rest))
    return {
        "events": events,
        "horizon_s": horizon_s,
        "seconds": samples[-1].seconds,
        "events_per_second": events / samples[-1].seconds,
        "keys_most": max(s.keys for s in samples),
        "before_bytes": before,
        "after_bytes": after,
        "samples": [asdict(s) for s in thinned(samples)],
    }


def thinned(samples: list[Sample]) -> list[Sample]:
    """Few enough for a chart, the last among them."""
    step = -(-len(samples) // SAMPLES_MAX)
    return [*samples[:-1:step], samples[-1]]


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = (
        ("what", "found"),
        ("---", "---:"),
        ("events", f"{found['events']:,} in {found['seconds']:,.0f} s"),
        ("horizon", f"{found['horizon_s']} s"),
        ("keys in memory at the most", f"{found['keys_most']:,} of {found['keys_seen']:,}"),
        ("resident at the most, second third of the events", f"{found['before_bytes'] / 1e6:,.0f} MB"),
        ("resident at the most, last third", f"{found['after_bytes'] / 1e6:,.0f} MB"),
        ("a row of the ledger on disk", f"{found['row_bytes']:.0f} bytes"),
    )
    return "\n".join(f"|{'|'.join(row)}|" for row in rows)


def svg(found: dict[str, Any], style: str) -> str:
    """Memory and keys over the events."""
    samples = found["samples"]
    title = f"{found['events']:,} events through a horizon of {found['horizon_s']} s: resident memory, and keys in it"
    upto = f"{found['events'] / 1e6:,.1f} million events"
    lines = [
        _line(samples, "resident_bytes", "ours", "MB", 1e6),
        _line(samples, "keys", "other", "million keys", 1e6),
    ]
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{title}</title><style>{style}{_LINES}</style>",
        f'<text class="note" x="8" y="22">{title}</text>',
        f'<line class="axis" x1="{_LEFT}" y1="{_HEIGHT - _BOTTOM}" x2="{_WIDTH - _RIGHT}" y2="{_HEIGHT - _BOTTOM}"/>',
        f'<text class="note" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 14}" text-anchor="end">{upto}</text>',
        *(part for line in lines for part in line),
        "</svg>",
    ]
    return "\n".join(body) + "\n"


def _line(samples: list[dict[str, Any]], name: str, kind: str, unit: str, per: float) -> list[str]:
    """A line from zero to its most, which stands at its side."""
    most = max(1, *(s[name] for s in samples))
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    events = max(samples[-1]["events"], 1)
    points = " ".join(
        f"{_LEFT + wide * s['events'] / events:.1f},{_HEIGHT - _BOTTOM - high * s[name] / most:.1f}"
        for s in samples
    )
    x, anchor = (_LEFT - 6, "end") if kind == "ours" else (_WIDTH - _RIGHT + 6, "start")
    amount = f"{most / per:,.0f}" if most >= 10 * per else f"{most / per:,.1f}"
    return [
        f'<polyline class="line {kind}" points="{points}"/>',
        f'<text class="note" x="{x}" y="{_TOP + 4}" text-anchor="{anchor}">{amount}</text>',
        f'<text class="note" x="{x}" y="{_TOP + 20}" text-anchor="{anchor}">{unit}</text>',
    ]
