"""What one event costs, in plain exact integers: the reference that faster ways must equal.

Money is pico-USD (10^12 to the dollar); quantities are scaled by 10^6 (contract, section 4).
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from pipeline.catalog import USAGE_QUANTITIES, Component, Entry, Quantity
from pipeline.event import MICRO, EventType, Reason, Reject

UNITS_MAX = 10**15 * MICRO
"""The largest weighted units, scaled by 10^6."""
PICO_USD_MAX = 2**63 - 1
"""The largest amount, either way, of a component and of an event."""


class Measured(Protocol):
    """What a price looks at: an `Event` has it, and so has a row of columns put into `Quantities`."""

    @property
    def request_bytes(self) -> int: ...  # noqa: D102
    @property
    def response_bytes(self) -> int: ...  # noqa: D102
    @property
    def delta_bytes(self) -> int: ...  # noqa: D102
    @property
    def units_micro(self) -> int: ...  # noqa: D102
    @property
    def usage_micro(self) -> tuple[tuple[str, int], ...]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Quantities:
    """The quantities of one event, without the rest of it."""

    type: EventType
    request_bytes: int
    response_bytes: int
    delta_bytes: int
    units_micro: int
    usage_micro: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Priced:
    """What an event costs, and what that is made of."""

    weighted_micro: int
    """Weighted units, scaled by 10^6."""
    breakdown_pico: tuple[int, ...]
    """One amount for each component, in the catalog's order."""
    pico: int
    """Their sum."""

    @property
    def cost_micro_usd(self) -> int:
        """The amount in micro-USD, rounded down."""
        return split(self.pico)[0]

    @property
    def residual_pico_usd(self) -> int:
        """What rounding down left, 0 to 999 999."""
        return split(self.pico)[1]


def component_pico(quantity_micro: int, component: Component) -> int:
    """Price a quantity (scaled by 10^6) in pico-USD, rounded half to even."""
    return _divide_half_even(quantity_micro * component.price_e6, component.divisor * MICRO)


def split(pico_usd: int) -> tuple[int, int]:
    """Split an amount into micro-USD, rounded down, and the residual of 0 to 999 999 pico-USD."""
    return divmod(pico_usd, MICRO)


def price_event(entry: Entry, event: Measured) -> Priced | Reject:
    """Price an event under its catalog entry; the same event and entry always give the same amounts."""
    weighted = event.units_micro * entry.weight
    if abs(weighted) > UNITS_MAX:
        detail = f"weighted units must lie within 10^15: got {Decimal(weighted).scaleb(-6):f}"
        return Reject(Reason.QUANTITY_OUT_OF_RANGE, detail)
    breakdown = tuple(component_pico(_quantity_micro(c, event, weighted), c) for c in entry.components)
    total = sum(breakdown)
    largest = max((*breakdown, total), key=abs)
    if abs(largest) > PICO_USD_MAX:
        detail = f"each component and the sum must lie within 2^63 - 1 pico-USD: got {largest}"
        return Reject(Reason.AMOUNT_OUT_OF_RANGE, detail)
    return Priced(weighted, breakdown, total)


def void(priced: Priced) -> Priced:
    """Take an event's price back, as a correction does: negated first, split after."""
    breakdown = tuple(-amount for amount in priced.breakdown_pico)
    return Priced(-priced.weighted_micro, breakdown, -priced.pico)


def _quantity_micro(component: Component, event: Measured, weighted_micro: int) -> int:
    """Find a component's quantity in an event, scaled by 10^6."""
    otherwise = {
        Quantity.ONE: MICRO,
        Quantity.USAGE: 0,
        Quantity.USAGE_OR_ONE: MICRO,
        Quantity.USAGE_OR_UNITS: weighted_micro,
        Quantity.REQUEST_BYTES: event.request_bytes * MICRO,
        Quantity.RESPONSE_BYTES: event.response_bytes * MICRO,
        Quantity.BYTES: (event.request_bytes + event.response_bytes) * MICRO,
        Quantity.UNITS: weighted_micro,
        Quantity.BASE_UNITS: event.units_micro,
        Quantity.STORED_BYTES: event.delta_bytes * MICRO,
    }[component.quantity]
    if component.quantity not in USAGE_QUANTITIES:
        return otherwise
    return dict(event.usage_micro).get(component.usage_source, otherwise)


def _divide_half_even(numerator: int, denominator: int) -> int:
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))
