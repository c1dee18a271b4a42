"""What can be read only once: pipes, which may be silent, packed, and cut anywhere."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zstandard

from pipeline.errors import MillraceError
from pipeline.sources.files import FileReader, FormatChoice, Look, Reading, find_files, is_still, look_at
from pipeline.sources.packed import unpacked
from pipeline.sources.pipe import Pipe

ROOT = Path(__file__).parent.parent
PLAIN = b"".join(b"line %d\n\n" % n for n in range(400)) + b"last"
LINES = [(2 * n + 1, b"line %d" % n) for n in range(400)] + [(801, b"last")]
LINGER_MS = 200


class Clock:
    """A clock that stands still until it is set."""

    now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fifo(tmp_path, clock):
    """A named pipe, the reader of it, and a writer's end of it."""
    os.mkfifo(tmp_path / "fifo")
    files = find_files([str(tmp_path / "fifo")])
    reader = FileReader([Reading(file) for file in files], FormatChoice("cloudevents", None, None), clock)
    assert reader.next_chunk() is None, "there is no writer yet"
    with (tmp_path / "fifo").open("wb", buffering=0) as writer:
        yield reader, writer


def records(chunk):
    return [(int(n), chunk.raw(row)) for row, n in enumerate(chunk.offsets)] if chunk else []


def test_a_silent_pipe_keeps_nobody_waiting_and_is_not_at_its_end(fifo):
    reader, _ = fifo
    assert [reader.next_chunk() for _ in range(5)] == [None] * 5
    assert not reader.done


def test_lines_of_a_pipe_wait_a_little_for_more_and_then_go_on_without_the_line_that_is_not_whole(
    fifo, clock
):
    reader, writer = fifo
    writer.write(b"one\ntwo\nthr")
    assert reader.next_chunk() is None
    clock.now_ms = LINGER_MS - 1
    writer.write(b"e")
    assert reader.next_chunk() is None
    clock.now_ms = LINGER_MS
    assert records(reader.next_chunk()) == [(1, b"one"), (2, b"two")]
    clock.now_ms += 10 * LINGER_MS
    assert reader.next_chunk() is None
    writer.write(b"e\n")
    clock.now_ms += LINGER_MS
    assert records(reader.next_chunk()) == [(3, b"three")]
    writer.write(b"four")
    writer.close()
    assert records(reader.next_chunk()) == [(4, b"four")]
    assert reader.next_chunk() is None
    assert reader.done


def test_a_pipe_that_is_closed_without_a_byte_is_empty(fifo):
    reader, writer = fifo
    writer.close()
    assert reader.next_chunk() is None
    assert reader.done


@pytest.mark.parametrize(
    "packed", [PLAIN, gzip.compress(PLAIN), zstandard.ZstdCompressor().compress(PLAIN)], ids=["plain", "gzip", "zstd"]
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 3, 1_000])
def test_it_does_not_matter_in_what_pieces_a_pipe_comes(fifo, clock, packed, piece):
    reader, writer = fifo
    found = []
    for start in range(0, len(packed), piece):
        writer.write(packed[start : start + piece])
        clock.now_ms += LINGER_MS // 50
        found += records(reader.next_chunk())
    writer.close()
    while not reader.done:
        found += records(reader.next_chunk())
    assert found == LINES


@pytest.mark.parametrize("packed", [gzip.compress(PLAIN), zstandard.ZstdCompressor().compress(PLAIN)])
def test_a_packed_pipe_that_ends_too_soon_is_an_error(fifo, packed):
    reader, writer = fifo
    writer.write(packed[:-5])
    writer.close()
    with pytest.raises(MillraceError, match="cannot be read to its end: it ends in the middle of its"):
        list(iter(lambda: reader.next_chunk() or reader.done, True))


def test_a_look_at_a_pipe_takes_nothing_out_of_it_and_it_is_never_what_it_was(fifo, tmp_path, clock):
    reader, writer = fifo
    [file] = find_files([str(tmp_path / "fifo")])
    writer.write(b"one\n")
    assert look_at(file) == Look(0, 0, "")
    assert not is_still(file, look_at(file))
    clock.now_ms = 1
    assert reader.next_chunk() is None
    clock.now_ms = LINGER_MS + 1
    assert records(reader.next_chunk()) == [(1, b"one")]


def test_first_bytes_that_are_looked_at_stay_to_be_read():
    source, sink = os.pipe()
    with Pipe(source) as pipe:
        os.write(sink, b"ab")
        assert pipe.magic() is None
        os.write(sink, b"cdef")
        assert pipe.magic() == b"abcd"
        into = bytearray(3)
        assert (pipe.readinto(into), bytes(into)) == (3, b"abc")
        assert (pipe.read(9), pipe.read(9), pipe.read(9)) == (b"d", b"ef", None)
        os.close(sink)
        assert (pipe.read(9), pipe.read(9)) == (b"", b"")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(source)


def test_gzip_members_may_be_padded_with_zeros_between_and_behind(tmp_path):
    (tmp_path / "f").write_bytes(
        gzip.compress(b"one") + b"\0" * 9_000 + gzip.compress(b" two") + b"\0" * 20_000
    )
    with (tmp_path / "f").open("rb") as file:
        assert unpacked(file, b"\x1f\x8b\x08\x00").readall() == b"one two"


# By the program.


def start(*arguments: str, **more) -> subprocess.Popen[bytes]:
    code = "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", *arguments, "--format", "cloudevents", "--json"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, **more,
    )  # fmt: skip


def event(number: int) -> bytes:
    data = {"operation": "ask"}
    members = {"specversion": "1.0", "id": str(number), "source": "/s", "type": "compute", "tenant": "t"}
    return json.dumps({**members, "data": data}).encode() + b"\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_that_waits_for_standard_input_with_all_that_had_come(tmp_path, number):
    process = start("-", "--ledger", f"chdb://{tmp_path}/ledger", "--block-rows", "1", stdin=subprocess.PIPE)
    process.stdin.write(b"".join(map(event, range(50))))
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while not list((tmp_path / "ledger").rglob("20????_*")):  # the first block of the ledger
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    begun = time.monotonic()
    process.wait(60)
    assert time.monotonic() - begun < 30
    summary = json.loads(process.stdout.read())
    assert (process.returncode, summary["events"], summary["accepted"]) == (0, 50, 50)


def test_a_named_pipe_is_read_to_its_end_and_again_when_it_is_given_again(tmp_path):
    os.mkfifo(tmp_path / "events")

    def feed(first: int) -> None:
        (tmp_path / "events").write_bytes(b"".join(map(event, range(first, first + 300))))

    for first, wanted in ((0, (300, 0)), (150, (150, 150))):
        threading.Thread(target=feed, args=(first,), daemon=True).start()
        process = start(str(tmp_path / "events"), "--ledger", f"chdb://{tmp_path}/ledger")
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        summary = json.loads(out)
        assert (summary["accepted"], summary["duplicates"]) == wanted


def test_standard_input_that_is_closed_is_wrong_use(tmp_path):
    process = start("-", "--ledger", f"chdb://{tmp_path}/ledger", preexec_fn=lambda: os.close(0))
    out, err = process.communicate(timeout=240)
    assert (process.returncode, out) == (2, b"")
    assert err == b"millrace: standard input is closed: name a file, or give events to standard input\n"
