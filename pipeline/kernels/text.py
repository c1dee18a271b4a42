"""Reading JSON text: strings, numbers, values that are only passed over, UTF-8, RFC 3339 times.

All functions take a padded buffer and a position and return the position behind what they read, or -1 where
the text is not of the plain form that they accept. -1 is never a verdict: the strict decoder decides.
"""

import numpy as np

from pipeline.kernels.jit import byte_at, compiled, string_stops, trailing_zeros, word_at
from pipeline.kernels.layout import LANES

U = np.uint64
_HIGHS = U(0x8080808080808080)
_NULL = U(int.from_bytes(b"null", "little"))
_TRUE = U(int.from_bytes(b"true", "little"))
_FALSE = U(int.from_bytes(b"false", "little"))
_FOUR_BYTES = U(0xFFFFFFFF)
_FIVE_BYTES = U(0xFFFFFFFFFF)
_DEPTH_MAX = 60
_SCALED_WHOLE_DIGITS_MAX = 12
_FRACTION_DIGITS_MAX = 6
_WHOLE_DIGITS_MAX = 15
NO_TIME = -(1 << 62)
_MS_OF_2000 = 946684800000


@compiled
def skip_space(buffer, p):
    """The first position at or after `p` that holds no JSON white space (a line holds no LF)."""
    c = byte_at(buffer, p)
    while c == 32 or c == 9 or c == 13 or c == 10:
        p += 1
        c = byte_at(buffer, p)
    return p


@compiled
def _stop(buffer, p):
    """The first position at or after `p` that ends or breaks a plain string (see `string_stops`)."""
    stops = string_stops(buffer, p)
    while stops == U(0):
        p += LANES
        stops = string_stops(buffer, p)
    return p + np.int64(trailing_zeros(stops))


@compiled
def plain_string_end(buffer, p):
    """The closing quote of the string whose first character is at `p`; -1 with an escape or control character."""
    p = _stop(buffer, p)
    return p if byte_at(buffer, p) == 34 else -1


@compiled
def _string_behind(buffer, p):
    r"""Behind the closing quote, simple escapes allowed; -1 with \u, which may hide a lone surrogate."""
    while True:
        p = _stop(buffer, p)
        c = byte_at(buffer, p)
        if c == 34:
            return p + 1
        if c != 92:
            return -1
        c = byte_at(buffer, p + 1)
        if not (c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116):
            return -1
        p += 2


@compiled
def _digits_behind(buffer, p):
    while 48 <= byte_at(buffer, p) <= 57:
        p += 1
    return p


@compiled
def _number_behind(buffer, p):
    if byte_at(buffer, p) == 45:
        p += 1
    c = byte_at(buffer, p)
    if c == 48:
        p += 1
    elif 49 <= c <= 57:
        p = _digits_behind(buffer, p)
    else:
        return -1
    if byte_at(buffer, p) == 46:
        q = _digits_behind(buffer, p + 1)
        if q == p + 1:
            return -1
        p = q
    c = byte_at(buffer, p)
    if c == 101 or c == 69:
        return -1
    return p


@compiled
def _scalar_behind(buffer, p):
    c = byte_at(buffer, p)
    if c == 34:
        return _string_behind(buffer, p + 1)
    if c == 116:
        return p + 4 if word_at(buffer, p) & _FOUR_BYTES == _TRUE else -1
    if c == 110:
        return p + 4 if word_at(buffer, p) & _FOUR_BYTES == _NULL else -1
    if c == 102:
        return p + 5 if word_at(buffer, p) & _FIVE_BYTES == _FALSE else -1
    return _number_behind(buffer, p)


@compiled
def _name_behind(buffer, p):
    """Behind `"name":` and the white space after it."""
    if byte_at(buffer, p) != 34:
        return -1
    p = _string_behind(buffer, p + 1)
    if p < 0:
        return -1
    p = skip_space(buffer, p)
    if byte_at(buffer, p) != 58:
        return -1
    return skip_space(buffer, p + 1)


