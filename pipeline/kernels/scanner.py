"""The fast way in: one pass over a line of canonical CloudEvents JSON gives its columns.

It accepts only what needs no judgement (members in any order, none twice, no escapes in names or in strings
that become columns, plain integers and decimals, a `time` that is there) and marks every other line SLOW for
the strict decoder, which alone gives reasons. Both must yield the same columns; a differential test holds them
together.
"""

import numpy as np

from pipeline.kernels.jit import LOW_BYTES, byte_at, compiled, word_at
from pipeline.kernels.layout import (
    ACTION,
    ATTRIBUTES,
    CONTEXT_DISPLAY,
    CONTEXT_NAME,
    DELTA_BYTES,
    ENDPOINT,
    EVENT_ID,
    FIELDS,
    KEY,
    METHOD,
    OBJECT,
    OPERATION,
    PRINCIPAL,
    PROVIDER,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    SLOW,
    SOURCE,
    TENANT,
    UNATTRIBUTED_AT,
    UNATTRIBUTED_LENGTH,
)
from pipeline.kernels.text import (
    NO_TIME,
    has_high_bytes,
    is_null,
    is_utf8,
    plain_string_end,
    rfc3339_ms,
    scaled_number,
    skip_space,
    value_behind,
    whole_number,
)

U = np.uint64
EXTRAS_MAX = 12
_FUTURE_MS = 300_000
_TEXT_MAX = 1024


def _word(name):
    return U(int.from_bytes(name[:8].ljust(8, b"\0"), "little"))


def _tail(name):
    return U(int.from_bytes(name[-8:], "little"))


_ID, _SOURCE, _TENANT, _SUBJECT = _word(b"id"), _word(b"source"), _word(b"tenant"), _word(b"subject")
_KEY, _KEY_TAIL = _word(b"idempotencykey"), _tail(b"idempotencykey")
_TYPE, _TIME, _DATA = _word(b"type"), _word(b"time"), _word(b"data")
_SPEC, _SPEC_TAIL = _word(b"specversion"), _tail(b"specversion")
_OPERATION, _OPERATION_TAIL = _word(b"operation"), _tail(b"operation")
_ACTION, _CONTEXT, _USAGE = _word(b"action"), _word(b"context"), _word(b"usage")
_TRIGGER, _METHOD, _ENDPOINT = _word(b"trigger"), _word(b"method"), _word(b"endpoint")
_STATUS, _UNITS, _OBJECT = _word(b"status"), _word(b"units"), _word(b"object")
_REQUEST, _REQUEST_TAIL = _word(b"request_bytes"), _tail(b"request_bytes")
_RESPONSE, _RESPONSE_TAIL = _word(b"response_bytes"), _tail(b"response_bytes")
_DELTA, _DELTA_TAIL = _word(b"delta_bytes"), _tail(b"delta_bytes")
_PROVIDER, _VERIFIED = _word(b"provider"), _word(b"verified")
_NAME, _DISPLAY, _EVENT = _word(b"name"), _word(b"display"), _word(b"event")
_TRAFFIC, _COMPUTE, _STORAGE, _WEBHOOK = (
    _word(b"traffic"),
    _word(b"compute"),
    _word(b"storage"),
    _word(b"webhook"),
)
_VERSION = U(int.from_bytes(b"1.0", "little"))
_PROJECT, _ADMIN, _OTHER = _word(b"project"), _word(b"admin"), _word(b"other")
_WORKSPACE, _WORKSPACE_TAIL = _word(b"workspace"), _tail(b"workspace")
_SYNCHRONOUS, _SYNCHRONOUS_TAIL = _word(b"synchronous"), _tail(b"synchronous")
_SCHEDULED, _SCHEDULED_TAIL = _word(b"scheduled"), _tail(b"scheduled")
_WEBHOOK_RECEIVED, _WEBHOOK_RECEIVED_TAIL = _word(b"webhook-received"), _tail(b"webhook-received")
_QUEUE_CONSUMED, _QUEUE_CONSUMED_TAIL = _word(b"queue-consumed"), _tail(b"queue-consumed")
_CALLBACK, _COMPLETED, _CALLBACK_TAIL = _word(b"callback"), _word(b"-complet"), _tail(b"callback-completed")

# Bits of the attributes that were seen.
_B_ID, _B_SOURCE, _B_TENANT, _B_SUBJECT, _B_KEY, _B_TYPE, _B_TIME, _B_DATA, _B_SPEC = (
    1 << n for n in range(9)
)
_B_REQUIRED = _B_ID | _B_SOURCE | _B_TENANT | _B_TYPE | _B_TIME | _B_DATA | _B_SPEC

