"""Files as chunks: every line once, under its physical number, however it is stored and cut."""

import errno
import gzip
import io
import itertools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chunk import Buffers, Chunk
from pipeline.errors import MillraceError, UsageError
from pipeline.formats import load_mapping
from pipeline.kernels.layout import PAD
from pipeline.sources.files import (
    FileReader,
    FormatChoice,
    InputFile,
    Look,
    Reading,
    find_files,
    is_still,
    look_at,
)

NOW_MS = 1_790_000_000_000
EVENTS = FormatChoice("cloudevents", None, None)


def reader(*readings: Reading, formats: FormatChoice = EVENTS, **more) -> FileReader:
    return FileReader(list(readings), formats, lambda: NOW_MS, **more)


def drain(files: FileReader) -> list[Chunk]:
    """All chunks, none let go: more of them than may be out at a time would hang, so there is no such limit."""
    chunks = []
    while not files.done:
        chunk = files.next_chunk()
        assert chunk is not None or files.done
        chunks += [chunk] if chunk is not None else []
    return chunks


def records(chunks: list[Chunk]) -> list[tuple[int, bytes]]:
    return [(int(offset), chunk.raw(row)) for chunk in chunks for row, offset in enumerate(chunk.offsets)]


def expected(content: bytes, from_line: int = 1) -> list[tuple[int, bytes]]:
    """The lines of a file by number, those left out that hold nothing but white space."""
    lines = content.split(b"\n")
    return [(n, line) for n, line in enumerate(lines, 1) if n >= from_line and line.strip(b" \t\r")]


def read(path, content: bytes, from_line: int = 1, **more) -> list[tuple[int, bytes]]:
    path.write_bytes(content)
    files = reader(Reading(InputFile(path, "f"), 1, from_line), in_flight_max=10**6, **more)
    return records(drain(files))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"a",
        b"a\n",
        b"a\nb",
        b"a\r\nb\r\n",
        b"a\n\n\nb\n\n",
        b"\n\na",
        b" \t\r\na\n \n\r\n",
        b" \n \n",
        b"a\n ",
        b"  a \n\tb\r",
        b"\x0b\n\x0c\n\x00\n",
        b"\xff\n\xef\xbb\xbfa\n",
        b"x" * 100_000 + b"\n" + b"y" * 70_000,
        b"\n" * 5_000 + b"a",
        b"12345678\n" * 20 + b"1234567\n" * 20,
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 8, 64, 4 << 20])
def test_every_line_comes_once_under_its_physical_number(tmp_path, content, chunk_bytes):
    assert read(tmp_path / "f", content, chunk_bytes=chunk_bytes) == expected(content)


@given(
    st.lists(
        st.sampled_from([b"\n", b"\r\n", b" ", b"\t", b"a", b"{}", b"bcdefghi", b"x" * 40, b"\0", b"\x8a"]),
        max_size=40,
    ),
    st.integers(1, 50),
    st.integers(1, 30),
)
@settings(deadline=None, max_examples=150)
def test_it_does_not_matter_where_blocks_end_nor_where_reading_begins(
    tmp_path_factory, parts, chunk_bytes, from_line
):
    content = b"".join(parts)
    path = tmp_path_factory.mktemp("f") / "f"

    assert read(path, content, from_line, chunk_bytes=chunk_bytes) == expected(content, from_line)


def test_chunks_are_numbered_say_where_to_go_on_and_hold_padded_buffers(tmp_path):
    (tmp_path / "f").write_bytes(b"".join(b"line %d\n\n" % n for n in range(200)))
    chunks = drain(reader(Reading(InputFile(tmp_path / "f", "f")), chunk_bytes=100, in_flight_max=999))

    assert len(chunks) > 10
    assert [chunk.sequence for chunk in chunks] == list(range(len(chunks)))
    for chunk, after in itertools.pairwise(chunks):
        assert chunk.offsets[-1] < chunk.next_offset <= after.offsets[0]
    assert chunks[-1].next_offset == 401
    for chunk in chunks:
        assert chunk.ends.max() <= chunk.used <= len(chunk.buffer) - PAD
        assert not chunk.buffer[-PAD:].any()
        assert (chunk.arrivals == NOW_MS).all()
        assert chunk.read_at_ms == NOW_MS


@pytest.mark.parametrize("chunk_bytes", [3, 50, 4 << 20])
@pytest.mark.parametrize("cut_at", range(1, 12))
def test_reading_goes_on_where_a_chunk_said(tmp_path, chunk_bytes, cut_at):
    content = b"a\n\nbb\n \nccc\nd\n\ne\n"
    whole = read(tmp_path / "f", content, chunk_bytes=chunk_bytes)

    assert read(tmp_path / "f", content, cut_at, chunk_bytes=chunk_bytes) == [
        r for r in whole if r[0] >= cut_at
    ]


