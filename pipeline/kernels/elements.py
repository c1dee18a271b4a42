"""The elements of a JSON array, or the one object, taken out of a request's body at the level of bytes.

Cutting looks at strings and brackets only. For a body that is JSON it is exact; an element that is not JSON comes
out whole as well, for the decoder to refuse, and takes no neighbour with it. Only where one element cannot be told
from the next is the whole body refused.

An event without a tenant gets the tenant of its sender as its last member, since of duplicate members the last
counts: so it also replaces a `null`.
"""

import numpy as np

from pipeline.kernels.jit import byte_at, compiled, trailing_zeros, word_at
from pipeline.kernels.text import skip_space

U = np.uint64
_ONES = U(0x0101010101010101)
_HIGHS = U(0x8080808080808080)
_QUOTES = U(0x2222222222222222)
_BACKSLASHES = U(0x5C5C5C5C5C5C5C5C)
_TENANT = U(int.from_bytes(b"tenant", "little"))
_SUBJECT = U(int.from_bytes(b"subject", "little"))
_SIX_BYTES = U(0xFFFFFFFFFFFF)
_SEVEN_BYTES = U(0xFFFFFFFFFFFFFF)

HAS_TENANT, IS_EMPTY, IS_OBJECT, IS_UNSURE = 1, 2, 4, 8
"""What is noted of an element: it names a tenant; it has no members; it is an object; a name in it is escaped."""
FROM_SENDER, FROM_SUBJECT = 1, 2
"""Which tenant an event gets that names none; 0: none."""


@compiled
def _string_behind(buffer, p, end):
    """Behind the closing quote of the string whose first character is at `p`; -1 where the body ends before it.

    Gives a negative position other than -1 (its complement) when an escape stands in it.
    """
    escaped = False
    while True:
        word = word_at(buffer, p)
        quote = word ^ _QUOTES
        backslash = word ^ _BACKSLASHES
        hit = (((quote - _ONES) & ~quote) | ((backslash - _ONES) & ~backslash)) & _HIGHS
        if hit == U(0):
            p += 8
            if p >= end:
                return -1
            continue
        p += np.int64(trailing_zeros(hit) >> U(3))
        if p >= end:
            return -1
        if byte_at(buffer, p) == 34:
            return ~(p + 1) if escaped else p + 1
        escaped = True
        p += 2


@compiled
def _cut_one(buffer, p, end, row, notes, subjects):
    """Behind the element at `p`; -1 where none can be told."""
    first = byte_at(buffer, p)
    note = IS_EMPTY
    if first == 123:
        note |= IS_OBJECT
    subjects[row, 0] = 0
    subjects[row, 1] = 0
    depth = 0
    wants_name = False
    member = 0  # whose value comes next at the top: 1 the tenant's, 2 the subject's
    while p < end:
        c = byte_at(buffer, p)
        if c == 34:
            start = p
            p = _string_behind(buffer, p + 1, end)
            if p == -1:
                return -1
            is_escaped = p < 0
            if is_escaped:
                p = ~p
            if depth == 1 and note & IS_OBJECT:
                if wants_name:
                    wants_name = False
                    note &= ~IS_EMPTY
                    n = p - start - 2
                    member = 0
                    if is_escaped:
                        note |= IS_UNSURE
                    elif n == 6 and word_at(buffer, start + 1) & _SIX_BYTES == _TENANT:
                        member = 1
                        note &= ~HAS_TENANT
                    elif n == 7 and word_at(buffer, start + 1) & _SEVEN_BYTES == _SUBJECT:
                        member = 2
                        subjects[row, 0] = 0
                        subjects[row, 1] = 0
                elif member == 1:
                    note |= HAS_TENANT
                elif member == 2:
                    subjects[row, 0] = start
                    subjects[row, 1] = p
        elif c == 123 or c == 91:
            if member == 1 and depth == 1:
                note |= HAS_TENANT
            depth += 1
            p += 1
            wants_name = depth == 1
        elif c == 125 or c == 93:
            depth -= 1
            if depth < 0:
                return -1
            p += 1
        elif c == 44:
            if depth == 0:
                return -1
            if depth == 1:
                wants_name = True
                member = 0
            p += 1
        elif c == 32 or c == 58 or c == 9 or c == 13 or c == 10:
            if depth == 0:
                return -1
            p += 1
        else:
            if depth == 1 and member == 1 and c != 110:
                note |= HAS_TENANT
            begin = p
            while p < end:
                c = byte_at(buffer, p)
                if c == 44 or c == 125 or c == 93 or c == 123 or c == 91 or c == 34 or c == 58 or c <= 32:
                    break
                p += 1
            if p == begin:  # a control character
                p += 1
        if depth == 0:
            notes[row] = note
            return p
    return -1


