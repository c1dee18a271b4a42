"""Files as one ordered stream of chunks: plain, gzip and zstd, folders, standard input.

The files are read one after the other, in the order given, by whichever worker is free; the sequence number of
a chunk, not the worker, gives its place. Parallelism: all workers of a process share one reader. Delivery: a
line is read again after a crash unless its outcome is durable; a file that changed underneath is read anew.
"""

import hashlib
import io
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from pipeline.chunk import Buffers, Bytes, Chunk, Origin
from pipeline.errors import MillraceError, UsageError
from pipeline.formats import Format, Mapping, detect_format, make_format
from pipeline.kernels.layout import PAD, PREFIX
from pipeline.kernels.text import split_lines
from pipeline.sources.packed import MAGIC_BYTES, UNPACKING_ERRORS, Content, unpacked
from pipeline.sources.pipe import Pipe

STREAM = "files"
HEAD_BYTES = 65_536
_FIRST_CHUNK = 1 << 18
_LINGER_MS = 200
"""How long the lines of a pipe wait for more, so that a fast one comes in large chunks."""
_LINE_BYTES_EXPECTED = 100


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read: its path (None for standard input) and the stable name of its records."""

    path: Path | None
    source_name: str

    @property
    def is_read_once(self) -> bool:
        """Whether it is standard input, a named pipe or a device: what was read of it does not come again."""
        return self.path is None or (self.path.exists() and not self.path.is_file())

    def __str__(self) -> str:
        return str(self.path) if self.path else "standard input"


@dataclass(frozen=True, slots=True)
class Reading:
    """One pass over a file: from which line on (1 is the first), and as what."""

    file: InputFile
    pass_number: int = 1
    from_line: int = 1


@dataclass(frozen=True, slots=True)
class Look:
    """What a file looked like at a moment: its size, when it was last changed, its first and last bytes."""

    size: int
    modified_ns: int
    digest: str


def find_files(paths: list[str], source_name: str | None = None) -> list[InputFile]:
    """The files that paths name, folders walked in the order of their names.

    Raises `UsageError` for a path that is not there, a folder without files, two files of one name.
    """
    if source_name is not None and not source_name.strip():
        msg = "--source is empty: give the log a name, or leave --source out"
        raise UsageError(msg)
    found: list[InputFile] = []
    for text in paths:
        if text == "-":
            found.append(InputFile(None, source_name or "-"))
            continue
        path = Path(text)
        if not _exists(path):
            raise UsageError(f"there is no file or folder {text}: check the path")
        found += _in_folder(path) if path.is_dir() else [InputFile(path, _storable(path.name))]
    if source_name is not None and len(found) == 1:
        found = [replace(found[0], source_name=_storable(source_name))]
    elif source_name is not None:
        msg = f"--source names one log, but {len(found)} files were given: run them one by one, or leave --source out"
        raise UsageError(msg)
    _refuse_same_names(found)
    _refuse_same_files(found)
    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {_why(error)}") from error


def _in_folder(folder: Path) -> list[InputFile]:
    paths = sorted(
        _without_second_names(list(_walked(folder))), key=lambda path: path.relative_to(folder).as_posix()
    )
    if not paths:
        raise UsageError(f"the folder {folder} holds no files: name a folder of event files")
    return [InputFile(path, _storable(path.relative_to(folder).as_posix())) for path in paths]


def _without_second_names(paths: list[Path]) -> list[Path]:
    """Leave out links to files that are read anyway, such as `latest.log`: their lines would count twice."""
    own = {os.path.realpath(path) for path in paths if not path.is_symlink()}
    return [path for path in paths if not path.is_symlink() or os.path.realpath(path) not in own]


def _storable(name: str) -> str:
    """A file's name, which may be any bytes, as text that the ledger can hold."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _walked(folder: Path) -> Iterator[Path]:
    """All files below a folder but for hidden ones and those in hidden folders.

    What cannot be opened is an error, for what lies in it would be missing; so is a link that leads to nowhere,
    or to a folder elsewhere.
    """
    try:
        for place, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in folders:
                _refuse_way_out(Path(place, name), folder)
            shown = [Path(place, name) for name in names if not name.startswith(".")]
            yield from (path for path in shown if _is_regular(path))
    except OSError as error:
        raise UsageError(f"the folder {error.filename} cannot be read: {_why(error)}") from error


