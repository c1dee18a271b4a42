"""`millrace bench`: measure the speed of this machine, beside what others would use instead."""

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.bench import Course, as_json, from_json, run_rounds
from benchmarks.bench_field import MILLRACE, OTHERS, YARDSTICK_A, YARDSTICK_B, Competitor, chosen, millrace
from benchmarks.bench_input import Input, InputPlan, make_input, repeated
from benchmarks.bench_machine import this_machine
from benchmarks.bench_report import best_of_ours, markdown, svg
from benchmarks.bench_stages import stage_table
from cli import bench_lap
from cli.bench_flat import measure
from cli.bench_http import HttpBench
from cli.clock import SystemClock
from pipeline.errors import MillraceError, UsageError

app = typer.Typer(help="Measure the speed of this machine.", add_completion=False)

WARM_UP_EVENTS = 20_000
QUICK_ROUNDS = 3
MORE = 10
"""How many times as many events the second half of the measurement of memory has."""


@app.command()
def bench(  # noqa: PLR0913, PLR0917 - one argument for each flag
    events: Annotated[int, typer.Option(min=1000, help="How many events.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often everyone runs, in turn.")] = 5,
    workers: Annotated[str, typer.Option(help="Numbers of workers of Millrace, such as 1,2.")] = "1,2",
    only: Annotated[str, typer.Option(help="Names of those who are to run; all when it is left out.")] = "",
    peers: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The environments of peers, a folder for each.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the result and the input are kept.")] = Path(
        "build/bench"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other events.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only the most workers beside ClickHouse, three rounds.")
    ] = False,
    guard: Annotated[
        float | None, typer.Option(help="Fail when the ratio to yardstick B is below this.")
    ] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Measure memory instead: so many events, and ten times as many.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Measure where the time of one run goes instead.")
    ] = False,
    flat: Annotated[
        bool,
        typer.Option("--flat", help="Measure keys, a restart, a month's summary and the export instead."),
    ] = False,
    http: Annotated[
        bool, typer.Option("--http", help="Measure how fast caps answer over HTTP instead, on one core.")
    ] = False,
    rate: Annotated[int, typer.Option(min=1, help="With --http: requests a second.")] = 1000,
    seconds: Annotated[int, typer.Option(min=1, help="With --http: how long.")] = 20,
    control: Annotated[
        str | None, typer.Option(help="With --http: the URL of a PostgreSQL to measure, too.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The result as JSON, alone on stdout.")] = False,
) -> None:
    """Measure how fast this machine turns a file of events into the ledger, and how fast others are.

    Everyone reads the same file, already in memory, in a process of its own, one after the other, in rounds.
    """
    if http:
        found = HttpBench(rate, seconds, control).run()
        typer.echo(json.dumps(found) if json_ else found["table"])
        return
    out.mkdir(parents=True, exist_ok=True)
    bench_ = Bench(out.absolute(), seed, _numbers(workers), peers.absolute() if peers else None)
    if memory or profile or flat:
        found = (bench_.memory if memory else bench_.profile if profile else bench_.flat)(events)
        typer.echo(json.dumps(found) if json_ else found["table"])
        return
    names = [name.strip() for name in only.split(",") if name.strip()]
    if quick:
        names = [f"{MILLRACE}-{max(bench_.workers)}", YARDSTICK_A, YARDSTICK_B]
        rounds = min(rounds, QUICK_ROUNDS)
    result = bench_.compare(events, rounds, names)
    _keep(out, result)
    typer.echo(
        json.dumps(result) if json_ else f"{markdown(result)}\nkept in {out}: bench.json, bench.md, bench.svg"
    )
    if guard is not None:
        _guard(result, guard)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where it is done, and with what."""

    folder: Path
    seed: int
    workers: list[int]
    environments: Path | None

    def compare(self, events: int, rounds: int, names: list[str]) -> dict[str, Any]:
        """Let everyone run, and return the result."""
        competitors = chosen([*(self.ours(count) for count in self.workers), *OTHERS], names)
        here = [c for c in competitors if c.python(self.environments)]
        machine = this_machine(max(c.workers for c in here))
        given = self.input(events)
        run_rounds(
            self._course(), here, self.input(WARM_UP_EVENTS), 1, lambda said: _tell(f"warm-up, {said}")
        )
        standings = run_rounds(self._course(), here, given, rounds, _tell)
        return {
            "made_at": _now().isoformat(),
            "command": " ".join(["millrace", *sys.argv[1:]]),
            "machine": asdict(machine),
            "input": {"plan": asdict(given.plan), "expected": asdict(given.expected)},
            "rounds": rounds,
            "competitors": as_json(standings),
            "left_out": {c.name: c.why_left_out() for c in competitors if c not in here},
        }

    def memory(self, events: int) -> dict[str, Any]:
        """The most memory of a run over few events, over the same ones again and again, and over many others."""
        few = self.input(events)
        rows = []
        for given in (few, repeated(few, MORE), self.input(MORE * events)):
            _tell(f"{given.expected.lines:,} lines, {given.expected.keys:,} keys")
            lap = self._course().run(self.ours(max(self.workers)), given).lap
            rows.append({"lines": lap.events, "keys": given.expected.keys, "peak_bytes": lap.peak_bytes})
        table = ["|lines|keys|peak memory|", "| ---: | ---: | ---: |"]
        table += [f"|{r['lines']:,}|{r['keys']:,}|{r['peak_bytes'] / 1e6:,.0f} MB|" for r in rows]
        return {"runs": rows, "table": "\n".join(table)}

    def flat(self, events: int) -> dict[str, Any]:
        """What must stay quick or small however many events there are."""
        small = self.input(WARM_UP_EVENTS)
        return measure(self.folder, events, Path(small.events), _tell)

    def profile(self, events: int) -> dict[str, Any]:
        """Where the time of a run goes, stage by stage."""
        competitor, given = self.ours(max(self.workers)), self.input(events)
        self._course().run(competitor, self.input(WARM_UP_EVENTS))
        lap = asdict(self._course().run(competitor, given, is_profiled=True).lap)
        return {**lap, "table": stage_table(lap)}

    @staticmethod
    def ours(workers: int) -> Competitor:
        """Millrace itself."""
        return millrace(workers, bench_lap.__name__)

    def input(self, events: int) -> Input:
        """The input of so many events, made when it is not there."""
        plan = InputPlan(events, self.seed)
        _tell(f"input of {events:,} events")
        return make_input(self.folder / f"input-{events}-{self.seed}", plan, lambda _lines: None)

    def _course(self) -> Course:
        return Course(self.folder, self.environments)


def _numbers(text: str) -> list[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1:
        raise UsageError(f"--workers is a list of numbers such as 1,2, not {text!r}")
    return numbers


def _keep(folder: Path, result: dict[str, Any]) -> None:
    for name, text in (
        ("bench.json", json.dumps(result, indent=1) + "\n"),
        ("bench.md", markdown(result)),
        ("bench.svg", svg(result)),
    ):
        (folder / name).write_text(text, encoding="utf-8")


def _guard(result: dict[str, Any], lowest: float) -> None:
    """Raise `MillraceError` when the ratio to yardstick B is too low."""
    standings = from_json(result["competitors"])
    ours = best_of_ours(standings)
    other = next((s for s in standings if s.competitor.name == YARDSTICK_B), None)
    if ours is None or other is None:
        raise UsageError(f"--guard compares with {YARDSTICK_B}: let it and {MILLRACE} run")
    ratio = ours.ratio(other).median
    if ratio < lowest:
        msg = (
            f"{ours.competitor.title} is {ratio:.2f} times as fast as {YARDSTICK_B}, which is below {lowest}"
        )
        raise MillraceError(f"{msg}: see what has changed with `millrace bench --profile`")


def _now() -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=SystemClock().now_ms())


def _tell(sentence: str) -> None:
    typer.echo(f"bench: {sentence}", err=True)
