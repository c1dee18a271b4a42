"""The wire of the stand-in: paths, idempotency keys, faults. One request in, one answer out; no sockets here.

Idempotency keys of version 1: the status and body of the first execution are said again for 24 hours,
failures included; other parameters under a known key are refused. 401, 409 and 429 are decided before that.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import StrEnum
from threading import RLock
from typing import Any
from urllib.parse import parse_qsl

from sinks.stripe_fake import DAY_S, Account, Refusal

KEYS_KEPT_S = DAY_S
STREAM = "/v2/billing/meter_event_stream"
LIST_LIMIT = 10
_PART = re.compile(r"([^\[\]]+)|\[([^\[\]]*)\]")


class Fault(StrEnum):
    """What goes wrong with one request; `after` means that it was carried out."""

    REFUSED = "refused"
    """No connection."""
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    TRUNCATED = "truncated"
    ERROR_BEFORE = "error_before"
    """A stored 500, not carried out."""
    ERROR_AFTER = "error_after"
    HTML_502 = "html_502"
    CONFLICT = "conflict"
    RATE_LIMITED = "rate_limited"
    LANE_LIMITED = "lane_limited"
    UNAUTHORIZED = "unauthorized"
    ZOMBIE = "zombie"
    """Dropped, and carried out later."""
    ASYNC_REJECT = "async_reject"


DROPPED = frozenset(
    {
        Fault.REFUSED,
        Fault.DROP_BEFORE,
        Fault.DROP_AFTER,
        Fault.TIMEOUT_BEFORE,
        Fault.TIMEOUT_AFTER,
        Fault.ZOMBIE,
    }
)
"""Faults in which no answer comes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    params: Mapping[str, Any]
    headers: Mapping[str, str]
    """Names in small letters."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `fault` says when it must not arrive, or only in part."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    fault: Fault | None = None


@dataclass(slots=True)
class Wire:
    """Answers requests to one account. Safe for several threads."""

    account: Account
    fault_for: Callable[[Request], Fault | None] = lambda _request: None
    zombie_delay_s: int = 60
    calls: list[Request] = field(default_factory=list)
    _cache: dict[str, tuple[int, str, int, bytes]] = field(default_factory=dict)
    _zombies: list[tuple[int, Request]] = field(default_factory=list)
    _busy: set[tuple[str, str]] = field(default_factory=set)
    _lock: RLock = field(default_factory=RLock)

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        with self._lock:
            self.raise_zombies()
            self.account.advance()
            self.calls.append(request)
            fault = self.fault_for(request)
            if fault in {Fault.REFUSED, Fault.DROP_BEFORE, Fault.TIMEOUT_BEFORE}:
                return self._made(0, {}, fault=fault)
            if fault is Fault.ZOMBIE:
                self._zombies.append((self.account.clock() + self.zombie_delay_s, request))
                return self._made(0, {}, fault=fault)
            early = self._before_keys(request, fault)
            return early or self._with_key(request, fault)

    def next_zombie(self) -> int | None:
        """Say when the next delayed request is carried out."""
        return min((at for at, _ in self._zombies), default=None)

    def raise_zombies(self) -> None:
        """Carry out what was delayed until now."""
        now = self.account.clock()
        due = [request for at, request in self._zombies if at <= now]
        self._zombies = [(at, request) for at, request in self._zombies if at > now]
        for request in due:
            self._with_key(request, None)

    @contextmanager
    def lane_busy(self, event_name: str, customer: str) -> Iterator[None]:
        """Let a call for this customer's meter be under way: another one meets a 409."""
        self._busy.add((event_name, customer))
        yield
        self._busy.discard((event_name, customer))

    def _before_keys(self, request: Request, fault: Fault | None) -> Answer | None:
        """Decide what comes before the idempotency layer, and so is never stored."""
        authorization = request.headers.get("authorization", "")
        if request.path == STREAM and fault is not Fault.UNAUTHORIZED:
            until = self.account.sessions.get(authorization.removeprefix("Bearer "), 0)
            if until <= self.account.clock():
                return self._error(401, "The session has expired.", kind="temporary_session_expired")
        elif fault is Fault.UNAUTHORIZED or not re.fullmatch(r"Bearer (sk|rk)_test_\w+", authorization):
            return self._error(
                401, "Invalid API Key provided: sk_test_*******none", kind="invalid_request_error"
            )
        payload = request.params.get("payload") or {}
        lane = (str(request.params.get("event_name", "")), str(payload.get("stripe_customer_id", "")))
        if fault is Fault.CONFLICT or lane in self._busy:
            return self._error(
                409, "There is currently another in-progress request for this customer and meter."
            )
        if fault is Fault.HTML_502:
            return self._made(502, b"<html><body>Bad Gateway</body></html>")
        if fault in {Fault.RATE_LIMITED, Fault.LANE_LIMITED}:
            reason = "global-rate" if fault is Fault.RATE_LIMITED else "resource-specific"
            extra = {"stripe-rate-limited-reason": reason, "retry-after": "1"}
            return self._error(429, "Request rate limit exceeded.", extra=extra)
        return None

    def _with_key(self, request: Request, fault: Fault | None) -> Answer:
        key = request.headers.get("idempotency-key", "") if request.method == "POST" else ""
        now = self.account.clock()
        said = json.dumps([request.path, request.params], sort_keys=True)
        held = self._cache.get(key)
        if key and held and now - held[0] < KEYS_KEPT_S:
            if held[1] != said:
                message = (
                    "Keys for idempotent requests can only be used with the same parameters they were first"
                )
                return self._error(400, f"{message} used with.", kind="idempotency_error")
            return self._made(held[2], held[3], extra={"idempotent-replayed": "true"}, fault=fault)
        answer = self._execute(request, fault)
        if key and answer.status != 400:  # noqa: PLR2004 - what fails validation is not stored
            self._cache[key] = (now, said, answer.status, answer.body)
        return answer

    def _execute(self, request: Request, fault: Fault | None) -> Answer:
        if fault is Fault.ERROR_BEFORE:
            return self._error(500, "An unknown error occurred.", kind="api_error")
        try:
            body = route(self.account, request, fault)
        except Refusal as refusal:
            said = {"error": refusal.body}
            return self._made(refusal.status, said, extra={"stripe-should-retry": "false"}, fault=fault)
        if fault is Fault.ERROR_AFTER:
            return self._error(500, "An unknown error occurred.", kind="api_error")
        return self._made(200, body, fault=fault)

    def _error(
        self, status: int, message: str, *, kind: str = "api_error", extra: Mapping[str, str] | None = None
    ) -> Answer:
        return self._made(status, {"error": {"type": kind, "message": message}}, extra=extra)

    def _made(
        self,
        status: int,
        body: Mapping[str, Any] | bytes,
        *,
        extra: Mapping[str, str] | None = None,
        fault: Fault | None = None,
    ) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            "content-type": "application/json",
            "date": formatdate(self.account.clock(), usegmt=True),
            "request-id": f"req_{len(self.calls):08d}",
            **(extra or {}),
        }
        return Answer(status, raw, headers, fault)


