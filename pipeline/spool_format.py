"""How a spool lies on disk: a folder of segments, each a file of frames, each frame the lines of one append.

    spool.json                        the spool's own name, drawn once: offsets are counted under it
    lock                              held by the one process that has the spool
    00000000000000000000.ndjson       segments, named by the offset of their first line
    00000000000000065536.ndjson

A frame is a head, one line of fixed width that begins with `#`, and its lines, each with its LF. So a segment is
also a file of events for other tools: `grep -v '^#'` gives them. The head tells the offset of the first line, how
many lines and bytes follow, when they arrived, and where in the segment the group of frames begins that was synced
with it: all before that had been synced when the frame was written. So a bad frame with a good one of a later group
behind it is damage, and any other bad frame at the end is a write that a crash cut short.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import MillraceError

HEAD_BYTES = 71
SUFFIX = ".ndjson"
_HEAD = re.compile(
    rb"#([0-9a-f]{16}) ([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{12}) ([0-9a-f]{12}) ([0-9a-f]{8})\n"
)
_SUM_BYTES = 9


@dataclass(frozen=True, slots=True)
class Frame:
    """The head of a frame: its first offset, its lines, the bytes behind the head, their arrival, its group."""

    first: int
    count: int
    size: int
    arrived_at_ms: int
    group_at: int
    checksum: int

    @property
    def next_offset(self) -> int:
        """The offset behind its last line."""
        return self.first + self.count


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a spool is durable: the newest segment, the bytes of it that are synced, the next offset."""

    segment: int
    size: int
    next_offset: int


def framed(payload: bytes, count: int, first: int, arrived_at_ms: int, group_at: int) -> bytes:
    """A frame of lines that stand in `payload`, each with its LF."""
    head = b"#%016x %08x %08x %012x %012x " % (first, count, len(payload), arrived_at_ms, group_at)
    return b"%b%08x\n%b" % (head, _sum_of(head, payload), payload)


def read_head(data: bytes, at: int = 0) -> Frame | None:
    """The head of a frame at a place; None where there is none."""
    match = _HEAD.match(data, at)
    return None if match is None else Frame(*(int(text, 16) for text in match.groups()))


def is_whole(data: bytes, at: int, frame: Frame) -> bool:
    """Whether the frame whose head stands at a place is all there and as it was written."""
    begin, end = at + HEAD_BYTES, at + HEAD_BYTES + frame.size
    if end > len(data) or (frame.size and data[end - 1] != ord("\n")):
        return False
    head = data[at : begin - _SUM_BYTES]
    return _sum_of(head, memoryview(data)[begin:end]) == frame.checksum


def _sum_of(head: bytes, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(head))


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of frames."""

    path: Path
    first: int


def segments_in(folder: Path) -> list[Segment]:
    """The segments of a spool, oldest first."""
    found = [
        Segment(path, int(path.stem))
        for path in folder.iterdir()
        if path.suffix == SUFFIX and path.stem.isdecimal()
    ]
    return sorted(found, key=lambda segment: segment.first)


def segment_path(folder: Path, first: int) -> Path:
    """The file of the segment whose first line has an offset."""
    return folder / f"{first:020d}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a segment holds: the bytes of its whole frames, the offset behind them, the bytes of a cut write."""

    size: int
    next_offset: int
    torn_bytes: int


def scan_segment(segment: Segment) -> Scanned:
    """Read a segment to its last whole frame; raises `MillraceError` where synced lines are damaged."""
    data = segment.path.read_bytes()
    at, offset = 0, segment.first
    while at < len(data):
        frame = read_head(data, at)
        if frame is None or frame.first != offset or not is_whole(data, at, frame):
            break
        at, offset = at + HEAD_BYTES + frame.size, frame.next_offset
    if any(frame.group_at > at for frame in _frames_behind(data, at)):
        raise damaged(segment, at)
    return Scanned(at, offset, len(data) - at)


def damaged(segment: Segment, at: int) -> MillraceError:
    """What to say where lines that were durable cannot be read."""
    return MillraceError(
        f"the spool's segment {segment.path} is damaged at byte {at}, in lines that were durable: put a copy of it "
        "back; to go on without them, move the spool folder away, feed what can be read of it with millrace run, "
        "and start with an empty one"
    )


def _frames_behind(data: bytes, at: int) -> Iterator[Frame]:
    """All whole frames that begin behind a place, wherever they stand."""
    for match in _HEAD.finditer(data, at + 1):
        frame = read_head(data, match.start())
        if frame is not None and is_whole(data, match.start(), frame):
            yield frame