@compiled
def value_behind(buffer, p):
    """Behind the JSON value at `p`, whatever it is; its whole form is checked."""
    depth = 0
    kinds = 0  # one bit for each open bracket, the innermost lowest: 1 an object, 0 an array
    while True:
        c = byte_at(buffer, p)
        if c == 123 or c == 91:
            depth += 1
            if depth > _DEPTH_MAX:
                return -1
            kinds = (kinds << 1) | (1 if c == 123 else 0)
            p = skip_space(buffer, p + 1)
            if byte_at(buffer, p) == (125 if c == 123 else 93):
                p += 1
                kinds >>= 1
                depth -= 1
            else:
                if c == 123:
                    p = _name_behind(buffer, p)
                    if p < 0:
                        return -1
                continue
        else:
            p = _scalar_behind(buffer, p)
            if p < 0:
                return -1
        while True:
            if depth == 0:
                return p
            p = skip_space(buffer, p)
            c = byte_at(buffer, p)
            if c == 44:
                p = skip_space(buffer, p + 1)
                if kinds & 1:
                    p = _name_behind(buffer, p)
                    if p < 0:
                        return -1
                break
            if c != (125 if kinds & 1 else 93):
                return -1
            p += 1
            kinds >>= 1
            depth -= 1


@compiled
def is_null(buffer, p):
    """Whether `null` stands at `p`."""
    return word_at(buffer, p) & _FOUR_BYTES == _NULL


@compiled
def _ends_value(c):
    return c == 44 or c == 125 or c == 32 or c == 9 or c == 13 or c == 10


@compiled
def whole_number(buffer, p, out):
    """An integer of at most 15 digits into `out[0]`."""
    negative = byte_at(buffer, p) == 45
    if negative:
        p += 1
    start = p
    value = 0
    c = byte_at(buffer, p)
    while 48 <= c <= 57 and p - start <= _WHOLE_DIGITS_MAX:
        value = value * 10 + (c - 48)
        p += 1
        c = byte_at(buffer, p)
    digits = p - start
    if digits == 0 or digits > _WHOLE_DIGITS_MAX or (digits > 1 and byte_at(buffer, start) == 48):
        return -1
    if not _ends_value(c) or (negative and value == 0):
        return -1
    out[0] = -value if negative else value
    return p


@compiled
def scaled_number(buffer, p, out):
    """A number >= 0 with at most 12 whole and 6 fractional digits, times 10^6, into `out[0]`."""
    start = p
    value = 0
    c = byte_at(buffer, p)
    while 48 <= c <= 57 and p - start <= _SCALED_WHOLE_DIGITS_MAX:
        value = value * 10 + (c - 48)
        p += 1
        c = byte_at(buffer, p)
    digits = p - start
    if digits == 0 or digits > _SCALED_WHOLE_DIGITS_MAX or (digits > 1 and byte_at(buffer, start) == 48):
        return -1
    fraction = 0
    if c == 46:
        start = p + 1
        p = start
        c = byte_at(buffer, p)
        while 48 <= c <= 57 and fraction < _FRACTION_DIGITS_MAX:
            value = value * 10 + (c - 48)
            fraction += 1
            p += 1
            c = byte_at(buffer, p)
        if fraction == 0:
            return -1
    if not _ends_value(c):
        return -1
    for _ in range(_FRACTION_DIGITS_MAX - fraction):
        value *= 10
    out[0] = value
    return p


@compiled
def has_high_bytes(buffer, p, end):
    """Whether a byte of 128 or more stands in [p, end)."""
    seen = U(0)
    while p + 8 <= end:
        seen |= word_at(buffer, p)
        p += 8
    while p < end:
        seen |= U(byte_at(buffer, p))
        p += 1
    return (seen & _HIGHS) != U(0)