PACKED = {
    "gzip": gzip.compress,
    "gzip, many members": lambda plain: b"".join(
        gzip.compress(plain[n : n + 5]) for n in range(0, len(plain), 5)
    ),
    "gzip, padded with zeros": lambda plain: gzip.compress(plain) + b"\0" * 10,
    "zstd": zstandard.ZstdCompressor().compress,
    "zstd, many frames": lambda plain: b"".join(
        zstandard.ZstdCompressor().compress(plain[n : n + 5]) for n in range(0, len(plain), 5)
    ),
    "zstd, with a frame to skip": lambda plain: (
        zstandard.ZstdCompressor().compress(plain) + b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    ),
    "zstd, of unknown size": lambda plain: zstandard.ZstdCompressor(write_content_size=False).compress(plain),
    "zstd, with a checksum": lambda plain: zstandard.ZstdCompressor(write_checksum=True).compress(plain),
}


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("chunk_bytes", [5, 4 << 20])
def test_a_packed_file_reads_as_what_it_holds(tmp_path, packing, chunk_bytes):
    content = b"".join(b"line %d\r\n\n" % n for n in range(300)) + b"last"

    assert read(tmp_path / "f", PACKED[packing](content), chunk_bytes=chunk_bytes) == expected(content)


@pytest.mark.parametrize("packing", [name for name in PACKED if "zeros" not in name and "skip" not in name])
def test_a_packed_file_that_is_cut_is_an_error_and_never_just_shorter(tmp_path, packing):
    content = os.urandom(20_000).hex().encode().replace(b"0", b"\n")
    packed = PACKED[packing](content)
    frames = {"gzip, many members": b"\x1f\x8b", "zstd, many frames": b"\x28\xb5\x2f\xfd"}.get(packing)
    cuts = [5, 9, len(packed) // 3, len(packed) // 2, len(packed) - 1]
    for cut in cuts:
        if frames is not None and packed[cut:].startswith(frames):
            continue
        (tmp_path / "f").write_bytes(packed[:cut])
        with pytest.raises(
            MillraceError, match=r"f cannot be read to its end: .*; mend or replace it and run again"
        ):
            drain(reader(Reading(InputFile(tmp_path / "f", "f")), in_flight_max=999))


@pytest.mark.parametrize("packing", ["gzip", "zstd, with a checksum"])
def test_a_packed_file_with_a_wrong_byte_is_an_error_or_reads_the_same(tmp_path, packing):
    content = b"".join(b"line %d %d\n" % (n, n * n) for n in range(500))
    packed = PACKED[packing](content)
    for at in range(4, len(packed), 7):
        changed = packed[:at] + bytes([packed[at] ^ 0x55]) + packed[at + 1 :]
        try:
            found = read(tmp_path / "f", changed)
        except MillraceError:
            continue
        assert found == expected(content)


def test_what_was_read_before_an_error_is_handed_out_and_the_file_is_not_finished(tmp_path):
    (tmp_path / "good").write_bytes(b"1\n")
    (tmp_path / "cut").write_bytes(
        gzip.compress(os.urandom(1_000_000).hex().encode().replace(b"0", b"\n"))[:-100]
    )
    files = reader(
        *(Reading(InputFile(tmp_path / n, n)) for n in ("good", "cut", "good")),
        chunk_bytes=50_000,
        in_flight_max=999,
    )
    seen: list[str] = []

    def note_all() -> None:
        for chunk in iter(files.next_chunk, None):
            seen.append(chunk.origin.topic)

    with pytest.raises(MillraceError):
        note_all()

    assert (seen[:2], len(seen) > 5) == (["good", "cut"], True)
    assert [r.file.source_name for r in files.finished] == ["good"]


def test_files_come_one_after_the_other_in_one_order(tmp_path):
    names = ["b", "a", "empty", "c"]
    for name in names:
        (tmp_path / name).write_bytes(
            b"".join(b"%b%d\n" % (name.encode(), n) for n in range(50)) if name != "empty" else b""
        )
    files = reader(
        *(Reading(InputFile(tmp_path / n, n), 3) for n in names), chunk_bytes=64, in_flight_max=999
    )

    chunks = drain(files)

    assert list(dict.fromkeys(c.origin.topic for c in chunks)) == ["b", "a", "c"]
    assert {(c.origin.partition, c.origin.pass_number, c.stream) for c in chunks} == {(0, 3, "files")}
    assert [c.sequence for c in chunks] == list(range(len(chunks)))
    for name in ("b", "a", "c"):
        lines = [raw for c in chunks if c.origin.topic == name for _, raw in records([c])]
        assert lines == [b"%b%d" % (name.encode(), n) for n in range(50)]
    assert [r.file.source_name for r in files.finished] == names
    assert files.bytes_read == sum((tmp_path / n).stat().st_size for n in names)


def test_no_more_chunks_are_out_than_allowed(tmp_path):
    (tmp_path / "f").write_bytes(b"line\n" * 100)
    files = reader(Reading(InputFile(tmp_path / "f", "f")), chunk_bytes=5, in_flight_max=3)
    out = [files.next_chunk() for _ in range(3)]

    assert None not in out
    assert (files.next_chunk(), files.next_chunk(), files.done) == (None, None, False)
    del out[1]
    fourth = files.next_chunk()
    assert fourth.sequence == 3
    assert files.next_chunk() is None
    out.clear()
    del fourth
    seen = 4
    while not files.done:
        seen += files.next_chunk() is not None
    assert seen == 100


def test_several_threads_share_one_reader(tmp_path):
    content = b"".join(b"line %d\n" % n for n in range(20_000))
    (tmp_path / "f").write_bytes(content)
    files = reader(Reading(InputFile(tmp_path / "f", "f")), chunk_bytes=500, in_flight_max=4)
    found, lock = {}, threading.Lock()

    def pull() -> None:
        while not files.done:
            chunk = files.next_chunk()
            if chunk is not None:
                with lock:
                    assert chunk.sequence not in found
                    found[chunk.sequence] = records([chunk])

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(pull) for _ in range(4)]:
            done.result()

    assert [record for sequence in sorted(found) for record in found[sequence]] == expected(content)


