"""What goes wrong, as an answer: RFC 9457 problem details, all from the one table below.

A route, or what it calls, raises `Problem` with a code of the table, or an error of the domain that `_DOMAIN`
translates. A code never changes its meaning or its status; clients may rely on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from billing.asks import Outcome, Status
from pipeline.errors import LedgerError, LogAwayError, MillraceError, SourceAwayError, StoreError

MEDIA_TYPE = "application/problem+json"


class Code(StrEnum):
    """The names of what can go wrong; a name never changes its meaning."""

    UNAUTHENTICATED = "unauthenticated"
    WRONG_DOOR = "wrong_door"
    FORBIDDEN_TENANT = "forbidden_tenant"
    MISSING_SCOPE = "missing_scope"
    MALFORMED_REQUEST = "malformed_request"
    INVALID_REQUEST = "invalid_request"
    INVALID_EVENTS = "invalid_events"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    REQUEST_TIMEOUT = "request_timeout"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    RATE_LIMITED = "rate_limited"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    REQUEST_IN_PROGRESS = "request_in_progress"
    CAP_EXCEEDED = "cap_exceeded"
    CREDITS_EXHAUSTED = "credits_exhausted"
    AMOUNT_ABOVE_POLICY = "amount_above_policy"
    EXPIRY_ABOVE_POLICY = "expiry_above_policy"
    RESERVATION_UNKNOWN = "reservation_unknown"
    RESERVATION_FINALIZED = "reservation_finalized"
    RESERVATION_RELEASED = "reservation_released"
    RESERVATION_EXPIRED = "reservation_expired"
    INTERNAL_ERROR = "internal_error"
    STORE_UNAVAILABLE = "store_unavailable"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    LOG_UNAVAILABLE = "log_unavailable"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table."""

    status: int
    title: str
    members: Mapping[str, str] = field(default_factory=dict)
    """Further members of the answer by name, each with what it is."""
    retry_after: bool = False
    """Whether the answer says when to come again."""


_AMOUNTS = "micro-USD as text"
PROBLEMS: Mapping[Code, Kind] = {
    # who is asking
    Code.UNAUTHENTICATED: Kind(401, "No credential was given, or it is not good."),
    Code.WRONG_DOOR: Kind(403, "The credential is good, but not for this door."),
    Code.FORBIDDEN_TENANT: Kind(403, "The key belongs to another tenant."),
    Code.MISSING_SCOPE: Kind(403, "The key lacks the scope that this needs.", {"scope": "the scope"}),
    # what is asked
    Code.MALFORMED_REQUEST: Kind(400, "The request cannot be read."),
    Code.INVALID_REQUEST: Kind(
        422, "The request is well formed, but not what is expected.", {"errors": "where, and why"}
    ),
    Code.INVALID_EVENTS: Kind(
        422,
        "Some events are refused; all others of the request are durable.",
        {
            "accepted": "how many events are durable",
            "refused": "each refused event: index, id, reason, detail",
        },
    ),
    Code.NOT_FOUND: Kind(404, "There is no such thing."),
    Code.ALREADY_EXISTS: Kind(409, "It is there already."),
    Code.METHOD_NOT_ALLOWED: Kind(405, "The address does not take this method."),
    Code.NOT_ACCEPTABLE: Kind(406, "The answer cannot be given in the form that was asked for."),
    Code.REQUEST_TIMEOUT: Kind(408, "The body came too slowly."),
    Code.BODY_TOO_LARGE: Kind(413, "The body is larger than this address takes.", {"limit": "bytes"}),
    Code.UNSUPPORTED_MEDIA_TYPE: Kind(415, "The body's type is not one that this address takes."),
    Code.RATE_LIMITED: Kind(429, "Too many requests through this door.", retry_after=True),
    # once
    Code.IDEMPOTENCY_CONFLICT: Kind(409, "The idempotency key was used with another body."),
    Code.REQUEST_IN_PROGRESS: Kind(
        409, "A request with this idempotency key is still in work.", retry_after=True
    ),
    # money
    Code.CAP_EXCEEDED: Kind(
        402,
        "The spend would exceed the tenant's limit.",
        {
            "window": "day or month",
            "limit": _AMOUNTS,
            "current": _AMOUNTS,
            "projected": _AMOUNTS,
        },
    ),
    Code.CREDITS_EXHAUSTED: Kind(402, "The credit pool that is to pay has not enough that is free."),
    Code.AMOUNT_ABOVE_POLICY: Kind(422, "One reservation may not hold so much."),
    Code.EXPIRY_ABOVE_POLICY: Kind(422, "A reservation may not last so long."),
    Code.RESERVATION_UNKNOWN: Kind(404, "There is no such reservation."),
    Code.RESERVATION_FINALIZED: Kind(409, "The reservation was finalised before."),
    Code.RESERVATION_RELEASED: Kind(409, "The reservation was released."),
    Code.RESERVATION_EXPIRED: Kind(409, "The reservation has expired."),
    # we
    Code.INTERNAL_ERROR: Kind(500, "Something went wrong here; the request id finds it in the log."),
    Code.STORE_UNAVAILABLE: Kind(503, "The control store does not answer.", retry_after=True),
    Code.LEDGER_UNAVAILABLE: Kind(503, "The ledger does not answer.", retry_after=True),
    Code.LOG_UNAVAILABLE: Kind(429, "The event log does not take events now.", retry_after=True),
}
RETRY_AFTER_S = 1

