"""Hash tables on plain arrays: the distinct strings of a batch, and the keys that were counted."""

import numpy as np

from pipeline.kernels.hashing import bytes_mix
from pipeline.kernels.jit import LOW_BYTES, compiled, copied, fetch_ahead, word_at
from pipeline.kernels.layout import ENDPOINT, EVENT_ID, KEY, METHOD, OPERATION, SOURCE

U = np.uint64
_AHEAD = 12
"""How many rows before its turn a key's cell is asked for: a large table lies in memory, not in a cache."""
_SEED = U(1)
NEW, DUPLICATE, CONFLICT, UNKNOWN, REPLAYED, LOCKED = 0, 2, 3, 4, 5, 6
"""What the key table says of a row: counted now, counted before, other content, voids what was never counted,
has its outcome from before, would be billed in a locked period."""
FRESH, KNOWN = -1, -2
"""What is known of a row from before: nothing, or that it has an outcome other than a row in the ledger."""


@compiled
def _same(buffer, a, b, size):
    while size >= 8:
        if word_at(buffer, a) != word_at(buffer, b):
            return False
        a += 8
        b += 8
        size -= 8
    return size == 0 or ((word_at(buffer, a) ^ word_at(buffer, b)) & LOW_BYTES[size]) == U(0)


@compiled
def _intern(buffer, start, size, table, starts, sizes, counts, kind):
    """The number of a string among the distinct ones of its kind; a new one gets the next number."""
    mask = table.shape[1] - 1
    slot = np.int64(bytes_mix(buffer, start, size, _SEED)) & mask
    while True:
        code = table[kind, slot]
        if code < 0:
            break
        if sizes[kind, code] == size and _same(buffer, starts[kind, code], start, size):
            return code
        slot = (slot + 1) & mask
    code = counts[kind]
    counts[kind] = code + 1
    starts[kind, code] = start
    sizes[kind, code] = size
    table[kind, slot] = code
    return code


@compiled
def derive_operations(buffer, first, verdicts, types, at, length, free):
    """Write `METHOD endpoint` for traffic without an operation, from row `first` on.

    Returns the row that did not fit (or n) and the new end of what is used.
    """
    capacity = len(buffer) - 64
    for row in range(first, len(verdicts)):
        if verdicts[row] != 0 or types[row] != 0 or length[row, OPERATION] != 0:
            continue
        method, method_size = at[row, METHOD], length[row, METHOD]
        endpoint, endpoint_size = at[row, ENDPOINT], length[row, ENDPOINT]
        if method_size == 0 or endpoint_size == 0:
            at[row, OPERATION] = endpoint if method_size == 0 else method
            length[row, OPERATION] = endpoint_size if method_size == 0 else method_size
            continue
        if free + method_size + endpoint_size + 1 > capacity:
            return row, free
        at[row, OPERATION] = free
        length[row, OPERATION] = method_size + endpoint_size + 1
        free = copied(buffer, method, method_size, buffer, free)
        buffer[free] = 32
        free = copied(buffer, endpoint, endpoint_size, buffer, free + 1)
    return len(verdicts), free


@compiled
def default_keys(buffer, first, verdicts, at, length, free):
    """Write `source id` as the key of rows that have none, from row `first` on; returns as above."""
    capacity = len(buffer) - 64
    for row in range(first, len(verdicts)):
        if verdicts[row] != 0 or length[row, KEY] != 0:
            continue
        size = length[row, SOURCE] + 1 + length[row, EVENT_ID]
        if free + size > capacity:
            return row, free
        at[row, KEY] = free
        length[row, KEY] = size
        free = copied(buffer, at[row, SOURCE], length[row, SOURCE], buffer, free)
        buffer[free] = 32
        free = copied(buffer, at[row, EVENT_ID], length[row, EVENT_ID], buffer, free + 1)
    return len(verdicts), free


@compiled
def intern_rows(buffer, verdicts, at, length, fields, table, starts, sizes, counts, codes):
    """Codes int32[n, len(fields)]: the number of each row's value; table int32[kinds, 2^k] all -1 at first."""
    before = -1
    for row in range(len(verdicts)):
        if verdicts[row] != 0:
            continue
        for kind in range(len(fields)):
            start, size = at[row, fields[kind]], length[row, fields[kind]]
            if before >= 0:  # most are what the row before has
                code = codes[before, kind]
                if sizes[kind, code] == size and _same(buffer, starts[kind, code], start, size):
                    codes[row, kind] = code
                    continue
            codes[row, kind] = _intern(buffer, start, size, table, starts, sizes, counts, kind)
        before = row


@compiled
def intern_usage(buffer, usage_at, usage_length, used, table, starts, sizes, counts, kind, codes):
    """Codes int32[used]: the number of each usage entry's source."""
    for i in range(used):
        codes[i] = _intern(buffer, usage_at[i], usage_length[i], table, starts, sizes, counts, kind)


@compiled
def _home(cells, low):
    """Where the search for a key begins: cells in the order of the hash, so that a larger table keeps the order."""
    return np.int64(((low >> U(32)) * U(cells)) >> U(32))


@compiled
def _find(table, high, low):
    """The cell of a key: where it is, or the free one where it belongs."""
    cells = len(table)
    cell = _home(cells, low)
    while True:
        if table[cell, 0] == high and table[cell, 1] == low:
            return cell
        if table[cell, 0] == U(0) and table[cell, 1] == U(0):
            return cell
        cell += 1
        if cell == cells:
            cell = 0


@compiled
def _holds(table, cell):
    return table[cell, 0] != U(0) or table[cell, 1] != U(0)