def _refuse_way_out(path: Path, folder: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{path} is a link to a folder elsewhere: name that folder by itself, or take the link away"
        )


def _is_regular(path: Path) -> bool:
    if path.is_symlink() and not path.exists():
        raise UsageError(f"{path} is a link to a file that is not there: mend it, or take it away")
    return path.is_file()


def _raise(error: OSError) -> None:
    raise error


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _refuse_same_names(files: list[InputFile]) -> None:
    seen: dict[str, InputFile] = {}
    for file in files:
        other = seen.setdefault(file.source_name, file)
        if other is not file:
            msg = (
                f"{other} and {file} have the same source name {file.source_name!r}, by which their lines are "
                "told apart: run them one by one with --source, or give the folder that holds both"
            )
            raise UsageError(msg)


def _refuse_same_files(files: list[InputFile]) -> None:
    seen: dict[str, InputFile] = {}
    for file in files:
        if file.path is None or file.is_read_once:
            continue
        other = seen.setdefault(os.path.realpath(file.path), file)
        if other is not file:
            msg = f"{other} and {file} are the same file, whose lines would be counted twice: name it once"
            raise UsageError(msg)


def look_at(file: InputFile, size: int | None = None) -> Look:
    """A file as it looks now; the digest is that of its first and last bytes within `size` (all, when None)."""
    if file.path is None or file.is_read_once:
        return Look(0, 0, "")
    with _told(file), file.path.open("rb") as raw:
        state = os.fstat(raw.fileno())
        end = state.st_size if size is None else size
        ends = raw.read(min(HEAD_BYTES, end))
        raw.seek(max(end - HEAD_BYTES, 0))
        ends += raw.read(min(HEAD_BYTES, end))
    return Look(state.st_size, state.st_mtime_ns, hashlib.blake2b(ends, digest_size=16).hexdigest())


def is_still(file: InputFile, before: Look) -> bool:
    """Whether a file is as it was, or has only grown since; what can be read only once never is.

    A file of the same size that was written to counts as changed. Of one that has grown the first and the last
    bytes of what it was are compared.
    """
    if file.is_read_once:
        return False
    now = look_at(file, before.size)
    return now == before or (now.size > before.size and now.digest == before.digest)


