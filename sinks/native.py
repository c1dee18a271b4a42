"""ClickHouse's Native format: blocks of columns as bytes.

The form (ClickHouse docs, "Native Format"; SerializationLowCardinality.cpp for the dictionary): a block is the
number of columns and of rows, then for each column its name, its type and its data. A LowCardinality column is
a version word, then index width and flags, the distinct values, and the indices; inside an Array or a Map the
version word stands before the offsets.
"""

import struct
from collections.abc import Sequence

import numpy as np

_ADDITIONAL_KEYS_AND_UPDATE = 0x600
_LOW_CARDINALITY_VERSION = struct.pack("<Q", 1)


def varint(number: int) -> bytes:
    """An unsigned LEB128 integer."""
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits to a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def string(text: str | bytes) -> bytes:
    """One String value."""
    raw = text.encode() if isinstance(text, str) else text
    return varint(len(raw)) + raw


def strings(values: Sequence[str | bytes]) -> bytes:
    """A String column's data."""
    return b"".join(map(string, values))


class Block:
    """A block in the making: add the columns in any order, then take the bytes."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._columns = 0
        self._parts: list[bytes | memoryview] = []

    def data(self, name: str, type_name: str, *parts: bytes | memoryview | np.ndarray) -> None:
        """A column whose data is given as it stands on the wire."""
        self._columns += 1
        self._parts.append(string(name) + string(type_name))
        self._parts.extend(_raw(part) for part in parts)

    def low_cardinality(self, name: str, values: bytes, count: int, codes: np.ndarray) -> None:
        """A LowCardinality(String) column: `count` distinct values in wire form, a code for each row."""
        self.data(name, "LowCardinality(String)", _LOW_CARDINALITY_VERSION, *indexed(values, count, codes))

    def constant(self, name: str, value: str) -> None:
        """A LowCardinality(String) column with the same value in each row."""
        self.low_cardinality(name, string(value), 1, np.zeros(self.rows, np.uint8))

    def named(self, name: str, values: Sequence[str], codes: np.ndarray) -> None:
        """A LowCardinality(String) column over a short list of names."""
        self.low_cardinality(name, strings(values), len(values), codes)

    def repeated(self, name: str, type_name: str, value: int, dtype: str) -> None:
        """A numeric column with the same value in each row."""
        self.data(name, type_name, np.full(self.rows, value, dtype))

    def parts(self) -> list[bytes | memoryview]:
        """The finished block, in pieces."""
        return [varint(self._columns) + varint(self.rows), *self._parts]

    def bytes(self) -> bytes:
        """The finished block."""
        return b"".join(self.parts())


def indexed(values: bytes, count: int, codes: np.ndarray) -> list[bytes | np.ndarray]:
    """The body of a LowCardinality column; nothing at all where there are no codes."""
    if not len(codes):
        return []
    width = 0 if count <= 1 << 8 else 1 if count <= 1 << 16 else 2
    narrow = codes.astype(("u1", "<u2", "<u4")[width], copy=False)
    head = struct.pack("<QQ", width | _ADDITIONAL_KEYS_AND_UPDATE, count)
    return [head, values, struct.pack("<Q", len(codes)), narrow]


def array_of_low_cardinality(
    offsets: np.ndarray, values: bytes, count: int, codes: np.ndarray
) -> list[bytes | np.ndarray]:
    """The data of an Array(LowCardinality(String)) column, or of the keys of a Map."""
    return [_LOW_CARDINALITY_VERSION, offsets, *indexed(values, count, codes)]


def _raw(part: bytes | memoryview | np.ndarray) -> bytes | memoryview:
    if isinstance(part, np.ndarray):
        return memoryview(np.ascontiguousarray(part)).cast("B") if part.size else b""  # type: ignore[arg-type]
    return part
