"""What the benchmark must reach, beside what a folder of results says: one line for each goal."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench import Range, Standing, from_json
from benchmarks.bench_field import FILE, KAFKA, MILLRACE, YARDSTICK_A, YARDSTICK_B
from benchmarks.bench_report import ours_of, spread
from benchmarks.flat import export_bytes

PARTS = ("bench", "latency", "flat", "horizon")
"""The files of a folder of results, without `.json`: each is written by a measurement of its own."""
_HOW = {
    "bench": "millrace bench --complete",
    "latency": "millrace bench --latency",
    "flat": "millrace bench --flat --events 50000000",
    "horizon": "millrace bench --horizon --events 100000000",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A goal, and what was found; `is_reached` is None where nothing was measured."""

    what: str
    goal: str
    found: str
    is_reached: bool | None = None


@dataclass(frozen=True, slots=True)
class _Ratio:
    """How many times as fast Millrace must be as another."""

    what: str
    other: str
    least: float
    reads: str = FILE


_RATIOS = (
    _Ratio("file to embedded ledger, the whole contract / yardstick A", YARDSTICK_A, 1.8),
    _Ratio("the same / yardstick B", YARDSTICK_B, 1.2),
    _Ratio("the same / Bytewax, event by event", "bytewax", 18),
    _Ratio("the same / Pathway, which only counts keys once and sums", "pathway", 8),
)
_SCALE_LEAST, _KAFKA_LEAST = 1.7, 0.6
_KEY_BYTES_MOST, _LOOKUPS_LEAST, _RESTART_S_MOST = 40, 5_000_000, 30
_SUMMARY_S_BELOW, _EXPORT_S_BELOW = 0.5, 10
_P50_MS_BELOW, _P99_MS_BELOW = 300, 1000
GROWTH_MOST = 1.05
"""Memory is flat when what is resident at the most in the last third of a run is no more than this share of what
was resident at the most in the third before."""


def lines_of(folder: Path) -> list[Line]:
    """Every goal, with what the results in a folder say of it."""
    parts = {name: _read(folder / f"{name}.json") for name in PARTS}
    return [*_of_field(parts["bench"]), *_of_flat(parts["flat"]), *_of_horizon(parts["horizon"]),
            *_of_latency(parts["latency"])]  # fmt: skip


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    return found


def _not_measured(what: str, goal: str, part: str) -> Line:
    return Line(what, goal, f"not measured here: `{_HOW[part]}`")


def _of_field(result: dict[str, Any] | None) -> Iterator[Line]:
    standings = from_json(result["competitors"]) if result else []
    left_out = result["left_out"] if result else {}
    by_name = {s.competitor.name: s for s in standings}
    ours = ours_of(standings, FILE)
    for ratio in _RATIOS:
        other = by_name.get(ratio.other)
        if ratio.other in left_out:
            yield Line(ratio.what, f"{ratio.least:g} or more", f"left out: {left_out[ratio.other]}")
        else:
            yield _at_least(ratio.what, ratio.least, ours, other)
    one = by_name.get(f"{MILLRACE}-1")
    two = by_name.get(f"{MILLRACE}-2")
    yield _at_least("two workers on two cores / one worker on one core", _SCALE_LEAST, two, one)
    yield _at_least(
        "a topic to the ledger / file to the ledger", _KAFKA_LEAST, ours_of(standings, KAFKA), ours
    )


def _at_least(what: str, least: float, ours: Standing | None, other: Standing | None) -> Line:
    goal = f"{least:g} or more"
    if ours is None or other is None:
        return _not_measured(what, goal, "bench")
    ratio: Range = ours.ratio(other)
    return Line(what, goal, spread(ratio, "{:.2f}"), ratio.median >= least)


