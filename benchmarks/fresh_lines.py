"""Events without end from a few: the lines of a file again and again, each time with new ids, keys and times.

What has a fixed place in a line is written over, so ten million lines a second come from one core, and what they must
come to is known: so many times what the file must come to.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import MillraceError

_TIME = re.compile(rb'"time":"([^"]{24})"')
_ID = re.compile(rb'"id":"evt_([0-9]{4})')
_KEY = re.compile(rb'"(?:idempotencykey":"[a-z]+-|delivery":")([0-9a-f]{4})')
_TENANT = re.compile(rb'"tenant":"([^"]*)"')
LINES_MAX = 1_000_000
"""The first four digits of ten number the pass, so the rest must be enough for a line."""
PASSES_MAX = 10_000


class FreshLines:
    """A file's lines, to be had anew by a number: `block(7, ...)` has no key in common with `block(8, ...)`."""

    def __init__(self, events: Path) -> None:
        """Read the file; raises `MillraceError` for one whose lines are not those of the benchmark's input."""
        text = events.read_bytes()
        lines = text.splitlines(keepends=True)
        self.count = len(lines)
        self.tenants = [_found(_TENANT, line)[0] for line in lines]
        self._bytes = np.frombuffer(text, np.uint8).copy()
        starts = np.cumsum([0, *(len(line) for line in lines)])[:-1]
        if self.count > LINES_MAX:
            raise MillraceError(f"at most {LINES_MAX} lines can be had anew, not {self.count}")
        self._times = _places(_TIME, lines, starts, 24)
        self._ids = _places(_ID, lines, starts, 4)
        self._keys = _places(_KEY, lines, starts, 4)

    def block(self, number: int, time: str) -> bytes:
        """All lines as those of a pass, at a time such as 2026-11-21T12:00:00.000Z."""
        if not 0 <= number < PASSES_MAX:
            raise MillraceError(f"there are {PASSES_MAX} passes, not {number}")
        self._bytes[self._times] = np.frombuffer(time.encode(), np.uint8)
        self._bytes[self._ids] = np.frombuffer(b"%04d" % number, np.uint8)
        self._bytes[self._keys] = np.frombuffer(b"%04x" % number, np.uint8)
        return self._bytes.tobytes()


def _found(pattern: re.Pattern[bytes], line: bytes) -> tuple[bytes, int]:
    match = pattern.search(line)
    if match is None:
        raise MillraceError(
            f"no {pattern.pattern!r} in the line {line[:80]!r}: give lines of the benchmark's input"
        )
    return match[1], match.start(1)


def _places(
    pattern: re.Pattern[bytes], lines: list[bytes], starts: npt.NDArray[Any], width: int
) -> npt.NDArray[np.int64]:
    """Where the bytes are that are written over, a row for each line that has them."""
    matches = [(start, pattern.search(line)) for start, line in zip(starts.tolist(), lines, strict=True)]
    first = np.array([start + match.start(1) for start, match in matches if match], np.int64)
    return first[:, None] + np.arange(width, dtype=np.int64)


def write_passes(
    lines: FreshLines, passes: int, into: Path, now_ms: Callable[[], int], ahead_ms: int
) -> None:
    """Write so many passes into a file or a pipe, stamped with the present moment and some more."""
    with into.open("wb", buffering=0) as out:
        for number in range(passes):
            block = memoryview(lines.block(number, stamp(now_ms() + ahead_ms)))
            while block:
                block = block[out.write(block) :]


def stamp(moment_ms: int) -> str:
    """A moment as events have it."""
    return f"{np.datetime64(moment_ms, 'ms')}Z"
