"""`millrace caps`: what a tenant has spent of what it may spend."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from clickhouse_connect.driver.client import Client

from cli.caps_modes import mode, report
from cli.clock import SystemClock
from cli.known_accounts import known_accounts
from cli.reading import Form, opened
from pipeline.accounts import Account
from pipeline.errors import UsageError
from pipeline.zones import window_starts
from queries.named import find_query, run
from queries.table import laid_out, printable
from queries.totals import MICRO, PICO, exact

DAY_S = 86_400

app = typer.Typer(help="Show what a tenant has spent of its limits.", no_args_is_help=True)
app.command()(mode)
app.command()(report)


@dataclass(frozen=True, slots=True)
class Window:
    """One current window of a tenant; amounts in USD are exact decimal text."""

    window: str
    starts_at: str
    ends_at: str
    events: int
    spend_micro_usd: int
    """Rounded down."""
    spend_usd: str
    limit_usd: str | None
    """None: there is no limit."""
    remaining_usd: str | None
    """Negative once the limit is passed."""
    percent: int | None
    """Of the limit, rounded down; None where there is no limit, or one of 0."""


@app.callback()
def main() -> None:
    """Show what a tenant has spent of its limits."""


@app.command()
def show(  # noqa: PLR0913, PLR0917 - one argument for each flag
    tenant: Annotated[str, typer.Argument(help="Who pays.", show_default=False)],
    ledger: Annotated[
        str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")
    ] = None,
    accounts: Annotated[
        Path | None, typer.Option(envvar="MILLRACE_ACCOUNTS", help="Limits, thresholds and time zones.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(envvar="MILLRACE_CONTROL", help="The control store that has limits, too."),
    ] = None,
    at: Annotated[str, typer.Option(help="The moment that is current, with its offset; else now.")] = "",
    decisions: Annotated[int, typer.Option(min=0, help="How many of the last decisions to show.")] = 5,
    format: Annotated[Form, typer.Option(help="How to write it.")] = Form.TABLE,  # noqa: A002
) -> None:
    """Show a tenant's current day and month: spend, limit, what is left, and the last decisions.

    Days and months are those of the tenant's time zone. Metered and credit usage counts, as in the caps.
    """
    account = known_accounts(accounts, control).get(tenant)
    now_s = _seconds(at) if at else SystemClock().now_ms() // 1000
    with opened(ledger) as client:
        windows = list(current_windows(client, account, now_s))
        given = {"tenant": tenant, "limit": decisions}
        decided = run(client, find_query("cap_decisions_of"), given).dicts()
    if format is Form.JSON:
        typer.echo(json.dumps(_report(account, windows, decided), indent=2, ensure_ascii=False))
    else:
        typer.echo(_text(account, windows, decided), nl=False)


def current_windows(client: Client, account: Account, now_s: int) -> Iterator[Window]:
    """Give the day and the month that hold an instant, from the ledger's rollup."""
    zone = account.zone
    starts = window_starts(zone, now_s)
    tomorrow = window_starts(zone, starts.day_s + 3 * DAY_S // 2).day_s  # a day has 23 to 25 hours
    next_month = window_starts(zone, starts.month_s + 32 * DAY_S).month_s
    yield _window(client, account, ("day", starts.day_s, tomorrow), account.daily_limit_micro_usd)
    yield _window(client, account, ("month", starts.month_s, next_month), account.monthly_limit_micro_usd)


def _window(client: Client, account: Account, bounds: tuple[str, int, int], limit: int | None) -> Window:
    name, start, end = bounds
    between = {"tenant": account.tenant, "from": _utc(start), "to": _utc(end)}
    (row,) = run(client, find_query("spend_in_window"), between).dicts()
    pico = row["cost_micro_usd"] * MICRO + row["residual_pico_usd"]
    return Window(
        window=name,
        starts_at=_utc(start),
        ends_at=_utc(end),
        events=row["events"],
        spend_micro_usd=row["cost_micro_usd"],
        spend_usd=row["cost_usd"],
        limit_usd=None if limit is None else exact(limit, MICRO),
        remaining_usd=None if limit is None else exact(limit * MICRO - pico, PICO),
        percent=pico * 100 // (limit * MICRO) if limit else None,
    )


def _seconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        msg = f"the moment {text!r} is not understood: give it with its offset, such as 2026-03-10T12:00:00Z"
        raise UsageError(msg)
    return int(moment.timestamp())


def _utc(epoch_s: int) -> str:
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _report(account: Account, windows: list[Window], decided: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "tenant": account.tenant,
        "display_name": account.display_name,
        "time_zone": account.time_zone,
        "thresholds_percent": account.thresholds_percent,
        "windows": [asdict(window) for window in windows],
        "decisions": [{name: _plain(value) for name, value in line.items()} for line in decided],
    }


def _plain(value: Any) -> Any:
    return f"{value.isoformat(timespec='milliseconds')}Z" if isinstance(value, datetime) else value


def _text(account: Account, windows: list[Window], decided: list[dict[str, Any]]) -> str:
    name = (
        account.display_name
        if account.display_name == account.tenant
        else f"{account.display_name} ({account.tenant})"
    )
    thresholds = ", ".join(f"{percent} %" for percent in account.thresholds_percent)
    lines = [
        f"{printable(name)}: days and months of {account.time_zone}, thresholds at {thresholds or 'none'}",
        "",
        _windows(windows),
        _decisions(decided) if decided else "no decision yet\n",
    ]
    return "\n".join(lines)


def _windows(windows: list[Window]) -> str:
    names = ("window", "from", "to", "events", "spend USD", "limit USD", "remaining USD", "%")
    rows = [
        (
            window.window,
            window.starts_at,
            window.ends_at,
            str(window.events),
            window.spend_usd,
            window.limit_usd or "no limit",
            window.remaining_usd or "-",
            "-" if window.percent is None else str(window.percent),
        )
        for window in windows
    ]
    return laid_out(names, [False] * 3 + [True] * 5, rows)


def _decisions(decided: list[dict[str, Any]]) -> str:
    names = ("decided at", "window", "from", "threshold", "state", "limit USD", "spend USD")
    rows = [
        (
            _plain(line["decided_at"]),
            line["window"],
            _plain(line["window_start"]),
            f"{line['threshold_percent']} %",
            line["state"],
            exact(line["limit_micro_usd"], MICRO),
            exact(line["current_micro_usd"], MICRO),
        )
        for line in decided
    ]
    return laid_out(names, [False, False, False, True, False, True, True], rows)
