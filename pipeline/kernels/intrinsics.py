"""Loads, stores and calls that numpy indexing cannot express, for the compiler; `plain` has the same in Python."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from pipeline.kernels.layout import LANES

_BYTE, _INT32, _WORD = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_POINTER = _BYTE.as_pointer()
_VECTOR = ir.VectorType(_BYTE, LANES)


def _place(context, builder, signature, arguments, array, position):
    """The address of an element of a one-dimensional array, both told by their numbers among the arguments."""
    data = context.make_array(signature.args[array])(context, builder, arguments[array]).data
    return builder.gep(data, [arguments[position]])


def _loaded(builder, pointer, kind):
    """What stands there, at any alignment."""
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = 1
    return value


def _prefetch(builder, pointer):
    wanted = ir.FunctionType(ir.VoidType(), [_POINTER, _INT32, _INT32, _INT32])
    function = cgutils.get_or_insert_function(builder.module, wanted, "llvm.prefetch.p0")
    builder.call(function, [pointer, _INT32(0), _INT32(3), _INT32(1)])


@intrinsic
def byte_at(_typing_context, buffer, position):
    """`buffer[position]` as a signed 64-bit integer, without a check of bounds."""

    def generate(context, builder, signature, arguments):
        return builder.zext(builder.load(_place(context, builder, signature, arguments, 0, 1)), _WORD)

    return types.int64(buffer, types.int64), generate


@intrinsic
def word_at(_typing_context, buffer, position):
    """The eight bytes from `position` on, little-endian, at any alignment."""

    def generate(context, builder, signature, arguments):
        return _loaded(builder, _place(context, builder, signature, arguments, 0, 1), _WORD)

    return types.uint64(buffer, types.int64), generate


@intrinsic
def copy_lanes(_typing_context, buffer, source, out, position):
    """Copy the 32 bytes from `source` on to `position` of another array, at any alignment."""

    def generate(context, builder, signature, arguments):
        text = _loaded(builder, _place(context, builder, signature, arguments, 0, 1), _VECTOR)
        to = builder.bitcast(_place(context, builder, signature, arguments, 2, 3), _VECTOR.as_pointer())
        builder.store(text, to).align = 1
        return context.get_dummy_value()

    return types.void(buffer, types.int64, out, types.int64), generate


@intrinsic
def fetch_ahead(_typing_context, cells, cell):
    """Ask for a row or element of an array, so that it is there when it is looked at a little later."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = builder.extract_value(array.strides, 0)
        first = builder.bitcast(array.data, _POINTER)
        _prefetch(builder, builder.gep(first, [builder.mul(arguments[1], stride)]))
        return context.get_dummy_value()

    return types.void(cells, types.int64), generate


@intrinsic
def string_stops(_typing_context, buffer, position):
    """Which of the 32 bytes from `position` on end or break a plain JSON string, as bits, the first byte lowest.

    These are the quote, the backslash and the control characters (RFC 8259, section 7).
    """

    def generate(context, builder, signature, arguments):
        text = _loaded(builder, _place(context, builder, signature, arguments, 0, 1), _VECTOR)

        def all_of(byte):
            return ir.Constant(_VECTOR, [byte] * LANES)

        quote = builder.icmp_unsigned("==", text, all_of(0x22))
        backslash = builder.icmp_unsigned("==", text, all_of(0x5C))
        control = builder.icmp_unsigned("<", text, all_of(0x20))
        stops = builder.or_(builder.or_(quote, backslash), control)
        return builder.zext(builder.bitcast(stops, ir.IntType(LANES)), _WORD)

    return types.uint64(buffer, types.int64), generate


@intrinsic
def trailing_zeros(_typing_context, word):
    """The number of zero bits below the lowest set bit; the word must not be zero."""

    def generate(_context, builder, _signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


# Memory and functions that are not numba's own, by their addresses: what librdkafka hands over and answers.


@intrinsic
def int64_of(_typing_context, address):
    """The eight bytes at an address."""

    def generate(_context, builder, _signature, arguments):
        return _loaded(builder, builder.inttoptr(arguments[0], _POINTER), _WORD)

    return types.int64(types.int64), generate


@intrinsic
def int32_of(_typing_context, address):
    """The four bytes at an address, as 64."""

    def generate(_context, builder, _signature, arguments):
        return builder.sext(_loaded(builder, builder.inttoptr(arguments[0], _POINTER), _INT32), _WORD)

    return types.int64(types.int64), generate


@intrinsic
def byte_of(_typing_context, address):
    """The byte at an address, 0 to 255."""

    def generate(_context, builder, _signature, arguments):
        return builder.zext(builder.load(builder.inttoptr(arguments[0], _POINTER)), _WORD)

    return types.int64(types.int64), generate


@intrinsic
def copy_in(_typing_context, address, size, buffer, position):
    """Copy so many bytes from an address to `buffer[position]` and on."""

    def generate(context, builder, signature, arguments):
        to = _place(context, builder, signature, arguments, 2, 3)
        cgutils.raw_memcpy(builder, to, builder.inttoptr(arguments[0], _POINTER), arguments[1], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, buffer, types.int64), generate


@intrinsic
def fetch_ahead_of(_typing_context, address):
    """Ask for what stands at an address, so that it is there when it is looked at a little later."""

    def generate(context, builder, _signature, arguments):
        _prefetch(builder, builder.inttoptr(arguments[0], _POINTER))
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _called(builder, returned, arguments):
    """Call the function at the first argument; pointers and sizes are words."""
    kind = ir.FunctionType(returned, [_WORD] * (len(arguments) - 1))
    return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])


@intrinsic
def timestamp_of(_typing_context, function, message, kind):
    """`int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *, rd_kafka_timestamp_type_t *)`."""

    def generate(_context, builder, _signature, arguments):
        return _called(builder, _WORD, arguments)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def headers_of(_typing_context, function, message, headers):
    """`rd_kafka_resp_err_t rd_kafka_message_headers(const rd_kafka_message_t *, rd_kafka_headers_t **)`."""

    def generate(_context, builder, _signature, arguments):
        return builder.sext(_called(builder, _INT32, arguments), _WORD)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def header_at(_typing_context, function, headers, index, name, value, size):
    """`rd_kafka_resp_err_t rd_kafka_header_get_all(const rd_kafka_headers_t *, size_t, name, value, size_t *)`."""

    def generate(_context, builder, _signature, arguments):
        return builder.sext(_called(builder, _INT32, arguments), _WORD)

    word = types.int64
    return word(word, word, word, word, word, word), generate


@intrinsic
def destroy(_typing_context, function, message):
    """`void rd_kafka_message_destroy(rd_kafka_message_t *)`."""

    def generate(context, builder, _signature, arguments):
        _called(builder, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate
