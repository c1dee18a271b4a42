"""Tells Stripe: the SDK's client without its own retries, and the sending of one attempt.

Every attempt is ours to record, so the SDK makes exactly one request for each call. A key never leaves this
module: not into a log, an error or a stored row.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import stripe

from pipeline.errors import ProviderError, UsageError
from pipeline.outbox import Attempt, Outcome, Result
from sinks.stripe_errors import outcome_of, scrubbed, server_time

API_VERSION = str(stripe.api_version)
SDK_VERSION = str(stripe.VERSION)
TIMEOUT_S = (5, 30)
_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Key:
    """A secret key; its text is not shown."""

    secret: str

    def __repr__(self) -> str:
        return f"Key({'live' if self.is_live else 'test'})"

    @property
    def is_live(self) -> bool:
        """Whether it moves real money."""
        return "_live_" in self.secret[:8]


def read_key(text: str, *, allow_live: bool) -> Key:
    """Take a key apart; raises `UsageError` for something else, and for a live key without the setting."""
    if not _KEY.fullmatch(text):
        msg = (
            "STRIPE_SECRET_KEY does not look like a secret key: expected sk_test_... or rk_test_... (or live)"
        )
        raise UsageError(msg)
    key = Key(text)
    if key.is_live and not allow_live:
        msg = "STRIPE_SECRET_KEY is a live key: give --live (or MILLRACE_STRIPE_LIVE=1) for real invoices"
        raise UsageError(msg)
    return key


def make_client(
    key: Key, base_url: str = "", http_client: stripe.HTTPClient | None = None
) -> stripe.StripeClient:
    """Make a client for Stripe, or for whoever answers at `base_url` instead.

    A live key is never sent to another address than Stripe's own.
    """
    addresses: dict[str, str] = {}
    if base_url:
        if key.is_live:
            msg = f"a live key goes to Stripe only, not to {base_url}: leave --stripe-url out"
            raise UsageError(msg)
        if urlsplit(base_url).scheme not in {"http", "https"}:
            msg = f"the address {base_url!r} is not understood: give http://host:port"
            raise UsageError(msg)
        address = base_url.rstrip("/")
        addresses = {"api": address, "meter_events": address}
    return stripe.StripeClient(
        key.secret,
        max_network_retries=0,
        http_client=http_client or stripe.RequestsClient(timeout=TIMEOUT_S),
        base_addresses=addresses,  # type: ignore[arg-type]
    )


def account_of(client: stripe.StripeClient) -> str:
    """Ask whose key it is; raises `ProviderError`."""
    return str(asked("the account", client.v1.accounts.retrieve_current).id)


def asked(what: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """Make a call that changes no usage; raises `ProviderError` in one sentence when it fails."""
    try:
        return call(*arguments)
    except Exception as error:
        told = outcome_of(error).detail
        msg = f"Stripe does not give {what}: {told}"
        raise ProviderError(msg) from error


class Sender:
    """Sends one attempt as a raw meter event of version 1. Safe to use from several threads."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._client = client

    def __call__(self, attempt: Attempt) -> Outcome:
        """Make exactly one request and say what it did; never raises."""
        try:
            answer: Any = self._client.v1.billing.meter_events.create(
                parameters(attempt),  # type: ignore[arg-type]
                {"idempotency_key": attempt.idempotency_key, "stripe_version": API_VERSION},
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the attempt may have been applied
            return outcome_of(error)
        response = answer.last_response
        headers: Mapping[str, str] = dict(response.headers) if response else {}
        named = answer.to_dict().get("identifier")
        if named != attempt.identifier:
            said = scrubbed(f"the answer names {named!r}")
            return Outcome(Result.UNKNOWN, said, server_time=server_time(headers))
        request_id = {name.lower(): value for name, value in headers.items()}.get("request-id", "")
        status = int(response.code) if response else 0
        return Outcome(Result.APPLIED, "", status, request_id, server_time=server_time(headers))


def parameters(attempt: Attempt) -> dict[str, Any]:
    """Give the parameters of the call."""
    report = attempt.report
    return {
        "event_name": report.event_name,
        "identifier": attempt.identifier,
        "timestamp": report.timestamp,
        "payload": {"stripe_customer_id": report.customer, "value": str(report.value)},
    }
