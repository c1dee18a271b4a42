"""What a long run shows while it works: a bar on a terminal, now and then a line elsewhere."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from pipeline.flow import RunState

_BETWEEN_LINES_S = 10.0
_BETWEEN_LOOKS_S = 0.2


class Counted(Protocol):
    """Something that knows how far it has read."""

    bytes_read: int


class Progress:
    """Shows how far a run is, on stderr, until it ends."""

    def __init__(self, reader: Counted, state: RunState, total_bytes: int) -> None:
        self._reader, self._state, self._total = reader, state, total_bytes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _show(self) -> None:
        if sys.stderr.isatty():
            self._bar()
        else:
            self._lines()

    def _bar(self) -> None:
        columns = (TextColumn("{task.fields[events]:>14,} events"), BarColumn(), TimeRemainingColumn())
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("run", total=self._total or None, events=0)
            while not self._done.wait(_BETWEEN_LOOKS_S):
                bar.update(task, completed=self._reader.bytes_read, events=self._state.total.events)

    def _lines(self) -> None:
        begun = time.monotonic()
        while not self._done.wait(_BETWEEN_LINES_S):
            seconds = int(time.monotonic() - begun)
            sys.stderr.write(f"millrace: {self._state.total.events:,} events durable after {seconds} s\n")


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what libraries write to stdout to stderr: stdout holds the answer alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
