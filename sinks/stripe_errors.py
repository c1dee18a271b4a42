"""What each error of the Stripe SDK says about an attempt: one table; a test finds what is not in it.

Only what is known to have had no effect is called so; everything else may have been applied. Stripe words
("An event already exists with identifier") and headers are from docs/stripe.md, where their certainty stands.
"""

import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import stripe
from requests import exceptions as requests_errors
from stripe.oauth_error import (
    InvalidClientError,
    InvalidGrantError,
    InvalidScopeError,
    OAuthError,
    UnsupportedGrantTypeError,
    UnsupportedResponseTypeError,
)
from stripe.oauth_error import InvalidRequestError as OAuthInvalidRequestError
from urllib3.exceptions import MaxRetryError, NewConnectionError

from pipeline.outbox import Outcome, Result

Judge = Callable[[stripe.StripeError], Result]
DETAIL_MAX = 500
_DUPLICATE = re.compile(r"already exists with identifier")
_SECRET = re.compile(r"\b(sk|rk|whsec)_[A-Za-z0-9_*]+")
_LANE_ONLY = "resource-specific"


def outcome_of(error: Exception) -> Outcome:
    """Translate what a call raised; whatever is not in the table may have been applied."""
    if not isinstance(error, stripe.StripeError):
        return Outcome(Result.UNKNOWN, scrubbed(f"{type(error).__name__}: {error}"))
    judge = TABLE.get(type(error), _perhaps)
    headers = {name.lower(): value for name, value in dict(error.headers or {}).items()}
    limited = isinstance(error, stripe.RateLimitError)
    reason = headers.get("stripe-rate-limited-reason", "")
    return Outcome(
        result=judge(error),
        detail=scrubbed(f"{error.user_message or type(error).__name__}{f' ({reason})' if reason else ''}"),
        http_status=error.http_status or 0,
        request_id=headers.get("request-id", ""),
        retry_after_s=_whole(headers.get("retry-after", "")),
        server_time=server_time(headers),
        pauses_all=limited and reason != _LANE_ONLY,
        halts_all=isinstance(error, stripe.AuthenticationError | stripe.PermissionError),
    )


def scrubbed(text: str) -> str:
    """Take anything that looks like a key out of a text, and what is too long."""
    return _SECRET.sub(r"\1_...", " ".join(text.split()))[:DETAIL_MAX]


def server_time(headers: Mapping[str, str]) -> int | None:
    """Read the provider's clock from its `Date` header."""
    date = {name.lower(): value for name, value in headers.items()}.get("date")
    try:
        return None if date is None else int(parsedate_to_datetime(date).timestamp())
    except ValueError:
        return None


def _whole(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _perhaps(_error: stripe.StripeError) -> Result:
    return Result.UNKNOWN


def _no_effect(_error: stripe.StripeError) -> Result:
    return Result.NOT_APPLIED


def _refused(_error: stripe.StripeError) -> Result:
    return Result.REFUSED


def _mismatch(_error: stripe.StripeError) -> Result:
    return Result.KEY_MISMATCH


def _invalid(error: stripe.StripeError) -> Result:
    """Version 1 refuses a known identifier by words alone, version 2 by a code."""
    if error.code == "duplicate_meter_event" or _DUPLICATE.search(str(error.user_message or "")):
        return Result.DUPLICATE
    return Result.REFUSED


def _api(error: stripe.StripeError) -> Result:
    """5xx, 409 and bodies that make no sense: a stored failure is said again under the same key for ever."""
    replayed = {name.lower(): value for name, value in dict(error.headers or {}).items()}
    if replayed.get("idempotent-replayed", "").lower() == "true":
        return Result.REPLAYED_FAILURE
    return Result.UNKNOWN


def _connection(error: stripe.StripeError) -> Result:
    """No connection: no byte has left. Anything later: who knows."""
    cause = error.__cause__
    if isinstance(cause, requests_errors.ConnectTimeout):
        return Result.NOT_APPLIED
    if isinstance(cause, requests_errors.ConnectionError) and cause.args:
        first = cause.args[0]
        if isinstance(first, MaxRetryError) and isinstance(first.reason, NewConnectionError):
            return Result.NOT_APPLIED
    return Result.UNKNOWN


TABLE: Mapping[type[stripe.StripeError], Judge] = {
    stripe.APIConnectionError: _connection,
    stripe.APIError: _api,
    stripe.IdempotencyError: _mismatch,
    stripe.InvalidRequestError: _invalid,
    stripe.RateLimitError: _no_effect,
    stripe.AuthenticationError: _no_effect,
    stripe.PermissionError: _no_effect,
    stripe.TemporarySessionExpiredError: _no_effect,
    stripe.QuotaExceededError: _no_effect,
    stripe.AlreadyCanceledError: _refused,
    stripe.BlockedByStripeError: _refused,
    stripe.CannotProceedError: _refused,
    stripe.CapabilityNotEnabledError: _refused,
    stripe.ControlledByAlternateResourceError: _refused,
    stripe.FeatureNotEnabledError: _refused,
    stripe.FinancialAccountNotOpenError: _refused,
    stripe.FxQuoteNeedsRefreshError: _refused,
    stripe.InsufficientFundsError: _refused,
    stripe.InvalidPaymentMethodError: _refused,
    stripe.InvalidPayoutMethodError: _refused,
    stripe.InvalidVaultedCredentialError: _refused,
    stripe.NotCancelableError: _refused,
    stripe.RecipientNotNotifiableError: _refused,
    stripe.VerificationAttemptFailedError: _refused,
    stripe.VerificationExpiredError: _refused,
    stripe.VerificationNotInitiatedError: _refused,
    # None of these comes from a call that tells usage; should one, nothing is known.
    stripe.CardError: _perhaps,
    stripe.SignatureVerificationError: _perhaps,
    stripe.StripeErrorWithParamCode: _perhaps,
    OAuthError: _perhaps,
    InvalidClientError: _perhaps,
    InvalidGrantError: _perhaps,
    OAuthInvalidRequestError: _perhaps,
    InvalidScopeError: _perhaps,
    UnsupportedGrantTypeError: _perhaps,
    UnsupportedResponseTypeError: _perhaps,
}
