"""Prices in words."""

from pipeline.catalog import Basis, Component, Quantity
from queries.totals import MICRO, exact

_PER = {
    Basis.PER_CALL: "call", Basis.PER_REQUEST: "request", Basis.PER_UNIT: "unit", Basis.PER_TOKEN: "token",
    Basis.PER_SECOND: "second", Basis.PER_1K_TOKENS: "1,000 tokens", Basis.PER_MB: "MB",
}  # fmt: skip
_OF = {
    Quantity.REQUEST_BYTES: "of the request's bytes", Quantity.RESPONSE_BYTES: "of the response's bytes",
    Quantity.BYTES: "of all bytes", Quantity.UNITS: "of weighted units", Quantity.BASE_UNITS: "of units as reported",
    Quantity.STORED_BYTES: "of what storage grows by",
}  # fmt: skip


def price_of(component: Component) -> str:
    """Say what a component costs: `$0.002 for 1,000 tokens`."""
    usd = exact(component.price_e6, MICRO * MICRO)
    of = f" {_OF[component.quantity]}" if component.quantity in _OF else ""
    reported = component.usage_source if component.quantity is Quantity.USAGE else ""
    used = f" of {reported}" if reported and reported != component.source else ""
    return f"${usd} for each {_PER[component.basis]}{of}{used}".replace("each 1,000", "1,000")