# Formats with a header.


@pytest.fixture
def csv(tmp_path) -> FormatChoice:
    (tmp_path / "m.toml").write_text('type = "compute"\n[data]\noperation = { column = "op" }\n')
    return FormatChoice("csv", load_mapping(tmp_path / "m.toml"), "acme")


@pytest.mark.parametrize("chunk_bytes", [1, 6, 4 << 20])
@pytest.mark.parametrize("from_line", [1, 2, 3, 4])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_header_is_no_event_and_goes_with_every_chunk(tmp_path, csv, chunk_bytes, from_line, end):
    (tmp_path / "f.csv").write_bytes(end.join([b"op,n", b"ask,1", b"", b"embed,2", b"ask,3", b""]))
    readings = [Reading(InputFile(tmp_path / "f.csv", "f.csv"), 1, from_line)]
    chunks = drain(reader(*readings, formats=csv, chunk_bytes=chunk_bytes, in_flight_max=99))

    assert {chunk.header for chunk in chunks} == {b"op,n"}
    assert {chunk.format_name for chunk in chunks} == {"csv"}
    lines = [(2, b"ask,1"), (4, b"embed,2"), (5, b"ask,3")]
    assert [(n, raw.rstrip(b"\r")) for n, raw in records(chunks)] == [r for r in lines if r[0] >= from_line]
    assert all(
        b"ask" in csv.of(c).convert(raw, "f.csv", n) or n == 4 for c in chunks for n, raw in records([c])
    )


def test_the_format_of_each_file_is_told_by_its_first_lines(tmp_path):
    (tmp_path / "a").write_bytes(b'{"specversion":"1.0"}\n')
    (tmp_path / "b").write_bytes(b'::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 77\n')
    (tmp_path / "c").write_bytes(b"what is this\n")
    auto = FormatChoice("auto", None, None)
    chunks = drain(reader(*(Reading(InputFile(tmp_path / n, n)) for n in "ab"), formats=auto))

    assert [c.format_name for c in chunks] == ["cloudevents", "access-log"]
    assert auto.of(chunks[0]) is None
    assert auto.of(chunks[1]) is not None
    with pytest.raises(UsageError, match=r"the format of .*c cannot be told"):
        drain(reader(Reading(InputFile(tmp_path / "c", "c")), formats=auto))


# Which files there are.


def names(files: list[InputFile]) -> list[str]:
    return [file.source_name for file in files]


