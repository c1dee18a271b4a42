"""PyFlink's Table API: count each key once and sum bytes per tenant, from a topic.

`python -m benchmarks.peers.pyflink_sums JOB`, by the Python of an environment that has `apache-flink`, with the jar
of the SQL connector for Kafka in its folder `jars`. The cluster is the one that PyFlink starts in its own JVM.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks.bench_lap import Job, Stopwatch, answer, of_children, peak_bytes, read_job

DOES = "keys counted once, bytes summed per tenant, in SQL with mini-batches, state on the heap of the JVM"
DOES_NOT = (
    "no ledger, no prices, no validation beyond types, no checkpoints, no conflicts, corrections or windows"
)
CONNECTOR = "org.apache.flink:flink-sql-connector-kafka:4.0.1-2.0"
_SETTINGS = {
    "table.exec.mini-batch.enabled": "true",
    "table.exec.mini-batch.allow-latency": "1 s",
    "table.exec.mini-batch.size": "50000",
    "table.optimizer.agg-phase-strategy": "TWO_PHASE",
    "pipeline.object-reuse": "true",
}
_SOURCE = """
CREATE TABLE events (
    `id` STRING, `source` STRING, `tenant` STRING, `idempotencykey` STRING,
    `data` ROW<`operation` STRING, `request_bytes` BIGINT, `event` ROW<`delivery` STRING>>,
    `at` AS PROCTIME()
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}',
    'properties.group.id' = 'pyflink-{topic}', 'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = 'latest-offset', 'format' = 'json'
)
"""
_SUMS = """
SELECT tenant, COUNT(*) AS new_keys, SUM(size) AS size
FROM (
    SELECT tenant, size, ROW_NUMBER() OVER (PARTITION BY tenant, event_key ORDER BY `at`) AS place
    FROM (
        SELECT tenant, `at`, COALESCE(`data`.`request_bytes`, 0) AS size,
            COALESCE(
                NULLIF(`idempotencykey`, ''),
                CASE WHEN `data`.`operation` = 'webhook.delivery' THEN 'hook:' || `data`.`event`.`delivery` END,
                `source` || ' ' || `id`
            ) AS event_key
        FROM events
    )
)
WHERE place = 1
GROUP BY tenant
"""


def prepare(job: Job) -> Any:
    """The query over the topic, in a JVM that is there."""
    from pyflink.table import (  # type: ignore[import-not-found] # noqa: PLC0415 - its own environment
        EnvironmentSettings,
        TableEnvironment,
    )

    table = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    settings = table.get_config()
    for name, value in _SETTINGS.items():
        settings.set(name, value)
    settings.set("parallelism.default", str(job.workers))
    jars = sorted((Path(sys.prefix) / "jars").glob("*.jar"))
    settings.set("pipeline.jars", ";".join(jar.as_uri() for jar in jars))
    table.execute_sql(_SOURCE.format(topic=job.topic, brokers=job.brokers))
    return table.sql_query(_SUMS)


def count(query: Any) -> dict[str, int]:
    """Run the query to the end of the topic: how many keys each tenant has."""
    with query.execute().collect() as changes:  # the last row of a tenant is the one that stays
        return {tenant: new_keys for tenant, new_keys, _ in changes}


def main() -> None:
    """Run one lap; it ends with the last change of a sum. The query takes the topic to its end."""
    job = read_job(sys.argv)
    query = prepare(job)
    before, _ = of_children()
    watch = Stopwatch()
    tenants = count(query)
    watch.stop()
    cpu, peak = of_children()
    watch.cpu_seconds += cpu - before
    answer(job, watch, job.lines, peak_bytes() + peak, rows=sum(tenants.values()))


if __name__ == "__main__":
    main()
