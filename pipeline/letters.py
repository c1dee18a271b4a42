"""Alerts on their way out, as values: who decides what to tell knows them, and who carries it."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Protocol

SIGNATURE_HEADER = "X-Millrace-Signature"
ID_HEADER = "X-Millrace-Alert-Id"
KIND_HEADER = "X-Millrace-Alert-Kind"
ATTEMPT_HEADER = "X-Millrace-Attempt"


@dataclass(frozen=True, slots=True)
class Letter:
    """One attempt to deliver an alert."""

    delivery_id: int
    alert_id: int
    target: str
    kind: str
    tenant: str
    body: bytes
    """A JSON object; the same at each attempt."""
    attempt: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a target said."""

    is_taken: bool
    detail: str = ""
    retry_after_ms: int = 0


class Target(Protocol):
    """Where alerts go."""

    @property
    def name(self) -> str:
        """What deliveries to it are kept under; to rename it is to begin anew."""
        ...

    def send(self, letter: Letter, now_ms: int) -> Receipt:
        """Hand one over, within less than a minute; whatever goes wrong is told by the receipt."""
        ...


def signature(secret: str, timestamp_s: int, body: bytes) -> str:
    """Sign a body at a moment: `t=<seconds>,v1=<HMAC-SHA256 of "seconds.body">`, as Stripe does it."""
    mac = hmac.new(secret.encode(), str(timestamp_s).encode() + b"." + body, hashlib.sha256)
    return f"t={timestamp_s},v1={mac.hexdigest()}"
