"""Stripe's webhook signatures: HMAC-SHA256 over `timestamp.body`, scheme v1, several while secrets roll."""

import hashlib
import hmac
from collections.abc import Sequence
from enum import StrEnum

TOLERANCE_S = 300


class Verdict(StrEnum):
    """What a signature header is found to be."""

    GOOD = "good"
    MALFORMED = "malformed"
    WRONG = "wrong"
    TOO_OLD = "too_old"
    IN_FUTURE = "in_future"


def judge(body: bytes, header: str, secrets: Sequence[str], now: int) -> Verdict:
    """Check a header against the raw body; a moment more than five minutes away is refused on either side."""
    pairs = [part.partition("=") for part in header.split(",")]
    moments = [value.strip() for name, _, value in pairs if name.strip() == "t"]
    given = [value.strip() for name, _, value in pairs if name.strip() == "v1"]
    if len(moments) != 1 or not moments[0].isdecimal() or not moments[0].isascii() or not given:
        return Verdict.MALFORMED
    if not any(
        hmac.compare_digest(sign(body, moments[0], s).encode(), g.encode()) for s in secrets for g in given
    ):
        return Verdict.WRONG
    if int(moments[0]) < now - TOLERANCE_S:
        return Verdict.TOO_OLD
    if int(moments[0]) > now + TOLERANCE_S:
        return Verdict.IN_FUTURE
    return Verdict.GOOD


def sign(body: bytes, moment: str, secret: str) -> str:
    """Make the signature of a body at a moment."""
    return hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
