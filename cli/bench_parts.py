"""What `millrace bench` measures, part by part: where it is done, and with what."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from benchmarks import bench_goals, horizon, latency
from benchmarks.bench import Course, LapFailedError, as_json, run_rounds
from benchmarks.bench_field import KAFKA, OTHERS, Competitor, chosen, millrace, millrace_from_kafka
from benchmarks.bench_input import Input, InputPlan, make_input, repeated
from benchmarks.bench_machine import this_machine
from benchmarks.bench_report import STYLE, markdown, svg
from benchmarks.bench_stages import stage_table
from benchmarks.kafka.topic import Kafka, NoBrokerError, kafka_at
from cli import bench_flat, bench_horizon, bench_lap, bench_latency
from cli.clock import SystemClock
from pipeline.errors import MillraceError

WARM_UP_EVENTS = 20_000
MORE = 10
"""How many times as many events the second half of the measurement of memory has."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where it is done, and with what."""

    folder: Path
    """For inputs, ledgers and a broker."""
    seed: int
    workers: list[int]
    environments: Path | None
    brokers: str | None = None
    """A Kafka cluster to use; else one is started where it is needed."""

    def compare(
        self, events: int, rounds: int, names: list[str], *, with_kafka: bool = False
    ) -> dict[str, Any]:
        """Let everyone run, and return the result; `with_kafka` those who read a topic, too."""
        competitors = [c for c in chosen(self.everyone(), names) if with_kafka or names or c.reads != KAFKA]
        left_out = {c.name: c.why_left_out() for c in competitors if not c.python(self.environments)}
        with self._kafka(competitors) as (kafka, why_not):
            if kafka is None:
                left_out |= {c.name: why_not for c in competitors if c.reads == KAFKA}
            here = [c for c in competitors if c.name not in left_out]
            machine = this_machine(max((c.workers for c in here), default=1))
            given, course = self.input(events), Course(self.folder, self.environments, kafka)
            left_out |= self._warmed_up(course, here)
            here = [c for c in here if c.name not in left_out]
            standings = run_rounds(course, here, given, rounds, tell_user)
        return {
            **self.circumstances(),
            "machine": asdict(machine),
            "input": {"plan": asdict(given.plan), "expected": asdict(given.expected)},
            "rounds": rounds,
            "competitors": as_json(standings),
            "left_out": left_out,
        }

    def _warmed_up(self, course: Course, here: list[Competitor]) -> dict[str, str]:
        """Let everyone run once with few events; the peers who cannot here, by name, and why."""
        warm_up, failed = self.input(WARM_UP_EVENTS), {}
        for competitor in here:
            try:
                run_rounds(course, [competitor], warm_up, 1, lambda said: tell_user(f"warm-up, {said}"))
            except LapFailedError as error:
                if not competitor.environment:
                    raise
                failed[competitor.name] = str(error)
                tell_user(f"left out: {error}")
        return failed

    def everyone(self) -> list[Competitor]:
        """All who can run, Millrace first."""
        most = max(self.workers)
        kafka = millrace_from_kafka(most, bench_lap.__name__)
        return [*(self.ours(count) for count in self.workers), kafka, *OTHERS]

    @contextmanager
    def _kafka(self, competitors: list[Competitor]) -> Iterator[tuple[Kafka | None, str]]:
        """A cluster where one of them reads a topic, else why there is none."""
        if not any(c.reads == KAFKA for c in competitors):
            yield None, ""
            return
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="kafka-") as folder:
            try:
                opened = kafka_at(self.brokers, Path(folder) / "broker")
                kafka = opened.__enter__()
            except NoBrokerError as error:
                yield None, f"there is no broker here ({error}): name one with --brokers"
                return
            try:
                yield kafka, ""
            finally:
                opened.__exit__(None, None, None)

    def memory(self, events: int) -> dict[str, Any]:
        """The most memory of a run over few events, over the same ones again and again, and over many others."""
        few = self.input(events)
        rows = []
        for given in (few, repeated(few, MORE), self.input(MORE * events)):
            tell_user(f"{given.expected.lines:,} lines, {given.expected.keys:,} keys")
            lap = Course(self.folder).run(self.ours(max(self.workers)), given).lap
            rows.append({"lines": lap.events, "keys": given.expected.keys, "peak_bytes": lap.peak_bytes})
        table = ["|lines|keys|peak memory|", "| ---: | ---: | ---: |"]
        table += [f"|{r['lines']:,}|{r['keys']:,}|{r['peak_bytes'] / 1e6:,.0f} MB|" for r in rows]
        return {"runs": rows, "table": "\n".join(table)}

    def flat(self, events: int) -> dict[str, Any]:
        """What must stay quick or small however many events there are."""
        small = self.input(WARM_UP_EVENTS)
        return self.circumstances() | bench_flat.measure(self.folder, events, Path(small.events), tell_user)

    def horizon(self, events: int) -> dict[str, Any]:
        """Memory over time, with many more keys than the dedupe horizon holds."""
        return self.circumstances() | bench_horizon.measure(self.folder, events, self.seed, tell_user)

    def latency(self, events: int, rate: int | None, seconds: int) -> dict[str, Any]:
        """How soon what is produced counts; without a rate at half of what a topic of so many events ran at."""
        with self._kafka([millrace_from_kafka(2, bench_lap.__name__)]) as (kafka, why_not):
            if kafka is None:
                raise MillraceError(f"the latency from Kafka is not measured: {why_not}")
            most = 0.0
            if rate is None:
                course, reader = Course(self.folder, None, kafka), millrace_from_kafka(2, bench_lap.__name__)
                lap = course.run(reader, self.input(events)).lap
                most = lap.events / lap.seconds
                tell_user(f"from Kafka at the most {most:,.0f} events a second, so half of that")
            plan = latency.Plan(rate or int(most / 2), seconds)
            found = bench_latency.measure(self.folder, plan, kafka, self.seed, tell_user)
        return self.circumstances() | {"most_events_per_second": most} | found

    def profile(self, events: int, *, with_kafka: bool = False) -> dict[str, Any]:
        """Where the time of a run goes, stage by stage; `with_kafka` of one over a topic."""
        most, given = max(self.workers), self.input(events)
        competitor = millrace_from_kafka(most, bench_lap.__name__) if with_kafka else self.ours(most)
        with self._kafka([competitor]) as (kafka, why_not):
            if why_not:
                raise MillraceError(f"a run over a topic is not profiled: {why_not}")
            course = Course(self.folder, kafka=kafka)
            course.run(competitor, self.input(WARM_UP_EVENTS))
            lap = asdict(course.run(competitor, given, is_profiled=True).lap)
        return {**lap, "table": stage_table(lap)}

    @staticmethod
    def ours(workers: int) -> Competitor:
        """Millrace itself."""
        return millrace(workers, bench_lap.__name__)

    def input(self, events: int) -> Input:
        """The input of so many events, made when it is not there."""
        plan = InputPlan(events, self.seed)
        tell_user(f"input of {events:,} events")
        return make_input(self.folder / f"input-{events}-{self.seed}", plan, lambda _lines: None)

    @staticmethod
    def circumstances() -> dict[str, Any]:
        """When and by what a result is made."""
        return {"made_at": _now().isoformat(), "command": " ".join(["millrace", *sys.argv[1:]])}


_CHARTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "bench": svg,
    "horizon": lambda found: horizon.svg(found, STYLE),
    "latency": lambda found: latency.svg(found, STYLE),
}


def keep(folder: Path, part: str, found: dict[str, Any]) -> list[str]:
    """Write a part's result, its table and its chart, then all goals anew; returns the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        f"{part}.json": json.dumps(found, indent=1) + "\n",
        f"{part}.md": markdown(found) if part == "bench" else found["table"] + "\n",
    }
    if part in _CHARTS:
        texts[f"{part}.svg"] = _CHARTS[part](found)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "goals.md").write_text(bench_goals.markdown(bench_goals.lines_of(folder)), encoding="utf-8")
    return [*texts, "goals.md"]


def _now() -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=SystemClock().now_ms())


def tell_user(sentence: str) -> None:
    """Say on stderr how far it is."""
    typer.echo(f"bench: {sentence}", err=True)
