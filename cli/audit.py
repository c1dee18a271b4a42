"""`millrace audit`: who changed what, and whether the record of it is whole."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from billing.audit import entries, verify
from cli.reading import Form
from cli.store_desk import HERE, ControlOption, FormOption, StateOption, opened_store, tell

app = typer.Typer(help="See who changed what, and check that the record is whole.", no_args_is_help=True)


@app.command("list")
def list_(  # noqa: PLR0913, PLR0917 - one argument for each flag
    tenant: Annotated[str, typer.Option("--tenant", help="Only about this tenant.")] = "",
    action: Annotated[str, typer.Option("--action", help="Only this action, such as payment_settled.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 50,
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """List the entries, newest first."""
    with opened_store(state, control) as store:
        found = entries(store, chain=tenant or None, action=action, limit=limit)
    names = ("id", "made at", "who", "action", "subject", "before", "after", "detail", "request id", "hash")
    rows = [
        (
            row["id"], f"{datetime.fromtimestamp(row['made_at'], UTC):%Y-%m-%dT%H:%M:%SZ}", row["who"], row["action"],
            row["subject"], row["before"], row["after"], row["detail"], row["request_id"], row["hash"],
        )
        for row in found
    ]  # fmt: skip
    tell(format, names, (True,) + (False,) * 9, rows)


@app.command("verify")
def verify_(
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Check each chain from its first entry to its head; exits 1 where an entry was changed, left out or cut off."""
    with opened_store(state, control) as store:
        found = verify(store)
    if format is Form.JSON or found:
        tell(
            format,
            ("tenant", "entry", "why"),
            (False, True, False),
            [(f.chain, f.number, f.why) for f in found],
        )
    else:
        typer.echo("the audit is whole: every chain leads from its first entry to its head")
    if found:
        raise typer.Exit(1)