def _of_flat(found: dict[str, Any] | None) -> Iterator[Line]:
    keys, restart, summary, export = (
        (found[name] for name in ("keys", "restart", "summary", "export")) if found else ({},) * 4
    )
    rows: tuple[tuple[str, str, Callable[[], tuple[str, bool]]], ...] = (
        (
            f"bytes for a key, {_count(keys, 'keys')} keys", f"{_KEY_BYTES_MOST} or less",
            lambda: (f"{keys['bytes_a_key']:.1f}", keys["bytes_a_key"] <= _KEY_BYTES_MOST),
        ),
        (
            "lookups a core-second among them", f"{_LOOKUPS_LEAST:,} or more",
            lambda: (f"{keys['lookups_a_core_second']:,.0f}", keys["lookups_a_core_second"] >= _LOOKUPS_LEAST),
        ),
        (
            f"restart with {_count(restart, 'keys')} keys in the horizon, one core", f"{_RESTART_S_MOST} s or less",
            lambda: (f"{restart['seconds']:.1f} s", restart["seconds"] <= _RESTART_S_MOST),
        ),
        (
            f"month by principal over {_count(summary, 'rows')} rows", f"under {_SUMMARY_S_BELOW:g} s",
            lambda: (f"{summary['seconds']:.2f} s, equal to the rows", summary["seconds"] < _SUMMARY_S_BELOW),
        ),
        (
            f"finance export of {_count(export, 'lines')} principals", f"under {_EXPORT_S_BELOW} s, memory bounded",
            lambda: (_export_shown(export), _is_export_reached(export)),
        ),
    )  # fmt: skip
    for what, goal, shown in rows:
        yield Line(what, goal, *shown()) if found else _not_measured(what, goal, "flat")


def _export_shown(export: dict[str, Any]) -> str:
    quarter = export["of_a_quarter"]
    return (
        f"{export['seconds']:.1f} s; {export_bytes(export) / 1e6:,.0f} MB above the open ledger, "
        f"{export_bytes(quarter) / 1e6:,.0f} MB for {_count(quarter, 'lines')}"
    )


def _is_export_reached(export: dict[str, Any]) -> bool:
    """In time, and four times the principals take less than twice the memory: it is bounded."""
    return export["seconds"] < _EXPORT_S_BELOW and export_bytes(export) < 2 * export_bytes(
        export["of_a_quarter"]
    )


def _count(found: dict[str, Any], name: str) -> str:
    return f"{found[name]:,}" if found else "so many"


def _of_horizon(found: dict[str, Any] | None) -> Iterator[Line]:
    what, goal = "resident memory, horizon bounded", "flat after the horizon fills"
    if not found:
        yield _not_measured(what, goal, "horizon")
        return
    text = (
        f"{found['before_bytes'] / 1e6:,.0f} MB at most in the second third, {found['after_bytes'] / 1e6:,.0f} MB in "
        f"the last; {found['keys_most']:,} keys at most of {found['keys_seen']:,}"
    )
    yield Line(
        f"{what}, {found['events']:,} events",
        goal,
        text,
        found["after_bytes"] <= GROWTH_MOST * found["before_bytes"],
    )


def _of_latency(found: dict[str, Any] | None) -> Iterator[Line]:
    what = "produced to Kafka -> visible in the spend window"
    if not found:
        yield _not_measured(what, f"p50 under {_P50_MS_BELOW} ms", "latency")
        return
    at = f", {found['rate']:,} events a second"
    for name, below in (("p50", _P50_MS_BELOW), ("p99", _P99_MS_BELOW)):
        ms = found["visible_us"][name] / 1000
        kept_up = "" if found["kept_up"] else ", and it did not keep up"
        yield Line(
            f"{what}{at}",
            f"{name} under {below} ms",
            f"{ms:,.0f} ms{kept_up}",
            ms < below and found["kept_up"],
        )


def markdown(lines: list[Line]) -> str:
    """The goals as a table."""
    rows = [["what", "goal", "found", "reached"], ["---", "---:", "---:", "---"]]
    said = {True: "yes", False: "**no**", None: ""}
    rows += [[line.what, line.goal, line.found, said[line.is_reached]] for line in lines]
    return "\n".join(f"|{'|'.join(row)}|" for row in rows) + "\n"