_DOMAIN: tuple[tuple[type[MillraceError], Code], ...] = (
    (StoreError, Code.STORE_UNAVAILABLE),
    (LedgerError, Code.LEDGER_UNAVAILABLE),
    (SourceAwayError, Code.LOG_UNAVAILABLE),
    (LogAwayError, Code.LOG_UNAVAILABLE),
)
"""Errors of the domain and their codes; the first that fits counts."""


class Problem(Exception):  # noqa: N818 - it is what the answer is
    """An answer that is no success; `members` are shown beside the detail."""

    def __init__(
        self,
        code: Code,
        detail: str = "",
        *,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(code)
        self.code, self.kind = code, PROBLEMS[code]
        self.detail, self.members, self.headers = detail, dict(members or {}), dict(headers or {})
        if self.kind.retry_after:
            self.headers.setdefault("Retry-After", str(retry_after_s or RETRY_AFTER_S))


def body_of(problem: Problem, request_id: str) -> dict[str, Any]:
    """The members of the answer: those of the RFC, the stable `code`, and the code's own."""
    return {
        "type": f"urn:millrace:problem:{problem.code}",
        "title": problem.kind.title,
        "status": problem.kind.status,
        "detail": problem.detail or problem.kind.title,
        "code": problem.code,
        "requestId": request_id,
        **problem.members,
    }


def answer(problem: Problem, request_id: str) -> JSONResponse:
    """Make the answer."""
    return JSONResponse(
        body_of(problem, request_id), problem.kind.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def problem_of(error: Exception) -> Problem:
    """Translate an error; what nobody foresaw is `internal_error`, without a word of what it was."""
    if isinstance(error, Problem):
        return error
    for kind, code in _DOMAIN:
        if isinstance(error, kind):
            return Problem(code, retry_after_s=getattr(error, "retry_after_s", None))
    return Problem(Code.INTERNAL_ERROR)


def problem_of_outcome(outcome: Outcome) -> Problem | None:
    """Translate what came of an ask; None where it was done. The status of an outcome is the code's name."""
    if outcome.is_ok:
        return None
    members = {}
    if outcome.exceeded is not None and outcome.status is Status.CAP_EXCEEDED:
        members = {
            "window": outcome.exceeded.window,
            "limit": str(outcome.exceeded.limit_micro),
            "current": str(outcome.exceeded.current_micro),
            "projected": str(outcome.exceeded.projected_micro),
        }
    return Problem(Code(outcome.status), outcome.detail, members=members)


def responses(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that a route can answer with, for its OpenAPI `responses`."""
    described: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = PROBLEMS[code]
        entry = described.setdefault(
            kind.status,
            {"description": "", "content": {MEDIA_TYPE: {"schema": _SCHEMA, "examples": {}}}, "headers": {}},
        )
        entry["description"] = f"{entry['description']} `{code}`: {kind.title}".strip()
        example = body_of(Problem(code), "01J9Z6Q3T4-example")
        entry["content"][MEDIA_TYPE]["examples"][code] = {"value": example}
        if kind.retry_after:
            entry["headers"]["Retry-After"] = {
                "description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1},
            }  # fmt: skip
    return described


_SCHEMA = {"$ref": "#/components/schemas/Problem"}
PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "code", "requestId"],
    "properties": {
        "type": {"type": "string", "description": "A name for the code that is a URI; it leads nowhere."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong with this request, for a person."},
        "code": {"type": "string", "enum": sorted(PROBLEMS)},
        "requestId": {"type": "string", "description": "The same as in the header X-Request-Id."},
        **{
            name: {"description": f"With `{code}`: {what}."}
            for code, kind in PROBLEMS.items()
            for name, what in kind.members.items()
        },
    },
}


def request_id_of(request: Request) -> str:
    """The id that the frame gave to a request."""
    return str(request.scope.get("millrace.request_id", ""))