@contextmanager
def _told(file: InputFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {_why(error)}") from error


def _opened(file: InputFile) -> BinaryIO | Pipe:
    if file.path is None:
        return _standard_input()
    with _told(file):
        if file.is_read_once:
            return Pipe(os.open(file.path, os.O_RDONLY | os.O_NONBLOCK))
        return file.path.open("rb")


def _standard_input() -> BinaryIO | Pipe:
    if sys.stdin is None:
        msg = "standard input is closed: name a file, or give events to standard input"
        raise UsageError(msg)
    try:
        return Pipe(os.dup(sys.stdin.fileno()))
    except io.UnsupportedOperation:  # it is no file but an object in its place
        return sys.stdin.buffer


class FormatChoice:
    """Gives each file its format: the one that was named, or what its first lines look like."""

    def __init__(self, name: str, mapping: Mapping | None, tenant: str | None) -> None:
        self._name, self._mapping, self._tenant = name, mapping, tenant
        self._made: dict[tuple[str, bytes], Format] = {}

    def name_for(self, file: InputFile, head: bytes) -> str:
        """The format's name for a file; raises `UsageError` when it cannot be told."""
        if self._name != "auto":
            return self._name
        return detect_format(str(file), head, mapped=self._mapping is not None)

    def of(self, chunk: Chunk) -> Format | None:
        """The format of a chunk's lines; None when they are events as they stand."""
        return None if chunk.format_name == "cloudevents" else self.make(chunk.format_name, chunk.header)

    def make(self, name: str, header: bytes) -> Format:
        """The format of a name, bound to a file's header."""
        key = (name, header)
        if key not in self._made:
            made = make_format(name, self._mapping, self._tenant)
            self._made[key] = made.with_header(header) if made.header_lines else made
        return self._made[key]


class _End:
    """Stands behind the last chunk."""


_END = _End()


class FileReader:
    """The shared reader: hands out one chunk after the other. Safe for several threads.

    No more than `in_flight_max` chunks are out at a time: `next_chunk` gives None until one has been let go.
    `finished` lists the passes that were read to their last line.
    """

    def __init__(
        self, readings: list[Reading], formats: FormatChoice, now_ms: Callable[[], int],
        chunk_bytes: int = 8 << 20, in_flight_max: int = 8,
    ) -> None:  # fmt: skip
        self._formats, self._now_ms, self._chunk_bytes = formats, now_ms, chunk_bytes
        self._lock = threading.Lock()
        self._in_flight, self._in_flight_max = 0, in_flight_max
        self._sequence = 0
        self._chunks = self._read_all(readings)
        self.finished: list[Reading] = []
        self.bytes_read = 0
        self.done = False

    def next_chunk(self) -> Chunk | None:
        """The next chunk, or None when there is none now (`done` tells whether there will be any)."""
        with self._lock:
            if self.done or self._in_flight >= self._in_flight_max:
                return None
            chunk = next(self._chunks, _END)
            if isinstance(chunk, _End):
                self.done = True
                return None
            if chunk is None:
                return None
            self._in_flight += 1
            weakref.finalize(chunk, self._let_go)
            return chunk

    def _let_go(self) -> None:
        self._in_flight -= 1

    def _read_all(self, readings: list[Reading]) -> Iterator[Chunk | None]:
        for reading in readings:
            yield from self._read(reading)
            self.finished.append(reading)

    def _read(self, reading: Reading) -> Iterator[Chunk | None]:
        """The chunks of a file; None wherever a pipe has nothing more now."""
        try:
            with closing(_opened(reading.file)) as raw:
                while (magic := _magic_of(raw)) is None:
                    yield None
                yield from self._chunks_of(reading, unpacked(cast("Content", raw), magic))
        except (OSError, *UNPACKING_ERRORS) as error:
            what = f"{reading.file} cannot be read to its end: {error}"
            raise MillraceError(f"{what}; mend or replace it and run again") from error

    def _chunks_of(self, reading: Reading, content: Content) -> Iterator[Chunk | None]:
        origin = Origin(reading.file.source_name, 0, reading.pass_number)
        blocks = _Blocks(content, self._chunk_bytes, self._now_ms)
        while (block := blocks.next()) is None:
            yield None
        buffer, size = block
        head = buffer[PREFIX : PREFIX + min(size, HEAD_BYTES)].tobytes()
        if not size:
            return
        name = self._formats.name_for(reading.file, head)
        skipped = make_header_lines(self._formats, name, head)
        header, line = b"", 1
        while size:
            starts, ends, lines = _lines_of(buffer, size)
            if skipped and line == 1:
                header = buffer[starts[0] : ends[0]].tobytes().rstrip(b"\r")
            offsets = np.arange(line, line + lines, dtype=np.int64)
            keep = _not_blank(buffer, starts, ends) & (offsets >= reading.from_line) & (offsets > skipped)
            line += lines
            self.bytes_read += size
            now = self._now_ms()
            kept = int(np.count_nonzero(keep))
            if kept:
                yield Chunk(
                    STREAM, self._sequence, origin, buffer, PREFIX + size, starts[keep], ends[keep], offsets[keep],
                    np.full(kept, now, np.int64), line, name, header, now,
                )  # fmt: skip
                self._sequence += 1
            while (block := blocks.next()) is None:
                yield None
            buffer, size = block


def _magic_of(raw: BinaryIO | Pipe) -> bytes | None:
    return raw.magic() if isinstance(raw, Pipe) else raw.peek(MAGIC_BYTES)[:MAGIC_BYTES]  # type: ignore[attr-defined]


def make_header_lines(formats: FormatChoice, name: str, head: bytes) -> int:
    """How many lines at the top of a file are no events."""
    if name == "cloudevents":
        return 0
    return formats.make(name, head.split(b"\n", 1)[0].rstrip(b"\r")).header_lines


def _lines_of(buffer: Bytes, size: int) -> tuple[np.ndarray, np.ndarray, int]:
    room = size // _LINE_BYTES_EXPECTED + 1
    while True:
        starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
        lines = int(split_lines(buffer, PREFIX, PREFIX + size, starts, ends))
        if lines <= room:
            return starts[:lines], ends[:lines], lines
        room = lines


def _not_blank(buffer: Bytes, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Which lines hold more than white space."""
    filled = ends > starts
    for line in np.flatnonzero(filled & (buffer[starts] <= 32)).tolist():  # noqa: PLR2004 - space, tab, CR
        filled[line] = bool(buffer[starts[line] : ends[line]].tobytes().strip(b" \t\r"))
    return filled


class _Blocks:
    """Reads blocks that end with a line's end, small ones first so that all workers soon have something."""

    def __init__(self, content: Content, size: int, now_ms: Callable[[], int]) -> None:
        self._content, self._now_ms = content, now_ms
        self._size = min(_FIRST_CHUNK, size)
        self._size_max = size
        self._buffers = Buffers()
        self._begin(b"", self._size)

    def _begin(self, rest: bytes, wanted: int) -> None:
        self._buffer = self._buffers.take(len(rest) + wanted)
        self._buffer[PREFIX : PREFIX + len(rest)] = np.frombuffer(rest, np.uint8)
        self._filled, self._end = len(rest), len(rest) + wanted
        self._since: int | None = None

    def next(self) -> tuple[Bytes, int] | None:
        """A buffer and how many bytes of it (from PREFIX on) are filled; 0 at the end, None for nothing yet."""
        while True:
            count = self._fill()
            ended = count == 0
            if count is None and not self._has_waited():
                return None
            cut = self._filled if ended else _last_line_end(self._buffer, self._filled)
            if cut or ended:
                return self._cut_off(cut)
            if count is None:
                return None
            self._begin(self._rest(0), 2 * self._end)

    def _cut_off(self, cut: int) -> tuple[Bytes, int]:
        buffer, rest = self._buffer, self._rest(cut)
        self._size = min(self._size * 2, self._size_max)
        self._begin(rest, self._size)
        buffer[PREFIX + cut : PREFIX + cut + PAD] = 0
        return buffer, cut

    def _rest(self, cut: int) -> bytes:
        return self._buffer[PREFIX + cut : PREFIX + self._filled].tobytes()

    def _has_waited(self) -> bool:
        """Whether what has come of a pipe is not to wait for more any longer."""
        if self._since is None:
            self._since = self._now_ms()
        return self._now_ms() - self._since >= _LINGER_MS

    def _fill(self) -> int | None:
        """Fill the buffer; 0 when the content has ended before it was full, None when there is no more yet."""
        view = memoryview(self._buffer)  # type: ignore[arg-type]
        while self._filled < self._end:
            count = self._content.readinto(view[PREFIX + self._filled : PREFIX + self._end])
            if not count:
                return count
            self._filled += count
        return self._filled


def _last_line_end(buffer: Bytes, filled: int) -> int:
    tail = 1 << 16
    while True:
        start = max(0, filled - tail)
        found = buffer[PREFIX + start : PREFIX + filled].tobytes().rfind(b"\n")
        if found >= 0:
            return start + found + 1
        if start == 0:
            return 0
        tail *= 16
