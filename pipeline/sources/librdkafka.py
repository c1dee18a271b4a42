"""librdkafka's own functions, as its public header rdkafka.h declares them: a consumer without Python's objects.

The library is the one that confluent-kafka is linked with, in its wheel or of the system, so both are always of one
version and one configuration means the same to both.
"""

import ctypes
from collections.abc import Callable, Mapping
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t, c_void_p
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, cimpl

from pipeline.kernels import messages

NO_CONSUMER_CLOSE = 8
"""RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE: to leave without a word."""
_CONSUMER, _CONF_OK, _TEXT_MAX = 1, 0, 512
_INVALID = KafkaError._INVALID_ARG  # noqa: SLF001 - librdkafka's own codes are named so
_NEEDS_PYTHON = {"plugin.library.paths", "sasl.oauthbearer.metadata.authentication.type"}
"""Options that confluent-kafka does something for beside handing them on."""

ErrorCallback = CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_void_p)

_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "rd_kafka_conf_new": (c_void_p,),
    "rd_kafka_conf_set": (c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t),
    "rd_kafka_conf_set_error_cb": (None, c_void_p, ErrorCallback),
    "rd_kafka_conf_destroy": (None, c_void_p),
    "rd_kafka_new": (c_void_p, c_int, c_void_p, c_char_p, c_size_t),
    "rd_kafka_poll_set_consumer": (c_int, c_void_p),
    "rd_kafka_queue_get_consumer": (c_void_p, c_void_p),
    "rd_kafka_queue_destroy": (None, c_void_p),
    "rd_kafka_topic_partition_list_new": (c_void_p, c_int),
    "rd_kafka_topic_partition_list_add": (c_void_p, c_void_p, c_char_p, c_int32),
    "rd_kafka_topic_partition_list_set_offset": (c_int, c_void_p, c_char_p, c_int32, c_int64),
    "rd_kafka_topic_partition_list_destroy": (None, c_void_p),
    "rd_kafka_assign": (c_int, c_void_p, c_void_p),
    "rd_kafka_commit": (c_int, c_void_p, c_void_p, c_int),
    "rd_kafka_get_watermark_offsets": (
        c_int,
        c_void_p,
        c_char_p,
        c_int32,
        POINTER(c_int64),
        POINTER(c_int64),
    ),
    "rd_kafka_consume_batch_queue": (c_ssize_t, c_void_p, c_int, c_void_p, c_size_t),
    "rd_kafka_last_error": (c_int,),
    "rd_kafka_err2str": (c_char_p, c_int),
    "rd_kafka_fatal_error": (c_int, c_void_p, c_char_p, c_size_t),
    "rd_kafka_message_errstr": (c_char_p, c_void_p),
    "rd_kafka_message_timestamp": (c_int64, c_void_p, c_void_p),
    "rd_kafka_message_headers": (c_int, c_void_p, c_void_p),
    "rd_kafka_header_get_all": (c_int, c_void_p, c_size_t, c_void_p, c_void_p, c_void_p),
    "rd_kafka_message_destroy": (None, c_void_p),
    "rd_kafka_consumer_close": (c_int, c_void_p),
    "rd_kafka_destroy": (None, c_void_p),
    "rd_kafka_destroy_flags": (None, c_void_p, c_int),
}
"""What each function returns, and what it takes."""


class Message(ctypes.Structure):
    """`rd_kafka_message_t`, whose members librdkafka's header names in this order."""

    _fields_ = (
        ("err", c_int),
        ("rkt", c_void_p),
        ("partition", c_int32),
        ("payload", c_void_p),
        ("len", c_size_t),
        ("key", c_void_p),
        ("key_len", c_size_t),
        ("offset", c_int64),
        ("_private", c_void_p),
    )


class NoLibraryError(Exception):
    """The functions cannot be used here; the message says why."""


class Library:
    """The functions of librdkafka, and their addresses for kernels."""

    def __init__(self, path: str) -> None:
        try:
            self.c: Any = ctypes.CDLL(path)  # a symbol is looked for in what it is linked with, too
            for name, (returned, *taken) in _PROTOTYPES.items():
                function = getattr(self.c, name)
                function.restype, function.argtypes = returned, taken
        except (OSError, AttributeError) as error:
            raise NoLibraryError(f"librdkafka's functions are not found ({error})") from error
        self.addresses = np.array(
            [ctypes.cast(getattr(self.c, name), c_void_p).value for name in messages.FUNCTIONS], np.int64
        )

    def consumer(self, config: Mapping[str, object], error_callback: Any) -> int:
        """A consumer whose errors go to the callback; raises `KafkaException` for what cannot be configured."""
        c, why = self.c, ctypes.create_string_buffer(_TEXT_MAX)
        conf = c.rd_kafka_conf_new()
        for name, value in config.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if c.rd_kafka_conf_set(conf, name.encode(), text.encode(), why, _TEXT_MAX) != _CONF_OK:
                c.rd_kafka_conf_destroy(conf)
                raise KafkaException(KafkaError(_INVALID, _text(why.value)))
        c.rd_kafka_conf_set_error_cb(conf, error_callback)
        handle = c.rd_kafka_new(_CONSUMER, conf, why, _TEXT_MAX)
        if not handle:
            code = c.rd_kafka_last_error()
            c.rd_kafka_conf_destroy(conf)  # a consumer that was made has taken it over
            raise KafkaException(KafkaError(code, f"Failed to create consumer: {_text(why.value)}"))
        c.rd_kafka_poll_set_consumer(handle)
        return int(handle)

    def at(self, topic: str, partition: int, offset: int, call: Callable[[int], int]) -> None:
        """Make a call that takes a list of partitions, here of one; raises `KafkaException` when it fails."""
        c, name = self.c, topic.encode()
        listed = c.rd_kafka_topic_partition_list_new(1)
        try:
            c.rd_kafka_topic_partition_list_add(listed, name, partition)
            c.rd_kafka_topic_partition_list_set_offset(listed, name, partition, offset)
            code = call(listed)
        finally:
            c.rd_kafka_topic_partition_list_destroy(listed)
        if code:
            raise KafkaException(self.error(code))

    def error(self, code: int) -> KafkaError:
        """An error by its code."""
        return KafkaError(code, _text(self.c.rd_kafka_err2str(code)))

    def fatal_error(self, handle: int) -> KafkaError:
        """What has made a client unusable."""
        why = ctypes.create_string_buffer(_TEXT_MAX)
        code = self.c.rd_kafka_fatal_error(handle, why, _TEXT_MAX)
        return KafkaError(code, _text(why.value))

    def message_error(self, message: int) -> KafkaError:
        """What a message tells that is no record."""
        code = Message.from_address(message).err
        return KafkaError(code, _text(self.c.rd_kafka_message_errstr(message)))


def find_library(options: Mapping[str, object]) -> Library:
    """librdkafka, for a consumer with these options; raises `NoLibraryError` where it cannot be used so."""
    if asks := sorted(_NEEDS_PYTHON & options.keys()):
        raise NoLibraryError(f"{', '.join(asks)} needs confluent-kafka's own client")
    expected = (messages.ERR, messages.PAYLOAD, messages.LENGTH, messages.OFFSET)
    found = (Message.err.offset, Message.payload.offset, Message.len.offset, Message.offset.offset)
    if found != expected or ctypes.sizeof(c_void_p) != ctypes.sizeof(c_int64):
        msg = "this machine lays out librdkafka's messages in another way"
        raise NoLibraryError(msg)
    return Library(cimpl.__file__)


def _text(told: bytes | None) -> str:
    return (told or b"").decode(errors="replace")
