"""How `millrace stripe` shows its results: a table for people, JSON with everything for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from billing.close import Period, Position
from billing.planner import Balance, Plan, told
from billing.reconcile import Reconciliation
from billing.resolve import Held
from billing.status import Status
from billing.webhooks import Stored
from pipeline.outbox import Report
from sinks.stripe_push import Tally
from sinks.stripe_setup import Step

if TYPE_CHECKING:
    from cli.stripe_close import Closing
    from sinks.stripe_invoices import Invoice

SHOWN_MAX = 40
"""Lines of a table; JSON has them all."""


def setup(steps: Sequence[Step], *, done: bool, has_key: bool, as_json: bool) -> None:
    """Show what setup does, or would do."""
    rows = [
        {"action": s.action.value, "kind": s.kind, "name": s.name, "id": s.found_id, "detail": s.detail}
        for s in steps
    ]
    if as_json:
        _json({"done": done, "steps": rows})
        return
    _rows("Done" if done else "Plan", rows)
    if not done:
        hint = (
            "run it again with --yes to do this"
            if has_key
            else "set STRIPE_SECRET_KEY to compare with Stripe"
        )
        typer.echo(f"Nothing was changed: {hint}.")


def would_send(reports: Sequence[Report], plan: Plan, *, has_key: bool, as_json: bool) -> None:
    """Show exactly what would be sent."""
    calls = list(told(reports))
    if as_json:
        rows = [{"tenant": report.tenant, **call} for report, call in zip(reports, calls, strict=True)]
        _json({"would_send": rows, **_books(plan)})
        return
    shown = [
        {
            "tenant": report.tenant,
            "customer": report.customer,
            "event name": report.event_name,
            "timestamp": moment(report.timestamp),
            "value": str(report.value),
            "identifier": report.identifier,
        }
        for report in reports
    ]
    _rows("Would be sent to Stripe", shown)
    _show_books(plan)
    if not has_key:
        typer.echo("Nothing was sent: STRIPE_SECRET_KEY is not set.")


def sent(tally: Tally, plan: Plan, found: Status, *, as_json: bool) -> None:
    """Show what a push did, and where everything stands now."""
    results = {result.value: count for result, count in sorted(tally.results.items())}
    if as_json:
        _json(
            {
                "planned": len(plan.reports),
                "results": results,
                "units": tally.units,
                **_books(plan),
                "status": _status(found),
            }
        )
        return
    answers = ", ".join(f"{count} {name}" for name, count in results.items()) or "nothing was due"
    typer.echo(f"Planned {len(plan.reports)} reports; sent: {answers}; {tally.units} units acknowledged.")
    _show_books(plan)
    _show_states(found)


def status(found: Status, *, as_json: bool) -> None:
    """Show where everything stands."""
    if as_json:
        _json(_status(found))
        return
    _show_states(found)
    groups = ["owed", "reported", "verified", "unknown", "rejected", "quarantined"]
    used = [name for name in groups if any(one.units.get(name) for one in found.periods)]
    late = any(one.late for one in found.periods)
    carried = any(one.carried for one in found.periods)
    rows = [
        {
            "tenant": one.tenant,
            "event name": one.event_name,
            "period": moment(one.period_start)[:7],
            **{name: str(one.units.get(name, 0)) for name in used},
            **({"late": str(one.late)} if late else {}),
            **({"carried": str(one.carried)} if carried else {}),
            "told until": moment(one.told_until)[:16],
        }
        for one in found.periods
    ]
    _rows("Units by tenant and period", rows)


def reconciled(result: Reconciliation, books: Plan, found: Status, *, as_json: bool) -> None:
    """Show a comparison, and with a ledger the books that it closes."""
    told = {(one.tenant, one.event_name): 0 for one in found.periods}
    for one in found.periods:
        told[one.tenant, one.event_name] += one.units.get("verified", 0)
    lines = [_book(balance, told.get((balance.tenant, balance.event_name), 0)) for balance in books.balances]
    if as_json:
        _json({**asdict(result), "difference": result.difference, "books": lines})
        return
    _rows("Books in units: ledger = verified + on the way + owed", lines)
    for finding in result.findings:
        place = f"{finding.customer} {finding.event_name} {moment(finding.window_start)}"
        typer.echo(f"{place}: {finding.difference:+} units: {finding.way_out}")
    typer.echo(
        f"Compared {result.windows} hours in {result.reads} reads: difference {result.difference}, "
        f"{result.pending_units} units not in Stripe's sums yet."
    )
    if result.unread_lanes:
        typer.echo(f"{result.unread_lanes} customers were not read: raise --reads, or run it again.")


def held(reports: Sequence[Held], *, as_json: bool) -> None:
    """Show what waits for someone."""
    rows = [
        {
            "identifier": one.identifier,
            "state": one.standing.state.value,
            "tenant": one.report.tenant,
            "customer": one.report.customer,
            "hour": moment(one.report.window_start),
            "units": str(one.report.value),
            "detail": one.standing.detail,
        }
        for one in reports
    ]
    if as_json:
        _json({"held": rows})
        return
    _rows("Reports that wait for a decision", rows)


def webhooks(events: Sequence[Stored], *, as_json: bool) -> None:
    """Show stored webhooks."""
    rows = [
        {
            "event": one.event_id,
            "type": one.type,
            "received": moment(one.received_at),
            "handled": _handled(one),
            "failed": str(one.attempts),
            "error": one.error,
        }
        for one in events
    ]
    if as_json:
        _json({"webhooks": [asdict(one) for one in events]})
        return
    _rows("Stored webhooks", rows)


def _handled(one: Stored) -> str:
    if one.handled_at is None:
        return "waits"
    return f"{moment(one.handled_at)}{'' if one.is_owned else ' (nothing to do)'}"


def closing(period: Period, closings: Sequence["Closing"], *, as_json: bool) -> None:
    """Show a period's close."""
    rows = [_closing_row(one, position) for one in closings for position in one.positions]
    if as_json:
        _json(
            {
                "period_start": moment(period.start),
                "period_end": moment(period.end),
                "cut_off": moment(period.cut_off),
                "positions": rows,
                "obstacles": {one.customer: one.obstacles for one in closings if one.obstacles},
            }
        )
        return
    hidden = {"told_for", "late_in", "late_out", "invoice", "done"}
    shown = [{name: str(value) for name, value in row.items() if name not in hidden} for row in rows]
    _rows(f"Period until {moment(period.end)}, sent until {moment(period.cut_off)}", shown)
    for one in closings:
        if one.invoice and one.done:
            typer.echo(f"{one.customer} {one.invoice.invoice_id}: {one.done}")
        for why in one.obstacles:
            typer.echo(f"{one.customer} {why}")


