"""Reads, holds and finalises the invoices of subscriptions at the end of their period."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import stripe

from pipeline.errors import ProviderError
from sinks.stripe import asked

PAGE = 100
CYCLE = "subscription_cycle"
DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Invoice:
    """One invoice as it stands; `raw` is what Stripe gave."""

    invoice_id: str
    customer: str
    status: str
    auto_advance: bool
    """Whether Stripe makes it final by itself."""
    raw: Mapping[str, Any]


class StripeInvoices:
    """The invoices of one account; `meter_ids` maps the event names of known meters to ids."""

    def __init__(self, client: stripe.StripeClient, meter_ids: Mapping[str, str]) -> None:
        self._client = client
        self._event_names = {meter_id: name for name, meter_id in meter_ids.items()}
        self._meter_of: dict[str, str] = {}

    def of_period(self, end: int) -> list[Invoice]:
        """List the invoices of subscriptions whose period ended at `end`."""
        parameters: Any = {"created": {"gte": end}, "limit": PAGE}

        def read() -> list[dict[str, Any]]:
            return [one.to_dict() for one in self._client.v1.invoices.list(parameters).auto_paging_iter()]

        rows: list[dict[str, Any]] = asked("the invoices", read)
        return [
            _invoice(row) for row in rows if row.get("billing_reason") == CYCLE and row["period_end"] == end
        ]

    def hold(self, invoice: Invoice) -> Invoice:
        """Keep Stripe from making a draft final by itself."""
        changed = asked(
            "the invoice", self._client.v1.invoices.update, invoice.invoice_id, {"auto_advance": False}
        )
        return _invoice(changed.to_dict())

    def finalize(self, invoice: Invoice) -> Invoice:
        """Make a draft final; what was made final meanwhile is returned as it is."""
        options: Any = {"idempotency_key": f"millrace-close-{invoice.invoice_id}"}
        try:
            asked(
                "the final invoice",
                self._client.v1.invoices.finalize_invoice,
                invoice.invoice_id,
                {},
                options,
            )
        except ProviderError:
            if self.again(invoice).status == DRAFT:
                raise
        return self.again(invoice)

    def again(self, invoice: Invoice) -> Invoice:
        """Fetch an invoice as it is now."""
        return _invoice(asked("the invoice", self._client.v1.invoices.retrieve, invoice.invoice_id).to_dict())

    def quantities(self, invoice: Invoice) -> dict[str, int]:
        """Sum the quantities of an invoice's lines by event name; tiers have a line each."""
        found: dict[str, int] = {}
        lines = self._client.v1.invoices.line_items

        def read() -> list[dict[str, Any]]:
            listing = lines.list(invoice.invoice_id, {"limit": PAGE})
            return [one.to_dict() for one in listing.auto_paging_iter()]

        for line in asked("the lines of the invoice", read):
            price = ((line.get("pricing") or {}).get("price_details") or {}).get("price")
            event_name = self._event_name(str(price)) if price else ""
            if event_name:
                found[event_name] = found.get(event_name, 0) + int(line.get("quantity") or 0)
        return found

    def _event_name(self, price: str) -> str:
        """Name the meter that a price bills; empty: none of ours."""
        if price not in self._meter_of:
            row = asked("the price", self._client.v1.prices.retrieve, price).to_dict()
            self._meter_of[price] = str((row.get("recurring") or {}).get("meter") or "")
        return self._event_names.get(self._meter_of[price], "")


def _invoice(row: Mapping[str, Any]) -> Invoice:
    return Invoice(
        str(row["id"]), str(row["customer"]), str(row["status"]), bool(row.get("auto_advance")), row
    )
