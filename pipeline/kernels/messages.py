"""Records out of librdkafka's messages: no object for any of them, and no interpreter lock.

A message is `rd_kafka_message_t` of rdkafka.h, librdkafka's public header:

    { int32 err; topic*; int32 partition; void *payload; size_t len; void *key; size_t key_len; int64 offset; ... }

with pointers and sizes of 64 bits (`pipeline.sources.librdkafka` looks whether they are). All that is asked of
librdkafka goes through its functions, whose addresses are handed in. What the header promises, and is relied on:
`payload` is `len` bytes until `rd_kafka_message_destroy`, or null; of an errored message it is the error's text.
The name of a header ends with a zero byte, its value is null or of the told size, and both live as long as the
message. Each message is destroyed once, by the thread that took it, and its place in the array is cleared.
"""

from pipeline.kernels.jit import (
    byte_of,
    compiled,
    copy_in,
    destroy,
    fetch_ahead_of,
    header_at,
    headers_of,
    int32_of,
    int64_of,
    timestamp_of,
)
from pipeline.kernels.layout import PREFIX

ERR, PAYLOAD, LENGTH, OFFSET = 0, 24, 32, 56
"""Where the members of a message stand."""
RECORD, BINARY, TROUBLE = 0, 1, 2
"""What a message is: a record whose value is the event, one with attributes in its headers, an error or an end."""
FOUND_RECORDS, FOUND_BYTES, FOUND_BINARY, FOUND_PIECES, FOUND_PIECES_BYTES, FOUND_LAST = range(6)
FOUND = 6
FUNCTIONS = (
    "rd_kafka_message_timestamp", "rd_kafka_message_headers", "rd_kafka_header_get_all", "rd_kafka_message_destroy",
)  # fmt: skip
"""Whose addresses are handed in, in this order."""
_TIMESTAMP, _HEADERS, _HEADER, _DESTROY = range(4)
_NAME, _VALUE, _SIZE, _LIST = 0, 8, 16, 24
"""What librdkafka answers with is put here, from the start of `scratch` on (64 bytes)."""
_AHEAD = 8


@compiled
def _find_header(functions, headers, index, scratch):
    """Put name, value and size of a header into `scratch`; False behind the last one."""
    return (
        header_at(functions[_HEADER], headers, index, scratch + _NAME, scratch + _VALUE, scratch + _SIZE) == 0
    )


@compiled
def _length_of(name):
    """The bytes before the zero byte."""
    size = 0
    while byte_of(name + size) != 0:
        size += 1
    return size


@compiled
def _has_attributes(functions, headers, scratch):
    """Whether the name of a header begins with `ce_`."""
    index = 0
    while _find_header(functions, headers, index, scratch):
        name = int64_of(scratch + _NAME)
        if byte_of(name) == 99 and byte_of(name + 1) == 101 and byte_of(name + 2) == 95:
            return True
        index += 1
    return False


@compiled
def _weigh_pieces(functions, message, headers, scratch, found):
    """Add what `gather_pieces` needs for a binary record."""
    size, index = 0, 0
    if int64_of(message + PAYLOAD) != 0:
        size = int64_of(message + LENGTH)
    while _find_header(functions, headers, index, scratch):
        size += _length_of(int64_of(scratch + _NAME))
        if int64_of(scratch + _VALUE) != 0:
            size += int64_of(scratch + _SIZE)
        index += 1
    found[FOUND_PIECES] += 1 + 2 * index
    found[FOUND_PIECES_BYTES] += size