# Bits of the members of data that were seen.
_D_OPERATION, _D_ACTION, _D_CONTEXT, _D_TRIGGER, _D_USAGE = (1 << n for n in range(5))
_D_METHOD, _D_ENDPOINT, _D_STATUS, _D_REQUEST, _D_RESPONSE = (1 << n for n in range(5, 10))
_D_UNITS, _D_DELTA, _D_OBJECT, _D_PROVIDER, _D_VERIFIED = (1 << n for n in range(10, 15))
_D_COMMON = _D_OPERATION | _D_ACTION | _D_CONTEXT | _D_TRIGGER | _D_USAGE
_D_TRAFFIC = _D_COMMON | _D_METHOD | _D_ENDPOINT | _D_STATUS | _D_REQUEST | _D_RESPONSE
_D_COMPUTE = _D_COMMON | _D_UNITS
_D_STORAGE = _D_COMMON | _D_DELTA | _D_OBJECT
_D_WEBHOOK = _D_COMMON | _D_PROVIDER | _D_VERIFIED
_ALLOWED = np.array([_D_TRAFFIC, _D_COMPUTE, _D_STORAGE, _D_WEBHOOK], np.int64)

# The scratch cells of one line.
S_TYPE, S_TIME, S_SEEN, S_DATA_SEEN, S_EXTRAS, S_USAGE, S_NUMBER, S_PRESENT = range(8)
SCRATCH = 8


@compiled
def _name_word(buffer, start, end):
    """The first eight bytes of a name, zero-padded, as a word."""
    length = end - start
    word = word_at(buffer, start)
    return word & LOW_BYTES[length] if length < 8 else word


@compiled
def _colon_behind(buffer, p):
    p = skip_space(buffer, p)
    return skip_space(buffer, p + 1) if byte_at(buffer, p) == 58 else -1


@compiled
def _text(buffer, p, limit, row, field, at, length):
    """A string of at most `limit` bytes into a field; an empty one counts as absent. -> behind it or -1."""
    if byte_at(buffer, p) != 34:
        return -1
    end = plain_string_end(buffer, p + 1)
    if end < 0 or end - p - 1 > limit:
        return -1
    at[row, field] = p + 1
    length[row, field] = end - p - 1
    return end + 1


@compiled
def _note_extra(buffer, name, name_end, p, level, scratch, extras):
    """Remember an unknown member; -> behind its value, or -1 when it stands twice or there are too many.

    An extension called `event` is renamed by the strict decoder: that name is the payload's.
    """
    behind = value_behind(buffer, p)
    if behind < 0:
        return -1
    if level == 1 and name_end - name == 5 and _name_word(buffer, name, name_end) == _EVENT:
        return -1
    count = scratch[S_EXTRAS]
    if count == EXTRAS_MAX:
        return -1
    for i in range(count):
        if extras[i, 1] - extras[i, 0] == name_end - name:
            same = True
            for j in range(name_end - name):
                if byte_at(buffer, extras[i, 0] + j) != byte_at(buffer, name + j):
                    same = False
                    break
            if same:
                return -1
    extras[count, 0] = name
    extras[count, 1] = name_end
    extras[count, 2] = p
    extras[count, 3] = -1 if is_null(buffer, p) else behind
    extras[count, 4] = level
    scratch[S_EXTRAS] = count + 1
    return behind


@compiled
def _trigger_code(buffer, start, end):
    n = end - start
    word = _name_word(buffer, start, end)
    if n == 11 and word == _SYNCHRONOUS and word_at(buffer, end - 8) == _SYNCHRONOUS_TAIL:
        return 0
    if n == 16 and word == _WEBHOOK_RECEIVED and word_at(buffer, end - 8) == _WEBHOOK_RECEIVED_TAIL:
        return 1
    if n == 9 and word == _SCHEDULED and word_at(buffer, end - 8) == _SCHEDULED_TAIL:
        return 2
    if n == 14 and word == _QUEUE_CONSUMED and word_at(buffer, end - 8) == _QUEUE_CONSUMED_TAIL:
        return 3
    if n == 18 and word == _CALLBACK and word_at(buffer, start + 8) == _COMPLETED:
        return 4 if word_at(buffer, end - 8) == _CALLBACK_TAIL else -1
    return -1


