"""What `intrinsics` has, in Python: for a machine on which numba cannot be loaded.

Each function gives what its twin of the same name gives, for the same arguments.
"""

import ctypes

import numpy as np

from pipeline.kernels.layout import LANES

_address, _word = ctypes.c_int64, ctypes.c_int64
_timestamp = ctypes.CFUNCTYPE(_word, _address, _address)
_headers = ctypes.CFUNCTYPE(ctypes.c_int32, _address, _address)
_header = ctypes.CFUNCTYPE(ctypes.c_int32, _address, _word, _address, _address, _address)
_destroy = ctypes.CFUNCTYPE(None, _address)


def byte_at(buffer, position):
    """`buffer[position]`, 0 to 255."""
    return int(buffer[position])


def word_at(buffer, position):
    """The eight bytes from `position` on, little-endian, as uint64."""
    return buffer[position : position + 8].view(np.uint64)[0]


def copy_lanes(buffer, source, out, position):
    """Copy the 32 bytes from `source` on to `position` of another array."""
    out[position : position + LANES] = buffer[source : source + LANES]


def fetch_ahead(cells, cell):
    """Nothing to ask for ahead."""


def string_stops(buffer, position):
    """Which of the 32 bytes from `position` on end or break a plain JSON string, as bits, the first byte lowest."""
    text = enumerate(buffer[position : position + LANES].tobytes())
    return np.uint64(sum(1 << i for i, c in text if c in b'"\\' or c < 32))


def trailing_zeros(word):
    """The number of zero bits below the lowest set bit."""
    bits = int(word)
    return np.uint64((bits & -bits).bit_length() - 1)


def int64_of(address):
    """The eight bytes at an address."""
    return ctypes.c_int64.from_address(int(address)).value


def int32_of(address):
    """The four bytes at an address."""
    return ctypes.c_int32.from_address(int(address)).value


def byte_of(address):
    """The byte at an address."""
    return ctypes.c_uint8.from_address(int(address)).value


def copy_in(address, size, buffer, position):
    """Copy so many bytes from an address to `buffer[position]` and on."""
    ctypes.memmove(buffer[position : position + size].ctypes.data, int(address), int(size))


def fetch_ahead_of(address):
    """Nothing to ask for ahead."""


def timestamp_of(function, message, kind):
    """`rd_kafka_message_timestamp`."""
    return _timestamp(int(function))(int(message), int(kind))


def headers_of(function, message, headers):
    """`rd_kafka_message_headers`."""
    return _headers(int(function))(int(message), int(headers))


def header_at(function, headers, index, name, value, size):
    """`rd_kafka_header_get_all`."""
    return _header(int(function))(int(headers), int(index), int(name), int(value), int(size))


def destroy(function, message):
    """`rd_kafka_message_destroy`."""
    _destroy(int(function))(int(message))
