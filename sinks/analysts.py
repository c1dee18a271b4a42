"""The analysts' door: an embedded ledger over ClickHouse's HTTP protocol, on loopback, for reading only.

clickhouse-connect, clickhouse-go (and with it Grafana's ClickHouse source), the JDBC driver (and with it DBeaver) and
curl ask it as they ask a server. Whoever asks has one user and one password. Every statement passes the gate
(`sinks.analysts_gate`) and runs in a session that the engine itself holds read-only, with limits on time, rows, bytes
and memory that it cannot change.
"""

import base64
import binascii
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb

from pipeline.errors import UsageError
from sinks.analysts_gate import DATABASE, STATEMENT_MAX, Gate, RefusedError
from sinks.clickhouse import connect
from sinks.compressed import compressed
from sinks.http_front import Handler
from sinks.native_revision import UnknownTypeError, with_revision

_BODY_MAX = 2 * STATEMENT_MAX
_CHUNK_HEAD_MAX = 256
_STATEMENTS_KEPT, _KEPT_STATEMENT_MAX = 256, 8192
_HEX = re.compile(rb"[0-9a-fA-F]{1,8}")
_CODE = re.compile(r"Code: (\d+)")
_FORMAT = re.compile(r"\bFORMAT (\w+)")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`")
_NAME = re.compile(r"[A-Za-z]\w*")
_SETTINGS = re.compile(
    r"(output_)?format_(?!schema)\w+|date_time_output_format|session_timezone|join_use_nulls|group_by_use_nulls"
    r"|extremes|max_block_size|prefer_column_name_to_alias|use_client_time_zone|log_comment|use_uncompressed_cache"
    r"|low_cardinality_allow_in_native_format"
)
"""What a client may set for its answer; what is in `Limits` it may lower."""
_OF_WRITING = re.compile(r"(wait_for_)?async_insert\w*|insert_\w+")
"""Says how to write, and the JDBC driver says it with each question; nothing is written here, so it is let be."""
_REFUSED, _BUSY, _DENIED, _READONLY, _UNKNOWN = 497, 202, 516, 164, 1002


@dataclass(frozen=True, slots=True)
class Limits:
    """What one statement may take, and how many run at a time."""

    seconds: int = 30
    rows: int = 1_000_000
    result_bytes: int = 256 << 20
    memory_bytes: int = 2 << 30
    at_a_time: int = 4
    threads: int = 2

    def settings(self) -> dict[str, int]:
        """By the names of the engine's settings."""
        return {
            "max_execution_time": self.seconds,
            "max_result_rows": self.rows,
            "max_result_bytes": self.result_bytes,
            "max_memory_usage": self.memory_bytes,
            "max_threads": self.threads,
        }


@dataclass(frozen=True, slots=True)
class Account:
    """Who may ask; the password is never shown."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Account({self.user!r})"

    def is_met_by(self, user: str, password: str) -> bool:
        """Compare in constant time."""
        is_user = secrets.compare_digest(user.encode(), self.user.encode())
        return secrets.compare_digest(password.encode(), self.password.encode()) and is_user


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    form: str
    rows: int
    rows_read: int


class _AskedError(Exception):
    """What the one who asks is told, as ClickHouse tells it."""

    def __init__(self, status: HTTPStatus, code: int, text: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code


class Door(ThreadingHTTPServer):
    """Serves one embedded folder to analysts."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: str, account: Account, limits: Limits, host: str, port: int) -> None:
        self.account, self.limits = account, limits
        self._keeper = connect(f"chdb://{folder}")  # holds the folder's lock and keeps the engine open
        self._path = f"{folder}/store"
        self._room = threading.BoundedSemaphore(limits.at_a_time)
        self._let_through: dict[str, str] = {}
        self._lock = threading.Lock()
        with self._handle() as handle:
            names = _text(handle, "SELECT name FROM system.table_functions").split()
        self._functions = frozenset(name.lower() for name in names)
        super().__init__((host, port), _Handler)

    def ask(self, statement: str, given: dict[str, str]) -> _Answer:
        """Run a statement under the limits; raises `_AskedError`."""
        if not self._room.acquire(blocking=False):
            raise _AskedError(
                HTTPStatus.SERVICE_UNAVAILABLE, _BUSY, "too many statements at a time: try again"
            )
        try:
            with self._handle() as handle:
                return self._ask(handle, statement, given)
        finally:
            self._room.release()

    def close(self) -> None:
        """Let the folder go."""
        self.server_close()
        self._keeper.close()

    def _ask(self, handle: Any, statement: str, given: dict[str, str]) -> _Answer:
        try:
            bound = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
            text = self._canonical(handle, statement, bound)
            settings = {**self._settings(given), "readonly": "1"}
            clause = ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())
            handle.query(f"SET {clause}", "TabSeparated")
            form = _form_of(given)
            named = _FORMAT.findall(_QUOTED.sub("''", text))
            result = handle.query(text, form, params=bound)
            body, form = result.bytes() or b"", named[-1] if named else form
            revision = _revision(given) if form == "Native" else 0
            return _Answer(
                with_revision(body, revision), form, result.rows_read(), result.storage_rows_read()
            )
        except (RefusedError, UnknownTypeError) as error:
            raise _AskedError(HTTPStatus.FORBIDDEN, _REFUSED, f"{error}. (ACCESS_DENIED)") from error
        except _AskedError:
            raise
        except Exception as error:
            code = _CODE.search(str(error))
            number = int(code[1]) if code else _UNKNOWN
            raise _AskedError(HTTPStatus.INTERNAL_SERVER_ERROR, number, str(error)) from error

    def _canonical(self, handle: Any, statement: str, bound: dict[str, str]) -> str:
        """The statement as the gate lets it through; what programs ask again and again is judged once.

        Values that are bound change nothing in the verdict: they are literals, for names are not bound.
        """
        text = self._let_through.get(statement)
        if text is not None:
            return text
        text = Gate(lambda sql: _text(handle, sql, bound), self._functions).canonical(statement)
        if len(statement) <= _KEPT_STATEMENT_MAX:
            with self._lock:
                while len(self._let_through) >= _STATEMENTS_KEPT:
                    del self._let_through[next(iter(self._let_through))]
                self._let_through[statement] = text
        return text

    def _settings(self, given: dict[str, str]) -> dict[str, str]:
        """The limits, lowered where the client asks for less, and what it may set; raises `_AskedError`."""
        settings = {name: str(value) for name, value in self.limits.settings().items()}
        settings["result_overflow_mode"] = "throw"
        settings["timeout_overflow_mode"] = "throw"
        for name, value in given.items():
            if name in _TRANSPORT or name.startswith("param_") or _OF_WRITING.fullmatch(name):
                continue
            if name in self.limits.settings():
                wanted = value.partition(".")[0]
                if wanted.isdecimal() and 0 < int(wanted) < int(settings[name]):
                    settings[name] = wanted
            elif _SETTINGS.fullmatch(name):
                settings[name] = value
            elif not (name == "readonly" and value in {"1", "2"}):
                text = f"Cannot modify '{name}' setting in readonly mode. (READONLY)"
                raise _AskedError(HTTPStatus.INTERNAL_SERVER_ERROR, _READONLY, text)
        return settings

    @contextmanager
    def _handle(self) -> Iterator[Any]:
        handle = chdb.connect(self._path)
        try:
            handle.query(f"USE {DATABASE}", "TabSeparated")
            yield handle
        finally:
            handle.close()

    def handle_error(self, *_arguments: object) -> None:
        """A client that has left is no news."""


_TRANSPORT = frozenset((
    "query", "database", "session_id", "session_timeout", "session_check", "query_id", "compress", "decompress",
    "wait_end_of_query", "client_protocol_version", "send_progress_in_http_headers", "buffer_size", "user", "password",
    "http_headers_progress_interval_ms", "enable_http_compression", "default_format", "role", "quota_key",
    "cancel_http_readonly_queries_on_client_close", "result_overflow_mode", "timeout_overflow_mode",
    "network_compression_method", "network_zstd_compression_level",
))  # fmt: skip


class _Handler(Handler):
    """A request: who asks, what is asked; no faults can be asked for here."""

    server: Door  # type: ignore[assignment]
    timeout = 30
    _came = 0
    """Bytes of the body in chunks so far."""

    def _serve(self) -> None:
        self._came = 0
        parts = urlsplit(self.path)
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        try:
            if parts.path == "/ping":
                self._reply(HTTPStatus.OK, b"Ok.\n")
                return
            self._check_account(given)
            answer = self._ask(parts.path, given)
        except _AskedError as error:
            self._refuse(error)
            return
        told = {"read_rows": answer.rows_read, "written_rows": 0, "result_rows": answer.rows}
        summary = json.dumps({name: str(count) for name, count in told.items()})
        headers = {
            "X-ClickHouse-Summary": summary,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Format": answer.form,
            "X-ClickHouse-Server-Display-Name": "millrace",
        }
        body = b"".join(compressed(answer.body)) if given.get("compress") == "1" else answer.body
        self._reply(HTTPStatus.OK, body, headers)

    def _ask(self, path: str, given: dict[str, str]) -> _Answer:
        if path != "/" or self.command not in {"GET", "POST", "HEAD"}:
            raise _AskedError(HTTPStatus.NOT_FOUND, _UNKNOWN, "statements are sent to /")
        size = self.headers.get("Content-Length") or "0"
        if not size.isdecimal() or int(size) > _BODY_MAX:
            raise self._too_long()
        if form := self.headers.get("X-ClickHouse-Format"):
            given["default_format"] = form
        sql, data = self._statement(given)
        if data is not None:
            sql += b"\n" + data  # as ClickHouse does: what the address begins the body may go on with
        return self.server.ask(sql.decode(errors="replace"), given)

    def _chunk(self) -> bytes:
        """A piece of a body whose length is not said before; the JDBC driver sends statements so."""
        digits = self.rfile.readline(_CHUNK_HEAD_MAX).partition(b";")[0].strip()
        self._came += int(digits, 16) if _HEX.fullmatch(digits) else _BODY_MAX + 1
        if self._came > _BODY_MAX:
            raise self._too_long()
        data = self.rfile.read(int(digits, 16))
        self.rfile.readline(_CHUNK_HEAD_MAX)
        return data

    def _too_long(self) -> _AskedError:
        self.close_connection = True
        return _AskedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _REFUSED, f"a statement has {_BODY_MAX} bytes"
        )

    def _check_account(self, given: dict[str, str]) -> None:
        user = self.headers.get("X-ClickHouse-User") or given.get("user", "")
        password = self.headers.get("X-ClickHouse-Key") or given.get("password", "")
        kind, _, coded = (self.headers.get("Authorization") or "").partition(" ")
        if kind.lower() == "basic":
            with suppress(binascii.Error, UnicodeDecodeError):
                user, _, password = base64.b64decode(coded).decode().partition(":")
        if not self.server.account.is_met_by(user, password):
            self.close_connection = True
            text = "Authentication failed: the password is wrong, or there is no such user. (AUTHENTICATION_FAILED)"
            raise _AskedError(HTTPStatus.UNAUTHORIZED, _DENIED, text)

    def _refuse(self, error: _AskedError) -> None:
        text = str(error)
        body = text if text.startswith("Code: ") else f"Code: {error.code}. DB::Exception: {text}"
        headers = {"X-ClickHouse-Exception-Code": str(error.code)}
        if error.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Basic realm="millrace"'
        self._reply(error.status, f"{body}\n".encode(), headers)

    def _reply(self, status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None) -> None:
        super()._reply(status, b"" if self.command == "HEAD" else body, headers)


@contextmanager
def analysts_served(
    folder: str, account: Account, limits: Limits = Limits(), host: str = "127.0.0.1", port: int = 0
) -> Iterator[str]:
    """Serve a folder to analysts while the body runs; gives the address. Raises `UsageError` for a port in use."""
    try:
        door = Door(folder, account, limits, host, port)
    except OSError as error:
        msg = f"the analysts' port {host}:{port} cannot be used: {error.strerror}"
        raise UsageError(msg) from error
    thread = threading.Thread(target=door.serve_forever, args=(0.05,), daemon=True, name="analysts")
    thread.start()
    try:
        yield f"http://{host}:{door.server_address[1]}"
    finally:
        door.shutdown()
        door.close()


def _revision(given: dict[str, str]) -> int:
    """The version of the protocol that a client names; 0: none, or one that is asked for nothing more."""
    named = given.get("client_protocol_version", "")
    return int(named) if named.isdecimal() and len(named) < 10 else 0  # noqa: PLR2004 - far more than there are


def _form_of(given: dict[str, str]) -> str:
    form = given.get("default_format", "TabSeparated")
    if not _NAME.fullmatch(form):
        msg = f"{form!r} is no name of a format"
        raise RefusedError(msg)
    return form


def _text(handle: Any, sql: str, bound: dict[str, str] | None = None) -> str:
    return (handle.query(sql, "TSVRaw", params=bound or {}).bytes() or b"").decode(errors="replace")


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