@compiled
def _context_code(buffer, start, end):
    n = end - start
    word = _name_word(buffer, start, end)
    if n == 7 and word == _PROJECT:
        return 1
    if n == 9 and word == _WORKSPACE and word_at(buffer, end - 8) == _WORKSPACE_TAIL:
        return 2
    if n == 5 and word == _ADMIN:
        return 3
    if n == 5 and word == _OTHER:
        return 4
    return -1


@compiled
def _context(buffer, p, row, at, length, codes):
    """The object `{type, name, display}`; -> behind it or -1."""
    if byte_at(buffer, p) != 123:
        return -1
    p = skip_space(buffer, p + 1)
    if byte_at(buffer, p) == 125:
        return p + 1
    seen = 0
    while True:
        if byte_at(buffer, p) != 34:
            return -1
        name = p + 1
        name_end = plain_string_end(buffer, name)
        if name_end < 0:
            return -1
        p = _colon_behind(buffer, name_end + 1)
        if p < 0:
            return -1
        n = name_end - name
        word = _name_word(buffer, name, name_end)
        bit = (
            1
            if n == 4 and word == _TYPE
            else 2
            if n == 4 and word == _NAME
            else 4
            if n == 7 and word == _DISPLAY
            else 0
        )
        if bit == 0 or seen & bit:
            return -1
        seen |= bit
        if is_null(buffer, p):
            p += 4
        elif bit == 1:
            if byte_at(buffer, p) != 34:
                return -1
            end = plain_string_end(buffer, p + 1)
            if end < 0:
                return -1
            code = _context_code(buffer, p + 1, end)
            if code < 0:
                return -1
            codes[row] = code
            p = end + 1
        else:
            p = _text(buffer, p, _TEXT_MAX, row, CONTEXT_NAME if bit == 2 else CONTEXT_DISPLAY, at, length)
            if p < 0:
                return -1
        p = skip_space(buffer, p)
        c = byte_at(buffer, p)
        if c == 125:
            return p + 1
        if c != 44:
            return -1
        p = skip_space(buffer, p + 1)


@compiled
def _usage(buffer, p, scratch, number, usage_at, usage_length, usage_value, used):
    """The object `{source: quantity}` into the batch's usage entries from `used` on; -> behind it or -1."""
    if byte_at(buffer, p) != 123:
        return -1
    p = skip_space(buffer, p + 1)
    if byte_at(buffer, p) == 125:
        return p + 1
    while True:
        if byte_at(buffer, p) != 34:
            return -1
        name = p + 1
        name_end = plain_string_end(buffer, name)
        n = name_end - name
        entry = used + scratch[S_USAGE]
        if n <= 0 or n > _TEXT_MAX or entry >= len(usage_at):
            return -1
        for i in range(used, entry):
            if usage_length[i] == n:
                same = True
                for j in range(n):
                    if byte_at(buffer, usage_at[i] + j) != byte_at(buffer, name + j):
                        same = False
                        break
                if same:
                    return -1
        p = _colon_behind(buffer, name_end + 1)
        if p < 0:
            return -1
        p = scaled_number(buffer, p, number)
        if p < 0:
            return -1
        usage_at[entry] = name
        usage_length[entry] = n
        usage_value[entry, 0] = number[0]
        usage_value[entry, 1] = 0
        scratch[S_USAGE] += 1
        p = skip_space(buffer, p)
        c = byte_at(buffer, p)
        if c == 125:
            return p + 1
        if c != 44:
            return -1
        p = skip_space(buffer, p + 1)


@compiled
def _member_bit(buffer, name, name_end):
    """Which member of data the name is, as its bit; 0 for a name that no type knows."""
    n = name_end - name
    word = _name_word(buffer, name, name_end)
    if n == 5:
        return _D_UNITS if word == _UNITS else _D_USAGE if word == _USAGE else 0
    if n == 6:
        return (
            _D_METHOD if word == _METHOD else _D_STATUS if word == _STATUS else _D_ACTION if word == _ACTION
            else _D_OBJECT if word == _OBJECT else 0
        )  # fmt: skip
    if n == 7:
        return _D_CONTEXT if word == _CONTEXT else _D_TRIGGER if word == _TRIGGER else 0
    if n == 8:
        return (
            _D_ENDPOINT if word == _ENDPOINT else _D_PROVIDER if word == _PROVIDER
            else _D_VERIFIED if word == _VERIFIED else 0
        )  # fmt: skip
    if n < 9:
        return 0
    tail = word_at(buffer, name_end - 8)
    if n == 9 and word == _OPERATION and tail == _OPERATION_TAIL:
        return _D_OPERATION
    if n == 13 and word == _REQUEST and tail == _REQUEST_TAIL:
        return _D_REQUEST
    if n == 14 and word == _RESPONSE and tail == _RESPONSE_TAIL:
        return _D_RESPONSE
    if n == 11 and word == _DELTA and tail == _DELTA_TAIL:
        return _D_DELTA
    return 0


@compiled
def _bytes_member(buffer, p, row, bit, number, quantities):
    p = whole_number(buffer, p, number)
    if p < 0:
        return -1
    if bit == _D_DELTA:
        quantities[row, DELTA_BYTES] = number[0]
        return p
    if number[0] < 0:
        return -1
    quantities[row, REQUEST_BYTES if bit == _D_REQUEST else RESPONSE_BYTES] = number[0]
    return p


@compiled
def _flag_member(buffer, p, row, bit, triggers, verified):
    """`trigger` and `verified`."""
    if bit == _D_VERIFIED:
        c = byte_at(buffer, p)
        if c != 116 and c != 102:
            return -1
        verified[row] = 1 if c == 116 else 0
        return value_behind(buffer, p)
    if byte_at(buffer, p) != 34:
        return -1
    end = plain_string_end(buffer, p + 1)
    if end < 0:
        return -1
    code = _trigger_code(buffer, p + 1, end)
    if code < 0:
        return -1
    triggers[row] = code
    return end + 1


@compiled
def _text_field_of(bit):
    if bit == _D_OPERATION:
        return OPERATION
    if bit == _D_ACTION:
        return ACTION
    if bit == _D_METHOD:
        return METHOD
    if bit == _D_ENDPOINT:
        return ENDPOINT
    if bit == _D_OBJECT:
        return OBJECT
    return PROVIDER if bit == _D_PROVIDER else -1


@compiled
def _data(
    buffer, p, row, at, length, contexts, triggers, verified, status, quantities, units,
    usage_at, usage_length, usage_value, used, scratch, number, extras,
):  # fmt: skip
    """The object `data`; -> behind it or -1."""
    if byte_at(buffer, p) != 123:
        return -1
    p = skip_space(buffer, p + 1)
    if byte_at(buffer, p) == 125:
        return p + 1
    while True:
        if byte_at(buffer, p) != 34:
            return -1
        name = p + 1
        name_end = plain_string_end(buffer, name)
        if name_end < 0:
            return -1
        p = _colon_behind(buffer, name_end + 1)
        if p < 0:
            return -1
        bit = _member_bit(buffer, name, name_end)
        if scratch[S_DATA_SEEN] & bit:
            return -1
        scratch[S_DATA_SEEN] |= bit
        field = _text_field_of(bit)
        if bit == 0:
            p = _note_extra(buffer, name, name_end, p, 0, scratch, extras)
        elif is_null(buffer, p):
            p += 4
        elif field >= 0:
            p = _text(buffer, p, _TEXT_MAX, row, field, at, length)
        elif bit & (_D_REQUEST | _D_RESPONSE | _D_DELTA):
            p = _bytes_member(buffer, p, row, bit, number, quantities)
            scratch[S_PRESENT] |= bit
        elif bit == _D_STATUS:
            p = whole_number(buffer, p, number)
            status[row] = number[0]
        elif bit == _D_UNITS:
            p = scaled_number(buffer, p, number)
            units[row, 0] = number[0]
            scratch[S_PRESENT] |= bit
        elif bit == _D_USAGE:
            p = _usage(buffer, p, scratch, number, usage_at, usage_length, usage_value, used)
        elif bit == _D_CONTEXT:
            p = _context(buffer, p, row, at, length, contexts)
        else:
            p = _flag_member(buffer, p, row, bit, triggers, verified)
        if p < 0:
            return -1
        p = skip_space(buffer, p)
        c = byte_at(buffer, p)
        if c == 125:
            return p + 1
        if c != 44:
            return -1
        p = skip_space(buffer, p + 1)