@compiled
def survey(messages, count, functions, scratch, kinds, found):
    """What kind each message is, and in `found` (int64[FOUND]) what all come to.

    Records; the bytes of those that are taken as they are; those whose event has to be put together from their
    headers, in how many pieces, of how many bytes; and the index of the last record, or -1.
    """
    for i in range(FOUND):
        found[i] = 0
    found[FOUND_LAST] = -1
    for i in range(count):
        if i + 2 * _AHEAD < count:
            fetch_ahead_of(messages[i + 2 * _AHEAD] + PAYLOAD)
        if i + _AHEAD < count:  # librdkafka looks for headers behind the payload
            fetch_ahead_of(int64_of(messages[i + _AHEAD] + PAYLOAD) + int64_of(messages[i + _AHEAD] + LENGTH))
        message = messages[i]
        if int32_of(message + ERR) != 0:
            kinds[i] = TROUBLE
            continue
        found[FOUND_RECORDS] += 1
        found[FOUND_LAST] = i
        kinds[i] = RECORD
        if headers_of(functions[_HEADERS], message, scratch + _LIST) == 0:
            headers = int64_of(scratch + _LIST)
            if _has_attributes(functions, headers, scratch):
                kinds[i] = BINARY
                found[FOUND_BINARY] += 1
                _weigh_pieces(functions, message, headers, scratch, found)
                continue
        if int64_of(message + PAYLOAD) != 0:
            found[FOUND_BYTES] += int64_of(message + LENGTH)


@compiled
def _put_piece(start, size, out, p, sizes, piece):
    """Append a piece at p; one at address 0 has the size -1. Returns where the next one goes."""
    if start == 0:
        sizes[piece] = -1
        return p
    copy_in(start, size, out, p)
    sizes[piece] = size
    return p + size


@compiled
def gather_pieces(messages, count, functions, scratch, kinds, out, sizes, counts):
    """Of each binary record the value, then of each header its name and its value, one behind the other.

    sizes int64[pieces], -1 for what is null; counts int64[binary records]: how many headers each has.
    """
    p, piece, row = 0, 0, 0
    for i in range(count):
        if kinds[i] != BINARY:
            continue
        message, index = messages[i], 0
        p = _put_piece(int64_of(message + PAYLOAD), int64_of(message + LENGTH), out, p, sizes, piece)
        piece += 1
        headers_of(functions[_HEADERS], message, scratch + _LIST)
        headers = int64_of(scratch + _LIST)
        while _find_header(functions, headers, index, scratch):
            name = int64_of(scratch + _NAME)
            p = _put_piece(name, _length_of(name), out, p, sizes, piece)
            p = _put_piece(int64_of(scratch + _VALUE), int64_of(scratch + _SIZE), out, p, sizes, piece + 1)
            piece += 2
            index += 1
        counts[row] = index
        row += 1


@compiled
def lay_out(messages, count, functions, kinds, texts, text_ends, buffer, starts, ends, offsets, moments):
    """Copy the records behind one another from PREFIX on, an LF behind each, and destroy all messages.

    The events of binary records stand in `texts` up to their `text_ends`. Returns where the buffer's spare room
    begins. There is room for what `survey` has found, `texts`, and an LF for each record.
    """
    p, row, event, begun = PREFIX, 0, 0, 0
    for i in range(count):
        if i + _AHEAD < count:
            fetch_ahead_of(messages[i + _AHEAD] + PAYLOAD)
        message = messages[i]
        if kinds[i] != TROUBLE:
            starts[row] = p
            if kinds[i] == BINARY:
                for j in range(begun, text_ends[event]):
                    buffer[p] = texts[j]
                    p += 1
                begun = text_ends[event]
                event += 1
            elif int64_of(message + PAYLOAD) != 0:
                size = int64_of(message + LENGTH)
                copy_in(int64_of(message + PAYLOAD), size, buffer, p)
                p += size
            ends[row] = p
            buffer[p] = 10
            p += 1
            offsets[row] = int64_of(message + OFFSET)
            moments[row] = timestamp_of(functions[_TIMESTAMP], message, 0)
            row += 1
        messages[i] = 0
        destroy(functions[_DESTROY], message)
    return p


@compiled
def let_go(messages, count, functions):
    """Destroy the messages that are still there."""
    for i in range(count):
        message = messages[i]
        messages[i] = 0
        if message != 0:
            destroy(functions[_DESTROY], message)
