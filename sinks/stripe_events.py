"""Asks Stripe again for what a webhook hints at."""

from collections.abc import Mapping
from typing import Any

import stripe

from sinks.stripe import asked


class StripeEvents:
    """Fetches events and invoices as they are now."""

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