@compiled
def _attribute_bit(buffer, name, name_end):
    n = name_end - name
    word = _name_word(buffer, name, name_end)
    if n == 2:
        return _B_ID if word == _ID else 0
    if n == 4:
        return _B_TYPE if word == _TYPE else _B_TIME if word == _TIME else _B_DATA if word == _DATA else 0
    if n == 6:
        return _B_SOURCE if word == _SOURCE else _B_TENANT if word == _TENANT else 0
    if n == 7:
        return _B_SUBJECT if word == _SUBJECT else 0
    if n == 11:
        return _B_SPEC if word == _SPEC and word_at(buffer, name_end - 8) == _SPEC_TAIL else 0
    if n == 14:
        return _B_KEY if word == _KEY and word_at(buffer, name_end - 8) == _KEY_TAIL else 0
    return 0


@compiled
def _attribute(buffer, p, row, bit, at, length, scratch):
    """The value of a known attribute other than `data`; -> behind it or -1."""
    if bit == _B_ID:
        return _text(buffer, p, 256, row, EVENT_ID, at, length)
    if bit == _B_SOURCE:
        return _text(buffer, p, 255, row, SOURCE, at, length)
    if bit == _B_TENANT:
        return _text(buffer, p, 128, row, TENANT, at, length)
    if bit == _B_SUBJECT:
        return _text(buffer, p, _TEXT_MAX, row, PRINCIPAL, at, length)
    if bit == _B_KEY:
        p = _text(buffer, p, 512, row, KEY, at, length)
        return p if p < 0 or length[row, KEY] > 0 else -1
    if byte_at(buffer, p) != 34:
        return -1
    start = p + 1
    end = plain_string_end(buffer, start)
    if end < 0:
        return -1
    if bit == _B_TYPE:
        word = word_at(buffer, start) & LOW_BYTES[7]
        if end - start != 7:
            return -1
        kind = (
            0
            if word == _TRAFFIC
            else 1
            if word == _COMPUTE
            else 2
            if word == _STORAGE
            else 3
            if word == _WEBHOOK
            else -1
        )
        if kind < 0:
            return -1
        scratch[S_TYPE] = kind
    elif bit == _B_TIME:
        moment = rfc3339_ms(buffer, start, end)
        if moment == NO_TIME:
            return -1
        scratch[S_TIME] = moment
    elif end - start != 3 or word_at(buffer, start) & LOW_BYTES[3] != _VERSION:
        return -1
    return end + 1


@compiled
def _has_space_or_high(buffer, p, end):
    while p < end:
        c = byte_at(buffer, p)
        if c <= 32 or c >= 127:
            return True
        p += 1
    return False


@compiled
def _is_sound(buffer, row, at, length, units, scratch):
    """What can be judged only when the whole line was read; also the defaults."""
    kind = scratch[S_TYPE]
    if scratch[S_SEEN] & _B_REQUIRED != _B_REQUIRED or scratch[S_TIME] == NO_TIME or kind < 0:
        return False
    if length[row, EVENT_ID] == 0 or length[row, SOURCE] == 0 or length[row, TENANT] == 0:
        return False
    if scratch[S_DATA_SEEN] & ~_ALLOWED[kind]:
        return False
    if _has_space_or_high(buffer, at[row, SOURCE], at[row, SOURCE] + length[row, SOURCE]):
        return False
    if kind == 1:
        if length[row, OPERATION] == 0:
            return False
        if not scratch[S_PRESENT] & _D_UNITS:
            units[row, 0] = 1_000_000
    return kind != 2 or scratch[S_PRESENT] & _D_DELTA != 0


@compiled
def _copy(buffer, to, start, end):
    for i in range(start, end):
        buffer[to] = buffer[i]
        to += 1
    return to


@compiled
def _write_attributes(buffer, row, at, length, scratch, extras, free, capacity):
    """Write the unknown members as JSON text behind `free`; -> the new end of what is used, or -1 when full."""
    needed = 2
    kept = 0
    for i in range(scratch[S_EXTRAS]):
        if extras[i, 3] >= 0:
            kept += 1
            needed += extras[i, 1] - extras[i, 0] + extras[i, 3] - extras[i, 2] + 4
    if kept == 0:
        return free
    if free + needed > capacity:
        return -1
    start = free
    buffer[free] = 123
    free += 1
    for level in range(2):
        for i in range(scratch[S_EXTRAS]):
            if extras[i, 4] == level and extras[i, 3] >= 0:
                if free > start + 1:
                    buffer[free] = 44
                    free += 1
                free = _copy(buffer, free, extras[i, 0] - 1, extras[i, 1] + 1)
                buffer[free] = 58
                free = _copy(buffer, free + 1, extras[i, 2], extras[i, 3])
    buffer[free] = 125
    at[row, ATTRIBUTES] = start
    length[row, ATTRIBUTES] = free + 1 - start
    return free + 1


