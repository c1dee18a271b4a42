"""`millrace caps mode` and `millrace caps report`: what becomes of requests beyond a cap, and what became of them."""

from typing import Annotated

import typer

from billing import accounts
from billing.asks import Mode
from billing.report import compare
from cli.clock import SystemClock
from cli.reading import Form
from cli.store_desk import HERE, ControlOption, FormOption, StateOption, by, opened_store, tell, usd

DAY_MS = 86_400_000


def mode(
    wanted: Annotated[Mode | None, typer.Argument(metavar="[MODE]", help="shadow, soft or live.")] = None,
    state: StateOption = HERE,
    control: ControlOption = None,
) -> None:
    """Show, or set, the mode of all tenants that have none of their own."""
    with opened_store(state, control) as store:
        if wanted is not None:
            accounts.set_global_mode(store, wanted, by())
        typer.echo(accounts.global_mode(store).value)


def report(
    tenant: Annotated[str, typer.Argument(metavar="[TENANT]", help="Only this tenant.")] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=90, help="So many days back.")] = 7,
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Compare modes over the last days: what was refused, and what live would have refused of what went through.

    What a mode lets through is spent, and the next request is held against it. So a stricter mode refuses these
    requests, and perhaps not all that came after them.
    """
    with opened_store(state, control) as store:
        found = compare(store, SystemClock().now_ms() - days * DAY_MS, tenant or None)
    names = (
        "tenant",
        "mode now",
        "refused",
        "refused USD",
        "let through",
        "let through USD",
        "shadow or soft",
        "live",
    )
    rows = [
        (
            line.tenant, line.mode.value, line.refused_requests, usd(line.refused_micro), line.passed_requests,
            usd(line.passed_micro), f"lets all {line.refused_requests + line.passed_requests} through",
            f"refuses {line.refused_requests + line.passed_requests}",
        )
        for line in found
    ]  # fmt: skip
    tell(format, names, (False,) * 2 + (True,) * 4 + (False,) * 2, rows)
