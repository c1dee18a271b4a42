"""The header `Idempotency-Key`: what makes a repeated request the same request."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Header

from api.problems import Code, Problem
from billing.asks import Once
from billing.once import fingerprint_of

KEY_MAX = 255
_WHAT = (
    "1 to 255 visible ASCII characters of your choice. The same key with the same body gets the first answer again, "
    "whatever it was; with another body, 409 `idempotency_conflict`."
)

KeyHeader = Annotated[
    str | None, Header(alias="Idempotency-Key", description=_WHAT, examples=["order-4711/authorize"])
]
"""The type of a route's parameter that takes the header; `once_of` and `key_or_refuse` judge it."""


def key_or_refuse(key: str | None) -> str:
    """The key that a request must bring; raises `invalid_request`."""
    if key is None:
        raise Problem(
            Code.INVALID_REQUEST,
            "give the header Idempotency-Key: a text of your choice, new for each request",
        )
    return checked(key)


def checked(key: str) -> str:
    """The key, if it can be one; raises `invalid_request`."""
    if not 1 <= len(key) <= KEY_MAX or not key.isascii() or not key.isprintable() or key != key.strip():
        raise Problem(Code.INVALID_REQUEST, f"Idempotency-Key has 1 to {KEY_MAX} visible ASCII characters")
    return key


def once_of(operation: str, tenant: str, key: str | None, body: Mapping[str, Any]) -> Once | None:
    """What makes this request the same as another: for whom, for what, under which key, with which body.

    None where no key was brought. A tenant's keys are the tenant's: it may retry with another API key.
    """
    return (
        None if key is None else Once(f"{operation}:{tenant}", checked(key), fingerprint_of(operation, body))
    )