@compiled
def is_utf8(buffer, p, end):
    """Whether [p, end) is valid UTF-8 (RFC 3629: shortest forms, no surrogates, up to U+10FFFF)."""
    while p < end:
        c = byte_at(buffer, p)
        if c < 128:
            p += 1
            continue
        low = 128
        high = 191
        if 194 <= c <= 223:
            more = 1
        elif 224 <= c <= 239:
            more = 2
            if c == 224:
                low = 160
            elif c == 237:
                high = 159
        elif 240 <= c <= 244:
            more = 3
            if c == 240:
                low = 144
            elif c == 244:
                high = 143
        else:
            return False
        if p + more >= end:
            return False
        for i in range(1, more + 1):
            c = byte_at(buffer, p + i)
            if c < low or c > high:
                return False
            low = 128
            high = 191
        p += more + 1
    return True


@compiled
def _two_digits(buffer, p):
    tens = byte_at(buffer, p) - 48
    ones = byte_at(buffer, p + 1) - 48
    if tens < 0 or tens > 9 or ones < 0 or ones > 9:
        return -100000
    return tens * 10 + ones


@compiled
def _days_in_month(year, month):
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if leap else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


@compiled
def _days_since_1970(year, month, day):
    """Days of the proleptic Gregorian calendar, counted in 400-year eras that begin in March."""
    y = year - 1 if month <= 2 else year
    era = y // 400
    year_of_era = y - era * 400
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146097 + day_of_era - 719468


@compiled
def rfc3339_ms(buffer, p, end):
    """Milliseconds since 1970 of the RFC 3339 time in [p, end), truncated; NO_TIME where the form is not plain."""
    if end - p < 20 or byte_at(buffer, p + 4) != 45 or byte_at(buffer, p + 7) != 45:
        return NO_TIME
    if byte_at(buffer, p + 10) != 84 or byte_at(buffer, p + 13) != 58 or byte_at(buffer, p + 16) != 58:
        return NO_TIME
    year = _two_digits(buffer, p) * 100 + _two_digits(buffer, p + 2)
    month = _two_digits(buffer, p + 5)
    day = _two_digits(buffer, p + 8)
    hour = _two_digits(buffer, p + 11)
    minute = _two_digits(buffer, p + 14)
    second = _two_digits(buffer, p + 17)
    if year < 1999 or month < 1 or month > 12 or day < 1 or day > _days_in_month(year, month):
        return NO_TIME
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return NO_TIME
    p += 19
    millis = 0
    c = byte_at(buffer, p)
    if c == 46:
        p += 1
        start = p
        scale = 100
        c = byte_at(buffer, p)
        while 48 <= c <= 57 and p < end:
            millis += scale * (c - 48)
            scale //= 10
            p += 1
            c = byte_at(buffer, p)
        if p == start:
            return NO_TIME
    offset = 0
    if c == 90:
        p += 1
    elif c == 43 or c == 45:
        hours = _two_digits(buffer, p + 1)
        minutes = _two_digits(buffer, p + 4)
        if hours < 0 or hours > 23 or minutes < 0 or minutes > 59 or byte_at(buffer, p + 3) != 58:
            return NO_TIME
        offset = (hours * 60 + minutes) * 60000
        if c == 45:
            offset = -offset
        p += 6
    else:
        return NO_TIME
    if p != end:
        return NO_TIME
    days = _days_since_1970(year, month, day)
    result = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis - offset
    return result if result >= _MS_OF_2000 else NO_TIME


@compiled
def split_lines(buffer, p, end, starts, ends):
    """Cut [p, end) at LF into lines; returns their number, blank ones included.

    The last line may lack its LF. Writes the first position and the end (without LF) of each line as far as
    there is room; a number above that room says how much is needed.
    """
    count = 0
    room = len(starts)
    start = p
    newlines = U(0x0A0A0A0A0A0A0A0A)
    sevens = U(0x7F7F7F7F7F7F7F7F)
    while p < end:
        x = word_at(buffer, p) ^ newlines
        hit = ~(((x & sevens) + sevens) | x | sevens)
        while hit != U(0):
            q = p + np.int64(trailing_zeros(hit) >> U(3))
            hit &= hit - U(1)
            if q >= end:
                break
            if count < room:
                starts[count] = start
                ends[count] = q
            count += 1
            start = q + 1
        p += 8
    if start < end:
        if count < room:
            starts[count] = start
            ends[count] = end
        count += 1
    return count