@compiled
def _clear(row, at, length, contexts, triggers, verified, status, quantities, units, scratch):
    for field in range(FIELDS):
        at[row, field] = 0
        length[row, field] = 0
    contexts[row] = 0
    triggers[row] = 0
    verified[row] = 0
    status[row] = 0
    for i in range(3):
        quantities[row, i] = 0
    units[row, 0] = 0
    units[row, 1] = 0
    for i in range(SCRATCH):
        scratch[i] = 0
    scratch[S_TYPE] = -1
    scratch[S_TIME] = NO_TIME


@compiled
def _line(
    buffer, p, end, row, at, length, contexts, triggers, verified, status, quantities, units,
    usage_at, usage_length, usage_value, used, scratch, number, extras,
):  # fmt: skip
    """Read one line; whether it is of the form that is accepted here."""
    if has_high_bytes(buffer, p, end) and not is_utf8(buffer, p, end):
        return False
    p = skip_space(buffer, p)
    if byte_at(buffer, p) != 123:
        return False
    p = skip_space(buffer, p + 1)
    while True:
        if byte_at(buffer, p) != 34:
            return False
        name = p + 1
        name_end = plain_string_end(buffer, name)
        if name_end < 0:
            return False
        p = _colon_behind(buffer, name_end + 1)
        if p < 0:
            return False
        bit = _attribute_bit(buffer, name, name_end)
        if scratch[S_SEEN] & bit:
            return False
        scratch[S_SEEN] |= bit
        if bit == 0:
            p = _note_extra(buffer, name, name_end, p, 1, scratch, extras)
        elif bit == _B_DATA:
            p = _data(
                buffer, p, row, at, length, contexts, triggers, verified, status, quantities, units,
                usage_at, usage_length, usage_value, used, scratch, number, extras,
            )  # fmt: skip
        elif bit != _B_SPEC and is_null(buffer, p):
            p += 4
        else:
            p = _attribute(buffer, p, row, bit, at, length, scratch)
        if p < 0:
            return False
        p = skip_space(buffer, p)
        c = byte_at(buffer, p)
        if c == 125:
            break
        if c != 44:
            return False
        p = skip_space(buffer, p + 1)
    return skip_space(buffer, p + 1) >= end and p < end and _is_sound(buffer, row, at, length, units, scratch)


@compiled
def scan(
    buffer, starts, ends, arrivals, free, verdicts, types, times, at, length, contexts, triggers, verified,
    status, quantities, units, usage_first, usage_count, usage_at, usage_length, usage_value, scratch, number,
    extras,
):  # fmt: skip
    """Scan the lines [starts, ends) of a padded buffer into columns.

    verdicts int8[n] (0 or SLOW), types int8[n], times int64[n] (ms), at and length int32[n, FIELDS],
    contexts, triggers, verified int8[n], status int64[n], quantities int64[n, 3], units int64[n, 2] (128 bits,
    low word first, scaled by 10^6), usage_first and usage_count int32[n] into usage_* (value int64[m, 2]).
    `free` is where derived text may be written; scratch int64[SCRATCH], number int64[1] and extras
    int64[EXTRAS_MAX, 5] are working room. Returns the new `free` and the number of usage entries.
    """
    used = 0
    capacity = len(buffer) - 64
    for row in range(len(starts)):
        _clear(row, at, length, contexts, triggers, verified, status, quantities, units, scratch)
        verdicts[row] = SLOW
        usage_first[row] = used
        usage_count[row] = 0
        if not _line(
            buffer, starts[row], ends[row], row, at, length, contexts, triggers, verified, status, quantities,
            units, usage_at, usage_length, usage_value, used, scratch, number, extras,
        ):  # fmt: skip
            continue
        if scratch[S_TIME] > arrivals[row] + _FUTURE_MS:
            continue
        written = _write_attributes(buffer, row, at, length, scratch, extras, free, capacity)
        if written < 0:
            continue
        free = written
        if length[row, PRINCIPAL] == 0:
            at[row, PRINCIPAL] = UNATTRIBUTED_AT
            length[row, PRINCIPAL] = UNATTRIBUTED_LENGTH
        types[row] = scratch[S_TYPE]
        times[row] = scratch[S_TIME]
        usage_count[row] = scratch[S_USAGE]
        used += scratch[S_USAGE]
        verdicts[row] = 0
    return free, used
