"""ClickHouse over HTTP from an embedded folder, for tests and local use; it can misbehave when asked to.

The engine is the real one and so is the protocol, as far as clickhouse-connect speaks it: several programs may use
one embedded ledger through it. It knows no users and no TLS: keep it on loopback.

    python -m sinks.http_front /absolute/folder 8123

A fault is asked for with POST /faults, one JSON object (see `Fault`); DELETE /faults forgets those still to come.
"""

import json
import os
import re
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame  # type: ignore[import-untyped]
import zstandard

from sinks.clickhouse import connect

_URI_MAX, _VALUE_MAX = 1_048_576, 131_072
"""What a ClickHouse server takes in its default configuration."""
_TRANSPORT = frozenset((
    "query", "database", "session_id", "session_timeout", "session_check", "query_id", "compress", "decompress",
    "wait_end_of_query", "client_protocol_version", "send_progress_in_http_headers", "buffer_size", "user",
    "http_headers_progress_interval_ms", "enable_http_compression", "default_format", "password", "role",
))  # fmt: skip
_INSERT = re.compile(rb"\s*(INSERT\s+INTO\s+.+?)\s+FORMAT\s+(\w+)[ \t]*\n?", re.IGNORECASE | re.DOTALL)
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_SETTING = re.compile(r"[A-Za-z_]\w*")
_CODE = re.compile(r"Code: (\d+)")

KINDS = ("refuse", "stall", "cut", "no_answer", "error_after", "late")


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next `times` requests whose SQL contains `match`, after `skip` of them went well.

    refuse: the connection is closed unread. stall: nothing happens for `seconds`, then it is closed, nothing done.
    cut: it is closed after half of the body was read, nothing done. no_answer: done, then closed without an
    answer. error_after: done, then status 500. late: closed at once, and done after `seconds`.
    """

    kind: str
    match: str = "INSERT INTO ledger_in"
    times: int = 1
    skip: int = 0
    seconds: float = 0.5  # a duration, not money


@dataclass(slots=True)
class Faults:
    """The faults that are still to come, in their order. Safe for several threads."""

    waiting: list[Fault] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault) -> None:
        """Ask for a fault."""
        with self._lock:
            self.waiting.append(fault)

    def clear(self) -> None:
        """Forget all that are still to come."""
        with self._lock:
            self.waiting.clear()

    def next(self, sql: str) -> Fault | None:
        """The fault that falls on this request."""
        with self._lock:
            for fault in self.waiting:
                if fault.match not in sql:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    return None
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
                self.happened.append(fault.kind)
                return fault
        return None


class _SaidNoError(Exception):
    """The engine refused; the message is its own."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The embedded engine of a folder; every call has a handle, and so settings, of its own."""

    path: str

    def run(
        self, sql: bytes, data: bytes | None, parameters: dict[str, str]
    ) -> tuple[bytes, str, dict[str, str]]:
        """Execute one statement; returns the answer, its format and the summary."""
        handle = chdb.connect(self.path)
        try:
            self._set_up(handle, parameters)
            bound = {k[6:]: v for k, v in parameters.items() if k.startswith("param_")}
            return self._insert(handle, sql, data) if _INSERT.match(sql) else self._ask(handle, sql, bound)
        except Exception as error:
            raise _SaidNoError(str(error)) from error
        finally:
            handle.close()

    @staticmethod
    def _set_up(handle: Any, parameters: dict[str, str]) -> None:
        database = parameters.get("database")
        if database:
            handle.query(f"USE `{database.replace('`', '')}`", "TabSeparated")
        for name, value in parameters.items():
            if name in _TRANSPORT or name.startswith("param_") or not _SETTING.fullmatch(name):
                continue
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            handle.query(f"SET {name} = '{escaped}'", "TabSeparated")

    @staticmethod
    def _insert(handle: Any, sql: bytes, data: bytes | None) -> tuple[bytes, str, dict[str, str]]:
        match = _INSERT.match(sql)
        assert match is not None  # noqa: S101 - the caller has looked
        statement, form = match.group(1).decode(), match.group(2).decode()
        with tempfile.NamedTemporaryFile(suffix=".rows") as file:
            file.write(sql[match.end() :] if data is None else data)
            file.flush()
            result = handle.query(f"{statement} FROM INFILE '{file.name}' FORMAT {form}", "TabSeparated")
        return b"", "TabSeparated", {"written_rows": str(result.rows_read())}

    @staticmethod
    def _ask(handle: Any, sql: bytes, bound: dict[str, str]) -> tuple[bytes, str, dict[str, str]]:
        named = _FORMAT.search(sql)
        if named is not None:
            result = handle.query(sql.decode(), "TabSeparated", params=bound)
            return result.bytes() or b"", named.group(1).decode(), {"read_rows": str(result.rows_read())}
        result = handle.query(sql.decode(), "TabSeparatedWithNames", params=bound)
        body = result.bytes() or b""  # a statement that answers gives at least the line of names
        return body[body.find(b"\n") + 1 :], "TabSeparated" if body else "", {}


