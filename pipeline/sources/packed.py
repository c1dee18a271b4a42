"""gzip and zstd files of any number of members; one that is cut short is an error and not just a shorter file."""

import io
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import zstandard

UNPACKING_ERRORS = (EOFError, zlib.error, zstandard.ZstdError)
_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
MAGIC_BYTES = 4
_PACKED_BYTES = 8_192
"""Unpacked at a time: little, because a few bytes may stand for very many."""
_WITH_GZIP_HEADER = 31


class Content(Protocol):
    """Bytes to be read; None stands for "nothing now, ask again" (a pipe), no bytes for the end."""

    def read(self, size: int, /) -> bytes | None:
        """Up to `size` bytes."""

    def readinto(self, into: Any, /) -> int | None:
        """Fill the front of `into`; how many bytes that were."""


class _Member(Protocol):
    """What zlib and zstandard give for one member (gzip) or frame (zstd) of a packed file."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, packed: bytes, /) -> bytes: ...


def unpacked(content: Content, magic: bytes) -> Content:
    """The content that a packed one stands for, as its first bytes tell; else the content itself."""
    if magic[:2] == _GZIP_MAGIC:
        return Unpacked(content, "gzip", lambda: zlib.decompressobj(_WITH_GZIP_HEADER), b"\0")
    if magic == _ZSTD_MAGIC:
        return Unpacked(content, "zstd", lambda: zstandard.ZstdDecompressor().decompressobj())
    return content


class Unpacked(io.RawIOBase):
    """What a packed file holds, member after member.

    Raises one of `UNPACKING_ERRORS`: `EOFError` where the file ends inside a member, else where it is damaged.
    """

    def __init__(
        self, packed: Content, kind: str, new_member: Callable[[], _Member], padding: bytes = b""
    ) -> None:
        self._packed, self._kind, self._new_member, self._padding = packed, kind, new_member, padding
        self._member: _Member | None = None
        self._left = b""
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, into: Any) -> int | None:
        """Fill the front of `into`; 0 at the end of the last member, None when nothing has come yet."""
        while not self._plain:
            packed = self._left or self._packed.read(_PACKED_BYTES)
            if packed is None:
                return None
            if not packed:
                return self._ended()
            self._left = b""
            self._plain = memoryview(self._unpack(packed))
        target = memoryview(into).cast("B")
        count = min(len(target), len(self._plain))
        target[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def _unpack(self, packed: bytes) -> bytes:
        if self._member is None:
            packed = packed.lstrip(self._padding) if self._padding else packed
            if not packed:
                return b""
            self._member = self._new_member()
        plain = self._member.decompress(packed)
        if self._member.eof:
            self._left, self._member = self._member.unused_data, None
        return plain

    def _ended(self) -> int:
        if self._member is not None:
            msg = f"it ends in the middle of its {self._kind} data"
            raise EOFError(msg)
        return 0
