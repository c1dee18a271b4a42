"""An HTTP server in a thread of this process: the main thread stays free for the flow, or for waiting."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from api.head import protocol
from pipeline.errors import MillraceError, UsageError

BACKLOG = 2048
CONNECTIONS_MAX = 4096
"""Beyond, a request is answered 503 at once."""
_LOOK_EVERY_S = 0.02
_SWITCH_S = 0.0005
"""A thread that comes back from a system call waits so long at most for one that computes; by default it is 5 ms,
ten times in each transaction."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where and how to listen."""

    host: str
    port: int
    head_timeout_s: int = 10
    keep_alive_s: int = 30
    grace_s: int = 25


@contextmanager
def listening(app: FastAPI, settings: HttpSettings) -> Iterator[int]:
    """Serve while the body runs, then answer what is in flight, for `grace_s` at most. Gives the port.

    Raises `UsageError` where the address cannot be listened on.
    """
    sys.setswitchinterval(_SWITCH_S)
    with _bound(settings) as bound:
        server = uvicorn.Server(_config(app, settings))
        thread = threading.Thread(target=server.run, args=([bound],), name="http", daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                msg = "the HTTP server did not start: its log says why"
                raise MillraceError(msg)
            thread.join(_LOOK_EVERY_S)
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(settings.grace_s + 5)


def _bound(settings: HttpSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(f"{settings.host}:{settings.port} cannot be listened on: {why}") from error


def _config(app: FastAPI, settings: HttpSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol(settings.head_timeout_s),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        lifespan="on",
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=settings.grace_s,
    )
