"""`millrace bench --flat`: what must stay quick or small however much there is, each in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import flat
from cli.clock import SystemClock
from cli.progress import quiet_stdout
from cli.run import run_files
from cli.running import RunOptions
from pipeline.errors import MillraceError
from sinks.clickhouse import connect
from sinks.ledger import Ledger

PARTS = ("keys", "restart", "summary", "export")
_SHARE_OF_PRINCIPALS = 50
"""Rows of a principal in the month whose summary is asked for."""
_EXPORTED_ROWS = 3


def measure(folder: Path, count: int, events: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure all parts with so many keys and rows; `events` is a small file that a restarted run reads."""
    found = {}
    for part in PARTS:
        tell(f"flat parts: {part}")
        command = [sys.executable, "-m", __name__, part, str(folder), str(count), str(events)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        if done.returncode:
            raise MillraceError(f"the measurement of {part} failed: {done.stderr.strip()[-500:]}")
        found[part] = json.loads(done.stdout)
    return found | {"table": table(found)}


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    keys, restart, summary, export = (found[part] for part in PARTS)
    read = f"{restart['keys']:,} keys in the horizon, to the last of {restart['events']:,} events, one core"
    month = f"{summary['rows']:,} rows, {summary['lines']:,} principals"
    export_took = f"{export['seconds']:.1f} s, {export['peak_bytes'] / 1e6:,.0f} MB at most"
    rows = (
        ("what", "found", "goal"),
        ("---", "---:", "---:"),
        (f"bytes for a key, {keys['keys']:,} keys held", f"{keys['bytes_a_key']:.1f}", "40 or less"),
        ("lookups a core-second", f"{keys['lookups_a_core_second']:,.0f}", "5,000,000 or more"),
        (f"restart, {read}", f"{restart['seconds']:.1f} s", "30 s or less"),
        (f"summary of a month by principal, {month}", f"{summary['seconds']:.2f} s", "under 0.5 s"),
        (f"finance export of {export['lines']:,} principals", export_took, "under 10 s, memory bounded"),
    )
    return "\n".join(f"|{'|'.join(row)}|" for row in rows)


def _of_ledger(part: str, folder: Path, count: int, events: Path) -> dict[str, Any]:
    rows, principals = (count, max(1, count // _SHARE_OF_PRINCIPALS // 50))
    if part == "export":
        principals = max(300, count // 50)
        rows = principals * _EXPORTED_ROWS
    place = folder / f"ledger-{rows}-{principals}"
    url = f"chdb://{place}"
    if not (place / "made").exists():
        ledger = Ledger(url, SystemClock())
        ledger.begin_run(1)
        flat.fill(ledger.client, rows, principals)
        (place / "made").touch()
    if part == "summary":
        return flat.of_summary(connect(url))
    if part == "export":
        return flat.of_export(connect(url), folder / "export")
    return _restart(url, count, events)


def _restart(url: str, count: int, events: Path) -> dict[str, Any]:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with closing(connect(url)):
        begun = time.perf_counter()
        summary = run_files(RunOptions([str(events)], url, workers=1, hot_keys_max=2 * count))
        seconds = time.perf_counter() - begun
    return {"keys": count, "events": summary["events"], "seconds": seconds}


def main() -> None:
    """Measure one part and print it as JSON."""
    part, folder, count, events = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    with quiet_stdout():
        found = flat.of_keys(count) if part == "keys" else _of_ledger(part, folder, count, events)
    print(json.dumps(found))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
