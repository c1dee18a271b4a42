"""Keys made by templates, for payloads in plain JSON; every other row is left to `pipeline.key_template`."""

from pipeline.kernels.jit import byte_at, compiled, copied
from pipeline.kernels.layout import ATTRIBUTES, EVENT_ID, KEY, LANES, PAD
from pipeline.kernels.text import plain_string_end, skip_space, value_behind

TEXT, ID, BODY = 0, 1, 2
"""What a part of a template is: bytes of its own, the event's id, a value of the payload."""
_KEY_MAX = 512
_NONE, _UNSURE = -1, -2
_VALUE_AT, _VALUE_SIZE, SLOW_ROWS = 0, 1, 2
SCRATCH = 3


@compiled
def _is_text(buffer, p, texts, start, size):
    i = 0
    while i < size and byte_at(buffer, p + i) == byte_at(texts, start + i):
        i += 1
    return i == size


@compiled
def _member(buffer, p, texts, start, size):
    """Where the value of the object's last member of that name begins; _NONE without one, _UNSURE with escapes."""
    found = _NONE
    p = skip_space(buffer, p + 1)
    if byte_at(buffer, p) == 125:
        return found
    while True:
        if byte_at(buffer, p) != 34:
            return _UNSURE
        name_end = plain_string_end(buffer, p + 1)
        if name_end < 0:
            return _UNSURE
        value = skip_space(buffer, skip_space(buffer, name_end + 1) + 1)
        if name_end - p - 1 == size and _is_text(buffer, p + 1, texts, start, size):
            found = value
        p = value_behind(buffer, value)
        if p < 0:
            return _UNSURE
        p = skip_space(buffer, p)
        if byte_at(buffer, p) == 125:
            return found
        p = skip_space(buffer, p + 1)


@compiled
def _look_up(buffer, p, texts, steps, first, count, scratch):
    """Find the scalar at the end of the steps: 0, its text then in `scratch`; _NONE, or _UNSURE."""
    for step in range(first, first + count):
        c = byte_at(buffer, p)
        if c == 91:
            return _UNSURE
        if c != 123:
            return _NONE
        p = _member(buffer, p, texts, steps[step, 0], steps[step, 1])
        if p < 0:
            return p
    c = byte_at(buffer, p)
    if c == 123 or c == 91 or c == 110:
        return _NONE
    end = plain_string_end(buffer, p + 1) if c == 34 else value_behind(buffer, p)
    if end < 0:
        return _UNSURE
    start = p + 1 if c == 34 else p
    scratch[_VALUE_AT] = start
    scratch[_VALUE_SIZE] = end - start
    return 0


@compiled
def _render(buffer, row, at, length, parts, first, behind, steps, texts, free, scratch):
    """Write a row's key to the free end; -> behind it, or _NONE, or _UNSURE."""
    to = free
    for i in range(first, behind):
        kind, start, size = parts[i, 0], parts[i, 1], parts[i, 2]
        if kind == BODY:
            if length[row, ATTRIBUTES] == 0:
                return _NONE
            found = _look_up(buffer, at[row, ATTRIBUTES], texts, steps, start, size, scratch)
            if found < 0:
                return found
            start, size = scratch[_VALUE_AT], scratch[_VALUE_SIZE]
        elif kind == ID:
            start, size = at[row, EVENT_ID], length[row, EVENT_ID]
        if to + size > free + _KEY_MAX:
            return _UNSURE
        to = copied(texts if kind == TEXT else buffer, start, size, buffer, to)
    return to


@compiled
def render_keys(
    buffer, first, verdicts, entries, at, length, part_first, parts, steps, texts, free, scratch, slow
):
    """Give valid rows without a key that of their entry's template, from row `first` on.

    The template of entry e is `parts[part_first[e]:part_first[e + 1]]`: int32 rows of TEXT with a place in `texts`
    and a size, ID, or BODY with a place in `steps` and a number of steps; a step is a place in `texts` and a size.
    Rows that cannot be judged here go to `slow` int32[n], their number to scratch[SLOW_ROWS] (scratch
    int64[SCRATCH], zeros at first). Returns the row that did not fit (or n) and the new end of what is used.
    """
    capacity = len(buffer) - PAD
    for row in range(first, len(verdicts)):
        entry = entries[row]
        if (
            verdicts[row] != 0
            or entry < 0
            or length[row, KEY] != 0
            or part_first[entry] == part_first[entry + 1]
        ):
            continue
        if free + _KEY_MAX + LANES > capacity:
            return row, free
        end = _render(
            buffer,
            row,
            at,
            length,
            parts,
            part_first[entry],
            part_first[entry + 1],
            steps,
            texts,
            free,
            scratch,
        )
        if end == _UNSURE:
            slow[scratch[SLOW_ROWS]] = row
            scratch[SLOW_ROWS] += 1
        elif end > free:
            at[row, KEY] = free
            length[row, KEY] = end - free
            free = end
    return len(verdicts), free
