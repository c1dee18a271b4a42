"""Where alerts go: signed webhooks, and the decisions topic (`pipeline.letters.Target`).

Delivery: a receipt is good when the other side has said so: a 2xx status, or the broker's confirmation. Parallelism:
one attempt at a time for each courier.
"""

import http.client
import json
import socket
import ssl
import threading
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, urlsplit

from pipeline.errors import MillraceError, UsageError
from pipeline.letters import (
    ATTEMPT_HEADER,
    ID_HEADER,
    KIND_HEADER,
    SIGNATURE_HEADER,
    Letter,
    Receipt,
    signature,
)
from sinks.kafka import ConfirmedProducer, Record

TIMEOUT_S = 10
"""For each answer of the socket."""
ATTEMPT_S = 20
"""For an attempt as a whole: a receiver that trickles is cut off."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL that alerts are posted to, with the secret that signs them."""

    name: str
    url: str
    secret: str

    def send(self, letter: Letter, now_ms: int) -> Receipt:
        """See `Target`. Redirects are not followed: an alert goes where it was addressed."""
        parts = checked_url(self.url)
        connection = _connection(parts)
        watch = threading.Timer(ATTEMPT_S, lambda: _cut(connection))
        watch.daemon = True
        watch.start()
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path, letter.body, self._headers(letter, now_ms // 1000))
            answer = connection.getresponse()
            return _receipt(answer.status, answer.getheader("Retry-After", ""))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Receipt(is_taken=False, detail=f"{type(error).__name__}: {error}")
        finally:
            watch.cancel()
            connection.close()

    def _headers(self, letter: Letter, timestamp_s: int) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "millrace",
            ID_HEADER: str(letter.alert_id),
            KIND_HEADER: letter.kind,
            ATTEMPT_HEADER: str(letter.attempt),
            SIGNATURE_HEADER: signature(self.secret, timestamp_s, letter.body),
        }


@dataclass(frozen=True, slots=True)
class AlertTopic:
    """Alerts on a compacted topic, beside the pipeline's own decisions: the last one of a tenant, window and kind."""

    topic: str
    producer: ConfirmedProducer
    """Of this target alone: its stop ends an attempt that takes too long."""
    name: str = "topic"

    def send(self, letter: Letter, now_ms: int) -> Receipt:
        """See `Target`."""
        del now_ms
        window = json.loads(letter.body).get("window", "")
        key = json.dumps(
            [letter.tenant, window, letter.kind], separators=(",", ":"), ensure_ascii=False
        ).encode()
        headers = [("millrace_alert", str(letter.alert_id)), ("millrace_kind", letter.kind)]
        self.producer.stop.clear()
        watch = threading.Timer(ATTEMPT_S, self.producer.stop.set)
        watch.daemon = True
        watch.start()
        try:
            self.producer.send([Record(self.topic, key, letter.body, headers)])
        except MillraceError as error:
            return Receipt(is_taken=False, detail=str(error))
        finally:
            watch.cancel()
        return Receipt(is_taken=True)


def checked_url(url: str) -> SplitResult:
    """Take a webhook's URL apart; raises `UsageError` for one that cannot be posted to."""
    parts = urlsplit(url)
    try:
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or parts.username or parts.fragment or not url.isascii() or not url.isprintable():
        msg = f"a webhook is http(s)://host[:port]/path without user or fragment, not {url!r}"
        raise UsageError(msg)
    return parts


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    host = str(parts.hostname)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(
            host, parts.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
        )
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)


def _cut(connection: http.client.HTTPConnection) -> None:
    if connection.sock is not None:
        connection.sock.shutdown(socket.SHUT_RDWR)


def _receipt(status: int, retry_after: str) -> Receipt:
    wait_ms = int(retry_after) * 1000 if retry_after.isascii() and retry_after.isdecimal() else 0
    is_taken = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
    return Receipt(is_taken, "" if is_taken else f"answered {status}", wait_ms)
