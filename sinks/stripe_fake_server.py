"""Two ways to the stand-in: a real HTTP server on this host, and a client of the SDK that needs no socket."""

import json
import socket
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self
from urllib.parse import urlsplit

import requests
import stripe
from requests import exceptions as requests_errors
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError

from sinks.stripe_fake_http import DROPPED, Answer, Fault, Request, Wire, parse_params

HANG_S = 60


class FakeServer:
    """Serves a wire on a port of this host until it is closed."""

    def __init__(self, wire: Wire, port: int = 0) -> None:
        handler = type("Handler", (_Handler,), {"wire": wire})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    wire: Wire
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve(urlsplit(self.path).query)

    def do_DELETE(self) -> None:
        self._serve("")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("content-length") or 0)).decode())

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: stderr belongs to the program."""

    def _serve(self, text: str) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        is_json = headers.get("content-type", "").startswith("application/json")
        params = json.loads(text or "{}") if is_json else parse_params(text)
        path = urlsplit(self.path).path
        self._reply(self.wire.answer(Request(self.command, path, params, headers)))

    def _reply(self, answer: Answer) -> None:
        if answer.fault in DROPPED:
            self._drop()
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name != "date":
                self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if answer.fault is Fault.TRUNCATED:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self._drop()
            return
        self.wfile.write(answer.body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Tell the account's time, not this host's."""
        return super().date_time_string(timestamp or self.wire.account.clock())

    def _drop(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


class InProcess(stripe.HTTPClient):
    """A client for `StripeClient(http_client=...)` that asks a wire in this process; fails as `requests`."""

    name = "in-process"

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        **_rest: object,
    ) -> tuple[str, int, Mapping[str, str]]:
        """Ask the wire."""
        parts = urlsplit(url)
        named = {name.lower(): value for name, value in (headers or {}).items()}
        text = post_data.decode() if isinstance(post_data, bytes) else post_data
        is_json = named.get("content-type", "").startswith("application/json") and method.upper() == "POST"
        form = parts.query if method.upper() == "GET" else str(text or "")
        params = json.loads(form or "{}") if is_json else parse_params(form)
        answer = self._wire.answer(Request(method.upper(), parts.path, params, named))
        if answer.fault in DROPPED or answer.fault is Fault.TRUNCATED:
            cause = _cause(answer.fault)
            message = "Unexpected error communicating with Stripe."
            raise _lost(message) from cause
        return answer.body.decode(), answer.status, answer.headers

    def close(self) -> None:
        """Nothing is open."""


def _lost(message: str) -> Exception:
    return stripe.APIConnectionError(message, should_retry=True)  # type: ignore[no-untyped-call]


def _cause(fault: Fault | None) -> Exception:
    if fault is Fault.REFUSED:
        pool = HTTPConnectionPool("127.0.0.1", 1)
        refused = NewConnectionError(HTTPConnection("127.0.0.1", 1), "Connection refused")
        return requests_errors.ConnectionError(MaxRetryError(pool, "/", refused))
    if fault in {Fault.TIMEOUT_BEFORE, Fault.TIMEOUT_AFTER}:
        return requests.ReadTimeout("Read timed out.")
    return requests_errors.ConnectionError("Connection aborted.")
