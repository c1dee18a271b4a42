"""`millrace query`: SQL that only reads, or a query that comes with the program."""

import re
from pathlib import Path
from typing import Annotated

import typer

from cli.reading import emit, opened
from pipeline.errors import UsageError
from queries.named import find_query, named_queries
from queries.reading import Format, Session
from queries.statement import placeholders, reading_statement

app = typer.Typer(help="Ask the ledger.")
_NAME = re.compile(r"[A-Za-z][\w-]*")


@app.command()
def query(  # noqa: PLR0913, PLR0917 - one argument for each flag
    what: Annotated[
        str | None, typer.Argument(metavar='"SQL" | NAME', help="A statement, or the name of a query.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A value for {NAME:Type}; can be given several times."),
    ] = None,
    ledger: Annotated[
        str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")
    ] = None,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.TABLE,  # noqa: A002
    out: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the queries and what they take.")] = False,
) -> None:
    """Ask the ledger: SQL, or the name of a query that comes with the program.

    The statement can only read. JSON is an array of objects whose numbers are exact; CSV has a header.
    """
    if list_:
        emit([listing().encode()], out)
        return
    sql, bound, name = _statement(what, _values(param or []))
    with opened(ledger) as client:
        emit(Session(client).write(sql, bound, format, name), out)


def listing() -> str:
    """Describe every named query: its name, its purpose, its parameters."""
    return "\n".join(
        "\n".join(
            [
                query.name,
                *(f"    {line}".rstrip() for line in query.doc.splitlines()),
                *(f"      --param {p.name}=...  {p.doc}{_default(p.default)}" for p in query.parameters),
                "",
            ]
        )
        for query in named_queries().values()
    )


def _default(default: str | None) -> str:
    if default is None:
        return " (must be given)"
    return f" (default: {default})" if default else ""


def _statement(what: str | None, values: dict[str, str]) -> tuple[str, dict[str, str], str]:
    """Return the SQL, its bound parameters, and what to call it in errors."""
    if what is None or not what.strip():
        msg = "nothing is asked: give a SELECT statement, or a name that millrace query --list shows"
        raise UsageError(msg)
    if _NAME.fullmatch(what.strip()):
        named = find_query(what.strip())
        return named.sql, named.bind(values), f"the query {named.name}"
    sql = reading_statement(what)
    wanted = placeholders(sql)
    if unknown := [name for name in values if name not in wanted]:
        msg = f"the statement names no {{{unknown[0]}:Type}}: leave --param {unknown[0]} out or name it there"
        raise UsageError(msg)
    return sql, values, "the statement"


def _values(given: list[str]) -> dict[str, str]:
    values = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not name or not equals:
            msg = f"--param takes NAME=VALUE, not {one!r}"
            raise UsageError(msg)
        values[name] = value
    return values
