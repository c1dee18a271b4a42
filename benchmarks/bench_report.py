"""The result of the benchmark for readers: a Markdown table, and a chart as SVG."""

from collections.abc import Iterable
from typing import Any

from benchmarks.bench import Range, Standing, from_json
from benchmarks.bench_field import FILE, KAFKA, MILLRACE

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BAR = 760, 210, 120, 40, 46, 20
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.note{fill:#57606a;font-size:12px}"
    ".ours{fill:#0969da}.other{fill:#8c959f}.axis{stroke:#d0d7de}.spread{stroke:#24292f;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.axis{stroke:#3d444d}"
    ".spread{stroke:#e6edf3}.ours{fill:#4493f8}.other{fill:#656c76}}"
)

_HOW = (
    "Medians of the rounds, with the lowest and the highest. The speed is that of the work alone: for Millrace "
    "from the open ledger to its last durable commit, for ClickHouse the INSERT. *With start* counts from the "
    "start of the process to its end. The last column compares lap by lap within a round, those who read a topic "
    "with Millrace on the same topic."
)


def markdown(result: dict[str, Any]) -> str:
    """The result as a page: the table, who does what, and on what it was measured."""
    standings = from_json(result["competitors"])
    parts = [
        _table(standings),
        _HOW,
        *_notes(standings),
        *(f"Left out: {name}, because {why}." for name, why in result["left_out"].items()),
        _circumstances(result),
    ]
    return "\n\n".join(parts) + "\n"


def _table(standings: list[Standing]) -> str:
    best = {reads: ours_of(standings, reads) for reads in (FILE, KAFKA)}
    head = ["", "events a second", "with start", "CPU seconds for a million", "peak memory"]
    rows = [[*head, "Millrace is"] if any(best.values()) else head]
    rows.append([" --- ", *[" ---: "] * (len(rows[0]) - 1)])
    for standing in standings:
        row = [
            standing.competitor.title,
            spread(standing.speed(), "{:,.0f}"),
            f"{standing.total_speed().median:,.0f}",
            spread(standing.cpu_seconds(), "{:.2f}"),
            f"{standing.peak_bytes() / 1e9:.2f} GB",
        ]
        rows.append([*row, _times(best[standing.competitor.reads], standing)] if any(best.values()) else row)
    return "\n".join(f"|{'|'.join(cells)}|" for cells in rows)


def ours_of(standings: Iterable[Standing], reads: str) -> Standing | None:
    """Millrace with the most workers, among those who read the same."""
    ours = [s for s in standings if s.competitor.name.startswith(MILLRACE) and s.competitor.reads == reads]
    return max(ours, key=lambda s: s.competitor.workers, default=None)


def _times(ours: Standing | None, other: Standing) -> str:
    return "" if other is ours or ours is None else f"{spread(ours.ratio(other), '{:.2f}')} times as fast"


def spread(found: Range, form: str) -> str:
    """A range for a reader: the median, and how far the others lie from it."""
    low, high = form.format(found.lowest), form.format(found.highest)
    return f"{form.format(found.median)} ({low} to {high})" if low != high else form.format(found.median)


def _notes(standings: list[Standing]) -> list[str]:
    lines = [
        f"- **{s.competitor.title}**: {s.competitor.does}. What it does not do: {s.competitor.does_not}."
        for s in standings
    ]
    return ["\n".join(lines)]


def _circumstances(result: dict[str, Any]) -> str:
    machine, given = result["machine"], result["input"]
    size = given["expected"]["bytes"] / given["expected"]["lines"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{given['expected']['lines']:,} events of {size:.0f} bytes on average, {result['rounds']} rounds, "
        f"on {machine['cores_used']} of {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_bytes'] / 1e9:.0f} GB, {machine['system']}; {versions}; load average before it "
        f"{machine['load_before']}. Made by `{result['command']}` at {result['made_at']}."
    )


def svg(result: dict[str, Any]) -> str:
    """The speeds as bars, with the spread as a line over the end of each."""
    standings = from_json(result["competitors"])
    most = max(s.speed().highest for s in standings)
    height = _TOP + _ROW * len(standings) + 10
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    title = f"Events a second, {result['input']['expected']['lines']:,} events, the line is the spread of the rounds"
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{_escaped(title)}</title><style>{STYLE}</style>",
        f'<text class="note" x="8" y="22">{_escaped(title)}</text>',
        *(line for n, s in enumerate(standings) for line in _bar(s, _TOP + n * _ROW, scale)),
        f'<line class="axis" x1="{_LEFT}" y1="{_TOP - 8}" x2="{_LEFT}" y2="{height - 8}"/>',
        "</svg>",
    ]
    return "\n".join(body) + "\n"


def _bar(standing: Standing, top: int, scale: float) -> list[str]:
    speed, middle = standing.speed(), top + _BAR / 2
    low, mid, high = (_LEFT + value * scale for value in (speed.lowest, speed.median, speed.highest))
    kind = "ours" if standing.competitor.name.startswith(MILLRACE) else "other"
    return [
        f'<text x="{_LEFT - 10}" y="{middle + 4:.0f}" text-anchor="end">{_escaped(standing.competitor.title)}</text>',
        f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{mid - _LEFT:.1f}" height="{_BAR}" rx="2"/>',
        f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"/>',
        f'<text x="{high + 8:.0f}" y="{middle + 4:.0f}">{speed.median:,.0f}</text>',
    ]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
