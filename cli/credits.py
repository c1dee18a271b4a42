"""`millrace credits`: prepaid money of tenants, minted once, burned earliest expiry first."""

import secrets
from typing import Annotated

import typer

from billing.credits import Lot, mint, pools_of
from cli.clock import SystemClock
from cli.reading import Form
from cli.store_desk import (
    HERE,
    ControlOption,
    FormOption,
    StateOption,
    by,
    micro_usd,
    moment_ms,
    opened_store,
    shown_moment,
    tell,
    usd,
)

app = typer.Typer(help="Mint credits, and see what is left of them.", no_args_is_help=True)

NAMES = ("lot", "tenant", "pool", "source", "amount USD", "left USD", "priority", "expires", "minted")
RIGHT = (False,) * 4 + (True,) * 3 + (False,) * 2


@app.command("mint")
def mint_(  # noqa: PLR0913, PLR0917 - one argument for each flag
    tenant: Annotated[str, typer.Argument(help="Who gets them.", show_default=False)],
    amount: Annotated[str, typer.Argument(metavar="USD", help="How much.", show_default=False)],
    key: Annotated[
        str,
        typer.Option(
            "--key", help="Names this lot for ever: the same key mints it once.", show_default=False
        ),
    ],
    pool: Annotated[str, typer.Option("--pool", help="The pool.")] = "default",
    source: Annotated[str, typer.Option("--source", help="Where they come from.")] = "grant",
    priority: Annotated[
        int, typer.Option("--priority", help="Of lots that expire together, the lower burns first.")
    ] = 0,
    expires: Annotated[
        str, typer.Option("--expires", help="Until when they are good, with its offset.")
    ] = "",
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Mint a lot. Run again with the same key, nothing is minted and the lot is shown."""
    with opened_store(state, control) as store:
        minted = mint(
            store, tenant, micro_usd(amount), key=key, pool=pool, source=source, priority=priority,
            expires_at_ms=moment_ms(expires) if expires else None, by=by(), random_hex=secrets.token_hex,
        )  # fmt: skip
    if minted.is_replay:
        typer.echo(f"the key {key} had minted this lot before: nothing new was minted", err=True)
    tell(format, NAMES, RIGHT, [_row(minted.lot)])


@app.command("list")
def list_(
    tenant: Annotated[str, typer.Argument(help="Whose.", show_default=False)],
    pool: Annotated[str, typer.Option("--pool", help="Only this pool.")] = "",
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """List the lots that still hold something, in the order in which they burn."""
    with opened_store(state, control) as store:
        found = pools_of(store, tenant, SystemClock().now_ms(), pool or None)
    tell(format, NAMES, RIGHT, [_row(lot) for one in found for lot in one.lots])


def _row(lot: Lot) -> tuple[object, ...]:
    return (
        lot.id, lot.tenant, lot.pool, lot.source, usd(lot.amount_micro), usd(lot.remaining_micro), lot.priority,
        shown_moment(lot.expires_at_ms), shown_moment(lot.minted_at_ms),
    )  # fmt: skip
