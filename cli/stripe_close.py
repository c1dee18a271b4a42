"""`millrace stripe close`: a period's invoices become final when the ledger, Stripe's sums and the reports agree."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from billing.close import Period, Position, check_ended, note_step, period_of, positions
from billing.webhook_types import note_invoice
from cli import stripe_show
from cli.reading import opened, who
from cli.stripe_desk import (
    KEY_VARIABLE,
    AccountsOption,
    ControlOption,
    Desk,
    Format,
    FormatOption,
    LedgerOption,
    LiveOption,
    MetersOption,
    StateOption,
    UrlOption,
    meters_at_stripe,
    now,
    open_desk,
    read_key_of_environment,
)
from pipeline.errors import UsageError
from sinks.stripe_invoices import DRAFT, Invoice, StripeInvoices
from sinks.stripe_read import StripeSummaries
from sinks.stripe_usage import LedgerUsage


@dataclass(slots=True)
class Closing:
    """One customer's close."""

    customer: str
    positions: list[Position]
    invoice: Invoice | None = None
    quantities: dict[str, int] = field(default_factory=dict)
    """Event name -> quantity of the invoice's lines."""
    done: str = ""

    @property
    def obstacles(self) -> list[str]:
        """Say why the invoice may not become final, or what is wrong with the one that is."""
        found = [f"{p.lane.event_name}: {why}" for p in self.positions for why in p.obstacles]
        if self.invoice is not None and self.invoice.status != DRAFT:
            found += [
                f"{p.lane.event_name}: the final invoice has {self.quantities[p.lane.event_name]} units, told were "
                f"{p.told_in}: correct it with a credit note or an invoice item"
                for p in self.positions
                if self.quantities.get(p.lane.event_name, p.told_in) != p.told_in
            ]
        return found


def close(  # noqa: PLR0913, PLR0917 - one argument for each flag
    period: Annotated[str, typer.Argument(help="The month: 2026-11.", show_default=False)],
    ledger: LedgerOption = None,
    state: StateOption = Path(".millrace"),
    control: ControlOption = None,
    meters: MetersOption = None,
    accounts: AccountsOption = None,
    stripe_url: UrlOption = "",
    live: LiveOption = False,
    hold: Annotated[
        bool, typer.Option("--hold", help="Keep Stripe from making the period's drafts final by itself.")
    ] = False,
    finalize: Annotated[
        bool, typer.Option("--finalize", help="Make final each draft for which all sums agree.")
    ] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002
) -> None:
    """Say what stands between a period and its final invoices; exits with 1 while anything does."""
    with open_desk(state, control, meters, accounts, read_key_of_environment(live), stripe_url) as desk:
        if desk.client is None:
            raise UsageError(f"there is no one to close with: set {KEY_VARIABLE}")
        of = period_of(period, desk.declaration.finalizes_after_s)
        if hold or finalize:
            check_ended(of, desk.now)
        ids = meters_at_stripe(desk)
        found = _positions(desk, ledger, of)
        summaries = StripeSummaries(desk.client, ids, now)
        for position in found:
            position.stripe = summaries.span(position.lane, of.start, of.end)
        invoices = StripeInvoices(desk.client, ids)
        closings = _closings(found, invoices.of_period(of.end) if desk.now >= of.end else [])
        for one in closings:
            _advance(desk, invoices, one, hold=hold, finalize=finalize)
        stripe_show.closing(of, closings, as_json=format is Format.JSON)
        if any(one.obstacles for one in closings):
            raise typer.Exit(1)


def _positions(desk: Desk, ledger: str | None, period: Period) -> list[Position]:
    declared = {tenant: one.stripe_customer for tenant, one in desk.accounts.tenants.items()}
    with opened(ledger) as client:
        return positions(desk.store, LedgerUsage(client), desk.planning(running=False), period, declared)


def _closings(found: Sequence[Position], invoices: Sequence[Invoice]) -> list[Closing]:
    """One for each invoice of a customer; a customer without one has its positions all the same."""
    closings = []
    for customer in dict.fromkeys(p.lane.customer for p in found):
        mine = [p for p in found if p.lane.customer == customer]
        its = [invoice for invoice in invoices if invoice.customer == customer]
        closings += [Closing(customer, mine, invoice) for invoice in its] or [Closing(customer, mine)]
    return closings


def _advance(desk: Desk, invoices: StripeInvoices, one: Closing, *, hold: bool, finalize: bool) -> None:
    if one.invoice is None:
        return
    if hold and one.invoice.status == DRAFT and one.invoice.auto_advance:
        one.invoice = invoices.hold(one.invoice)
        one.done = "held"
        note_step(desk.store, who(), "hold_invoice", one.invoice.invoice_id, desk.now)
    if finalize and one.invoice.status == DRAFT and not one.obstacles:
        one.invoice = invoices.finalize(one.invoice)
        one.done = "finalised"
        note_step(desk.store, who(), "finalize_invoice", one.invoice.invoice_id, desk.now)
    note_invoice(desk.store, one.invoice.raw, desk.now)
    one.quantities = invoices.quantities(one.invoice)
