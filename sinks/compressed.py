"""ClickHouse's own compressed blocks, as clients ask for them over HTTP with `compress=1` (the JDBC driver does).

A block is: 16 bytes of checksum, a method (here LZ4), the size with these nine bytes, the size before, the content. The
checksum is CityHash128 of version 1.0.2 over all but itself; later versions of CityHash give other values.
"""

import struct
from collections.abc import Iterator

import lz4.block  # type: ignore[import-untyped]

BLOCK = 1 << 20
_LZ4 = 0x82
_HEAD = struct.Struct("<BII")
_TWO = struct.Struct("<QQ")
_M = (1 << 64) - 1
_K0, _K1, _K2, _K3 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, 0xC949D7C7509E6557
_MUL = 0x9DDFEA08EB382D69
_LOOP = 128
_WIDE = struct.Struct("<16Q")


def compressed(content: bytes) -> Iterator[bytes]:
    """Give the content as compressed blocks."""
    for begin in range(0, len(content), BLOCK):
        piece = content[begin : begin + BLOCK]
        packed = lz4.block.compress(piece, store_size=False)
        body = _HEAD.pack(_LZ4, _HEAD.size + len(packed), len(piece)) + packed
        yield _TWO.pack(*city_hash_128(body)) + body


def city_hash_128(text: bytes) -> tuple[int, int]:
    """CityHash128 of version 1.0.2: the low and the high half."""
    size = len(text)
    if size >= 16:  # noqa: PLR2004 - the seed takes two words
        low, high = _TWO.unpack_from(text)
        return _seeded(text[16:], low ^ _K3, high)
    if size >= 8:  # noqa: PLR2004 - a word
        return _seeded(b"", _word(text, 0) ^ (size * _K0 & _M), _word(text, size - 8) ^ _K1)
    return _seeded(text, _K0, _K1)


def _seeded(text: bytes, low: int, high: int) -> tuple[int, int]:
    if len(text) < _LOOP:
        return _murmur(text, low, high)
    size = len(text)
    x, y, z = low, high, size * _K1 & _M
    v0 = (_rotated(y ^ _K1, 49) * _K1 + _word(text, 0)) & _M
    v1 = (_rotated(v0, 42) * _K1 + _word(text, 8)) & _M
    w0 = (_rotated((y + z) & _M, 35) * _K1 + x) & _M
    w1 = _rotated((x + _word(text, 88)) & _M, 53) * _K1 & _M
    at = 0
    while size - at >= _LOOP:
        words = _WIDE.unpack_from(text, at)
        for turn in (0, 8):
            x = _rotated((x + y + v0 + words[turn + 2]) & _M, 37) * _K1 & _M
            y = _rotated((y + v1 + words[turn + 6]) & _M, 42) * _K1 & _M
            x ^= w1
            y ^= v0
            z = _rotated(z ^ w0, 33)
            v0, v1 = _weak(words[turn : turn + 4], v1 * _K1 & _M, (x + w0) & _M)
            w0, w1 = _weak(words[turn + 4 : turn + 8], (z + w1) & _M, y)
            z, x = x, z
        at += _LOOP
    y = (y + _rotated(w0, 37) * _K0 + z) & _M
    x = (x + _rotated((v0 + z) & _M, 49) * _K0) & _M
    done = 0
    while done < size - at:
        done += 32
        end = size - done
        y = (_rotated((y - x) & _M, 42) * _K0 + v1) & _M
        w0 = (w0 + _word(text, end + 16)) & _M
        x = (_rotated(x, 49) * _K0 + w0) & _M
        w0 = (w0 + v0) & _M
        v0, v1 = _weak(struct.unpack_from("<4Q", text, end), v0, v1)
    x, y = _mixed(x, v0), _mixed(y, w0)
    return (_mixed((x + v1) & _M, w1) + y) & _M, _mixed((x + w1) & _M, (y + v1) & _M)


def _murmur(text: bytes, a: int, b: int) -> tuple[int, int]:
    size = len(text)
    if size <= 16:  # noqa: PLR2004 - the short form
        a = _shifted(a * _K1 & _M) * _K1 & _M
        c = (b * _K1 + _short(text)) & _M
        d = _shifted((a + (_word(text, 0) if size >= 8 else c)) & _M)  # noqa: PLR2004 - a word
    else:
        c = _mixed((_word(text, size - 8) + _K1) & _M, a)
        d = _mixed((b + size) & _M, (c + _word(text, size - 16)) & _M)
        a = (a + d) & _M
        at = 0
        while True:
            a = (a ^ (_shifted(_word(text, at) * _K1 & _M) * _K1 & _M)) * _K1 & _M
            b ^= a
            c = (c ^ (_shifted(_word(text, at + 8) * _K1 & _M) * _K1 & _M)) * _K1 & _M
            d ^= c
            at += 16
            if size - at <= 16:  # noqa: PLR2004 - the last bytes are in already
                break
    a, b = _mixed(a, c), _mixed(d, b)
    return a ^ b, _mixed(b, a)


def _short(text: bytes) -> int:
    size = len(text)
    if size > 8:  # noqa: PLR2004 - two words that may lie over each other
        a, b = _word(text, 0), _word(text, size - 8)
        return _mixed(a, _rotated((b + size) & _M, size)) ^ b
    if size >= 4:  # noqa: PLR2004 - two half words
        a, b = (int.from_bytes(part, "little") for part in (text[:4], text[-4:]))
        return _mixed((size + (a << 3)) & _M, b)
    if size:
        y, z = text[0] + (text[size >> 1] << 8), size + (text[-1] << 2)
        return _shifted((y * _K2 ^ z * _K3) & _M) * _K2 & _M
    return _K2


def _word(text: bytes, at: int) -> int:
    return int.from_bytes(text[at : at + 8], "little")


def _rotated(value: int, by: int) -> int:
    return (value >> by) | ((value << (64 - by)) & _M)


def _shifted(value: int) -> int:
    return value ^ (value >> 47)


def _mixed(low: int, high: int) -> int:
    a = _shifted((low ^ high) * _MUL & _M)
    return _shifted((high ^ a) * _MUL & _M) * _MUL & _M


def _weak(words: tuple[int, ...], a: int, b: int) -> tuple[int, int]:
    w, x, y, z = words
    a = (a + w) & _M
    b = _rotated((b + a + z) & _M, 21)
    c = a
    a = (a + x + y) & _M
    b = (b + _rotated(a, 44)) & _M
    return (a + z) & _M, (b + c) & _M
