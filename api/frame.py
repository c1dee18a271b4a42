"""The frame around every request: its id, its body within limits of size and time, the headers, the log, the metrics.

Plain ASGI, so that it costs microseconds. The body is read here, before any route: a route gets it whole or not at all.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from itertools import count
from typing import Protocol

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Code, Problem, answer, problem_of
from api.quick import header_name
from api.services import ApiSettings

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
DRAIN_MAX = 64 << 20
DRAIN_S = 2
"""A body that is refused is still taken off the line for so long, or the client might not see the answer."""
CLIENT_LEFT = 499
"""What is logged and counted where nobody was there for an answer any more."""
ALWAYS: Mapping[bytes, bytes] = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""On every answer that says nothing else."""
NO_PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""On every answer that is no page."""
_log = structlog.get_logger("millrace.http")


class Note(Protocol):
    """Told of each request when its answer is out."""

    def __call__(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count it."""


class Frame:
    """The outermost layer of the application."""

    def __init__(  # noqa: PLR0913 - what a frame is made of
        self,
        app: ASGIApp,
        *,
        settings: ApiSettings,
        random_hex: Callable[[int], str],
        monotonic_ns: Callable[[], int],
        note: Note,
        direct: Mapping[tuple[str, str], ASGIApp],
    ) -> None:
        self._app, self._settings, self._direct = app, settings, direct
        self._monotonic_ns, self._note = monotonic_ns, note
        self._process, self._numbers = random_hex(10), count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on in its frame; websockets and the life of the process pass as they are."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_ns = self._monotonic_ns()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scope["millrace.request_id"] = self._request_id(headers)
        scope["millrace.headers"] = {}
        out = _Out(scope, send)
        try:
            await self._passed_on(scope, headers, receive, out)
        except Exception as error:
            if not isinstance(error, Problem):
                _log.exception("request_failed", request_id=scope["millrace.request_id"], path=scope["path"])
            if not out.status:
                await _refuse(problem_of(error), scope, receive, out)
            elif not out.is_whole:
                raise
        finally:
            self._tell(scope, out.status or CLIENT_LEFT, self._monotonic_ns() - begun_ns)

    async def _passed_on(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, out: "_Out"
    ) -> None:
        if b"content-length" in headers or b"transfer-encoding" in headers:
            try:
                body = await self._body(scope, headers, receive)
            except Problem as problem:
                await _refuse(problem, scope, receive, out)
                return
            if body is None:
                return  # the client has left
            receive = _Whole(body, receive)
        served = self._direct.get((scope["method"], scope["path"]), self._app)
        await served(scope, receive, out)

    async def _body(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bytes | None:
        limit = self._limit(scope["path"])
        said = headers.get(b"content-length", b"0")
        if not said.isdigit():
            raise Problem(Code.MALFORMED_REQUEST, "Content-Length is not a number")
        if int(said) > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                return await _read(receive, limit)
        except TimeoutError:
            detail = f"the body did not arrive within {self._settings.body_timeout_s} s"
            raise Problem(Code.REQUEST_TIMEOUT, detail, headers={"Connection": "close"}) from None

    def _limit(self, path: str) -> int:
        for beginning, limit in self._settings.body_max_by_path.items():
            if path.startswith(beginning):
                return limit
        return self._settings.body_max

    def _request_id(self, headers: dict[bytes, bytes]) -> str:
        """The id that came, else the process's random name and a number: no system call for each request."""
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        return given if REQUEST_ID.fullmatch(given) else f"{self._process}-{next(self._numbers)}"

    def _tell(self, scope: Scope, status: int, spent_ns: int) -> None:
        route = getattr(scope.get("route"), "path", "") or "(none)"
        self._note(scope["method"], route, status, spent_ns / 1e9)
        if not self._settings.logs_requests and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return
        log = _log.error if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _log.info
        log(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=spent_ns // 1_000_000,
            request_id=scope["millrace.request_id"],
            caller=scope.get("millrace.caller", ""),
            client=(scope.get("client") or ("",))[0],
        )


class _Out:
    """Sends the answer with the frame's headers."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self.status = 0
        """0 until the answer has begun."""
        self.is_whole = False
        """Whether the answer has ended."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._headers(message.get("headers", ()))
        else:
            self.is_whole = not message.get("more_body", False)
        await self._send(message)

    def _headers(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        headers, there, is_page = list(given), set(), False
        for name, value in headers:
            lower = name.lower()
            there.add(lower)
            is_page = is_page or (lower == b"content-type" and b"json" not in value)
        headers.append((b"x-request-id", self._scope["millrace.request_id"].encode("latin-1")))
        for text, value_text in self._scope["millrace.headers"].items():
            name = header_name(text)
            if name not in there:
                headers.append((name, value_text.encode("latin-1")))
        if there.isdisjoint(ALWAYS):
            headers += ALWAYS.items()
        else:
            headers += [(name, value) for name, value in ALWAYS.items() if name not in there]
        if not is_page and NO_PAGE[0] not in there:
            headers.append(NO_PAGE)
        return headers


class _Whole:
    """A body that was read, as the application asks for it; then whatever comes after it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _read(receive: Receive, limit: int) -> bytes | None:
    """Read to the end; None where the client leaves before it. Raises `body_too_large` as soon as it is."""
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece: bytes = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _too_large(limit: int) -> Problem:
    detail = f"this address takes at most {limit} bytes"
    return Problem(Code.BODY_TOO_LARGE, detail, members={"limit": limit}, headers={"Connection": "close"})


async def _refuse(problem: Problem, scope: Scope, receive: Receive, out: _Out) -> None:
    """Answer; where the rest of a body is refused, take a part of it off the line before the answer is closed.

    A client that said `Expect: 100-continue` has not sent it.
    """
    response = answer(problem, scope["millrace.request_id"])
    if problem.code is not Code.BODY_TOO_LARGE or b"expect" in dict(scope["headers"]):
        await response(scope, receive, out)
        return
    await out(
        {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    )
    await out({"type": "http.response.body", "body": response.body, "more_body": True})
    await _drain(receive)
    await out({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    size = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            while size < DRAIN_MAX:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
