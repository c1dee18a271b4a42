"""The yardsticks: ClickHouse itself loads the file into the ledger's own table, the prices written as SQL.

They run as a process of their own: `python -m benchmarks.yardsticks JOB json_each_row`. What they do not do:
validate, refuse, count once, watch limits, or know again what they have read before.
"""

import sys
from importlib import resources
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from benchmarks.bench_lap import Job, Stopwatch, answer, read_job
from sinks.clickhouse import connect, migrate

WAYS: dict[str, dict[str, Any]] = {
    "json_each_row": {},
    "json_extract": {"min_insert_block_size_rows": 262_144, "min_insert_block_size_bytes": 0},
}
"""The ways to read the file, with the settings that make them fastest."""
_SETTINGS = {"async_insert": 0, "max_partitions_per_insert_block": 0}


def load(client: Client, job: Job, way: str) -> None:
    """Load the job's file into the table `ledger`, on as many threads as the job has workers."""
    threads = {"max_threads": job.workers, "max_insert_threads": job.workers}
    client.command(
        f"{sql('rate_events')} {sql(f'read_{way}')}",
        parameters={"path": job.events, "topic": Path(job.events).name},
        settings={**_SETTINGS, **threads, **WAYS[way]},
    )


def sql(name: str) -> str:
    """The text of a query of this package."""
    return (resources.files("benchmarks") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def look(client: Client, *, is_digested: bool) -> dict[str, Any]:
    """What stands in the ledger, and which engine says so."""
    query = client.query(sql("digest" if is_digested else "totals"))
    rows = dict(zip(query.column_names, query.result_rows[0], strict=True))
    return {**rows, "engine": f"ClickHouse {client.query('SELECT version()').result_rows[0][0]}"}


def main() -> None:
    """Run one lap."""
    job, way = read_job(sys.argv), sys.argv[2]
    client = connect(f"chdb://{job.folder}")
    migrate(client)
    watch = Stopwatch()
    load(client, job, way)
    watch.stop()
    found = look(client, is_digested=job.is_digested)
    answer(job, watch, found["rows"], **found)


if __name__ == "__main__":
    main()
