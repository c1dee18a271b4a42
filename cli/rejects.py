"""`millrace rejects`: what was not accepted, and why."""

from pathlib import Path
from typing import Annotated

import typer

from cli.reading import emit, opened
from pipeline.errors import UsageError
from pipeline.event import Reason
from queries.named import find_query
from queries.reading import Format, Session

app = typer.Typer(help="List what was rejected.", no_args_is_help=True)

REASONS = tuple(reason.code for reason in Reason if reason is not Reason.NONE)


@app.callback()
def main() -> None:
    """List what was rejected."""


@app.command("list")
def list_(  # noqa: PLR0913, PLR0917 - one argument for each flag
    ledger: Annotated[
        str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Only this reason.")] = "",
    topic: Annotated[str, typer.Option(help="Only this topic or source name.")] = "",
    since: Annotated[str, typer.Option(help="Only what was rejected from this moment on (UTC).")] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 0,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.TABLE,  # noqa: A002
    out: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
) -> None:
    """List rejected inputs in the order of their places, each with its reason, a sentence and its bytes.

    A table shows the beginning of the bytes, control characters by their codes; the other formats have all:
    `raw` as text and, where that is no UTF-8, `raw_base64` exactly.
    """
    if reason and reason not in REASONS:
        msg = f"there is no reason {reason!r}: it is one of {', '.join(REASONS)}"
        raise UsageError(msg)
    query = find_query("reject_list")
    bound = query.bind({"reason": reason, "topic": topic, "since": since, "limit": limit})
    with opened(ledger) as client:
        emit(Session(client).write(query.sql, bound, format, f"the query {query.name}"), out)