def test_a_folder_is_walked_in_the_order_of_its_names_without_hidden_files(tmp_path):
    for name in ("b.ndjson", "a/z.ndjson", "a/b/c.gz", "c", ".hidden", "a/.hidden", "B", "a-b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    found = find_files([str(tmp_path)])

    assert names(found) == ["B", "a-b", "a/b/c.gz", "a/z.ndjson", "b.ndjson", "c"]
    assert [file.path for file in found] == [tmp_path / name for name in names(found)]


def test_files_keep_the_order_in_which_they_were_given(tmp_path):
    for name in "cab":
        (tmp_path / name).write_bytes(b"")

    assert names(find_files([str(tmp_path / name) for name in "cab"])) == ["c", "a", "b"]
    assert names(find_files(["-", str(tmp_path / "a")])) == ["-", "a"]


def test_a_source_name_is_for_one_log(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(b"")

    assert names(find_files([str(tmp_path / "a")], "edge-1")) == ["edge-1"]
    assert names(find_files(["-"], "edge-1")) == ["edge-1"]
    with pytest.raises(UsageError, match="--source names one log, but 2 files were given"):
        find_files([str(tmp_path)], "edge-1")


def test_two_files_of_one_name_are_refused(tmp_path):
    for folder in "xy":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.log").write_bytes(b"")
    with pytest.raises(UsageError, match=r"have the same source name 'a\.log'"):
        find_files([str(tmp_path / "x" / "a.log"), str(tmp_path / "y" / "a.log")])
    with pytest.raises(UsageError, match="have the same source name"):
        find_files([str(tmp_path / "x"), str(tmp_path / "y")])
    with pytest.raises(UsageError, match="have the same source name"):
        find_files(["-", "-"])

    assert names(find_files([str(tmp_path)])) == ["x/a.log", "y/a.log"]


@pytest.mark.parametrize("path", ["nowhere", "no/where", "n" * 5_000, "a\0b", ""])
def test_a_path_that_is_not_there_is_wrong_use(tmp_path, path):
    with pytest.raises(UsageError, match=r"there is no file or folder .*: check the path|cannot be read"):
        find_files([str(tmp_path / "x" / path)])


def test_a_folder_without_files_is_wrong_use(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / ".hidden").write_bytes(b"")
    with pytest.raises(UsageError, match="holds no files"):
        find_files([str(tmp_path)])


def test_a_folder_that_may_not_be_opened_is_wrong_use_wherever_it_lies(tmp_path, monkeypatch):
    (tmp_path / "a.log").write_bytes(b"")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def guarded(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    for path in (tmp_path, tmp_path / "closed"):
        with pytest.raises(UsageError, match="closed cannot be read: permission denied"):
            find_files([str(path)])


def test_a_file_that_went_away_or_is_closed_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="gone cannot be read: no such file"):
        drain(reader(Reading(InputFile(tmp_path / "gone", "gone"))))
    with pytest.raises(UsageError, match="gone cannot be read: no such file"):
        look_at(InputFile(tmp_path / "gone", "gone"))


def test_standard_input_is_read_packed_or_not(monkeypatch):
    for content in (b"a\n\nb", gzip.compress(b"a\n\nb"), zstandard.ZstdCompressor().compress(b"a\n\nb")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
        [file] = find_files(["-"])
        assert records(drain(reader(Reading(file)))) == [(1, b"a"), (3, b"b")]
    assert look_at(InputFile(None, "-")) == Look(0, 0, "")
    assert not is_still(InputFile(None, "-"), Look(0, 0, ""))


def test_a_file_is_still_the_same_as_it_was_or_when_it_has_grown(tmp_path):
    file = InputFile(tmp_path / "f", "f")
    content = os.urandom(300_000)
    file.path.write_bytes(content)
    before = look_at(file)
    assert before.size == 300_000
    assert is_still(file, before)
    with file.path.open("ab") as end:
        end.write(b"more")
    assert is_still(file, before)
    assert not is_still(file, look_at(file, 200_000))


CHANGES = {
    "the first byte": lambda old: b"?" + old[1:],
    "a byte in the middle": lambda old: old[:150_000] + b"?" + old[150_001:],
    "the last byte": lambda old: old[:-1] + b"?",
    "shorter": lambda old: old[:-1],
    "empty": lambda _: b"",
    "a line more in the middle": lambda old: old[:150_000] + b"a line\n" + old[150_000:],
    "another file, longer": lambda old: b"other" * len(old),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_was_written_anew_is_not_the_same(tmp_path, change):
    file = InputFile(tmp_path / "f", "f")
    content = os.urandom(300_000)
    file.path.write_bytes(content)
    before = look_at(file)
    file.path.write_bytes(CHANGES[change](content))
    os.utime(file.path, ns=(before.modified_ns + 1, before.modified_ns + 1))
    assert not is_still(file, before)


def test_files_are_let_go_of(tmp_path):
    for content in (b"a\n", gzip.compress(b"a\n"), zstandard.ZstdCompressor().compress(b"a\n")):
        assert read(tmp_path / "f", content) == [(1, b"a")]
        open_files = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        assert str(tmp_path / "f") not in open_files


def test_a_buffer_is_used_again_only_when_nothing_looks_at_any_part_of_it():
    buffers = Buffers()
    first, second = buffers.take(1000), buffers.take(1000)
    assert first is not second
    place, part = first.ctypes.data, first[500:510].view("i1")
    del first
    assert buffers.take(1000).ctypes.data != place
    del part
    assert buffers.take(1000).ctypes.data == place
    assert len(buffers.take(1 << 20)) >= 1 << 20
