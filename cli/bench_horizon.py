"""`millrace bench --horizon`: memory while many more keys come by than the dedupe horizon holds.

Events without end come through a named pipe from a process that makes them, so that a hundred million need no file.
Hours shrink to seconds for it: the horizon alone is another than in a run, and each event is stamped some minutes
ahead, as far as an event may be, since keys of older ones would be looked up in the ledger.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from benchmarks.bench_input import Input, InputPlan, make_input
from benchmarks.bench_machine import resident_bytes
from benchmarks.fresh_lines import FreshLines, write_passes
from benchmarks.horizon import Sample, result_of, table
from benchmarks.yardsticks import look
from cli.clock import SystemClock
from cli.progress import quiet_stdout
from cli.run import run_files
from cli.running import RunOptions
from pipeline.errors import MillraceError
from pipeline.lane import Delivered, Lane
from sinks.clickhouse import connect
from sinks.ledger import Hot, Ledger

BLOCK_LINES = 100_000
_PASSES_LEAST, _LINES_LEAST = 10, 100
_HORIZON_S_LEAST = 4
_EVENTS_A_HORIZON_SECOND = 4_000_000
"""A horizon for each so many events: a hundred million fill it a dozen times."""
_AHEAD_MS = 298_000
_ON_DISK = "SELECT sum(bytes_on_disk) FROM system.parts WHERE table = 'ledger' AND active"
_BETWEEN_SAMPLES_S = 0.25


def measure(folder: Path, events: int, seed: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Send so many events through, rounded to whole passes, and sample the memory."""
    lines = max(min(events // _PASSES_LEAST, BLOCK_LINES), _LINES_LEAST)
    given = make_input(folder / f"input-{lines}-{seed}", InputPlan(lines, seed), lambda _lines: None)
    passes = max(events // lines, 1)
    tell(f"{passes * lines:,} events through a pipe")
    with tempfile.TemporaryDirectory(dir=folder, prefix="horizon-") as place:
        found = _run(given, passes, Path(place))
    wanted = {"rows": passes * given.expected.keys, "pico_usd": passes * given.expected.pico_usd_of_keys}
    for name, value in wanted.items():
        if int(found["found"][name]) != value:
            raise MillraceError(
                f"memory is not measured: {name} must be {value}, but it found {found['found'][name]}"
            )
    found["keys_seen"] = wanted["rows"]
    return found | {"table": table(found)}


def _run(given: Input, passes: int, place: Path) -> dict[str, Any]:
    pipe = place / "events.ndjson"
    os.mkfifo(pipe)
    spec = json.dumps([str(given.folder), str(given.events), str(pipe), str(place / "ledger"), passes])
    command = [sys.executable, "-m", __name__]
    with (place / "said").open("w+b") as said:
        writer = subprocess.Popen([*command, "write", spec], stdout=said, stderr=said)  # noqa: S603 - our own
        try:
            done = subprocess.run([*command, "run", spec], stdout=subprocess.PIPE, stderr=said, check=False)  # noqa: S603 - likewise
        finally:
            writer.kill()
            writer.wait()
        said.seek(0)
        last = said.read().decode("utf-8", "replace").strip()[-500:]
    if done.returncode:
        raise MillraceError(f"the run whose memory is measured failed: {last}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class _Watched:
    """Counts what lanes hold and have made durable, beside a run of this process."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._lanes: list[Lane] = []
        self._events = 0
        self._lock = threading.Lock()
        self._begun = time.perf_counter()

    def watch(self, horizon_s: int) -> None:
        """Wrap the lanes, and give them a horizon of seconds, for the rest of this process."""
        made, end = Lane.__init__, Lane.end

        @wraps(made)
        def made_and_known(lane: Lane, *arguments: Any, **named: Any) -> None:
            made(lane, *arguments, **named)
            self._lanes.append(lane)

        @wraps(end)
        def ended_and_counted(lane: Lane, delivered: Delivered) -> Delivered:
            with self._lock:
                self._events += sum(tally.events for tally in delivered.tallies.values())
            return end(lane, delivered)

        def hot_keys(_ledger: Ledger, _horizon_ms: int, _keys_max: int = 0) -> Hot:
            return Hot(0, horizon_s * 1000, 0)

        Lane.__init__ = made_and_known  # type: ignore[method-assign, assignment]
        Lane.end = ended_and_counted  # type: ignore[method-assign, assignment]
        Ledger.hot_keys = hot_keys  # type: ignore[method-assign, assignment]

    def sample(self) -> None:
        """Look now."""
        keys = sum(lane.keys_held() for lane in self._lanes)
        self.samples.append(Sample(time.perf_counter() - self._begun, self._events, keys, resident_bytes()))

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Look again and again beside the body, and once more at its end."""
        done = threading.Event()

        def go_on() -> None:
            while not done.wait(_BETWEEN_SAMPLES_S):
                self.sample()

        thread = threading.Thread(target=go_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        self.sample()


def main() -> None:
    """Write the events, or run over them."""
    part, (folder, events, pipe, ledger, passes) = sys.argv[1], json.loads(sys.argv[2])
    if part == "write":
        write_passes(FreshLines(Path(events)), passes, Path(pipe), SystemClock().now_ms, _AHEAD_MS)
        return
    count = passes * Path(events).read_bytes().count(b"\n")
    horizon_s = max(_HORIZON_S_LEAST, count // _EVENTS_A_HORIZON_SECOND)
    options = RunOptions(
        [pipe],
        f"chdb://{ledger}",
        catalog=Path(folder, "catalog.toml"),
        accounts=Path(folder, "accounts.toml"),
    )
    watched = _Watched()
    watched.watch(horizon_s)
    with quiet_stdout(), watched.sampling():
        summary = run_files(options)
    found = result_of(watched.samples, summary["events"], horizon_s)
    found |= _totals(ledger)
    print(json.dumps(found))  # noqa: T201 - the answer


def _totals(ledger: str) -> dict[str, Any]:
    with quiet_stdout():
        client = connect(f"chdb://{ledger}")
        found = look(client, is_digested=False)
        size = client.query(_ON_DISK).result_rows[0][0]
    totals = {name: int(found[name]) for name in ("rows", "pico_usd")}
    return {"found": totals, "row_bytes": round(int(size) / max(totals["rows"], 1), 1)}


if __name__ == "__main__":
    main()