class Front(ThreadingHTTPServer):
    """Serves an embedded folder over HTTP; `faults` are what it does wrong."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.keeper = connect(f"chdb://{folder}")  # holds the folder's lock and keeps the engine open
        self.engine = Engine(f"{folder}/store")
        self.faults = Faults()
        self.sleep: Callable[[float], object] = threading.Event().wait
        self.applied: Callable[[], object] = lambda: None
        """Told when what came late was applied, or refused."""
        super().__init__((host, port), Handler)

    @property
    def url(self) -> str:
        """The ledger URL of what is served."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}/millrace"

    def handle_error(self, *_arguments: object) -> None:
        """A client that has left is no news."""


@contextmanager
def serving(folder: str, port: int = 0) -> Iterator[Front]:
    """Serve a folder while the body runs."""
    front = Front(folder, port=port)
    thread = threading.Thread(target=front.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield front
    finally:
        front.shutdown()
        front.server_close()
        front.keeper.close()


class Handler(BaseHTTPRequestHandler):
    """A request in ClickHouse's HTTP protocol, as far as clickhouse-connect speaks it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    """Else the body of an answer waits until its head is confirmed: 40 milliseconds."""
    server: Front
    timeout = 60

    def handle_one_request(self) -> None:
        """As in the standard library, but for a request line as long as ClickHouse takes."""
        self.raw_requestline = self.rfile.readline(_URI_MAX + 64)
        if not self.raw_requestline:
            self.close_connection = True
        elif self.parse_request():
            self._serve()
            self.wfile.flush()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/ping":
            self._reply(HTTPStatus.OK, b"Ok.\n")
        elif parts.path == "/faults":
            self._change_faults()
        else:
            self._execute(dict(parse_qsl(parts.query, keep_blank_values=True)))

    def _change_faults(self) -> None:
        faults, body = self.server.faults, self._body()
        if self.command == "DELETE":
            faults.clear()
        elif self.command == "POST":
            faults.add(Fault(**json.loads(body)))
        self._reply(HTTPStatus.OK, json.dumps(faults.happened).encode())

    def _execute(self, parameters: dict[str, str]) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        is_chunked = "chunked" in (self.headers.get("Transfer-Encoding") or "")
        first = self.rfile.peek(200)[:200] if size or is_chunked else b""  # type: ignore[attr-defined]
        shown = parameters.get("query", "") + first.decode(errors="replace")
        fault = self.server.faults.next(shown)
        if fault is not None and fault.kind in {"refuse", "stall", "cut"}:
            if fault.kind == "cut":
                self.rfile.read(size // 2)
            if fault.kind == "stall":
                self.server.sleep(fault.seconds)
            self._hang_up()
            return
        sql, data = self._statement(parameters)
        if any(len(value) > _VALUE_MAX for value in parameters.values()):
            self._reply(
                HTTPStatus.BAD_REQUEST,
                b"Code: 1000. DB::Exception: Field value too long",
                {"X-ClickHouse-Exception-Code": "1000"},
            )
            return
        if fault is not None and fault.kind == "late":
            self._hang_up()
            self.server.sleep(fault.seconds)
        self._answer(sql, data, parameters, fault)
        if fault is not None and fault.kind == "late":
            self.server.applied()

    def _answer(
        self, sql: bytes, data: bytes | None, parameters: dict[str, str], fault: Fault | None
    ) -> None:
        try:
            body, form, summary = self.server.engine.run(sql, data, parameters)
        except _SaidNoError as error:
            code = _CODE.search(str(error))
            if fault is None or fault.kind == "error_after":
                headers = {"X-ClickHouse-Exception-Code": code.group(1) if code else "1002"}
                self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode(), headers)
            return
        if fault is not None and fault.kind == "no_answer":
            self._hang_up()
        elif fault is not None and fault.kind == "error_after":
            text = b"Code: 210. DB::NetException: made to fail after the work was done. (NETWORK_ERROR)"
            self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, text, {"X-ClickHouse-Exception-Code": "210"})
        elif fault is None:
            headers = {"X-ClickHouse-Summary": json.dumps(summary), "X-ClickHouse-Timezone": "UTC"}
            if form:
                headers["X-ClickHouse-Format"] = form
            self._reply(HTTPStatus.OK, body, headers)

    def _statement(self, parameters: dict[str, str]) -> tuple[bytes, bytes | None]:
        body = self._body()
        kind = self.headers.get("Content-Type") or ""
        if kind.startswith("multipart/form-data"):
            message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
            for part in message.get_payload():
                name = part.get_param("name", header="content-disposition")  # type: ignore[union-attr]
                parameters[str(name)] = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
            body = b""
        if "query" in parameters:
            return parameters["query"].encode(), body or None
        return body, None

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match self.headers.get("Content-Encoding"):
            case "lz4":
                return bytes(lz4.frame.decompress(body))
            case "zstd":
                return zstandard.ZstdDecompressor().decompressobj().decompress(body)
        return body

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _reply(self, status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        """Close as a host that has crashed: with a reset, so that nobody waits."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def log_message(self, *_arguments: object) -> None:
        """Requests are not news."""


def main(arguments: list[str]) -> None:
    """Serve a folder until interrupted."""
    folder, port = str(Path(arguments[0]).resolve()), int(arguments[1]) if len(arguments) > 1 else 8123
    front = Front(folder, port=port)
    sys.stderr.write(f"serving {folder} at {front.url}\n")
    front.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
