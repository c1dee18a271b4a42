"""`millrace bench`: measure the speed of this machine, beside what others would use instead."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.bench import from_json
from benchmarks.bench_field import FILE, KAFKA, MILLRACE, YARDSTICK_A, YARDSTICK_B
from benchmarks.bench_report import markdown, ours_of
from cli.bench_http import HttpBench
from cli.bench_parts import Bench, keep
from pipeline.errors import MillraceError, UsageError

app = typer.Typer(help="Measure the speed of this machine.", add_completion=False)

QUICK_ROUNDS = 3
COMPLETE_ROUNDS = 3


@app.command()
def bench(  # noqa: PLR0913, PLR0917 - one argument for each flag
    events: Annotated[int, typer.Option(min=1000, help="How many events.")] = 1_000_000,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="How often everyone runs, in turn: 5, with --complete 3.")
    ] = None,
    workers: Annotated[str, typer.Option(help="Numbers of workers of Millrace, such as 1,2.")] = "1,2",
    only: Annotated[str, typer.Option(help="Names of those who are to run; all when it is left out.")] = "",
    peers: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The environments of peers, a folder for each.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the results are kept.")] = Path(
        "build/bench"
    ),
    work: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where inputs and ledgers are laid; with --out else.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other events.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Only the most workers beside ClickHouse, three rounds.")
    ] = False,
    complete: Annotated[
        bool,
        typer.Option(
            "--complete", help="Everyone, from the file and from Kafka, then --latency, in one folder."
        ),
    ] = False,
    from_kafka: Annotated[
        bool,
        typer.Option(
            "--from-kafka",
            help="Also those who read a topic, the broker on the same cores; with --profile a run over it.",
        ),
    ] = False,
    brokers: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Kafka to use; else one is started (Java 17, Maven)."),
    ] = None,
    guard: Annotated[
        float | None, typer.Option(help="Fail when the ratio to yardstick B is below this.")
    ] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Measure memory instead: so many events, and ten times as many.")
    ] = False,
    horizon: Annotated[
        bool,
        typer.Option(
            "--horizon", help="Measure memory over time instead, keys let go beyond a short horizon."
        ),
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Measure where the time of one run goes instead.")
    ] = False,
    flat: Annotated[
        bool,
        typer.Option("--flat", help="Measure keys, a restart, a month's summary and the export instead."),
    ] = False,
    latency: Annotated[
        bool,
        typer.Option(
            "--latency", help="Measure how soon what is produced to Kafka counts in the spend windows."
        ),
    ] = False,
    http: Annotated[
        bool, typer.Option("--http", help="Measure how fast caps answer over HTTP instead, on one core.")
    ] = False,
    rate: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --http: requests a second (1000). With --latency: events (half the most)."
        ),
    ] = None,
    seconds: Annotated[int, typer.Option(min=1, help="With --http and --latency: how long.")] = 20,
    control: Annotated[
        str | None, typer.Option(help="With --http: the URL of a PostgreSQL to measure, too.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The result as JSON, alone on stdout.")] = False,
) -> None:
    """Measure how fast this machine turns a file of events into the ledger, and how fast others are.

    Everyone reads the same file, already in memory, in a process of its own, one after the other, in rounds.
    """
    if http:
        found = HttpBench(rate or 1000, seconds, control).run()
        typer.echo(json.dumps(found) if json_ else found["table"])
        return
    folder = (work or out).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    bench_ = Bench(folder, seed, _numbers(workers), peers.absolute() if peers else None, brokers)
    if memory or profile:
        found = bench_.memory(events) if memory else bench_.profile(events, with_kafka=from_kafka)
        typer.echo(json.dumps(found) if json_ else found["table"])
        return
    if flat or horizon or latency:
        part = "flat" if flat else "horizon" if horizon else "latency"
        found = bench_.latency(events, rate, seconds) if latency else getattr(bench_, part)(events)
        _show(found, found["table"], keep(out, part, found), out, is_json=json_)
        return
    names = [name.strip() for name in only.split(",") if name.strip()]
    if quick:
        names = [f"{MILLRACE}-{max(bench_.workers)}", YARDSTICK_A, YARDSTICK_B]
        rounds = min(rounds or QUICK_ROUNDS, QUICK_ROUNDS)
    result = bench_.compare(
        events, rounds or (COMPLETE_ROUNDS if complete else 5), names, with_kafka=from_kafka or complete
    )
    files = keep(out, "bench", result)
    from_topic = ours_of(from_json(result["competitors"]), KAFKA)
    if complete and from_topic is not None:
        found = bench_.latency(events, rate or int(from_topic.speed().median / 2), seconds)
        files += keep(out, "latency", found)
        goals = (out / "goals.md").read_text(encoding="utf-8")
        _show({"bench": result, "latency": found}, f"{markdown(result)}\n{goals}", files, out, is_json=json_)
    else:
        _show(result, markdown(result), files, out, is_json=json_)
    if guard is not None:
        _guard(result, guard)


def _show(found: dict[str, Any], text: str, files: list[str], folder: Path, *, is_json: bool) -> None:
    kept = ", ".join(dict.fromkeys(files))
    typer.echo(json.dumps(found) if is_json else f"{text}\nkept in {folder}: {kept}")


def _numbers(text: str) -> list[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1:
        raise UsageError(f"--workers is a list of numbers such as 1,2, not {text!r}")
    return numbers


def _guard(result: dict[str, Any], lowest: float) -> None:
    """Raise `MillraceError` when the ratio to yardstick B is too low."""
    standings = from_json(result["competitors"])
    ours = ours_of(standings, FILE)
    other = next((s for s in standings if s.competitor.name == YARDSTICK_B), None)
    if ours is None or other is None:
        raise UsageError(f"--guard compares with {YARDSTICK_B}: let it and {MILLRACE} run")
    ratio = ours.ratio(other).median
    if ratio < lowest:
        msg = (
            f"{ours.competitor.title} is {ratio:.2f} times as fast as {YARDSTICK_B}, which is below {lowest}"
        )
        raise MillraceError(f"{msg}: see what has changed with `millrace bench --profile`")