@compiled
def put_keys(table, hashes, prints):
    """Insert keys that are known from the ledger; returns how many were new."""
    added = 0
    for i in range(len(hashes)):
        if i + _AHEAD < len(hashes):
            fetch_ahead(table, _home(len(table), hashes[i + _AHEAD, 1]))
        cell = _find(table, hashes[i, 0], hashes[i, 1])
        if not _holds(table, cell):
            added += 1
        table[cell, 0] = hashes[i, 0]
        table[cell, 1] = hashes[i, 1]
        table[cell, 2] = prints[i]
    return added


@compiled
def find_keys(table, hashes, found):
    """Tell of each key whether it is there: found bool[n]."""
    for i in range(len(hashes)):
        if i + _AHEAD < len(hashes):
            fetch_ahead(table, _home(len(table), hashes[i + _AHEAD, 1]))
        found[i] = _holds(table, _find(table, hashes[i, 0], hashes[i, 1]))


@compiled
def print_of(table, key):
    """The fingerprint of a key that is there."""
    return table[_find(table, key[0], key[1]), 2]


@compiled
def _enter(table, cell, high, low, fingerprint):
    table[cell, 0] = high
    table[cell, 1] = low
    table[cell, 2] = fingerprint


@compiled
def _move(table, cell):
    """Take a key out of its cell and enter it anew."""
    high, low, fingerprint = table[cell, 0], table[cell, 1], table[cell, 2]
    _enter(table, cell, U(0), U(0), U(0))
    _enter(table, _find(table, high, low), high, low, fingerprint)


@compiled
def spread(table, before, aside):
    """Put the keys in the first `before` cells of a table where they belong now that it has more; in place.

    aside uint64[m, 3] takes the first m cells while the others move, from the last one down: each has its new
    place behind all that have not moved, as long as no key lies further than a quarter of m from where the
    search for it begins, and the table has grown by a quarter or more. All in `aside` is used up.
    """
    for i in range(len(aside)):
        _enter(aside, i, table[i, 0], table[i, 1], table[i, 2])
        _enter(table, i, U(0), U(0), U(0))
    for cell in range(before - 1, len(aside) - 1, -1):
        if _holds(table, cell):
            _move(table, cell)
    for i in range(len(aside)):
        if _holds(aside, i):
            cell = _find(table, aside[i, 0], aside[i, 1])
            _enter(table, cell, aside[i, 0], aside[i, 1], aside[i, 2])


@compiled
def _knows(table, older, high, low):
    return _holds(table, _find(table, high, low)) or (
        len(older) > 0 and _holds(older, _find(older, high, low))
    )


@compiled
def count_once(
    table,
    older,
    rows,
    known,
    known_hashes,
    known_prints,
    late,
    verdicts,
    types,
    hashes,
    targets,
    prints,
    outcomes,
):
    """Judge rows in order against the table and enter the new ones; returns how many keys were entered.

    older: keys that are known too, in a table of their own that takes no more; one without cells where none are.
    known int32[len(rows)]: FRESH, KNOWN, or the place in known_* of the key that the record has counted before.
    late bool[len(rows)]: what must not enter, since its period is locked; empty where nothing is.
    outcomes int8[len(rows)]: NEW, DUPLICATE, CONFLICT, UNKNOWN, REPLAYED or LOCKED; -1 for a line that was
    rejected before. The table must have room for all rows.
    """
    entered = 0
    for i in range(len(rows)):
        row = rows[i]
        if i + _AHEAD < len(rows):
            fetch_ahead(table, _home(len(table), hashes[rows[i + _AHEAD], 1]))
        if known[i] != FRESH:
            outcomes[i] = REPLAYED
            if known[i] >= 0:
                k = known[i]
                cell = _find(table, known_hashes[k, 0], known_hashes[k, 1])
                if not _knows(table, older, known_hashes[k, 0], known_hashes[k, 1]):
                    _enter(table, cell, known_hashes[k, 0], known_hashes[k, 1], known_prints[k])
                    entered += 1
            continue
        if verdicts[row] != 0:
            outcomes[i] = -1
            continue
        cell = _find(table, hashes[row, 0], hashes[row, 1])
        if _holds(table, cell):
            outcomes[i] = DUPLICATE if types[row] == 4 or table[cell, 2] == prints[row] else CONFLICT
            continue
        if len(older) > 0:
            before = _find(older, hashes[row, 0], hashes[row, 1])
            if _holds(older, before):
                outcomes[i] = DUPLICATE if types[row] == 4 or older[before, 2] == prints[row] else CONFLICT
                continue
        if types[row] == 4 and not _knows(table, older, targets[row, 0], targets[row, 1]):
            outcomes[i] = UNKNOWN
            continue
        if len(late) > 0 and late[i]:
            outcomes[i] = LOCKED
            continue
        _enter(table, cell, hashes[row, 0], hashes[row, 1], prints[row])
        outcomes[i] = NEW
        entered += 1
    return entered


@compiled
def sort_by_lane(slots, lanes, order, bounds):
    """A stable counting sort of the rows by slot % lanes; bounds int64[lanes + 1] into order int32[n]."""
    for i in range(lanes + 1):
        bounds[i] = 0
    for row in range(len(slots)):
        bounds[int(slots[row]) % lanes + 1] += 1
    for lane in range(lanes):
        bounds[lane + 1] += bounds[lane]
    for row in range(
        len(slots) - 1, -1, -1
    ):  # from the back, so that each end moves down to its lane's start
        lane = int(slots[row]) % lanes
        bounds[lane + 1] -= 1
        order[bounds[lane + 1]] = row
    for lane in range(lanes):
        bounds[lane] = bounds[lane + 1]
    bounds[lanes] = len(slots)