def parse_params(text: str) -> dict[str, Any]:
    """Read `a[b]=1&c[0]=2` as nested values; Stripe's form encoding."""
    root: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        parts = [plain or inner for plain, inner in _PART.findall(name)]
        place = root
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = value
    return root


def route(account: Account, request: Request, fault: Fault | None) -> dict[str, Any]:
    """Carry one request out."""
    method, path, params = request.method, request.path.rstrip("/"), request.params
    for verb, pattern, action in _ROUTES:
        match = re.fullmatch(pattern, path)
        if verb == method and match:
            if fault is Fault.ASYNC_REJECT and action is _receive:
                return _receive_then_reject(account, params)
            found = action(account, params, *match.groups())
            return {**found, "url": path} if found.get("object") == "list" else found
    raise Refusal(404, f"Unrecognized request URL ({method}: {path}).")


def _receive(account: Account, params: Mapping[str, Any]) -> dict[str, Any]:
    if "event_name" not in params:
        raise Refusal(400, "Missing required param: event_name.", code="parameter_missing")
    return account.receive(params)


def _receive_then_reject(account: Account, params: Mapping[str, Any]) -> dict[str, Any]:
    customer = str((params.get("payload") or {}).get("stripe_customer_id", ""))
    before = dict(account.reject_async)
    account.reject_async[customer] = "meter_event_customer_not_found"
    try:
        return account.receive(params)
    finally:
        account.reject_async = before


def _cancel(account: Account, params: Mapping[str, Any]) -> dict[str, Any]:
    return account.cancel(params)


def _session(account: Account, _params: Mapping[str, Any]) -> dict[str, Any]:
    return account.open_session()


def _stream(account: Account, params: Mapping[str, Any]) -> dict[str, Any]:
    return account.receive_stream(params.get("events") or [])


