"""`millrace credits`: prepaid money of tenants, minted once, burned earliest expiry first, taken back with a reason."""

import secrets
from typing import Annotated

import typer

from billing.credits import Lot, mint, pools_of
from billing.take_back import TakenBack, take_back
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

app = typer.Typer(help="Mint credits, see what is left of them, take them back.", no_args_is_help=True)

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


TAKEN_NAMES = (
    "lot", "tenant", "pool", "amount USD", "taken now USD", "taken USD", "burned USD", "lapsed USD", "left USD",
)  # fmt: skip
NOT_ALL = 1
"""The exit code where less was taken than was asked for."""


@app.command("take-back")
def take_back_(  # noqa: PLR0913, PLR0917 - one argument for each flag
    lot: Annotated[str, typer.Argument(help="The lot, as `credits list` names it.", show_default=False)],
    amount: Annotated[
        str, typer.Argument(metavar="[USD]", help="How much of it is to be gone in all; else all of it.")
    ] = "",
    reason: Annotated[
        str, typer.Option("--reason", help="Why; it stands in the audit.", show_default=False)
    ] = "",
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Take back what is left of a lot that was minted by mistake. Run again, nothing is taken twice.

    What is burned stays burned, and what open reservations hold stays theirs: then less is taken than asked for, a
    sentence says what stays, and the exit code is 1. Run again later, it takes what has become free.
    """
    with opened_store(state, control) as store:
        found = take_back(store, lot, micro_usd(amount) if amount else None, reason=reason, by=by())
    amounts = (
        found.amount_micro, found.now_micro, found.taken_micro, found.burned_micro, found.lapsed_micro,
        found.left_micro,
    )  # fmt: skip
    row = (found.lot_id, found.tenant, found.pool, *map(usd, amounts))
    tell(format, TAKEN_NAMES, (False,) * 3 + (True,) * 6, [row])
    if found.missing_micro:
        typer.echo(_stays(found), err=True)
        raise typer.Exit(NOT_ALL)


def _stays(found: TakenBack) -> str:
    parts = [
        (found.burned_micro, "is burned: charge it again by hand, or let it be"),
        (found.held_micro, "is held by open reservations: run this again when they have ended"),
        (found.lapsed_micro, "has expired"),
    ]
    why = "; ".join(f"{usd(micro)} USD {what}" for micro, what in parts if micro)
    return f"{usd(found.missing_micro)} USD of what is wanted stays: {why or 'the lot has expired'}"


def _row(lot: Lot) -> tuple[object, ...]:
    return (
        lot.id, lot.tenant, lot.pool, lot.source, usd(lot.amount_micro), usd(lot.remaining_micro), lot.priority,
        shown_moment(lot.expires_at_ms), shown_moment(lot.minted_at_ms),
    )  # fmt: skip
