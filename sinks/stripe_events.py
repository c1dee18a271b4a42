"""Asks Stripe again for what a webhook hints at."""

from collections.abc import Mapping, Sequence
from typing import Any

import stripe

from sinks.stripe import asked

PAGE = 100


class StripeEvents:
    """Fetches what events are about, as it is now."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._client = client

    def event(self, event_id: str) -> Mapping[str, Any]:
        """Return a thin event with its data; Stripe keeps it for 30 days."""
        found: Mapping[str, Any] = asked(
            "the event", self._client.v2.core.events.retrieve, event_id
        ).to_dict()
        return found

    def invoice(self, invoice_id: str) -> Mapping[str, Any]:
        """Return an invoice as it is now."""
        found: Mapping[str, Any] = asked(
            "the invoice", self._client.v1.invoices.retrieve, invoice_id
        ).to_dict()
        return found

    def customer(self, customer: str) -> Mapping[str, Any]:
        """Return a customer as it is now; one that is deleted has the member `deleted`."""
        found: Mapping[str, Any] = asked(
            "the customer", self._client.v1.customers.retrieve, customer
        ).to_dict()
        return found

    def subscriptions(self, customer: str) -> Sequence[Mapping[str, Any]]:
        """Return all subscriptions of a customer, ended ones too."""
        parameters: Any = {"customer": customer, "status": "all", "limit": PAGE}

        def read() -> list[dict[str, Any]]:
            listing = self._client.v1.subscriptions.list(parameters)
            return [one.to_dict() for one in listing.auto_paging_iter()]

        found: list[dict[str, Any]] = asked("the subscriptions", read)
        return found

    def meter(self, meter_id: str) -> Mapping[str, Any]:
        """Return a meter as it is now."""
        found: Mapping[str, Any] = asked(
            "the meter", self._client.v1.billing.meters.retrieve, meter_id
        ).to_dict()
        return found
