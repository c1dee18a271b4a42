"""Native blocks for clients that name a protocol version: clickhouse-go, and with it Grafana's ClickHouse source.

The embedded engine writes blocks of revision 0. A client that sends `client_protocol_version` gets, from a server,
what the protocol has since added: a block info before each block, and for each column a byte that says whether its
values are laid out in another way than is usual (here never). So each block is walked through, column by column.
"""

import re
from collections.abc import Callable, Sequence

_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
"""Field 1: no overflows; field 2: bucket -1; end."""
WITH_LAYOUT = 54_454
_USUAL = b"\x00"
_FIXED = {
    **{f"{kind}{bits}": bits // 8 for kind in ("Int", "UInt") for bits in (8, 16, 32, 64, 128, 256)},
    "Float32": 4, "Float64": 8, "BFloat16": 2, "Bool": 1, "Date": 2, "Date32": 4, "DateTime": 4, "DateTime64": 8,
    "Time": 4, "Time64": 8, "UUID": 16, "IPv4": 4, "IPv6": 16, "Enum8": 1, "Enum16": 2, "Nothing": 1, "Point": 16,
    "Decimal32": 4, "Decimal64": 8, "Decimal128": 16, "Decimal256": 32,
}  # fmt: skip
_DECIMAL_BYTES = ((9, 4), (18, 8), (38, 16), (76, 32))
_NAMED = re.compile(r"(?:`(?:[^`\\]|\\.)*`|[A-Za-z_]\w*) (?=\S)")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`")
_WORD = 8
_WIDTH, _SHARED, _OWN_KEYS = 0xFF, 0x100, 0x200
"""What the flags of a dictionary say: how wide its numbers are, and where its values stand."""


class UnknownTypeError(Exception):
    """A column's type whose values cannot be walked over; the message says what to do."""


def with_revision(blocks: bytes, revision: int) -> bytes:
    """Give blocks of revision 0 as a client of a revision reads them.

    A client below `WITH_LAYOUT` is given what the engine wrote: the ones there are (clickhouse-connect) ask first
    what comes. Raises `UnknownTypeError`.
    """
    if revision < WITH_LAYOUT:
        return blocks
    pieces, at = [], 0
    while at < len(blocks):
        columns, after = _number(blocks, at)
        rows, after = _number(blocks, after)
        pieces += [_BLOCK_INFO, blocks[at:after]]
        at = after
        for _ in range(columns):
            name, after = _text(blocks, at)
            kind, after = _text(blocks, after)
            end = _behind(blocks, after, kind, rows, name) if rows else after
            pieces += [blocks[at:after], _USUAL, blocks[after:end]]
            at = end
    return b"".join(pieces)


def _behind(blocks: bytes, at: int, kind: str, rows: int, name: str) -> int:
    try:
        return _skip(blocks, at + _WORD * _prefixes(kind), kind, rows)
    except UnknownTypeError as error:
        msg = f"the column {name} is of the type {error}, which is not sent here in Native: select toString({name})"
        raise UnknownTypeError(msg) from error


def _skip(blocks: bytes, at: int, kind: str, rows: int) -> int:
    """Where the values of a column end."""
    name, _, inner = kind.partition("(")
    inner = inner.removesuffix(")")
    if kind == "String":
        return _skip_strings(blocks, at, rows)
    if name in _FIXED:
        return at + rows * _FIXED[name]
    skip = _COMPOSED.get(name)
    if skip is None:
        raise UnknownTypeError(kind)
    return skip(blocks, at, inner, rows)


def _prefixes(kind: str) -> int:
    """How many columns with a dictionary there are in a type: each has a word before all values of the whole column."""
    return _QUOTED.sub("", kind).count("LowCardinality(")


def _skip_dictionary(blocks: bytes, at: int, inner: str, rows: int) -> int:
    """Walk over the distinct values of a block, and the number of each row's."""
    if not rows:
        return at
    flags, at = int.from_bytes(blocks[at : at + _WORD], "little"), at + _WORD
    if flags & _SHARED or not flags & _OWN_KEYS:
        msg = f"LowCardinality({inner}) with a dictionary of several blocks"
        raise UnknownTypeError(msg)
    keys, at = int.from_bytes(blocks[at : at + _WORD], "little"), at + _WORD
    plain = inner.removeprefix("Nullable(")
    at = _skip(blocks, at, plain.removesuffix(")") if plain != inner else inner, keys)
    return at + _WORD + rows * (1 << (flags & _WIDTH))


def _skip_strings(blocks: bytes, at: int, rows: int) -> int:
    for _ in range(rows):
        size = blocks[at]
        if size < 0x80:  # noqa: PLR2004 - one byte is the whole number
            at += size + 1
        else:
            size, at = _number(blocks, at)
            at += size
    return at


def _skip_array(blocks: bytes, at: int, inner: str, rows: int) -> int:
    at += rows * _WORD
    return _skip(blocks, at, inner, int.from_bytes(blocks[at - _WORD : at], "little"))


def _skip_tuple(blocks: bytes, at: int, inner: str, rows: int) -> int:
    for part in _parts(inner):
        at = _skip(blocks, at, _NAMED.sub("", part, count=1) if _NAMED.match(part) else part, rows)
    return at


def _skip_decimal(_blocks: bytes, at: int, inner: str, rows: int) -> int:
    precision = int(inner.partition(",")[0])
    return at + rows * next(size for most, size in _DECIMAL_BYTES if precision <= most)


_COMPOSED: dict[str, Callable[[bytes, int, str, int], int]] = {
    "LowCardinality": _skip_dictionary,
    "Nullable": lambda blocks, at, inner, rows: _skip(blocks, at + rows, inner, rows),
    "Array": _skip_array,
    "Map": lambda blocks, at, inner, rows: _skip_array(blocks, at, f"Tuple({inner})", rows),
    "Nested": lambda blocks, at, inner, rows: _skip_array(blocks, at, f"Tuple({inner})", rows),
    "Tuple": _skip_tuple,
    "Decimal": _skip_decimal,
    "FixedString": lambda _blocks, at, inner, rows: at + rows * int(inner),
    "SimpleAggregateFunction": lambda blocks, at, inner, rows: _skip(blocks, at, _parts(inner)[1], rows),
    **{
        f"Interval{unit}": lambda _blocks, at, _inner, rows: at + rows * 8
        for unit in (
            "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour", "Day", "Week", "Month", "Quarter",
            "Year",
        )
    },
}  # fmt: skip


def _parts(inner: str) -> Sequence[str]:
    """The types between commas, as they stand in brackets; names and values in quotes may hold anything."""
    parts, depth, begin, quote, at = [], 0, 0, "", 0
    while at < len(inner):
        sign = inner[at]
        if quote:
            at += sign == "\\"
            quote = "" if sign == quote else quote
        elif sign in "'`":
            quote = sign
        elif sign == "," and depth == 0:
            parts.append(inner[begin:at].strip())
            begin = at + 1
        else:
            depth += (sign == "(") - (sign == ")")
        at += 1
    last = inner[begin:].strip()
    return [*parts, last] if last else parts


def _number(blocks: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    number = shift = 0
    while True:
        byte = blocks[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:  # noqa: PLR2004 - the last byte of the number
            return number, at
        shift += 7


def _text(blocks: bytes, at: int) -> tuple[str, int]:
    size, at = _number(blocks, at)
    return blocks[at : at + size].decode(errors="replace"), at + size