def _closing_row(one: "Closing", position: Position) -> dict[str, Any]:
    invoice, event_name = one.invoice, position.lane.event_name
    return {
        "customer": one.customer,
        "event_name": event_name,
        "due": position.due,
        "told_for": position.told_for,
        "owed": position.owed,
        "told_in": position.told_in,
        "late_in": position.late_in,
        "late_out": position.late_out,
        "stripe": position.stripe,
        "invoice": invoice.invoice_id if invoice else "",
        "status": _standing_of(invoice),
        "billed": one.quantities.get(event_name, ""),
        "done": one.done,
    }


def _standing_of(invoice: "Invoice | None") -> str:
    if invoice is None:
        return "no invoice"
    return (
        f"{invoice.status} (held)"
        if invoice.status == "draft" and not invoice.auto_advance
        else invoice.status
    )


def _book(balance: Balance, verified: int) -> dict[str, str]:
    unit = balance.unit
    return {
        "tenant": balance.tenant,
        "event_name": balance.event_name,
        "ledger": _units(balance.ledger, unit),
        "verified": str(verified),
        "on_the_way": str(balance.counted - verified),
        "owed": _units(balance.ledger - balance.counted * unit, unit),
    }


def _units(scaled: int, unit: int) -> str:
    """Write a scaled amount in units, exactly where the unit is a power of ten, else as a fraction."""
    whole, rest = divmod(scaled, unit)
    if rest == 0:
        return str(whole)
    digits = str(unit)
    if digits.strip("0") == "1":
        return f"{whole}.{rest:0{len(digits) - 1}}".rstrip("0") if whole >= 0 else f"{whole} + {rest}/{unit}"
    return f"{whole} + {rest}/{unit}"