@compiled
def cut_elements(buffer, p, end, starts, ends, notes, subjects, failed_at):
    """Cut the array or the one object in [p, end) into elements.

    Writes to starts and ends int64[m], notes int8[m] and subjects int64[m, 2] (the text of `subject` with its
    quotes, 0 and 0 for none). Returns their number: up to m, m + 1 where there are more, or -1 where the body
    cannot be cut, its place then in `failed_at[0]`.
    """
    p = skip_space(buffer, p)
    is_array = byte_at(buffer, p) == 91
    count = 0
    failed_at[0] = p
    if p >= end:
        return -1
    if is_array:
        p = skip_space(buffer, p + 1)
        if p < end and byte_at(buffer, p) == 93:
            p = skip_space(buffer, p + 1)
            failed_at[0] = p
            return 0 if p >= end else -1
    while True:
        failed_at[0] = p
        if p >= end:
            return -1
        if count == len(starts):
            return count + 1
        starts[count] = p
        p = _cut_one(buffer, p, end, count, notes, subjects)
        if p < 0:
            return -1
        ends[count] = p
        count += 1
        p = skip_space(buffer, p)
        failed_at[0] = p
        if not is_array:
            return count if p >= end else -1
        c = byte_at(buffer, p) if p < end else 0
        if c == 93:
            p = skip_space(buffer, p + 1)
            failed_at[0] = p
            return count if p >= end else -1
        if c != 44:
            return -1
        p = skip_space(buffer, p + 1)


@compiled
def lay_out_elements(buffer, starts, ends, notes, subjects, source, tenant, out, to, at, behind):
    """Copy elements into `out` from `to` on, each with an LF behind it, and give events the tenant they lack.

    `source` says whose (FROM_SENDER: `tenant`, JSON text; FROM_SUBJECT: the event's own subject; 0: none).
    Writes to at and behind int64[n]; `out` must have room. Returns the end of what was written.
    """
    for row in range(len(starts)):
        at[row] = to
        gets = notes[row] & IS_OBJECT and not notes[row] & HAS_TENANT and source != 0
        if source == FROM_SUBJECT and subjects[row, 1] == 0:
            gets = False
        last = ends[row] - 1 if gets else ends[row]
        to = _copied(buffer, starts[row], last, out, to)
        if gets:
            if not notes[row] & IS_EMPTY:
                out[to] = 44
                to += 1
            to = _named_tenant(out, to)
            if source == FROM_SENDER:
                to = _copied(tenant, 0, len(tenant), out, to)
            else:
                to = _copied(buffer, subjects[row, 0], subjects[row, 1], out, to)
            out[to] = 125
            to += 1
        behind[row] = to
        out[to] = 10
        to += 1
    return to


@compiled
def _copied(buffer, start, end, out, to):
    for i in range(start, end):
        out[to] = buffer[i]
        to += 1
    return to


@compiled
def _named_tenant(out, to):
    """Write `"tenant":`."""
    out[to] = 34
    word = _TENANT
    for i in range(6):
        out[to + 1 + i] = np.uint8((word >> U(8 * i)) & U(255))
    out[to + 7] = 34
    out[to + 8] = 58
    return to + 9


@compiled
def find_foreign(buffer, verdicts, at, length, tenant, rows):
    """Write the rows of valid events whose tenant, at (`at`, `length`), is not `tenant`; returns their number."""
    count = 0
    for row in range(len(verdicts)):
        if verdicts[row] != 0:
            continue
        same = length[row] == len(tenant)
        for i in range(len(tenant)):
            if not same:
                break
            same = buffer[at[row] + i] == tenant[i]
        if not same:
            rows[count] = row
            count += 1
    return count
