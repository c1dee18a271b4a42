"""`millrace periods`: which billing periods are locked."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from cli.clock import SystemClock
from cli.reading import opened, who
from cli.running import named_ledger
from pipeline.errors import UsageError
from pipeline.locks import month_of, read_period
from pipeline.strict import TENANT_MAX
from queries.table import printable
from sinks.clickhouse import connect, migrate
from sinks.locks import EVERYONE, Change, PeriodLock, list_locks, lock, unlock

app = typer.Typer(help="Lock billing periods, and open them again.", no_args_is_help=True)
WHY_MAX = 1024
UNDER_WAY = "; a run that is under way goes by what it found when it began"

PeriodArgument = Annotated[str, typer.Argument(metavar="YYYY-MM", help="The month.", show_default=False)]
LedgerOption = Annotated[str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")]
TenantOption = Annotated[str, typer.Option(help="Only for this tenant; else for all.")]
WhyOption = Annotated[str, typer.Option(help="The reason; kept with your name.")]


class Format(StrEnum):
    """How a list is written."""

    TABLE = "table"
    JSON = "json"


@app.callback()
def main() -> None:
    """Lock billing periods, and open them again; a run goes by what is locked when it begins."""


@app.command("lock")
def lock_(
    period: PeriodArgument, ledger: LedgerOption = None, tenant: TenantOption = EVERYONE, why: WhyOption = ""
) -> None:
    """Lock a month: what comes late for it is billed in the first open one, or refused with `run --late refuse`."""
    change = _change(period, tenant, why)
    client = connect(named_ledger(ledger))  # a new ledger may have locks before it has rows
    migrate(client)
    is_new = lock(client, change)
    client.close()
    state = "is locked" if is_new else "was locked already"
    typer.echo(f"{period} {state} for {_whom(tenant)}{UNDER_WAY}")
    if month_of(change.now_ms) <= change.period:
        typer.echo(
            f"millrace: {period} has not ended: its usage is billed in the first open month after it",
            err=True,
        )


@app.command("open")
def open_(
    period: PeriodArgument, ledger: LedgerOption = None, tenant: TenantOption = EVERYONE, why: WhyOption = ""
) -> None:
    """Open a month again; what was billed elsewhere meanwhile stays there."""
    with opened(ledger) as client:
        migrate(client)
        unlock(client, _change(period, tenant, why))
    typer.echo(f"{period} is open for {_whom(tenant)}{UNDER_WAY}")


@app.command("list")
def list_(
    ledger: LedgerOption = None,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.TABLE,  # noqa: A002
) -> None:
    """List the locked periods: for whom, since when, by whom and why."""
    with opened(ledger) as client:
        migrate(client)
        held = list_locks(client)
    if format is Format.JSON:
        typer.echo(json.dumps([_shown(one) for one in held], ensure_ascii=False, indent=2))
        return
    for one in held:
        who = printable(f"{one.who}{': ' if one.why else ''}{one.why}")
        typer.echo(f"{one.period}  {printable(_whom(one.tenant))}  locked {one.since} by {who}")
    if not held:
        typer.echo("no billing period is locked")


def _shown(one: PeriodLock) -> dict[str, str | None]:
    return {
        "period": one.period,
        "tenant": one.tenant or None,
        "since": one.since,
        "who": one.who,
        "why": one.why,
    }


def _change(period: str, tenant: str, why: str) -> Change:
    if len(tenant) > TENANT_MAX or len(why) > WHY_MAX:
        msg = f"--tenant takes at most {TENANT_MAX} characters and --why {WHY_MAX}: shorten it"
        raise UsageError(msg)
    return Change(tenant, read_period(period), who(), why, SystemClock().now_ms())


def _whom(tenant: str) -> str:
    return f"tenant {tenant!r}" if tenant else "all tenants"
