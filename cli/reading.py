"""What the commands that only look have in common: an open ledger, and where the output goes."""

import getpass
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client

from pipeline.errors import MillraceError, UsageError
from sinks.clickhouse import connect, is_embedded


class Form(StrEnum):
    """How a report is written that is more than one list."""

    TABLE = "table"
    JSON = "json"


@contextmanager
def opened(url: str | None) -> Iterator[Client]:
    """Open a ledger that is there; an embedded one is not made by looking for it.

    Raises `UsageError` where no URL is given and where its folder holds no ledger.
    """
    client = connect(existing(url))
    try:
        yield client
    finally:
        client.close()


def existing(url: str | None) -> str:
    """Name a ledger that is there; raises `UsageError` as `opened` does."""
    if not url:
        msg = "no ledger is named: give --ledger chdb:///absolute/folder or http(s)://user:password@host:8123/database"
        raise UsageError(msg)
    folder = Path(urlsplit(url).path)
    if is_embedded(url) and folder.is_absolute() and not (folder / "store").is_dir():
        msg = f"there is no ledger in {folder}: name the folder that millrace run was given"
        raise UsageError(msg)
    return url


def who() -> str:
    """Name the user, for whatever is kept of a decision."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def emit(pieces: Iterable[bytes], out: Path | None) -> None:
    """Write to stdout, or to a file that is there only when it is whole."""
    if out is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    partial = out.with_name(f".{out.name}.partial")
    try:
        with partial.open("wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
    except OSError as error:
        msg = f"{out} cannot be written: {(error.strerror or str(error)).lower()}"
        raise MillraceError(msg) from error
    finally:
        with suppress(OSError):
            partial.unlink()
