"""How the inner loops are compiled, and the few loads that numpy indexing cannot express."""

import hashlib
from collections.abc import Callable
from importlib import resources
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

PAD = 64
"""Bytes that every buffer holds behind its last used byte."""
LANES = 32
"""Bytes that are looked at or copied at once; less than PAD."""

F = TypeVar("F", bound=Callable[..., Any])
_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_made: list[Any] = []
"""All that is kept."""


def _digest_of_sources() -> str:
    files = [f for f in resources.files(__package__).iterdir() if f.name.endswith(".py")]
    return hashlib.sha256(repr(sorted((f.name, f.read_bytes()) for f in files)).encode()).hexdigest()


_SOURCES = _digest_of_sources()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without the interpreter lock and without reference counts, cached on disk.

    No function here may make an array: all are handed in. Counting references to the columns that go down from
    call to call cost two thirds of the scanner's time (1.2 instead of 0.39 microseconds a line).

    A function whose name begins with an underscore is compiled into those that call it: handing twenty columns down
    from call to call took another third (0.40 instead of 0.28).

    What is cached holds for the sources of all kernels as they are now. Left to itself, numba looks only at
    the file of the function and would go on using what it once compiled in from another one. Where nothing can
    be kept, every start compiles anew; NUMBA_CACHE_DIR names a better place.
    """
    is_part = function.__name__.startswith("_")
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


@intrinsic
def byte_at(_typing_context: Any, buffer: Any, position: Any) -> Any:  # noqa: ARG001
    """`buffer[position]` as a signed 64-bit integer, without a check of bounds."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.zext(builder.load(builder.gep(array.data, [arguments[1]])), _WORD)

    return types.int64(buffer, types.int64), generate


@intrinsic
def word_at(_typing_context: Any, buffer: Any, position: Any) -> Any:  # noqa: ARG001
    """The eight bytes from `position` on, little-endian, at any alignment."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), _WORD.as_pointer())
        value = builder.load(pointer)
        value.align = 1
        return value

    return types.uint64(buffer, types.int64), generate


@intrinsic
def copy_lanes(_typing_context: Any, buffer: Any, source: Any, out: Any, position: Any) -> Any:  # noqa: ARG001
    """Copy the 32 bytes from `source` on to `position` of another array, at any alignment."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(_BYTE, LANES).as_pointer()
        places = []
        for array, place in ((0, 1), (2, 3)):
            data = context.make_array(signature.args[array])(context, builder, arguments[array]).data
            places.append(builder.bitcast(builder.gep(data, [arguments[place]]), vector))
        value = builder.load(places[0])
        value.align = 1
        store = builder.store(value, places[1])
        store.align = 1
        return context.get_dummy_value()

    return types.void(buffer, types.int64, out, types.int64), generate


@compiled
def copied(source, start, size, out, to):
    """Copy `size` bytes, LANES at a time; what is written beyond them, up to LANES, must be free. -> behind them."""
    done = 0
    while done < size:
        copy_lanes(source, start + done, out, to + done)
        done += LANES
    return to + size


@intrinsic
def fetch_ahead(_typing_context: Any, cells: Any, cell: Any) -> Any:  # noqa: ARG001
    """Ask for a row of a two-dimensional array, so that it is there when it is looked at a little later."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = builder.extract_value(array.strides, 0)
        bytes_ = builder.bitcast(array.data, _BYTE.as_pointer())
        place = builder.gep(bytes_, [builder.mul(arguments[1], stride)])
        number = ir.IntType(32)
        wanted = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, wanted, "llvm.prefetch.p0")
        builder.call(prefetch, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(cells, types.int64), generate


@intrinsic
def string_stops(_typing_context: Any, buffer: Any, position: Any) -> Any:  # noqa: ARG001
    """Which of the 32 bytes from `position` on end or break a plain JSON string, as bits, the first byte lowest.

    These are the quote, the backslash and the control characters (RFC 8259, section 7).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(_BYTE, LANES)
        pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        text = builder.load(pointer)
        text.align = 1

        def all_of(byte: int) -> Any:
            return ir.Constant(vector, [byte] * LANES)

        quote = builder.icmp_unsigned("==", text, all_of(0x22))
        backslash = builder.icmp_unsigned("==", text, all_of(0x5C))
        control = builder.icmp_unsigned("<", text, all_of(0x20))
        stops = builder.or_(builder.or_(quote, backslash), control)
        return builder.zext(builder.bitcast(stops, ir.IntType(LANES)), _WORD)

    return types.uint64(buffer, types.int64), generate


@intrinsic
def trailing_zeros(_typing_context: Any, word: Any) -> Any:  # noqa: ARG001
    """The number of zero bits below the lowest set bit; the word must not be zero."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


LOW_BYTES = np.array([(1 << (8 * n)) - 1 for n in range(8)] + [2**64 - 1], np.uint64)
"""`LOW_BYTES[n]` keeps the first n bytes of a little-endian word."""