def _account(account: Account, _params: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": account.rules.account, "object": "account", "livemode": False}


def _create_meter(account: Account, params: Mapping[str, Any]) -> dict[str, Any]:
    return account.create_meter(params)


def _creator(kind: str, prefix: str) -> Callable[..., dict[str, Any]]:
    def create(account: Account, params: Mapping[str, Any]) -> dict[str, Any]:
        return account.create(kind, prefix, {"active": True, "metadata": {}, **params})

    return create


def _create_subscription(account: Account, params: Mapping[str, Any]) -> dict[str, Any]:
    account.get("customer", str(params["customer"]))
    items = list((params.get("items") or {}).values())
    values = {"customer": params["customer"], "prices": [item["price"] for item in items]}
    return account.subscribe({**values, "metadata": params.get("metadata") or {}})


def _getter(kind: str) -> Callable[..., dict[str, Any]]:
    def get(account: Account, _params: Mapping[str, Any], name: str) -> dict[str, Any]:
        return account.get(kind, name)

    return get


def _lister(kind: str) -> Callable[..., dict[str, Any]]:
    def listed(account: Account, params: Mapping[str, Any]) -> dict[str, Any]:
        wanted = {"customer", "status", "product", "active"} & params.keys()
        wanted -= {"status"} if params.get("status") == "all" else set()
        since = int((params.get("created") or {}).get("gte", 0))
        rows = [
            one
            for one in account.of_kind(kind)
            if one["created"] >= since
            and all(str(one.get(name)).lower() == str(params[name]).lower() for name in wanted)
        ]
        return page(rows, params)

    return listed


def _summaries(account: Account, params: Mapping[str, Any], meter: str) -> dict[str, Any]:
    return page(account.summaries(meter, params), params)


def _meter_status(status: str) -> Callable[..., dict[str, Any]]:
    def change(account: Account, _params: Mapping[str, Any], name: str) -> dict[str, Any]:
        return account.set_meter_status(name, status)

    return change


def _delete_customer(account: Account, _params: Mapping[str, Any], name: str) -> dict[str, Any]:
    return account.delete_customer(name)


def _end_subscription(account: Account, _params: Mapping[str, Any], name: str) -> dict[str, Any]:
    return account.cancel_subscription(name)


def _update_invoice(account: Account, params: Mapping[str, Any], name: str) -> dict[str, Any]:
    invoice = account.get("invoice", name)
    if "auto_advance" in params:
        invoice["auto_advance"] = str(params["auto_advance"]).lower() == "true"
    return invoice


def _finalize(account: Account, _params: Mapping[str, Any], name: str) -> dict[str, Any]:
    return account.finalize(name)


def _lines(account: Account, params: Mapping[str, Any], name: str) -> dict[str, Any]:
    return page(account.lines(account.get("invoice", name)), params)


def _thin_event(account: Account, _params: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = account.thin_events.get(name)
    if found is None:
        raise Refusal(404, f"No such event: '{name}'", code="resource_missing")
    return found


def page(rows: list[dict[str, Any]], params: Mapping[str, Any]) -> dict[str, Any]:
    """Cut one page out: ten rows unless told, at most a hundred, after a given id."""
    limit = int(params.get("limit") or LIST_LIMIT)
    if not 1 <= limit <= 100:  # noqa: PLR2004 - Stripe's bounds
        raise Refusal(400, "Invalid integer: limit must be from 1 to 100.")
    after = params.get("starting_after")
    ids = [row["id"] for row in rows]
    start = ids.index(after) + 1 if after in ids else 0
    cut = rows[start : start + limit]
    return {"object": "list", "data": cut, "has_more": start + limit < len(rows)}


_NAME = r"([\w-]+)"
_ROUTES: tuple[tuple[str, str, Callable[..., dict[str, Any]]], ...] = (
    ("POST", "/v1/billing/meter_events", _receive),
    ("POST", "/v1/billing/meter_event_adjustments", _cancel),
    ("GET", f"/v1/billing/meters/{_NAME}/event_summaries", _summaries),
    ("POST", "/v1/billing/meters", _create_meter),
    ("GET", "/v1/billing/meters", _lister("billing.meter")),
    ("GET", f"/v1/billing/meters/{_NAME}", _getter("billing.meter")),
    ("POST", f"/v1/billing/meters/{_NAME}/deactivate", _meter_status("inactive")),
    ("POST", f"/v1/billing/meters/{_NAME}/reactivate", _meter_status("active")),
    ("POST", "/v2/billing/meter_event_session", _session),
    ("POST", STREAM, _stream),
    ("GET", "/v1/account", _account),
    ("POST", "/v1/customers", _creator("customer", "cus")),
    ("GET", "/v1/customers", _lister("customer")),
    ("GET", f"/v1/customers/{_NAME}", _getter("customer")),
    ("DELETE", f"/v1/customers/{_NAME}", _delete_customer),
    ("POST", "/v1/products", _creator("product", "prod")),
    ("GET", "/v1/products", _lister("product")),
    ("POST", "/v1/prices", _creator("price", "price")),
    ("GET", "/v1/prices", _lister("price")),
    ("POST", "/v1/subscriptions", _create_subscription),
    ("GET", "/v1/subscriptions", _lister("subscription")),
    ("DELETE", f"/v1/subscriptions/{_NAME}", _end_subscription),
    ("GET", "/v1/invoices", _lister("invoice")),
    ("GET", f"/v1/invoices/{_NAME}", _getter("invoice")),
    ("POST", f"/v1/invoices/{_NAME}", _update_invoice),
    ("POST", f"/v1/invoices/{_NAME}/finalize", _finalize),
    ("GET", f"/v1/invoices/{_NAME}/lines", _lines),
    ("GET", f"/v1/prices/{_NAME}", _getter("price")),
    ("GET", f"/v2/core/events/{_NAME}", _thin_event),
)
