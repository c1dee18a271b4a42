"""The way to ClickHouse: one URL for the embedded engine and for a server, and the migrations.

`chdb:///abs/dir` opens ClickHouse in this process (one process at a time); `http(s)://user:pass@host:8123/db`
speaks to a server. Both give the same clickhouse-connect client, the same DDL and the same SQL.
"""

import fcntl
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.errors import LedgerAwayError, LedgerBusyError, LedgerError, UsageError
from sinks.inserts import insert_rows, says_disk_full

EMBEDDED_DATABASE = "millrace"
_locks: dict[str, int] = {}
_ENGINE = {"os_threads_nice_value_merge_mutate": 15}
"""Parts are merged in what time the run leaves: a merge costs a row more than its insert, and no one waits for it."""
_ROOM_BYTES = 8 << 20
"""What must be free before tables are made: a disk that is full then leaves files that cannot be read again."""
_EMPTY_FILE = re.compile(r"Empty query \(in file ([^)]+)\)")
_SYSTEM_SAYS = re.compile(r"\[Errno -?\d+\] ([^\"')]+)")
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())  # what it logs it raises, too


def connect(url: str) -> Client:
    """Open a client for the ledger at `url`, its database created where it is missing.

    A client serves one thread. An embedded folder is locked for this process; a second process gets
    `LedgerBusyError`. Raises `UsageError` for a URL of another form, `LedgerAwayError` when no one answers.
    """
    parts = _split(url)
    if parts and parts.scheme == "chdb":
        return _connect_embedded(_folder_of(url, parts))
    if parts and parts.scheme in ("http", "https") and parts.hostname:
        return _connect_server(url)
    msg = (
        f"the ledger URL {_without_password(url)!r} is not understood: "
        "give chdb:///absolute/folder or http(s)://user:password@host:8123/database"
    )
    raise UsageError(msg)


def is_embedded(url: str) -> bool:
    """Whether `url` names a folder that one process opens, rather than a server."""
    return urlsplit(url).scheme == "chdb"


def migrate(client: Client) -> list[str]:
    """Bring the database up to date and return the names of the migrations applied now.

    Each file of `sinks/migrations` is applied once, in the order of its number, and noted in
    `schema_migrations`; every statement can be repeated, so a crash in the middle does no harm.
    """
    client.command(
        "CREATE TABLE IF NOT EXISTS schema_migrations (name String, applied_at DateTime DEFAULT now()) "
        "ENGINE = MergeTree ORDER BY name"
    )
    done = {row[0] for row in client.query("SELECT name FROM schema_migrations").result_rows}
    applied = []
    folder = resources.files("sinks") / "migrations"
    for file in sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name):
        if file.name in done:
            continue
        for statement in _statements(file.read_text(encoding="utf-8")):
            client.command(statement)
        insert_rows(client, "schema_migrations", ["name"], [[file.name]])
        applied.append(file.name)
    return applied


def _statements(text: str) -> list[str]:
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [part.strip() for part in bare.split(";") if part.strip()]


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port, url.encode()  # raise for a port that is no number, and for what is no text
    except ValueError:
        return None
    return parts


def _folder_of(url: str, parts: SplitResult) -> str:
    if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
        msg = f"the embedded ledger needs an absolute folder, got {url!r}: give chdb:///absolute/folder"
        raise UsageError(msg)
    if parts.query or parts.fragment:
        msg = f"the ledger URL {url!r} has a ? or a #: give chdb:///absolute/folder without them"
        raise UsageError(msg)
    return parts.path


def _without_password(url: str) -> str:
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", url)


def _connect_embedded(folder: str) -> Client:
    is_first = folder not in _locks
    _lock(folder)
    if not Path(folder, "store").is_dir():
        _check_room(folder)
    with _stderr_kept_back(is_first) as words:
        try:
            client = clickhouse_connect.get_client(dsn=f"chdb://{folder}/store", chdb_options=_ENGINE)
            client.command(f"CREATE DATABASE IF NOT EXISTS {EMBEDDED_DATABASE}")
            client.command(f"USE {EMBEDDED_DATABASE}")
        except ClickHouseError as error:
            raise _not_opened(folder, f"{words()}\n{error}") from error
    client.database = EMBEDDED_DATABASE
    return client


def _check_room(folder: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < _ROOM_BYTES:
        msg = (
            f"the disk of the ledger folder {folder} is full: {_ROOM_BYTES >> 10} KB are needed to begin with, "
            f"{free >> 10} KB are free: free some space and run again"
        )
        raise LedgerError(msg)


@contextmanager
def _stderr_kept_back(is_wanted: bool) -> Iterator[Callable[[], str]]:
    """Keep what the engine itself writes to stderr for the one sentence of an error; gives what it has written."""
    if not is_wanted:
        yield lambda: ""
        return
    with tempfile.TemporaryFile() as words:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(words.fileno(), 2)
        try:
            yield lambda: os.pread(words.fileno(), 1 << 16, 0).decode(errors="replace")
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _not_opened(folder: str, words: str) -> LedgerError:
    empty = _EMPTY_FILE.search(words)
    if says_disk_full(words):
        return LedgerError(
            f"the disk of the ledger folder {folder} is full: free some space and run again, nothing is lost"
        )
    if empty:
        return LedgerError(
            f"the ledger in {folder} is damaged, its file {empty[1]} is empty: put a backup of the folder back, "
            "or remove the folder where the ledger was new"
        )
    told = [line for line in words.splitlines() if "Exception" in line] or words.split("\n")
    return LedgerError(f"the ledger in {folder} cannot be opened: {told[0][:300]}")


def _lock(folder: str) -> None:
    if folder in _locks:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        msg = f"the ledger folder {folder} cannot be used: {why}: name a folder that this user may write to"
        raise LedgerError(msg) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        msg = (
            f"the ledger in {folder} is in use by another process: "
            "wait for it, stop it, or ask it over HTTP (an embedded ledger has one process at a time)"
        )
        raise LedgerBusyError(msg) from error
    _locks[folder] = descriptor


def _connect_server(url: str) -> Client:
    parts = urlsplit(url)
    database = parts.path.strip("/") or "default"
    base = url[: url.index(parts.netloc) + len(parts.netloc)]
    try:
        client = clickhouse_connect.get_client(dsn=base)
        client.command(f"CREATE DATABASE IF NOT EXISTS `{database.replace('`', '')}`")
        client.close()
        return clickhouse_connect.get_client(dsn=f"{base}/{database}")
    except ClickHouseError as error:
        where = _without_password(base)
        msg = f"the ledger at {where} does not answer: {_reason(error)}: check the address, and that ClickHouse runs"
        raise LedgerAwayError(msg) from error


def _reason(error: Exception) -> str:
    text = str(error)
    told = _SYSTEM_SAYS.search(text)
    return told[1].lower() if told else text.split("\n", maxsplit=1)[0][:300] or type(error).__name__
