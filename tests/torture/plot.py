"""Memory and lag over time as an SVG: two panels over one axis, without a library."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, PANEL, LEFT, TOP, GAP = 820, 190, 70, 46, 44
COLOURS = ("#1f6feb", "#bc4c00", "#1a7f37")


@dataclass(frozen=True, slots=True)
class Moment:
    """What was seen at one moment: the lag in records, the resident memory of each process."""

    at_s: float
    lag: int
    memory_mb: list[int]


def drawn(moments: Sequence[Moment], killed_at_s: float, title: str) -> str:
    """The picture; a dashed line stands where a process was killed."""
    end = max(m.at_s for m in moments)
    processes = max(len(m.memory_mb) for m in moments)
    memory = [[(m.at_s, m.memory_mb[i] or None) for m in moments] for i in range(processes)]
    lag = [[(m.at_s, m.lag) for m in moments]]
    height = TOP + 2 * PANEL + 2 * GAP
    box = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
    told = f"{title}: two processes, one killed at {killed_at_s:.0f} s, both started again"
    parts = [
        f'<svg {box} font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{told}</text>',
        *_panel(TOP, "resident memory of each process, MB", memory, end, killed_at_s),
        *_panel(TOP + PANEL + GAP, "lag: records sent and not yet durable", lag, end, killed_at_s),
        f'<text x="{WIDTH - 16}" y="{height - 8}" text-anchor="end">seconds</text>',
        "</svg>\n",
    ]
    return "\n".join(parts)


def _panel(top, name, lines, end_s, killed_at_s):
    most = _round(max(value for line in lines for _, value in line if value is not None))
    bottom, right = top + PANEL, WIDTH - 16

    def x(at_s):
        return LEFT + (right - LEFT) * at_s / end_s

    def y(value):
        return bottom - PANEL * value / most

    yield f'<text x="{LEFT}" y="{top - 6}">{name}</text>'
    for part in range(5):
        value = most * part // 4
        yield f'<line x1="{LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#d0d7de"/>'
        yield f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,}</text>'
    step = max(_round(int(end_s)) // 10, 1)
    for second in range(0, int(end_s) + 1, step):
        yield f'<text x="{x(second):.1f}" y="{bottom + 15}" text-anchor="middle">{second}</text>'
    for line, colour in zip(lines, COLOURS, strict=False):
        yield from _line([(x(at), None if v is None else y(v)) for at, v in line], colour)
    at = f"{x(killed_at_s):.1f}"
    yield f'<line x1="{at}" x2="{at}" y1="{top}" y2="{bottom}" stroke="#cf222e" stroke-dasharray="4 3"/>'


def _line(points, colour):
    """A line with gaps where there is nothing."""
    shown = [(a, b) for a, b in pairwise(points) if a[1] is not None and b[1] is not None]
    path = "".join(f"M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}" for a, b in shown)
    yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _round(most):
    """The next number of the form 1, 2 or 5 times a power of ten that is no smaller."""
    power = 10 ** (len(str(max(int(most), 1))) - 1)
    return next(n * power for n in (1, 2, 5, 10) if n * power >= most)