def _show_states(found: Status) -> None:
    rows = [
        {"state": state, "reports": str(count), "units": str(found.units[state])}
        for state, count in sorted(found.reports.items())
    ]
    _rows("Reports by state", rows)
    if found.oldest_unresolved_at is not None:
        typer.echo(f"Oldest of unknown outcome: since {moment(found.oldest_unresolved_at)}.")
    if found.next_deadline_at is not None:
        typer.echo(f"Next deadline for sending again: {moment(found.next_deadline_at)}.")
    for stop in found.stops:
        typer.echo(f"Stopped: {stop.kind.value} {stop.name}, since {moment(stop.since)}: {stop.detail}.")
    if found.read_only:
        typer.echo("READ ONLY: the store was restored; run `millrace stripe reconcile --restored`.")


def _status(found: Status) -> dict[str, Any]:
    values = asdict(found)
    for name in ("oldest_unresolved_at", "next_deadline_at", "last_reconciled_at"):
        values[name] = None if values[name] is None else moment(values[name])
    for stop in values["stops"]:
        stop["since"] = moment(stop["since"])
    for period in values["periods"]:
        period["period_start"] = moment(period["period_start"])
        period["told_until"] = moment(period["told_until"])
    return values


def _books(plan: Plan) -> dict[str, Any]:
    return {
        "owed_without_customer": [_balance(b) for b in _without_customer(plan)],
        "waiting": [_balance(b) for b in plan.balances if b.waiting and b.customer],
    }


def _show_books(plan: Plan) -> None:
    owed = _without_customer(plan)
    if owed:
        rows = [
            {"tenant": b.tenant, "event name": b.event_name, "units": str(b.rest // b.unit)} for b in owed
        ]
        _rows("Owed without a Stripe customer, never sent", rows)
    waiting = [b for b in plan.balances if b.waiting and b.customer]
    if waiting:
        rows = [{"tenant": b.tenant, "units": str(b.rest // b.unit), "why": b.waiting} for b in waiting]
        _rows("Owed, waiting", rows)


def _without_customer(plan: Plan) -> list[Balance]:
    return [b for b in plan.balances if not b.customer and b.rest >= b.unit]


def _balance(balance: Balance) -> dict[str, Any]:
    units, remainder = divmod(balance.rest, balance.unit)
    return {
        "tenant": balance.tenant,
        "event_name": balance.event_name,
        "units": units,
        "remainder": f"{remainder // 10**6}.{remainder % 10**6:06}",
        "waiting": balance.waiting,
    }


def moment(seconds: int) -> str:
    """Write a moment in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _rows(title: str, rows: Sequence[Mapping[str, str]]) -> None:
    console = Console()
    if not rows:
        console.print(f"{title}: none")
        return
    table = Table(title=f"{title}: {len(rows)}", title_justify="left")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows[:SHOWN_MAX]:
        table.add_row(*(_plain(value) for value in row.values()))
    console.print(table)
    if len(rows) > SHOWN_MAX:
        console.print(f"... and {len(rows) - SHOWN_MAX} more: --format json lists them all")


def _plain(text: str) -> Text:
    """Show names that users gave as they are: no markup, no control characters."""
    return Text("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text))
