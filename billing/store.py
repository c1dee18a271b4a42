"""The control store: small transactional state in SQLite (one host) or PostgreSQL, upgraded on opening.

Writers follow one another: SQLite by `BEGIN IMMEDIATE`, PostgreSQL by an advisory lock for the transaction.
What a write transaction reads is thus still true when it commits, on both. A commit is durable (fsynced).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline.errors import StoreError, UsageError

BUSY_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_S = 5
WAL_PAGES_MAX = 16_384
"""64 MB: where nobody calls `checkpoint`, SQLite does by itself then."""
ANEW_PAGES, _FEW_PAGES = 8_192, 500
_WRITERS = 0x6D696C6C


class Store:
    """An open control store; safe to use from several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writers = Lock()
        self._kept: Connection | None = None

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a file of this host."""
        return self.engine.dialect.name == "sqlite"

    @property
    def path(self) -> Path | None:
        """The file of an SQLite store."""
        name = self.engine.url.database
        return Path(name) if self.is_sqlite and name else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one moment's state."""
        with _named(self.engine), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, is_alone: bool = True, survives_power_cut: bool = True) -> Iterator[Connection]:
        """Give a connection that is the only writer; commits at the end, rolls back on any exception.

        With `is_alone=False` PostgreSQL lets others write beside it: the transaction locks the rows that it decides
        about. Without `survives_power_cut` a commit survives the process, but perhaps not the machine.
        """
        with self._turn(), _named(self.engine), self.engine.connect() as plain:
            options = {
                "millrace_write": True,
                "millrace_synchronous": "FULL" if survives_power_cut else "NORMAL",
            }
            connection = plain.execution_options(**options)
            with connection.begin():
                if not self.is_sqlite and is_alone:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS})
                if not self.is_sqlite and not survives_power_cut:
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield connection

    @contextmanager
    def kept(self) -> Iterator[Connection]:
        """Give a connection that is kept for the next time, to one thread: for what moves no money, and often.

        On SQLite it is a writer's transaction that survives the process, but perhaps not the machine. On PostgreSQL
        each statement is a transaction of its own.
        """
        with self._turn(), _named(self.engine):
            try:
                if self._kept is None:
                    self._kept = self._connect_kept()
                with self._kept.begin():
                    yield self._kept
            except BaseException:
                kept, self._kept = self._kept, None
                if kept is not None:
                    kept.close()
                raise

    def _connect_kept(self) -> Connection:
        if self.is_sqlite:
            plain = self.engine.connect()
            return plain.execution_options(millrace_write=True, millrace_synchronous="NORMAL")
        return self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def _turn(self) -> AbstractContextManager[object]:
        """Let writers of this process wait in line: SQLite's own way to wait is to sleep and try again."""
        return self._writers if self.is_sqlite else nullcontext()

    def checkpoint(self) -> None:
        """Move what SQLite has written ahead into its file, beside the writers; to be called every second or so.

        Left to itself SQLite does so in the middle of a commit, which then takes as long as the disk takes.
        """
        if not self.is_sqlite:
            return
        with _named(self.engine), closing(self.engine.raw_connection()) as connection:
            _, frames, moved = connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if frames > ANEW_PAGES and frames - moved < _FEW_PAGES:
                with self._writers:  # nearly nothing is left to move: the file is begun anew
                    connection.cursor().execute("PRAGMA wal_checkpoint(RESTART)").fetchone()

    def close(self) -> None:
        """Close all connections."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()
        self.engine.dispose()


class LateStore(Store):
    """A store that may be away when the program starts: it is brought up to date when it first answers.

    Until then every use raises `StoreError` at once.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._is_ready = False
        self._trying = Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """See `Store`."""
        self._get_ready()
        with super().read() as connection:
            yield connection

    @contextmanager
    def write(self, *, is_alone: bool = True, survives_power_cut: bool = True) -> Iterator[Connection]:
        """See `Store`."""
        self._get_ready()
        with super().write(is_alone=is_alone, survives_power_cut=survives_power_cut) as connection:
            yield connection

    @contextmanager
    def kept(self) -> Iterator[Connection]:
        """See `Store`."""
        self._get_ready()
        with super().kept() as connection:
            yield connection

    def _get_ready(self) -> None:
        if self._is_ready:
            return
        if not self._trying.acquire(blocking=False):
            msg = f"the control store {_shown(self.engine)} cannot be used: it has not answered yet"
            raise StoreError(msg)
        try:
            _upgrade(Store(self.engine))
            self._is_ready = True
        finally:
            self._trying.release()


def open_store(url: str, *, may_be_away: bool = False) -> Store:
    """Open the store at `sqlite:///file` or `postgresql://user:password@host/database`, brought up to date.

    Raises `UsageError` for another URL or a store that a newer program made, `StoreError` when it cannot be
    used. One that `may_be_away` raises the latter when it is used, not now.
    """
    parsed = _parse(url)
    store = LateStore(_engine(parsed)) if may_be_away else Store(_engine(parsed))
    try:
        _open(store)
    except BaseException:
        store.close()
        raise
    return store


def _open(store: Store) -> None:
    if not isinstance(store, LateStore):
        _upgrade(store)
        return
    with suppress(StoreError), store.read():
        pass


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = URL.create("none")
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    msg = (
        "the control store's URL is not understood: give sqlite:////absolute/file "
        "or postgresql://user:password@host/database"
    )
    raise UsageError(msg)


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        return _postgresql(url)
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the folder {path.parent} of the control store cannot be used: {error.strerror}"
        raise StoreError(msg) from error
    engine = create_engine(url)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url,
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )
    except ModuleNotFoundError as error:
        msg = (
            "a PostgreSQL control store needs the package psycopg: install millrace with its extra 'postgres'"
        )
        raise UsageError(msg) from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    pragmas = (
        "journal_mode=WAL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}", "synchronous=FULL",
        f"wal_autocheckpoint={WAL_PAGES_MAX}",
    )  # fmt: skip
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("millrace_write"):
        connection.exec_driver_sql(f"PRAGMA synchronous={options['millrace_synchronous']}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("millrace_write") else "BEGIN")


def _upgrade(store: Store) -> None:
    config = Config()
    config.set_main_option("script_location", "billing:migrations")
    config.set_main_option("path_separator", "os")
    with store.write() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            known = ", ".join(ScriptDirectory.from_config(config).get_heads())
            msg = (
                f"the control store {_shown(store.engine)} was made by a newer millrace "
                f"(this one knows up to migration {known}): run the newer program"
            )
            raise UsageError(msg) from error


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


@contextmanager
def _named(engine: Engine) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        cause = said[0] if said else type(error).__name__
        msg = f"the control store {_shown(engine)} cannot be used: {cause}"
        raise StoreError(msg) from error
