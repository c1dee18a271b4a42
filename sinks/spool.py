"""The spool: event lines on disk, synced before anyone is told, many appends by one sync.

Delivery: what was answered is on disk, whatever is killed and when; what was not may be there or not. A write that
a crash cut short is cut off at the next start. Parallelism: any number of threads append, one writes; all that wait
share one write and one sync. One process has a spool at a time.
"""

import fcntl
import json
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pipeline.errors import LogAwayError, MillraceError
from pipeline.spool_format import Mark, framed, scan_segment, segment_path, segments_in

_GROUP_BYTES = 8 << 20
_META = "spool.json"
_NAME_DIGITS = 8
_RETRY_S = 5
_CLOSING = "the spool is being closed: send the events again, to the next process"
_TOO_MUCH = "more events wait to be written than may: send them again a little later"


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How much of what: bytes of a segment, bytes in waiting, bytes of read segments to keep, room on the disk."""

    segment_bytes: int = 64 << 20
    waiting_bytes: int = 64 << 20
    kept_bytes: int = 1 << 30
    room_bytes: int = 256 << 20
    """What must stay free: the ledger, as a rule on the same disk, has to take what the spool has taken."""


@dataclass(slots=True)
class _Append:
    payload: bytes
    count: int
    arrived_at_ms: int
    done: "Future[None]"


class Spool:
    """An open spool (`pipeline.ports.EventLog`); what it has is read by `pipeline.sources.spool`."""

    def __init__(
        self, folder: Path, draw: int, limits: SpoolLimits | None = None, sync: Callable[[int], None] = os.fdatasync,
        report: Callable[[str], None] = lambda _sentence: None,
    ) -> None:  # fmt: skip
        """Open the spool in `folder`, made where it is missing; `draw` is random and names a new one.

        Raises `MillraceError` where another process has it, where it cannot be written, where it is damaged.
        """
        self.folder = folder
        self._limits, self._sync, self._report = limits or SpoolLimits(), sync, report
        self._lock = threading.Condition()
        self._waiting: deque[_Append] = deque()
        self._waiting_bytes, self._is_closing, self._is_torn = 0, False, False
        try:
            self._lock_file = _locked(folder)
            self.name = _named(folder, draw)
            self._mark = self._recovered()
        except OSError as error:
            raise MillraceError(f"the spool folder {folder} cannot be used: {_why(error)}") from error
        self._file = os.open(segment_path(folder, self._mark.segment), os.O_WRONLY)
        self._writer = threading.Thread(target=self._write_all, name="spool", daemon=True)
        self._writer.start()

    @property
    def first_offset(self) -> int:
        """The offset of the oldest line that is kept."""
        return segments_in(self.folder)[0].first

    def mark(self) -> Mark:
        """How far the spool is durable now."""
        return self._mark

    def append(self, lines: Sequence[bytes], arrived_at_ms: int, keys: Sequence[str] = ()) -> "Future[None]":  # noqa: ARG002 - one order for all
        """See `EventLog`."""
        done: Future[None] = Future()
        if not lines:
            done.set_result(None)
            return done
        payload = b"\n".join(lines) + b"\n"
        if payload.count(b"\n") != len(lines):
            raise ValueError("an event line holds an LF")  # noqa: EM101 - a programmer's mistake
        with self._lock:
            if self._is_closing:
                raise LogAwayError(_CLOSING)
            if self._waiting_bytes + len(payload) > self._limits.waiting_bytes and self._waiting:
                raise LogAwayError(_TOO_MUCH)
            self._waiting.append(_Append(payload, len(lines), arrived_at_ms, done))
            self._waiting_bytes += len(payload)
            self._lock.notify()
        return done

    def waiting_bytes(self) -> int:
        """How much waits to be written."""
        return self._waiting_bytes

    def consumed(self, below: int) -> None:
        """Everything below this offset is durable in the ledger: the oldest such segments may go."""
        segments = segments_in(self.folder)
        read = [s for s, behind in pairwise(segments) if behind.first <= below]
        kept = 0
        for segment in reversed(read):
            kept += segment.path.stat().st_size
            if kept > self._limits.kept_bytes:
                segment.path.unlink()

    def close(self) -> None:
        """Write what waits, take no more, let the next process have the spool; closing twice does nothing."""
        with self._lock:
            if self._is_closing:
                return
            self._is_closing = True
            self._lock.notify()
        self._writer.join()
        os.close(self._file)
        os.close(self._lock_file)

    def _recovered(self) -> Mark:
        segments = segments_in(self.folder)
        if not segments:
            self._new_segment(0)
            return Mark(0, 0, 0)
        newest = segments[-1]
        found = scan_segment(newest)
        if found.torn_bytes:
            self._report(
                f"the spool's last write was cut short: {found.torn_bytes} bytes that no one was told of are cut off"
            )
        descriptor = os.open(newest.path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, found.size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return Mark(newest.first, found.size, found.next_offset)

    def _new_segment(self, first: int) -> int:
        path = segment_path(self.folder, first)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        os.fsync(descriptor)
        _sync_folder(self.folder)
        return descriptor

    def _write_all(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._is_closing:
                    self._lock.wait()
                group = self._take()
            if not group:
                return
            try:
                self._write(group)
            except LogAwayError as error:
                self._answer(group, error)
            except Exception as error:  # noqa: BLE001 - whatever it is, those that wait must hear of it
                why = _why(error)
                self._report(f"the spool cannot be written: {why}; events are refused until it can")
                self._is_torn = True
                self._answer(group, LogAwayError(f"the spool cannot be written: {why}", _RETRY_S))
            else:
                self._answer(group)

    def _take(self) -> list[_Append]:
        group: list[_Append] = []
        size = 0
        while self._waiting and (not group or size + len(self._waiting[0].payload) <= _GROUP_BYTES):
            group.append(self._waiting.popleft())
            size += len(group[-1].payload)
        return group

    def _answer(self, group: list[_Append], error: LogAwayError | None = None) -> None:
        with self._lock:
            self._waiting_bytes -= sum(len(append.payload) for append in group)
        for append in group:
            if not append.done.set_running_or_notify_cancel():
                continue
            if error is None:
                append.done.set_result(None)
            else:
                append.done.set_exception(error)

    def _write(self, group: list[_Append]) -> None:
        """Make a group durable; whatever of it a failure leaves behind is cut off before the next one."""
        self._check_room(sum(len(append.payload) for append in group))
        if self._is_torn:
            os.ftruncate(self._file, self._mark.size)
            self._sync(self._file)
            self._is_torn = False
        if self._mark.size >= self._limits.segment_bytes:
            self._rotate()
        mark, frames, offset = self._mark, [], self._mark.next_offset
        for append in group:
            frames.append(framed(append.payload, append.count, offset, append.arrived_at_ms, mark.size))
            offset += append.count
        data = memoryview(b"".join(frames))
        at = mark.size
        while data:
            written = os.pwrite(self._file, data, at)
            data, at = data[written:], at + written
        self._sync(self._file)
        self._mark = Mark(mark.segment, at, offset)

    def _rotate(self) -> None:
        first = self._mark.next_offset
        descriptor = self._new_segment(first)
        os.close(self._file)
        self._file, self._mark = descriptor, Mark(first, 0, first)

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < self._limits.room_bytes + size:
            raise LogAwayError(
                f"the disk of the spool has {free >> 20} MiB left, {self._limits.room_bytes >> 20} MiB must stay free",
                _RETRY_S,
            )


def _locked(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        msg = f"the spool in {folder} is in use by another process: stop it, or give this one a folder of its own"
        raise MillraceError(msg) from error
    return descriptor


def _named(folder: Path, draw: int) -> str:
    """The name that the folder has, or that it now gets: a spool that is lost is followed by one of another name."""
    path = folder / _META
    if path.exists():
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(path.read_text())["name"])
        raise MillraceError(f"{path} cannot be read: put it back, or start with an empty spool folder")
    if segments_in(folder):
        raise MillraceError(
            f"{path} is missing beside its segments: put it back, or start with an empty folder"
        )
    name = f"spool/{draw & (1 << 4 * _NAME_DIGITS) - 1:0{_NAME_DIGITS}x}"
    draft = folder / f"{_META}.new"
    with draft.open("w") as file:
        json.dump({"name": name}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_folder(folder)
    return name


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _why(error: Exception) -> str:
    told = error.strerror if isinstance(error, OSError) else None
    return (told or str(error)).lower()
