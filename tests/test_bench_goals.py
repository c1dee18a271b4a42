"""What the benchmark must reach, beside what a folder of results says."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench_goals, horizon, latency
from benchmarks.bench import Measured, Standing, as_json
from benchmarks.bench_field import OTHERS, Competitor
from benchmarks.bench_goals import Line, lines_of
from benchmarks.bench_lap import Lap
from benchmarks.bench_machine import this_machine
from benchmarks.bench_report import STYLE
from benchmarks.horizon import Sample
from benchmarks.percentiles import Percentiles
from cli.bench import bench
from cli.bench_parts import Bench, keep

A, B, BYTEWAX, PATHWAY, QUIX, PYFLINK = OTHERS
ALL_GOALS = 14


def standing(competitor: Competitor, speed: int) -> Standing:
    lap = Lap(1_000_000 / speed, 1.0, 1_000_000, 10**9, {})
    return Standing(competitor, [Measured(lap, 2.0, 1.0)])


def field(ours: int, **left_out: str) -> dict[str, Any]:
    """Millrace at some speed on two workers, and others who run at 100 000, but for those who are left out."""
    everyone = Bench(Path(), 1, [1, 2], None).everyone()
    speeds = {"millrace-1": ours // 2, "millrace-2": ours, "millrace-2-kafka": ours // 2}
    here = [standing(c, speeds.get(c.name, 100_000)) for c in everyone if c.name not in left_out]
    return {"competitors": as_json(here), "left_out": left_out}


def kept(folder: Path, **parts: dict[str, Any]) -> dict[str, Line]:
    for name, part in parts.items():
        (folder / f"{name}.json").write_text(json.dumps(part))
    return {line.what: line for line in lines_of(folder)}


def test_what_was_not_measured_says_how_to_measure_it(tmp_path: Path) -> None:
    lines = lines_of(tmp_path)
    assert {line.is_reached for line in lines} == {None}
    assert all(line.found.startswith("not measured here: `millrace bench --") for line in lines)
    assert len(lines) == ALL_GOALS - 1  # latency is one line without a figure, two with it


def test_ratios_are_reached_or_not_by_the_median_of_the_rounds(tmp_path: Path) -> None:
    lines = kept(tmp_path, bench=field(180_000))
    a = lines["file to embedded ledger, the whole contract / yardstick A"]
    assert (a.found, a.is_reached) == ("1.80", True)
    assert lines["the same / Bytewax, event by event"].is_reached is False
    assert lines["two workers on two cores / one worker on one core"].found == "2.00"
    from_kafka = lines["a topic to the ledger / file to the ledger"]
    assert (from_kafka.found, from_kafka.is_reached) == ("0.50", False)


def test_who_was_left_out_is_named_with_the_reason(tmp_path: Path) -> None:
    lines = kept(tmp_path, bench=field(180_000, pathway="it has no environment"))
    line = lines["the same / Pathway, which only counts keys once and sums"]
    assert (line.found, line.is_reached) == ("left out: it has no environment", None)


QUARTER = {"lines": 2, "base_bytes": 2e6, "peak_bytes": 4e6}


def export_of(seconds: float, peak_bytes: float) -> dict[str, Any]:
    found = {"lines": 8, "seconds": seconds, "base_bytes": 2e6, "peak_bytes": peak_bytes}
    return found | {"of_a_quarter": QUARTER}


@pytest.mark.parametrize(
    ("seconds", "peak_bytes", "is_reached"), [(9.9, 5e6, True), (10.1, 5e6, False), (9.9, 6e6, False)]
)
def test_an_export_is_in_time_and_takes_no_memory_for_each_principal(
    seconds: float, peak_bytes: float, is_reached: bool, tmp_path: Path
) -> None:
    flat = {
        "keys": {"keys": 50, "bytes_a_key": 38.84, "lookups_a_core_second": 7e6},
        "restart": {"keys": 50, "events": 5, "seconds": 1},
        "summary": {"rows": 50, "lines": 2, "seconds": 0.02},
        "export": export_of(seconds, peak_bytes),
    }
    line = kept(tmp_path, flat=flat)["finance export of 8 principals"]
    assert line.is_reached is is_reached
    assert line.found.endswith("MB above the open ledger, 2 MB for 2")


@pytest.mark.parametrize(("seconds", "is_reached"), [(29.9, True), (30.1, False)])
def test_flat_parts_are_held_against_their_goals(seconds: float, is_reached: bool, tmp_path: Path) -> None:
    flat = {
        "keys": {"keys": 50, "bytes_a_key": 38.84, "lookups_a_core_second": 7e6},
        "restart": {"keys": 50, "events": 5, "seconds": seconds},
        "summary": {"rows": 50, "lines": 2, "seconds": 0.02},
        "export": export_of(0.44, 5e6),
    }
    lines = kept(tmp_path, flat=flat)
    restart = lines["restart with 50 keys in the horizon, one core"]
    assert (restart.found, restart.is_reached) == (f"{seconds} s", is_reached)
    assert lines["bytes for a key, 50 keys"].is_reached is True


def samples(*resident_mb: int) -> list[Sample]:
    """A run of nine million events, looked at after each million."""
    return [Sample(float(n), n * 10**6, min(n, 3) * 10**6, mb * 10**6) for n, mb in enumerate(resident_mb, 1)]


@pytest.mark.parametrize(
    ("resident_mb", "is_flat"),
    [
        ((100, 200, 300, 300, 310, 300, 300, 310, 300), True),
        ((100, 200, 300, 300, 310, 320, 330, 340, 350), False),
    ],
)
def test_memory_is_flat_when_the_last_third_needs_no_more(
    resident_mb: tuple[int, ...], is_flat: bool, tmp_path: Path
) -> None:
    found = horizon.result_of(samples(*resident_mb), 9 * 10**6, 4) | {"keys_seen": 9 * 10**6}
    assert found["keys_most"] == 3 * 10**6
    line = kept(tmp_path, horizon=found)["resident memory, horizon bounded, 9,000,000 events"]
    assert line.is_reached is is_flat


def test_a_chart_has_few_samples_and_the_last_one_among_them() -> None:
    many = [Sample(float(n), n, n, n) for n in range(1, 5000)]
    few = horizon.thinned(many)
    assert len(few) <= horizon.SAMPLES_MAX + 1
    assert (few[0], few[-1]) == (many[0], many[-1])


def latencies(*visible_ms: int, kept_up: bool = True) -> dict[str, Any]:
    plan, seen = latency.Plan(1000, 10), latency.Seen([])
    for ms in visible_ms:
        seen.latencies.add(ms * 1000)
    sent = {"events": 15_000, "seconds": 15 if kept_up else 30}
    return latency.result_of(plan, seen, Percentiles(), sent)


def test_latency_has_two_goals_and_counts_only_where_the_load_came_at_its_pace(tmp_path: Path) -> None:
    lines = lines_of_latency(tmp_path, latencies(100, 200, 250, 1500))
    assert [line.is_reached for line in lines] == [True, False]
    assert [line.goal for line in lines] == ["p50 under 300 ms", "p99 under 1000 ms"]
    slow = lines_of_latency(tmp_path, latencies(100, kept_up=False))
    assert [line.is_reached for line in slow] == [False, False]
    assert "did not keep up" in slow[0].found


def lines_of_latency(folder: Path, found: dict[str, Any]) -> list[Line]:
    (folder / "latency.json").write_text(json.dumps(found))
    return [line for line in lines_of(folder) if line.what.startswith("produced")]


def test_each_part_that_is_kept_makes_the_goals_anew(tmp_path: Path) -> None:
    found = latencies(100)
    assert keep(tmp_path / "here", "latency", found) == [
        "latency.json",
        "latency.md",
        "latency.svg",
        "goals.md",
    ]
    goals = (tmp_path / "here" / "goals.md").read_text()
    assert "|p99 under 1000 ms|100 ms|yes|" in goals
    assert goals.count("not measured here") == ALL_GOALS - 2
    grown = horizon.result_of(samples(*range(100, 1000, 100)), 9 * 10**6, 4) | {"keys_seen": 9, "table": ""}
    keep(tmp_path / "here", "horizon", grown)
    goals = (tmp_path / "here" / "goals.md").read_text()
    assert "|p99 under 1000 ms|100 ms|yes|" in goals
    assert "**no**" in goals


def test_the_charts_show_what_the_results_say() -> None:
    chart = latency.svg(latencies(100, 200, 250, 1500), STYLE)
    assert ">1,500<" in chart
    line = horizon.svg(horizon.result_of(samples(100, 250, 200), 3 * 10**6, 4), STYLE)
    assert line.count("<polyline") == 2
    assert ">250<" in line


def test_a_competitor_comes_back_from_a_file_with_all_that_it_has() -> None:
    everyone = as_json([standing(c, 1000) for c in OTHERS])
    again = [bench_goals.from_json(json.loads(json.dumps([entry])))[0].competitor for entry in everyone]
    assert again == list(OTHERS)
    assert asdict(replace(QUIX, name="other"))["reads"] == "kafka"


@pytest.mark.parametrize("left_out", [{}, {"millrace-2-kafka": "there is no broker here"}])
def test_a_complete_run_measures_the_latency_at_half_of_what_came_from_the_topic(
    left_out: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    def latency_at(_bench: Bench, _events: int, rate: int | None, _seconds: int) -> dict[str, Any]:
        asked.append(rate)
        return latencies(100)

    result = {
        **Bench.circumstances(), **field(200_000, **left_out), "rounds": 1, "machine": asdict(this_machine(2)),
        "input": {"plan": {}, "expected": {"lines": 1_000_000, "bytes": 342_000_000}},
    }  # fmt: skip
    monkeypatch.setattr(Bench, "compare", lambda *_arguments, **_named: result)
    monkeypatch.setattr(Bench, "latency", latency_at)
    bench(complete=True, out=tmp_path)
    assert asked == ([] if left_out else [50_000])
    goals = (tmp_path / "goals.md").read_text()
    assert ("|p99 under 1000 ms|100 ms|yes|" in goals) is not bool(left_out)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".svg"}
