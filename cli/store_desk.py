"""What the commands of accounts, credits and the audit work with: the control store, who is at work, the clock."""

import getpass
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from billing.audit import By
from billing.store import Store, open_store
from cli.clock import SystemClock
from cli.reading import Form
from pipeline.errors import UsageError
from pipeline.toml_file import fixed_point
from queries.table import laid_out, printable

StateOption = Annotated[
    Path, typer.Option("--state", envvar="MILLRACE_STATE", help="The folder of the control store.")
]
ControlOption = Annotated[
    str | None,
    typer.Option(
        "--control", envvar="MILLRACE_CONTROL", help="The control store's URL, in place of --state."
    ),
]
FormOption = Annotated[Form, typer.Option("--format", help="How to write it.")]
HERE = Path(".millrace")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = 1_000_000


@contextmanager
def opened_store(state: Path, control: str | None) -> Iterator[Store]:
    """Open the control store, making it where it is not."""
    store = open_store(control or f"sqlite:///{state.absolute() / 'control.db'}")
    try:
        yield store
    finally:
        store.close()


def by() -> By:
    """Name who runs the command, for the audit."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return By(f"cli:{user}", SystemClock().now_ms(), f"cli-{secrets.token_hex(6)}")


def moment_ms(text: str) -> int:
    """Read a moment with its offset; raises `UsageError`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        msg = f"the moment {text!r} is not understood: give it with its offset, such as 2027-01-01T00:00:00Z"
        raise UsageError(msg)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def shown_moment(epoch_ms: int | None) -> str:
    """Write a moment for a table."""
    if epoch_ms is None:
        return "-"
    return f"{_EPOCH + timedelta(milliseconds=epoch_ms):%Y-%m-%dT%H:%M:%S}.{epoch_ms % 1000:03}Z"


def micro_usd(text: str) -> int:
    """Read US dollars as micro-USD; raises `UsageError`."""
    micro = fixed_point(text) if re.match("[0-9]", text) else None
    if micro is None:
        msg = f"an amount is US dollars with at most 6 digits behind the point, such as 25.00, not {text!r}"
        raise UsageError(msg)
    return micro


def usd(micro: int | None) -> str:
    """Write micro-USD as US dollars, exactly."""
    if micro is None:
        return "no limit"
    size = abs(micro)
    text = f"{size // _MICRO}.{size % _MICRO:06d}".rstrip("0").rstrip(".")
    return f"-{text}" if micro < 0 else text


def tell(form: Form, names: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[Any]]) -> None:
    """Write rows as a table, or as an array of JSON objects."""
    if form is Form.JSON:
        keys = [re.sub(r"\W+", "_", name.lower()).strip("_") for name in names]
        found = [dict(zip(keys, row, strict=True)) for row in rows]
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    cells = [[printable("-" if value is None else str(value)) for value in row] for row in rows]
    typer.echo(laid_out(tuple(names), list(right), cells), nl=False)
