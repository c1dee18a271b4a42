"""`millrace export`: files for finance."""

from pathlib import Path
from typing import Annotated

import typer

from cli.reading import opened
from queries.export import VIEWS, Scope, export_principals
from queries.table import printable

app = typer.Typer(help="Write what finance needs to files.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Write what finance needs to files."""


@app.command()
def principals(
    period: Annotated[str, typer.Option(metavar="YYYY-MM", help="The billing period.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder; months lie side by side in it.", show_default=False)],
    ledger: Annotated[
        str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Only this tenant.")] = "",
) -> None:
    """Write what each principal cost in a month, and by cost source, as CSV and Parquet with DuckDB views.

    The sums equal the ledger's to the pico-USD, or nothing is written; the same ledger gives the same bytes.
    """
    with opened(ledger) as client:
        manifest = export_principals(client, Scope(period, tenant), out)
    rows = manifest["sheets"]["principals"]["rows"]
    cost = manifest["ledger"]["cost"]["cost_usd"]
    folder = printable(str(out))
    typer.echo(f"{period}: {rows} principals, {cost} USD, as in the ledger to the pico-USD")
    for name in manifest["files"]:
        typer.echo(f"  {folder}/{name}")
    typer.echo(f"look at it without the ledger: cd {folder} && duckdb -init {VIEWS}")
