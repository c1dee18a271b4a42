"""Quix Streams: count each key once and sum bytes per tenant, from a topic keyed by tenant.

`python -m benchmarks.peers.quix_sums JOB`, by the Python of an environment that has `quixstreams`. A worker is a
process, one consumer of the group: two threads would share one interpreter lock.
"""

import sys
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.bench_lap import Job, Stopwatch, answer, peak_bytes, read_job

DOES = "keys counted once, bytes summed per tenant, state in RocksDB"
DOES_NOT = (
    "no ledger, no prices, no validation, no conflicts, corrections or windows; no changelog of its state"
)
_IDLE_S = 0.05
_STUCK_S = 60
"""Without progress so long it ends; what it found then tells."""


def key_of(event: dict[str, Any]) -> str:
    """The idempotency key of an event, or the default of the contract."""
    named = event.get("idempotencykey")
    if named:
        return str(named)
    data = event["data"]
    if data.get("operation") == "webhook.delivery":
        return f"hook:{data['event']['delivery']}"
    return f"{event['source']} {event['id']}"


def count_once(event: dict[str, Any], state: Any) -> int:
    """1 for a key that the tenant has not sent before, whose bytes are added to the tenant's; else 0."""
    key = f"key {key_of(event)}"
    if state.exists(key):
        return 0
    state.set(key, 1)
    state.set("bytes", state.get("bytes", 0) + event["data"].get("request_bytes", 0))
    return 1


def run_process(job: Job, done: Any, results: Any) -> None:
    """One consumer of the group, until all of them together have seen every event."""
    from quixstreams import Application  # type: ignore[import-not-found] # noqa: PLC0415 - its own environment

    app = Application(
        broker_address=job.brokers,
        consumer_group=f"quix-{Path(job.folder).parent.name}",  # one that has read nothing
        auto_offset_reset="earliest",
        state_dir=f"{job.folder}-state",
        use_changelog_topics=False,
        loglevel="ERROR",
    )
    found = {"rows": 0, "events": 0}

    def note(is_new: int) -> None:
        found["rows"] += is_new
        found["events"] += 1
        with done.get_lock():
            done.value += 1

    counted = app.dataframe(app.topic(job.topic, value_deserializer="json")).apply(count_once, stateful=True)
    counted.update(note)
    threading.Thread(target=_stop_at_the_end, args=(app, job, done), daemon=True).start()
    app.run()
    results.put({**found, "peak": peak_bytes()})


def _stop_at_the_end(app: Any, job: Job, done: Any) -> None:
    seen, moved_at = 0, time.monotonic()
    while done.value < job.lines and time.monotonic() - moved_at < _STUCK_S:
        time.sleep(_IDLE_S)
        if done.value > seen:
            seen, moved_at = done.value, time.monotonic()
    app.stop()


def main() -> None:
    """Run one lap; it ends when the last offsets are committed."""
    job = read_job(sys.argv)
    context = get_context("spawn")
    watch, results, done = Stopwatch(), context.SimpleQueue(), context.Value("q", 0)
    processes = [context.Process(target=run_process, args=(job, done, results)) for _ in range(job.workers)]
    for process in processes:
        process.start()
    parts = [results.get() for _ in processes]
    for process in processes:
        process.join()
    watch.stop()
    total = {name: sum(part[name] for part in parts) for name in ("events", "rows", "peak")}
    answer(job, watch, **total)


if __name__ == "__main__":
    main()
