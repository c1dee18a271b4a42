"""Pathway: count each key once and sum per tenant, from a file.

`python -m benchmarks.peers.pathway_sums JOB`, by the Python of an environment that has `pathway`.
"""

import os
import sys
from typing import Any

from benchmarks.bench_lap import Job, Stopwatch, answer, read_job

DOES = "keys counted once, bytes summed per tenant"
DOES_NOT = "no ledger, no prices, no validation beyond types, no conflicts, corrections or windows"


def count(pathway: Any, job: Job) -> dict[str, Any]:
    """Run the dataflow; the sums of each tenant."""
    pw = pathway

    class Event(pw.Schema):  # type: ignore[misc, name-defined] # the framework reads the annotations
        event_id: str
        source: str
        tenant: str
        idempotencykey: str | None = pw.column_definition(default_value=None)
        data: pw.Json  # type: ignore[name-defined]

    lines = pw.io.fs.read(
        job.events, format="json", schema=Event, mode="static", json_field_paths={"event_id": "/id"}
    )
    delivery = pw.this.data["event"]["delivery"]
    is_templated = pw.this.data["operation"] == pw.Json("webhook.delivery")
    default = pw.if_else(
        is_templated, pw.coalesce(delivery.as_str(), ""), pw.this.source + " " + pw.this.event_id
    )
    size = pw.coalesce(pw.this.data["request_bytes"].as_int(), 0)
    events = lines.select(pw.this.tenant, key=pw.coalesce(pw.this.idempotencykey, default), size=size)
    keys = events.groupby(pw.this.tenant, pw.this.key).reduce(
        pw.this.tenant, pw.this.key, size=pw.reducers.any(pw.this.size)
    )
    sums = keys.groupby(pw.this.tenant).reduce(
        pw.this.tenant, rows=pw.reducers.count(), size=pw.reducers.sum(pw.this.size)
    )
    latest: dict[str, Any] = {}

    def on_change(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:  # noqa: ARG001
        if is_addition:
            latest[row["tenant"]] = row

    pw.io.subscribe(sums, on_change)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    return latest


def main() -> None:
    """Run one lap."""
    job = read_job(sys.argv)
    os.environ["PATHWAY_THREADS"] = str(job.workers)
    import pathway  # type: ignore[import-not-found] # noqa: PLC0415 - only in its own environment

    watch = Stopwatch()
    tenants = count(pathway, job)
    watch.stop()
    with open(job.events, "rb") as file:  # noqa: PTH123 - counted when the clock has stopped
        events = sum(1 for _ in file)
    answer(job, watch, events, rows=sum(row["rows"] for row in tenants.values()))


if __name__ == "__main__":
    main()
