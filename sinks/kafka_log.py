"""Kafka as the log of events that come in by HTTP.

Delivery: an append is done when every replica in sync has confirmed all of its lines (`acks=all`, idempotent); what
was not confirmed in time may be there or not, and is sent again by its sender. Parallelism: any number of threads
append, one producer sends. Lines of one tenant keep their order: they have one partition.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from pipeline.errors import LogAwayError, MillraceError, UsageError
from pipeline.sources.kafka import KafkaSettings

_POLL_S = 0.05
_RETRY_S = 2
_LOOK_S = 5
_RESERVED = (
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "message.timeout.ms",
    "delivery.timeout.ms",
)
_CLOSED = "the log is being closed: send the events again, to the next process"
_TOO_MUCH = "more events wait for the broker than may: send them again a little later"


@dataclass(frozen=True, slots=True)
class KafkaLogLimits:
    """How much may wait for the broker, and how long."""

    waiting_bytes: int = 64 << 20
    waiting_lines: int = 200_000
    confirmed_within_ms: int = 10_000


@dataclass(slots=True)
class _Append:
    """Lines that are confirmed together; only the polling thread and the one that produces them touch it."""

    size: int
    lines: int
    left: int
    done: "Future[None]"
    error: str = ""


class KafkaLog:
    """A topic that takes events (`pipeline.ports.EventLog`)."""

    def __init__(
        self, settings: KafkaSettings, topic: str, limits: KafkaLogLimits | None = None,
        report: Callable[[str], None] = lambda _sentence: None,
    ) -> None:  # fmt: skip
        """Begin to send; a broker that is away is waited for.

        Raises `UsageError` for a setting that is wrong, `MillraceError` for a topic that is not there.
        """
        self._settings, self._topic = settings, topic
        self._limits, self._report = limits or KafkaLogLimits(), report
        self._lock = threading.Lock()
        self._bytes, self._lines = 0, 0
        self._away, self._is_fatal, self._is_closing = "", False, False
        self._producer = self._new_producer()
        self._look_for_topic()
        self._ended = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="kafka-log", daemon=True)
        self._poller.start()

    def append(self, lines: Sequence[bytes], arrived_at_ms: int, keys: Sequence[str] = ()) -> "Future[None]":
        """See `EventLog`."""
        done: Future[None] = Future()
        if not lines:
            done.set_result(None)
            return done
        append = _Append(sum(map(len, lines)), len(lines), len(lines), done)
        self._admit(append)
        try:
            for number, line in enumerate(lines):
                key = keys[number] if keys else None
                self._producer.produce(
                    self._topic, line, key, timestamp=arrived_at_ms, on_delivery=self._noting(append)
                )
                append.lines -= 1
        except (BufferError, KafkaException) as error:
            self._is_fatal = self._is_fatal or _is_fatal(error)
            self._settle(append, f"the broker's queue does not take them: {error}", append.lines)
        return done

    def waiting_bytes(self) -> int:
        """How much waits for the broker."""
        return self._bytes

    def away(self) -> str:
        """What is wrong with the broker; empty: nothing that is known."""
        return self._away

    def close(self) -> None:
        """Take no more, wait until all is confirmed or given up."""
        self._is_closing = True
        self._ended.set()
        self._poller.join()

    def _admit(self, append: _Append) -> None:
        with self._lock:
            if self._is_closing:
                raise LogAwayError(_CLOSED)
            if self._away and self._lines:
                raise LogAwayError(f"{self._away}: send the events again later", _RETRY_S)
            if self._lines and (
                self._bytes + append.size > self._limits.waiting_bytes
                or self._lines + append.left > self._limits.waiting_lines
            ):
                raise LogAwayError(_TOO_MUCH)
            self._bytes += append.size
            self._lines += append.left

    def _noting(self, append: _Append) -> Callable[[KafkaError | None, object], None]:
        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is None:
                self._back()
            self._settle(append, "" if error is None else str(error.str()), 1)

        return delivered

    def _settle(self, append: _Append, error: str, count: int) -> None:
        """So many of its lines have an outcome; the last one answers."""
        with self._lock:
            append.left -= count
            append.error = append.error or error
            self._lines -= count
            if append.left:
                return
            self._bytes -= append.size
        if append.done.set_running_or_notify_cancel():
            if append.error:
                msg = f"the broker does not confirm the events: {append.error}: send them again later"
                append.done.set_exception(LogAwayError(msg, _RETRY_S))
            else:
                append.done.set_result(None)

    def _poll(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(_POLL_S)
            if self._is_fatal:
                self._start_anew()
        self._producer.flush(self._limits.confirmed_within_ms / 1000)

    def _start_anew(self) -> None:
        """An idempotent producer that has lost its place sends no more: another one does."""
        broken, self._producer = self._producer, self._new_producer()
        self._is_fatal = False
        broken.purge()
        broken.flush(_LOOK_S)

    def _new_producer(self) -> Any:
        for name in _RESERVED:
            if name in self._settings.options:
                msg = f"the Kafka option {name} is not yours to set: an event that is answered must be on all replicas"
                raise UsageError(msg)
        config = {
            "linger.ms": 2, "compression.type": "lz4", **self._settings.client(), "acks": "all",
            "enable.idempotence": True, "message.timeout.ms": self._limits.confirmed_within_ms,
            "queue.buffering.max.messages": 2 * self._limits.waiting_lines,
            "queue.buffering.max.kbytes": 2 * (self._limits.waiting_bytes >> 10) + 65_536, "error_cb": self._note,
        }  # fmt: skip
        try:
            return Producer(config)
        except (KafkaException, TypeError, ValueError) as error:
            raise UsageError(f"a Kafka setting is wrong: {error}") from error

    def _look_for_topic(self) -> None:
        try:
            found = self._producer.list_topics(self._topic, timeout=_LOOK_S).topics.get(self._topic)
        except KafkaException as error:
            self._note(error.args[0])
            return
        if found is None or found.error is not None:
            msg = f"there is no topic {self._topic!r} to write events to: create it, or check --topic"
            raise MillraceError(msg)

    def _note(self, error: KafkaError) -> None:
        self._is_fatal = self._is_fatal or error.fatal()
        if not self._away:
            self._report(f"the broker does not answer: {error.str()}; events are refused until it does")
        self._away = f"the broker does not answer: {error.str()}"

    def _back(self) -> None:
        if self._away:
            self._report("the broker answers again")
            self._away = ""


def _is_fatal(error: Exception) -> bool:
    first = error.args[0] if error.args else None
    return isinstance(first, KafkaError) and bool(first.fatal())
