"""A real PostgreSQL for tests: Debian's binaries, started once for a session, or the server that a variable names.

Each test gets a database of its own, copied from one that was migrated once. Where the binaries are not there, tests
skip and say so.
"""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from billing.store import open_store

VARIABLES = ("MILLRACE_TEST_DATABASE_URL", "MILLRACE_TEST_POSTGRES")
BINARIES = sorted(
    Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True
)
SKIPPED = (
    "no PostgreSQL: install Debian's package postgresql, or name a server in MILLRACE_TEST_DATABASE_URL "
    "(postgresql://user:password@host/postgres)"
)
_STARTS_WITHIN_S = 30
_SETTINGS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "listen_addresses=",
    "max_connections=200",
)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make a migrated database for one test; gives its URL."""
        name = f"millrace_{uuid.uuid4().hex[:12]}"
        self.command(f"CREATE DATABASE {name} TEMPLATE {_template(self)}")
        try:
            yield self.of(name)
        finally:
            self.command(f"DROP DATABASE {name} WITH (FORCE)")

    def of(self, database: str) -> str:
        return make_url(self.url).set(database=database).render_as_string(hide_password=False)

    def command(self, sql: str) -> None:
        url = make_url(self.url).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(sql))
        engine.dispose()


def named_server() -> str | None:
    """The server that the environment names."""
    return next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)


def is_there() -> bool:
    return named_server() is not None or bool(BINARIES)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Give a server for the session; the test skips where there is none."""
    named = named_server()
    if named:
        server = Server(named)
        yield server
        _drop_template(server)
        return
    if not BINARIES:
        pytest.skip(SKIPPED)
    with _started(BINARIES[0]) as url:
        yield Server(url)


_templates: dict[str, str] = {}


def _template(server: Server) -> str:
    if server.url not in _templates:
        name = f"millrace_template_{uuid.uuid4().hex[:8]}"
        server.command(f"CREATE DATABASE {name}")
        open_store(server.of(name)).close()
        _templates[server.url] = name
    return _templates[server.url]


def _drop_template(server: Server) -> None:
    name = _templates.pop(server.url, None)
    if name:
        server.command(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _started(binaries: Path) -> Iterator[str]:
    """Start a server in a folder of its own; as `postgres` where we are root, which the server refuses to be."""
    folder = Path(tempfile.mkdtemp(prefix="millrace-pg-"))
    as_user: dict[str, str] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = {"user": "postgres", "group": "postgres"}
    run = {**as_user, "cwd": folder, "stdout": subprocess.DEVNULL}
    data, log = folder / "data", folder / "log"
    process: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(
            [
                binaries / "initdb",
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-N",
                "-E",
                "UTF8",
                "--locale=C",
            ],
            check=True,
            **run,
        )
        settings = [
            part for setting in (*_SETTINGS, f"unix_socket_directories={folder}") for part in ("-c", setting)
        ]
        with log.open("wb") as words:
            process = subprocess.Popen([binaries / "postgres", "-D", data, *settings], stderr=words, **run)
        url = f"postgresql://postgres@/postgres?host={folder}"
        _wait(url, process, log)
        yield url
    finally:
        if process is not None:
            process.terminate()
            process.wait(timeout=_STARTS_WITHIN_S)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _STARTS_WITHIN_S
    while True:
        try:
            Server(url).command("SELECT 1")
        except OperationalError as error:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"PostgreSQL did not start: {log.read_text()[-2000:]}") from error
            time.sleep(0.05)
        else:
            return
