"""How the inner loops are compiled; where numba cannot be loaded, they run as they are written."""

import hashlib
import threading
from collections.abc import Callable
from functools import wraps
from importlib import resources
from typing import Any, cast

import numpy as np

from pipeline.kernels import plain
from pipeline.kernels.layout import LANES

try:
    from numba import njit

    from pipeline.kernels import intrinsics
except (ImportError, OSError) as error:  # not installed, not for this numpy, or without its own library
    machine: Any = plain
    WHY_NOT = str(error) or repr(error)
else:
    machine = intrinsics
    WHY_NOT = ""

IS_COMPILED = not WHY_NOT
"""Whether kernels are compiled; `WHY_NOT` has the reason where they are not."""

byte_at = machine.byte_at
word_at = machine.word_at
copy_lanes = machine.copy_lanes
fetch_ahead = machine.fetch_ahead
string_stops = machine.string_stops
trailing_zeros = machine.trailing_zeros
int64_of = machine.int64_of
int32_of = machine.int32_of
byte_of = machine.byte_of
copy_in = machine.copy_in
fetch_ahead_of = machine.fetch_ahead_of
timestamp_of = machine.timestamp_of
headers_of = machine.headers_of
header_at = machine.header_at
destroy = machine.destroy

_made: list[Any] = []
"""All that is kept."""


def _digest_of_sources() -> str:
    files = [f for f in resources.files(__package__).iterdir() if f.name.endswith(".py")]
    return hashlib.sha256(repr(sorted((f.name, f.read_bytes()) for f in files)).encode()).hexdigest()


_SOURCES = _digest_of_sources()


class _Here(threading.local):
    wraps_around = False


_here = _Here()


def _unboxed(result: Any) -> Any:
    """Python's own numbers for numpy's."""
    if isinstance(result, tuple):
        return tuple(map(_unboxed, result))
    return result.item() if isinstance(result, np.generic) else result


def _as_written(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run as if it were compiled: 64-bit numbers wrap around without a warning, the caller gets Python's numbers."""
    if function.__name__.startswith("_"):
        return function

    @wraps(function)
    def run(*arguments: Any) -> Any:
        if _here.wraps_around:
            return function(*arguments)
        _here.wraps_around = True
        try:
            with np.errstate(over="ignore"):
                return _unboxed(function(*arguments))
        finally:
            _here.wraps_around = False

    return run


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the interpreter lock and without reference counts, cached on disk.

    No function here may make an array: all are handed in. Counting references to the columns that go down from
    call to call cost two thirds of the scanner's time (1.2 instead of 0.39 microseconds a line).

    A function whose name begins with an underscore is compiled into those that call it: handing twenty columns down
    from call to call took another third (0.40 instead of 0.28).

    What is cached holds for the sources of all kernels as they are now. Left to itself, numba looks only at
    the file of the function and would go on using what it once compiled in from another one. Where nothing can
    be kept, every start compiles anew; NUMBA_CACHE_DIR names a better place.

    Where numba cannot be loaded, the function stays as it is written, some hundred times slower.
    """
    is_part = function.__name__.startswith("_")
    if not IS_COMPILED:
        return _as_written(function)
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False, "forceinline": is_part}
    try:
        result: Any = njit(cache=True, **options)(function)
    except RuntimeError:  # neither the program's folder nor the user's cache can be written to
        return cast("Callable[..., Any]", njit(**options)(function))
    result._cache._cache_file._source_stamp = _SOURCES  # noqa: SLF001 - numba has no other way
    _made.append(result)
    return cast("Callable[..., Any]", result)


def load_compiled() -> None:
    """Load what an earlier run has compiled and kept, so that the first events do not wait for it."""
    for function in _made:
        if function.__name__.startswith("_"):  # only called by others, into which it is compiled
            continue
        for signature, *_ in function._cache._cache_file._load_index():  # noqa: SLF001 - as above
            function.compile(signature)


@compiled
def copied(source, start, size, out, to):
    """Copy `size` bytes, LANES at a time; what is written beyond them, up to LANES, must be free. -> behind them."""
    done = 0
    while done < size:
        copy_lanes(source, start + done, out, to + done)
        done += LANES
    return to + size


LOW_BYTES = np.array([(1 << (8 * n)) - 1 for n in range(8)] + [2**64 - 1], np.uint64)
"""`LOW_BYTES[n]` keeps the first n bytes of a little-endian word."""
