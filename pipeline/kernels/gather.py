"""Moving chosen rows of a batch into the wire form of ClickHouse's Native format."""

from pipeline.kernels.jit import compiled, copied, fetch_ahead
from pipeline.kernels.layout import LANES

_AHEAD, _NEAR = 16, 8
"""How many rows before its turn a row's places are asked for, and then its texts. A lane has every second row or
fewer, which may have been written on another core: asking ahead takes a quarter off the reading of texts."""


@compiled
def _put_string(buffer, start, size, out, p):
    """A varint length and the bytes."""
    rest = size
    while rest > 127:
        out[p] = (rest & 127) | 128
        p += 1
        rest >>= 7
    out[p] = rest
    p += 1
    return copied(buffer, start, size, out, p)


@compiled
def text_rooms(length, fields, rows, begins):
    """Where each column of text begins in one buffer: int64[len(fields) + 1], the last its size.

    There is room for each text, five bytes more for each, and LANES at the end of each column.
    """
    for f in range(len(fields) + 1):
        begins[f] = 0
    for i in range(len(rows)):
        for f in range(len(fields)):
            begins[f + 1] += length[rows[i], fields[f]]
    for f in range(len(fields)):
        begins[f + 1] += begins[f] + 5 * len(rows) + LANES


@compiled
def gather_texts(buffer, at, length, fields, rows, out, ends):
    """The String columns of `rows`, row by row, so that each row's text is looked at once.

    ends int64[len(fields)]: where each column begins at first, and ends when done; room as above.
    """
    for i in range(len(rows)):
        if i + _AHEAD < len(rows):
            fetch_ahead(at, rows[i + _AHEAD])
            fetch_ahead(length, rows[i + _AHEAD])
            near = rows[i + _NEAR]
            for f in range(len(fields)):
                fetch_ahead(buffer, at[near, fields[f]])
        row = rows[i]
        for f in range(len(fields)):
            field = fields[f]
            ends[f] = _put_string(buffer, at[row, field], length[row, field], out, ends[f])


@compiled
def gather_values(buffer, starts, sizes, count, out):
    """The first `count` distinct strings of a kind as a String column; returns its size.

    `out` has room for each text, five bytes more for each, and LANES at its end.
    """
    p = 0
    for i in range(count):
        p = _put_string(buffer, starts[i], sizes[i], out, p)
    return p


@compiled
def gather_codes(rows, codes, out):
    """The codes of `rows`, a column for each kind: int32[kinds, len(rows)] from int32[n, kinds]."""
    for i in range(len(rows)):
        row = rows[i]
        for kind in range(codes.shape[1]):
            out[kind, i] = codes[row, kind]


@compiled
def gather_numbers(
    rows, quantities, units, weighted, hashes, out_quantities, out_units, out_weighted, out_hashes
):
    """The wide numbers of `rows`: quantities as int64[3, n], 128 bits as [n, 2] with the low word first."""
    for i in range(len(rows)):
        row = rows[i]
        for j in range(3):
            out_quantities[j, i] = quantities[row, j]
        for j in range(2):
            out_units[i, j] = units[row, j]
            out_weighted[i, j] = weighted[row, j]
            out_hashes[i, 1 - j] = hashes[row, j]


@compiled
def gather_usage(rows, first, count, codes, values, offsets, out_codes, out_values):
    """The usage maps of `rows`: cumulative offsets, source codes, 128-bit values; returns the entries."""
    used = 0
    for i in range(len(rows)):
        row = rows[i]
        for j in range(first[row], first[row] + count[row]):
            out_codes[used] = codes[j]
            out_values[used, 0] = values[j, 0]
            out_values[used, 1] = values[j, 1]
            used += 1
        offsets[i] = used
    return used


@compiled
def gather_parts(
    rows, entries, part_first, parts, component_first, part_source, offsets, out_codes, out_parts
):
    """The price breakdown of `rows`: cumulative offsets, source codes, pico-USD; returns the components."""
    used = 0
    for i in range(len(rows)):
        row = rows[i]
        first = part_first[row]
        for j in range(part_first[row + 1] - first):
            out_codes[used] = part_source[component_first[entries[row]] + j]
            out_parts[used] = parts[first + j]
            used += 1
        offsets[i] = used
    return used


@compiled
def split_amounts(rows, pico, micro, residual):
    """Micro int64[] = floor(pico / 10^6) and residual int32[] = the rest, 0 to 999 999."""
    for i in range(len(rows)):
        amount = pico[rows[i]]
        whole = amount // 1_000_000
        micro[i] = whole
        residual[i] = amount - whole * 1_000_000
