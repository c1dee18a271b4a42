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
SMALLER = "export-of-a-quarter"
"""The export again with a quarter of the principals: memory is bounded where it needs about as much."""
_SHARE_OF_PRINCIPALS = 50
"""Rows of a principal in the month whose summary is asked for."""
_EXPORTED_ROWS = 3


def measure(folder: Path, count: int, events: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure all parts with so many keys and rows; `events` is a small file that a restarted run reads."""
    found = {}
    for part in (*PARTS, SMALLER):
        tell(f"flat parts: {part}")
        if part != "keys":  # in a process of its own, whose memory is no part of what is measured
            _in_a_process("fill", part, folder, count, events)
        found[part] = _in_a_process("measure", part, folder, count, events)
    found["export"]["of_a_quarter"] = found.pop(SMALLER)
    return found | {"table": table(found)}


def _in_a_process(step: str, part: str, folder: Path, count: int, events: Path) -> Any:
    command = [sys.executable, "-m", __name__, step, part, str(folder), str(count), str(events)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        msg = f"the measurement of {part} failed at {step}: {done.stderr.strip()[-500:]}"
        raise MillraceError(msg)
    return json.loads(done.stdout)


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    keys, restart, summary, export = (found[part] for part in PARTS)
    read = f"{restart['keys']:,} keys in the horizon, to the last of {restart['events']:,} events, one core"
    month = f"{summary['rows']:,} rows, {summary['lines']:,} principals"
    smaller = export["of_a_quarter"]
    export_took = f"{export['seconds']:.1f} s, {_grown(export)} MB above the opened ledger"
    rows = (
        ("what", "found", "goal"),
        ("---", "---:", "---:"),
        (f"bytes for a key, {keys['keys']:,} keys held", f"{keys['bytes_a_key']:.1f}", "40 or less"),
        ("lookups a core-second", f"{keys['lookups_a_core_second']:,.0f}", "5,000,000 or more"),
        (f"restart, {read}", f"{restart['seconds']:.1f} s", "30 s or less"),
        (f"summary of a month by principal, {month}", f"{summary['seconds']:.2f} s", "under 0.5 s"),
        (f"finance export of {export['lines']:,} principals", export_took, "under 10 s, memory bounded"),
        (
            f"memory of the export of {smaller['lines']:,} principals",
            f"{_grown(smaller)} MB",
            "about as much",
        ),
    )
    return "\n".join(f"|{'|'.join(row)}|" for row in rows)


def _grown(export: dict[str, Any]) -> str:
    return f"{flat.export_bytes(export) / 1e6:,.0f}"


def _size(part: str, count: int) -> tuple[int, int]:
    """Rows and principals of the ledger that a part is measured with."""
    if part in {"export", SMALLER}:
        principals = max(300, count // (50 if part == "export" else 200))
        return principals * _EXPORTED_ROWS, principals
    return count, max(1, count // _SHARE_OF_PRINCIPALS // 50)


def _place(part: str, folder: Path, count: int) -> Path:
    rows, principals = _size(part, count)
    return folder / f"ledger-{rows}-{principals}"


def _fill(part: str, folder: Path, count: int) -> bool:
    """Make the ledger of a part where it is not there yet."""
    place = _place(part, folder, count)
    if (place / "made").exists():
        return False
    ledger = Ledger(f"chdb://{place}", SystemClock())
    ledger.begin_run(1)
    flat.fill(ledger.client, *_size(part, count))
    (place / "made").touch()
    return True


def _of_ledger(part: str, folder: Path, count: int, events: Path) -> dict[str, Any]:
    url = f"chdb://{_place(part, folder, count)}"
    if part == "summary":
        return flat.of_summary(connect(url))
    if part in {"export", SMALLER}:
        return flat.of_export(connect(url), folder / part)
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
    """Fill the ledger of one part, or measure it and print that as JSON."""
    step, part, folder, count, events = sys.argv[1:]
    with quiet_stdout():
        found: Any = _run(step, part, Path(folder), int(count), Path(events))
    print(json.dumps(found))  # noqa: T201 - the answer


def _run(step: str, part: str, folder: Path, count: int, events: Path) -> Any:
    if step == "fill":
        return _fill(part, folder, count)
    return flat.of_keys(count) if part == "keys" else _of_ledger(part, folder, count, events)


if __name__ == "__main__":
    main()
