"""`millrace bench`: everyone does the same job, what they find is held against what must be found."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bench_report
from benchmarks.bench import Course, Measured, Range, Standing, as_json, from_json, on_cores, run_rounds
from benchmarks.bench_field import OTHERS, YARDSTICK_A, YARDSTICK_B, Competitor, chosen
from benchmarks.bench_input import Input, InputPlan, make_input, repeated
from benchmarks.bench_lap import Lap, Stopwatch, answer, peak_bytes, read_job, read_lap
from benchmarks.bench_machine import this_machine
from benchmarks.bench_stages import STAGES, Stages
from cli.bench import _numbers
from cli.bench_parts import Bench
from pipeline.errors import MillraceError, UsageError

ROOT = Path(__file__).parent.parent
A, B, BYTEWAX, PATHWAY, QUIX, PYFLINK = OTHERS


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Input:
    return make_input(
        tmp_path_factory.mktemp("input"), InputPlan(3000, has_retries=False), lambda _lines: None
    )


@pytest.fixture(scope="module")
def with_retries(tmp_path_factory: pytest.TempPathFactory) -> Input:
    return make_input(tmp_path_factory.mktemp("retries"), InputPlan(4000), lambda _lines: None)


def standing(competitor: Competitor, *seconds: float) -> Standing:
    laps = [Measured(Lap(s, 2 * s, 1_000_000, 10**9, {"rows": 1}), s + 1, 3 * s) for s in seconds]
    return Standing(competitor, laps)


def result(*standings: Standing) -> dict[str, Any]:
    return {
        "made_at": "2026-11-21T00:00:00+00:00",
        "command": "millrace bench",
        "machine": asdict(this_machine(2)),
        "input": {"plan": {}, "expected": {"lines": 1_000_000, "bytes": 342_000_000}},
        "rounds": 3,
        "competitors": as_json(list(standings)),
        "left_out": {"pathway": "it has no environment"},
    }


def test_the_same_plan_gives_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    plan = InputPlan(2000)
    texts = [
        make_input(tmp_path / name, made, lambda _lines: None).events.read_bytes()
        for name, made in (("a", plan), ("b", plan), ("c", replace(plan, seed=2)))
    ]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].count(b"\n") == 2000


def test_an_input_that_is_there_is_taken_and_one_that_was_cut_is_made_anew(tmp_path: Path) -> None:
    told: list[int] = []
    made = make_input(tmp_path, InputPlan(1000), told.append)
    assert make_input(tmp_path, InputPlan(1000), told.append) == made
    assert sum(told) == 1000
    whole = made.events.read_bytes()
    made.events.write_bytes(whole[:-1])
    assert make_input(tmp_path, InputPlan(1000), told.append).events.read_bytes() == whole


def test_one_line_in_fifty_is_a_retry_and_costs_once(with_retries: Input) -> None:
    expected = with_retries.expected
    assert 40 < expected.lines - expected.keys < 160
    assert expected.pico_usd_of_keys < expected.pico_usd_of_lines


def test_repeated_lines_are_more_lines_but_not_more_keys(given: Input) -> None:
    thrice = repeated(given, 3)
    assert (thrice.expected.lines, thrice.expected.keys) == (9000, 3000)
    assert {file.read_bytes() for file in thrice.events.iterdir()} == {given.events.read_bytes()}
    assert len(list(thrice.events.iterdir())) == 3


def test_all_ways_into_the_ledger_give_the_same_rows(given: Input, tmp_path: Path) -> None:
    """Millrace and both yardsticks, on clean events without retries: every column of every row."""
    course = Course(tmp_path)
    laps = [course.run(competitor, given, is_digested=True).lap for competitor in (Bench.ours(2), A, B)]
    assert len({lap.found["digest"] for lap in laps}) == 1
    assert {int(lap.found["pico_usd"]) for lap in laps} == {given.expected.pico_usd_of_keys}
    assert list(tmp_path.iterdir()) == []


def test_millrace_counts_retries_once_and_a_load_counts_them_twice(
    with_retries: Input, tmp_path: Path
) -> None:
    ours, other = (Course(tmp_path).run(competitor, with_retries).lap for competitor in (Bench.ours(1), A))
    assert int(ours.found["rows"]) == with_retries.expected.keys < int(other.found["rows"])
    assert (ours.events, other.events) == (4000, 4000)
    assert ours.found["duplicates"] == 4000 - with_retries.expected.keys


def test_bytewax_event_by_event_finds_the_same_keys_and_amounts(with_retries: Input, tmp_path: Path) -> None:
    lap = Course(tmp_path).run(BYTEWAX, with_retries).lap
    assert (lap.found["rows"], lap.found["pico_usd"]) == (
        with_retries.expected.keys,
        with_retries.expected.pico_usd_of_keys,
    )


@pytest.mark.parametrize("name", ["keys", "pico_usd_of_keys", "lines"])
def test_a_lap_that_does_not_count_is_an_error(name: str, given: Input, tmp_path: Path) -> None:
    wrong = replace(given.expected, **{name: getattr(given.expected, name) + 1})
    with pytest.raises(MillraceError, match="the lap of bytewax does not count"):
        Course(tmp_path).run(BYTEWAX, replace(given, expected=wrong))


def test_a_lap_that_fails_says_why(given: Input, tmp_path: Path) -> None:
    broken = replace(given, folder=tmp_path / "gone")
    with pytest.raises(MillraceError, match=r"the lap of millrace-2 failed: .*gone/catalog\.toml"):
        Course(tmp_path).run(Bench.ours(2), broken)


def test_who_has_no_environment_is_left_out_by_name(given: Input, tmp_path: Path) -> None:
    assert PATHWAY.python(None) is None
    assert PATHWAY.python(tmp_path) is None
    with pytest.raises(MillraceError, match=r"pathway cannot run: .*uv venv"):
        Course(tmp_path).run(PATHWAY, given)
    (tmp_path / "pathway" / "bin").mkdir(parents=True)
    (tmp_path / "pathway" / "bin" / "python").touch()
    assert PATHWAY.python(tmp_path) == str(tmp_path / "pathway" / "bin" / "python")


def test_everyone_runs_in_turn(given: Input) -> None:
    ran: list[str] = []

    class Track(Course):
        def run(self, competitor: Competitor, given: Input, **options: Any) -> Measured:
            ran.append(competitor.name)
            return standing(competitor, 1.0).laps[0]

    run_rounds(Track(Path()), [A, B], given, 3, lambda _said: None)
    assert ran == [YARDSTICK_A, YARDSTICK_B] * 3


def test_ratios_compare_within_a_round() -> None:
    ours, other = standing(Bench.ours(2), 1.0, 2.0, 4.0), standing(A, 2.0, 6.0, 4.0)
    assert ours.ratio(other) == Range(2.0, 1.0, 3.0)
    assert ours.speed() == Range(500_000, 250_000, 1_000_000)
    assert ours.total_speed().median == pytest.approx(1_000_000 / 3)
    assert ours.cpu_seconds() == Range(4.0, 2.0, 8.0)


def test_a_result_comes_back_from_its_file_as_it_was() -> None:
    standings = [standing(Bench.ours(2), 1.0, 2.0), standing(B, 3.0, 4.0)]
    assert from_json(json.loads(json.dumps(as_json(standings)))) == standings


def test_the_table_tells_speed_ratio_and_what_each_does_not_do() -> None:
    page = bench_report.markdown(result(standing(Bench.ours(2), 1.0, 2.0), standing(A, 2.0, 4.0)))
    assert "|Millrace, 2 workers|750,000 (500,000 to 1,000,000)|" in page
    assert "2.00 times as fast" in page
    assert A.does_not in page
    assert "Left out: pathway, because it has no environment." in page


def test_the_chart_has_a_bar_for_each_with_the_spread_over_its_end() -> None:
    name = "A & <B>"
    chart = ET.fromstring(
        bench_report.svg(result(standing(Bench.ours(2), 1.0, 2.0), standing(replace(A, title=name), 4.0)))
    )
    space = "{http://www.w3.org/2000/svg}"
    bars = chart.findall(f"{space}rect")
    assert [bar.get("class") for bar in bars] == ["ours", "other"]
    assert float(bars[0].get("width", 0)) == pytest.approx(3 * float(bars[1].get("width", 0)), rel=0.01)
    assert name in [text.text for text in chart.findall(f"{space}text")]
    assert len(chart.findall(f"{space}path")) == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot bind a process to cores")
def test_a_process_has_only_the_cores_of_its_lap() -> None:
    before = os.sched_getaffinity(0)
    show = [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"]
    with on_cores(1):
        assert subprocess.run(show, capture_output=True, text=True, check=True).stdout == "1\n"
    assert os.sched_getaffinity(0) == before


def test_a_lap_is_left_where_the_job_asks_for_it(tmp_path: Path) -> None:
    job = read_job(
        [
            "",
            json.dumps(
                {"events": "", "catalog": "", "accounts": "", "folder": "", "answer": str(tmp_path / "a")}
            ),
        ]
    )
    watch = Stopwatch()
    answer(job, watch, 7, rows=5)
    lap = read_lap(tmp_path / "a")
    assert (lap.seconds, lap.events, lap.found) == (watch.seconds, 7, {"rows": 5})


def test_a_stopwatch_counts_to_its_last_stop() -> None:
    watch = Stopwatch()
    watch.stop()
    first = watch.seconds
    sum(range(10**6))
    watch.stop()
    assert watch.seconds > first
    assert watch.cpu_seconds > 0


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_bytes()
    held = b"x" * (before + (64 << 20))
    assert peak_bytes() > before + (32 << 20)
    del held


@pytest.mark.parametrize(("name", "module", "path"), STAGES)
def test_each_stage_is_a_function_that_is_there(name: str, module: str, path: str) -> None:
    owner: Any = import_module(module)
    for part in path.split("."):
        owner = getattr(owner, part)
    assert callable(owner), name


def test_a_stage_does_not_count_what_the_stages_within_it_take(monkeypatch: pytest.MonkeyPatch) -> None:
    import tests.test_bench as here

    monkeypatch.setattr(here, "outer", here.outer)
    monkeypatch.setattr(here, "inner", here.inner)
    stages = Stages()
    stages.watch([("outer", "tests.test_bench", "outer"), ("inner", "tests.test_bench", "inner")])
    here.outer()
    here.outer()
    assert (stages.costs["outer"].calls, stages.costs["inner"].calls) == (2, 4)
    assert stages.costs["inner"].cpu_seconds > 10 * stages.costs["outer"].cpu_seconds
    assert 0 < stages.costs["inner"].first_cpu_seconds < stages.costs["inner"].cpu_seconds


def inner() -> int:
    return sum(range(10**5))


def outer() -> None:
    for _ in range(2):
        inner()


@pytest.mark.parametrize(("text", "numbers"), [("1,2", [1, 2]), ("4", [4]), ("2,1,2", [1, 2])])
def test_numbers_of_workers_are_read(text: str, numbers: list[int]) -> None:
    assert _numbers(text) == numbers


@pytest.mark.parametrize("text", ["", "0", "two", "1;2"])
def test_other_numbers_of_workers_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--workers is a list of numbers"):
        _numbers(text)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from cli.main import main; main()", "bench", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    return subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_command_leaves_result_table_and_chart_and_guards_the_ratio(tmp_path: Path) -> None:
    done = bench(
        "--events", "2000", "--rounds", "1", "--workers", "2", "--only", "millrace-2,yardstick-b",
        "--out", str(tmp_path), "--json", "--guard", "1000",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "times as fast as yardstick-b, which is below 1000" in done.stderr.splitlines()[-1]
    told = json.loads(done.stdout)
    assert told == json.loads((tmp_path / "bench.json").read_text())
    assert [c["name"] for c in told["competitors"]] == ["millrace-2", "yardstick-b"]
    assert (tmp_path / "bench.md").read_text() == bench_report.markdown(told)
    assert (tmp_path / "bench.svg").read_text() == bench_report.svg(told)


def test_the_profile_tells_what_each_stage_takes(tmp_path: Path) -> None:
    done = bench("--profile", "--events", "2000", "--workers", "1", "--out", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    stages = json.loads(done.stdout)["found"]["stages"]
    assert {"read", "decode: scan", "seal", "count once", "insert"} <= set(stages)
    assert all(cost["calls"] > 0 for cost in stages.values())


def test_memory_is_measured_for_more_lines_of_the_same_keys_and_for_more_keys(tmp_path: Path) -> None:
    done = bench("--memory", "--events", "1000", "--workers", "1", "--out", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    few, same_keys, more_keys = json.loads(done.stdout)["runs"]
    assert (few["lines"], same_keys["lines"], more_keys["lines"]) == (1000, 10_000, 10_000)
    assert few["keys"] == same_keys["keys"] < more_keys["keys"]
    assert few["peak_bytes"] > 50_000_000


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    refused = bench("--only", "flink", "--out", str(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr.startswith("millrace: --only names flink, but those who can run are bytewax, ")


def test_those_who_run_are_all_or_the_named_in_their_order() -> None:
    assert chosen([A, B, BYTEWAX], []) == [A, B, BYTEWAX]
    assert chosen([A, B, BYTEWAX], ["bytewax", YARDSTICK_A]) == [A, BYTEWAX]
