"""One lap of Millrace itself: `python -m cli.bench_lap JOB`, a run like any other, with a stopwatch beside it."""

import sys
from functools import wraps
from pathlib import Path
from typing import Any

from benchmarks.bench_lap import Job, Stopwatch, answer, read_job
from benchmarks.bench_stages import Stages
from benchmarks.yardsticks import look
from cli.progress import quiet_stdout
from cli.run import run_files
from cli.run_kafka import KafkaOptions, run_kafka
from cli.running import RunOptions
from sinks.clickhouse import connect
from sinks.ledger import Ledger, LedgerLane


def options_of(job: Job) -> RunOptions:
    """The run that a job asks for: the whole contract, with prices and limits."""
    return RunOptions(
        [] if job.topic else [job.events],
        f"chdb://{job.folder}",
        catalog=Path(job.catalog),
        accounts=Path(job.accounts),
        workers=job.workers,
    )


def time_ledger(watch: Stopwatch) -> None:
    """Let the watch run from when the ledger is open to when the last commit is durable."""
    opened, commit = Ledger.__init__, LedgerLane.commit

    @wraps(opened)
    def opened_and_started(*arguments: Any, **named: Any) -> None:
        opened(*arguments, **named)
        watch.start()

    @wraps(commit)
    def committed_and_stopped(*arguments: Any, **named: Any) -> Any:
        voided = commit(*arguments, **named)
        watch.stop()
        return voided

    Ledger.__init__ = opened_and_started  # type: ignore[method-assign]
    LedgerLane.commit = committed_and_stopped  # type: ignore[method-assign]


def take_in(job: Job) -> dict[str, Any]:
    """Run to the end of the file, or of the topic where the job names one."""
    if not job.topic:
        return run_files(options_of(job))
    return run_kafka(options_of(job), KafkaOptions(job.brokers, job.topic, job.topic, [], until_end=True))


def main() -> None:
    """Run one lap."""
    job, watch, stages = read_job(sys.argv), Stopwatch(), Stages()
    if job.is_profiled:
        stages.watch()
    time_ledger(watch)
    with quiet_stdout():
        summary = take_in(job)
    found = look(connect(f"chdb://{job.folder}"), is_digested=job.is_digested)
    if job.is_profiled:
        found["stages"] = stages.as_json()
    answer(job, watch, summary["events"], duplicates=summary["duplicates"], **found)


if __name__ == "__main__":
    main()
