"""Memory and functions that are not numba's own, by their addresses: what librdkafka hands over and answers."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_POINTER = ir.IntType(8).as_pointer()


def _loaded(builder, address, kind):
    return builder.load(builder.inttoptr(address, kind.as_pointer()))


@intrinsic
def int64_of(_typing_context, address):  # noqa: ARG001
    """The eight bytes at an address."""

    def generate(_context, builder, _signature, arguments):
        return _loaded(builder, arguments[0], _INT64)

    return types.int64(types.int64), generate


@intrinsic
def int32_of(_typing_context, address):  # noqa: ARG001
    """The four bytes at an address, as 64."""

    def generate(_context, builder, _signature, arguments):
        return builder.sext(_loaded(builder, arguments[0], _INT32), _INT64)

    return types.int64(types.int64), generate


@intrinsic
def byte_of(_typing_context, address):  # noqa: ARG001
    """The byte at an address, 0 to 255."""

    def generate(_context, builder, _signature, arguments):
        return builder.zext(_loaded(builder, arguments[0], ir.IntType(8)), _INT64)

    return types.int64(types.int64), generate


@intrinsic
def copy_in(_typing_context, address, size, buffer, position):  # noqa: ARG001
    """Copy so many bytes from an address to `buffer[position]` and on."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[2])(context, builder, arguments[2])
        source = builder.inttoptr(arguments[0], _POINTER)
        cgutils.raw_memcpy(builder, builder.gep(array.data, [arguments[3]]), source, arguments[1], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, buffer, types.int64), generate


@intrinsic
def fetch_ahead_of(_typing_context, address):  # noqa: ARG001
    """Ask for what stands at an address, so that it is there when it is looked at a little later."""

    def generate(context, builder, _signature, arguments):
        wanted = ir.FunctionType(ir.VoidType(), [_POINTER, _INT32, _INT32, _INT32])
        prefetch = cgutils.get_or_insert_function(builder.module, wanted, "llvm.prefetch.p0")
        place = builder.inttoptr(arguments[0], _POINTER)
        builder.call(prefetch, [place, _INT32(0), _INT32(3), _INT32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _called(builder, returned, arguments):
    """Call the function at the first argument; pointers and sizes are words."""
    kind = ir.FunctionType(returned, [_INT64] * (len(arguments) - 1))
    return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])


@intrinsic
def timestamp_of(_typing_context, function, message, kind):  # noqa: ARG001
    """`int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *, rd_kafka_timestamp_type_t *)`."""

    def generate(_context, builder, _signature, arguments):
        return _called(builder, _INT64, arguments)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def headers_of(_typing_context, function, message, headers):  # noqa: ARG001
    """`rd_kafka_resp_err_t rd_kafka_message_headers(const rd_kafka_message_t *, rd_kafka_headers_t **)`."""

    def generate(_context, builder, _signature, arguments):
        return builder.sext(_called(builder, _INT32, arguments), _INT64)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def header_at(_typing_context, function, headers, index, name, value, size):  # noqa: ARG001
    """`rd_kafka_resp_err_t rd_kafka_header_get_all(const rd_kafka_headers_t *, size_t, name, value, size_t *)`."""

    def generate(_context, builder, _signature, arguments):
        return builder.sext(_called(builder, _INT32, arguments), _INT64)

    word = types.int64
    return word(word, word, word, word, word, word), generate


@intrinsic
def destroy(_typing_context, function, message):  # noqa: ARG001
    """`void rd_kafka_message_destroy(rd_kafka_message_t *)`."""

    def generate(context, builder, _signature, arguments):
        _called(builder, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate
