"""Kafka as a place for results: rejects on a dead-letter topic, spend decisions on a compacted topic.

Delivery: a call returns when the broker has confirmed every record (all replicas in sync); what a run could not
confirm is sent again by the next, so a reader may see a record twice and tells it by its headers. Parallelism:
one producer for each worker.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Producer

from pipeline.errors import MillraceError, SourceAwayError, UsageError
from pipeline.ports import Decision, DecisionSink, RejectRow
from pipeline.sources.kafka import KafkaSettings
from pipeline.timestamp import format_rfc3339_ms

_KEPT_WHEN_TOO_LARGE = 65_536
_POLL_S = 0.05
_WAIT_S = 0.5
_NOT_CONFIRMED = "the broker does not confirm what was sent to it: the run stops, nothing is lost"
_HOPELESS = frozenset((
    KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.TOPIC_EXCEPTION, KafkaError.INVALID_RECORD, KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - a local code
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """One record for a topic."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, str]]


@dataclass(slots=True)
class ConfirmedProducer:
    """Sends records until the broker has all of them, or the run is told to stop."""

    settings: KafkaSettings
    stop: threading.Event
    report: Callable[[str], None] = lambda _sentence: None
    _producer: Any = None
    _failed: list[tuple[Record, KafkaError]] = field(default_factory=list)
    _is_away: bool = False

    def send(self, records: list[Record]) -> None:
        """Return when the broker has confirmed all; raises `MillraceError` when it never will, or on a stop."""
        while records:
            self._failed = []
            for record in records:
                self._produce(record)
            while len(self._own()):
                self._own().poll(_POLL_S)
                if self.stop.is_set() and self._is_away:
                    raise SourceAwayError(_NOT_CONFIRMED)
            records = [self._again(record, error) for record, error in self._failed]
            if records:
                self.report(f"topic {records[0].topic}: {self._failed[0][1].str()}; sending again")
                self.stop.wait(_WAIT_S)

    def _own(self) -> Any:
        if self._producer is None:
            config = {**self.settings.client(), "acks": "all", "enable.idempotence": True, "linger.ms": 2}
            try:
                self._producer = Producer({**config, "error_cb": self._note})
            except (KafkaException, TypeError, ValueError) as error:
                raise UsageError(f"a Kafka setting is wrong: {error}") from error
        return self._producer

    def _note(self, error: KafkaError) -> None:
        if not self._is_away:
            self.report(f"the broker does not answer: {error.str()}; waiting for it")
        self._is_away = True

    def _produce(self, record: Record) -> None:
        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is None:
                self._is_away = False
            else:
                self._failed.append((record, error))

        while True:
            try:
                self._own().produce(
                    record.topic, record.value, record.key, headers=record.headers, on_delivery=delivered
                )
            except BufferError:
                self._own().poll(_POLL_S)
            except KafkaException as error:
                self._failed.append((record, error.args[0]))
                return
            else:
                return

    def _again(self, record: Record, error: KafkaError) -> Record:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and len(record.value) > _KEPT_WHEN_TOO_LARGE:
            cut = ("millrace_cut", f"{len(record.value)} bytes; all of them are in rejected_events")
            return replace(record, value=record.value[:_KEPT_WHEN_TOO_LARGE], headers=[*record.headers, cut])
        if self.stop.is_set() or error.fatal() or error.code() in _HOPELESS:
            msg = (
                f"topic {record.topic} cannot be written: {error.str()}; "
                "create it, or see to the rights, and run again"
            )
            raise MillraceError(msg)
        return record


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Rejects on a topic: the raw bytes, with the reason and the place in headers."""

    topic: str
    producer: ConfirmedProducer
    run: int

    def __call__(self, rejects: list[RejectRow]) -> None:
        """Make rejects durable on the topic."""
        self.producer.send([self._record(reject) for reject in rejects])

    def _record(self, reject: RejectRow) -> Record:
        origin = reject.origin
        headers = [
            ("millrace_reason", reject.reason), ("millrace_detail", reject.detail[:1000]),
            ("millrace_topic", origin.topic), ("millrace_partition", str(origin.partition)),
            ("millrace_offset", str(reject.offset)), ("millrace_run", str(self.run)),
        ]  # fmt: skip
        return Record(self.topic, f"{origin.topic}/{origin.partition}".encode(), reject.raw, headers)


@dataclass(frozen=True, slots=True)
class PublishedDecisions:
    """Decisions on a compacted topic, then in the ledger: a reader sees the last one of each tenant and window.

    The ledger comes second: a decision that is not in it is made again by the next run, and published again.
    """

    topic: str
    producer: ConfirmedProducer
    ledger: DecisionSink

    def write(self, decisions: list[Decision]) -> None:
        """See `DecisionSink`."""
        self.producer.send(list(self._records(decisions)))
        self.ledger.write(decisions)

    def _records(self, decisions: Iterable[Decision]) -> Iterable[Record]:
        for d in decisions:
            start = format_rfc3339_ms(d.window_start_s * 1000)
            value = {
                "tenant": d.tenant, "window": d.window, "window_start": start, "state": d.state,
                "threshold_percent": d.threshold_percent, "limit_micro_usd": d.limit_micro_usd,
                "current_micro_usd": d.current_micro_usd,
            }  # fmt: skip
            key = msgspec.json.encode([d.tenant, d.window])
            origin = [
                ("millrace_topic", d.topic),
                ("millrace_partition", str(d.partition)),
                ("millrace_offset", str(d.offset)),
            ]
            yield Record(self.topic, key, msgspec.json.encode(value), origin)
