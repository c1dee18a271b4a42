"""The spool keeps what it answered for: through any cut, a full disk, a failed sync, and many callers at once."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.chunk import Chunk, Origin
from pipeline.durable import Durable
from pipeline.errors import LogAwayError, MillraceError
from pipeline.sources.bounds import Bounds, check_start
from pipeline.sources.spool import SpoolInput, SpoolPartition
from pipeline.spool_format import HEAD_BYTES, scan_segment, segments_in
from sinks.spool import Spool, SpoolLimits

DRAW = 0xABCD_1234
ARRIVED = 1_790_000_000_000
SMALL = SpoolLimits(segment_bytes=2_000, kept_bytes=0, room_bytes=0)


def lines(first: int, count: int) -> list[bytes]:
    return [b'{"n":%d}' % n for n in range(first, first + count)]


def put(spool: Spool, *batches: list[bytes], arrived: int = ARRIVED) -> None:
    for done in [spool.append(batch, arrived) for batch in batches]:
        done.result(5)


def opened(folder: Path, limits: SpoolLimits = SMALL, **more) -> Spool:
    return Spool(folder, DRAW, limits, **more)


def followed(spool: Spool, start: int = 0, in_flight_max: int = 1_000) -> SpoolPartition:
    origin = Origin(spool.name, 0)
    reader = SpoolInput(
        spool, start, Durable(1, {origin: start}), lambda: 0, threading.Event(), in_flight_max=in_flight_max
    )
    return reader.open(spool.name)


def read(partition: SpoolPartition) -> list[tuple[int, bytes, int]]:
    """Offset, line and arrival of all that there is now."""
    found: list[tuple[int, bytes, int]] = []
    while (chunk := partition.next_chunk()) is not None:
        found += rows(chunk)
    return found


def rows(chunk: Chunk) -> list[tuple[int, bytes, int]]:
    offsets, arrivals = chunk.offsets.tolist(), chunk.arrivals.tolist()
    return [(offsets[i], chunk.raw(i), arrivals[i]) for i in range(len(offsets))]


def test_what_was_appended_is_read_with_its_offset_and_arrival(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, lines(0, 3))
    put(spool, lines(3, 2), arrived=ARRIVED + 7)
    expected = [(n, b'{"n":%d}' % n, ARRIVED if n < 3 else ARRIVED + 7) for n in range(5)]
    partition = followed(spool)
    assert read(partition) == expected
    assert partition.next_chunk() is None
    put(spool, lines(5, 1))
    assert read(partition) == [(5, b'{"n":5}', ARRIVED)]
    spool.close()


def test_a_reader_begins_in_the_middle_of_a_frame_and_of_the_segments(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for first in range(0, 1_000, 100):
        put(spool, lines(first, 100))
    assert len(segments_in(tmp_path)) > 3
    for start in (0, 1, 99, 100, 555, 999, 1_000):
        assert read(followed(spool, start)) == [(n, b'{"n":%d}' % n, ARRIVED) for n in range(start, 1_000)]
    spool.close()


def test_a_spool_goes_on_where_it_was_under_its_first_name(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, lines(0, 10))
    name, mark = spool.name, spool.mark()
    spool.close()
    again = Spool(tmp_path, DRAW + 1, SMALL)
    assert (again.name, again.mark()) == (name, mark)
    put(again, lines(10, 10))
    assert [offset for offset, *_ in read(followed(again))] == list(range(20))
    again.close()


def test_many_callers_share_a_sync(tmp_path: Path) -> None:
    syncs, gate = [], threading.Event()

    def sync(descriptor: int) -> None:
        gate.wait(5)
        syncs.append(descriptor)
        os.fdatasync(descriptor)

    spool = opened(tmp_path, sync=sync)
    futures = [spool.append(lines(n, 1), ARRIVED) for n in range(200)]
    gate.set()
    for future in futures:
        future.result(5)
    assert len(syncs) <= 3
    assert len(read(followed(spool))) == 200
    spool.close()


def test_nobody_is_told_before_the_sync_and_nothing_is_read_before_it(tmp_path: Path) -> None:
    gate = threading.Event()
    spool = opened(tmp_path, sync=lambda _descriptor: gate.wait(5))
    done = spool.append(lines(0, 2), ARRIVED)
    partition = followed(spool)
    with pytest.raises(TimeoutError):
        done.result(0.1)
    assert partition.next_chunk() is None
    gate.set()
    done.result(5)
    assert len(read(partition)) == 2
    spool.close()


@pytest.mark.parametrize("cut", [1, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1, HEAD_BYTES + 20])
def test_a_write_that_was_cut_short_is_cut_off_and_nothing_before_it(tmp_path: Path, cut: int) -> None:
    spool = opened(tmp_path)
    put(spool, lines(0, 5))
    whole = spool.mark().size
    put(spool, lines(5, 5))
    spool.close()
    path = segments_in(tmp_path)[-1].path
    os.truncate(path, whole + cut)
    said: list[str] = []
    again = opened(tmp_path, report=said.append)
    assert path.stat().st_size == whole
    assert said
    put(again, lines(50, 1))
    found = read(followed(again))
    assert [offset for offset, *_ in found] == list(range(6))
    assert found[-1][1] == b'{"n":50}'
    again.close()


def test_a_cut_at_every_byte_leaves_whole_frames_only(tmp_path: Path) -> None:
    spool = opened(tmp_path / "whole")
    ends = [0]
    for first in (0, 2, 4):
        put(spool, lines(first, 2))
        ends.append(spool.mark().size)
    spool.close()
    segment = segments_in(tmp_path / "whole")[0]
    data = segment.path.read_bytes()
    for size in range(len(data) + 1):
        segment.path.write_bytes(data[:size])
        frames = sum(end <= size for end in ends) - 1
        found = scan_segment(segment)
        assert (found.size, found.next_offset, found.torn_bytes) == (
            ends[frames], 2 * frames, size - ends[frames],
        )  # fmt: skip


def test_damage_in_what_was_synced_is_no_torn_tail(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, lines(0, 5))
    put(spool, lines(5, 5))
    spool.close()
    path = segments_in(tmp_path)[0].path
    data = bytearray(path.read_bytes())
    data[HEAD_BYTES + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(MillraceError, match=r"damaged at byte 0, in lines that were durable"):
        opened(tmp_path)


def test_damage_that_comes_later_stops_the_reader(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, lines(0, 5))
    partition = followed(spool)
    with segments_in(tmp_path)[0].path.open("r+b") as file:
        file.seek(HEAD_BYTES + 3)
        file.write(b"x")
    with pytest.raises(MillraceError, match="damaged"):
        partition.next_chunk()
    spool.close()


def test_a_failed_write_is_no_204_and_the_next_one_stands_where_it_would_have(tmp_path: Path) -> None:
    fails = [False]

    def sync(descriptor: int) -> None:
        if fails[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.fdatasync(descriptor)

    said: list[str] = []
    spool = opened(tmp_path, sync=sync, report=said.append)
    put(spool, lines(0, 1))
    fails[0] = True
    with pytest.raises(LogAwayError, match="no space left") as refused:
        put(spool, lines(1, 5))
    assert refused.value.retry_after_s > 0
    with pytest.raises(LogAwayError):  # cutting off what was left fails too
        put(spool, lines(2, 1))
    fails[0] = False
    put(spool, lines(3, 1))
    assert read(followed(spool)) == [(0, b'{"n":0}', ARRIVED), (1, b'{"n":3}', ARRIVED)]
    assert segments_in(tmp_path)[0].path.stat().st_size == spool.mark().size
    spool.close()
    assert read(followed(opened(tmp_path)))[-1][1] == b'{"n":3}'


def test_a_disk_that_is_nearly_full_takes_nothing(tmp_path: Path) -> None:
    spool = opened(tmp_path, SpoolLimits(room_bytes=1 << 60))
    with pytest.raises(LogAwayError, match="must stay free"):
        put(spool, lines(0, 1))
    spool.close()


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    gate = threading.Event()
    spool = opened(tmp_path, SpoolLimits(waiting_bytes=100, room_bytes=0), sync=lambda _d: gate.wait(5))
    futures = [spool.append(lines(0, 5), ARRIVED)]
    while spool.waiting_bytes() < 80:
        futures.append(spool.append(lines(0, 5), ARRIVED))
    with pytest.raises(LogAwayError, match="later"):
        spool.append(lines(0, 5), ARRIVED)
    gate.set()
    for future in futures:
        future.result(5)
    spool.close()


def test_a_line_with_a_line_break_is_refused(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    with pytest.raises(ValueError, match="LF"):
        spool.append([b'{"a":\n1}'], ARRIVED)
    spool.close()


def test_segments_go_only_when_the_ledger_has_them(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for first in range(0, 1_000, 100):
        put(spool, lines(first, 100))
    firsts = [segment.first for segment in segments_in(tmp_path)]
    spool.consumed(firsts[2] - 1)
    assert [s.first for s in segments_in(tmp_path)] == firsts[1:]
    assert spool.first_offset == firsts[1]
    spool.consumed(1_000)
    assert [s.first for s in segments_in(tmp_path)] == firsts[-1:]
    spool.close()
    keeping = opened(tmp_path, SpoolLimits(segment_bytes=2_000, room_bytes=0))
    put(keeping, *(lines(first, 100) for first in range(0, 500, 100)))
    before = len(segments_in(tmp_path))
    keeping.consumed(1_500)
    assert len(segments_in(tmp_path)) == before
    keeping.close()


def test_a_second_process_gets_one_sentence(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    code = (
        "from pathlib import Path; from sinks.spool import Spool; from pipeline.errors import MillraceError\n"
        f"try: Spool(Path({str(tmp_path)!r}), 1)\n"
        "except MillraceError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "in use by another process" in said
    spool.close()


def test_a_spool_without_its_name_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, lines(0, 1))
    spool.close()
    (tmp_path / "spool.json").unlink()
    with pytest.raises(MillraceError, match="missing beside its segments"):
        opened(tmp_path)


def test_a_killed_writer_loses_nothing_that_it_was_answered(tmp_path: Path) -> None:
    """Real processes, real syncs, `kill -9` at any moment: the answered lines are a prefix of what is there."""
    code = (
        "import sys; from pathlib import Path; from sinks.spool import Spool, SpoolLimits\n"
        f"spool = Spool(Path({str(tmp_path)!r}), 1, SpoolLimits(segment_bytes=3000, room_bytes=0))\n"
        "n = spool.mark().next_offset\n"
        "while True:\n"
        "    futures = [spool.append([b'{\"n\":%d}' % (n + i)], 1) for i in range(7)]\n"
        "    for f in futures: f.result()\n"
        "    n += 7; print(n, flush=True)\n"
    )
    for round_ in range(5):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = 0
        for _ in range(20 + 13 * round_):
            told = int(process.stdout.readline())
        process.kill()
        told = int((process.stdout.read().split() or [told])[-1])
        process.wait()
        spool = opened(tmp_path)
        found = read(followed(spool))
        assert len(found) >= told
        assert [line for _, line, _ in found] == lines(0, len(found))
        assert np.array_equal([offset for offset, *_ in found], np.arange(len(found)))
        spool.close()


def test_the_end_is_reached_after_all_that_was_appended(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, lines(0, 5))
    stop = threading.Event()
    reader = SpoolInput(spool, 0, Durable(1, {}), lambda: 0, stop)
    partition = reader.open(spool.name)
    spool.close()
    reader.end()
    assert len(read(partition)) == 5
    assert partition.done
    assert stop.is_set()


@pytest.mark.parametrize(
    ("position", "said"),
    [
        (9, r"records 9 to 9 of spool/x/0 are gone: .* the spool in /s keeps from 10 on"),
        (31, r"the ledger has it up to 31: the spool in /s"),
    ],
)
def test_a_spool_that_is_not_the_one_of_the_ledger_is_refused(position: int, said: str) -> None:
    with pytest.raises(MillraceError, match=said):
        check_start(Bounds(Origin("spool/x", 0), 10, 30, "the spool in /s"), position)
