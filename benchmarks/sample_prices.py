"""The catalog of the sample, and what its events cost: worked out apart from the pipeline, in exact ints."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

TRAFFIC, COMPUTE, STORAGE, WEBHOOK, CORRECTION = range(5)
TYPES = ("traffic", "compute", "storage", "webhook", "correction")
VERSION = "sample-1"

_MICRO = 10**6
_INT64_MAX = 2**63 - 1
_DIVISORS = {"per-1k-tokens": 1000, "per-mb": 10**6}


@dataclass(frozen=True, slots=True)
class Component:
    """One source of cost: a price in micro-USD for what `column` of an event holds in `scale` parts of one.

    An empty column is 1 for each event.
    """

    source: str
    basis: str
    micro_usd: str
    column: str = ""
    scale: int = 1
    quantity: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """What the sample's services do. `share` is how often, among those of its type.

    Without `components` it takes those of its type; where the type has none it is unpriced.
    """

    type: int
    name: str
    share: int
    components: tuple[Component, ...] | None = None
    is_declared: bool = True
    settlement: str = "metered"
    credits: int = 0
    weight: int = 1
    tokens_of: str = ""
    """The source under which its events report tokens, where they do."""
    seconds_of: str = ""
    key_template: str = ""


def _calls(source: str, micro_usd: str) -> Component:
    return Component(source, "per-call", micro_usd)


def _tokens(source: str, micro_usd: str) -> Component:
    return Component(source, "per-1k-tokens", micro_usd, "tokens")


def _seconds(source: str, micro_usd: str) -> Component:
    return Component(source, "per-second", micro_usd, "seconds_micro", _MICRO)


def _units(source: str, micro_usd: str) -> Component:
    return Component(source, "per-unit", micro_usd, "units_micro", _MICRO)


KINDS = {
    TRAFFIC: (Component("egress", "per-mb", "90", "bytes", quantity="bytes"),),
    COMPUTE: (_units("compute", "20"),),
    STORAGE: (Component("disk", "per-mb", "0.023", "delta_bytes", quantity="stored_bytes"),),
}

OPERATIONS = (
    Operation(TRAFFIC, "", 1, is_declared=False),
    Operation(TRAFFIC, "GET /health", 0, ()),
    Operation(
        COMPUTE,
        "ask",
        30,
        (_calls("compute", "50"), _tokens("openai", "2000")),
        settlement="credit",
        credits=10,
        weight=10,
        tokens_of="openai",
    ),
    Operation(COMPUTE, "agent.run", 10, (_units("compute", "35"), _tokens("anthropic", "3000")), weight=3,
              tokens_of="anthropic"),
    Operation(COMPUTE, "embed", 20, (_tokens("openai", "20"),), tokens_of="openai"),
    Operation(COMPUTE, "render", 6, (_seconds("gpu", "166.667"), _calls("compute", "5")), seconds_of="gpu"),
    Operation(COMPUTE, "index.rebuild", 4, weight=4),
    Operation(COMPUTE, "report.run", 6, (_calls("compute", "400"),)),
    Operation(COMPUTE, "task.create", 14, (_calls("compute", "5"),), settlement="rate-limited"),
    Operation(COMPUTE, "preview", 5, (_calls("compute", "12.5"),), settlement="free"),
    Operation(COMPUTE, "sync", 5, ()),
    Operation(COMPUTE, "transcode", 10, is_declared=False, seconds_of="encoder"),
    Operation(STORAGE, "object.put", 1, is_declared=False),
    Operation(WEBHOOK, "webhook.in", 80, (_calls("hooks", "0.4"),)),
    Operation(WEBHOOK, "webhook.delivery", 15, (_calls("hooks", "0.4"),),
              key_template="hook:{$event.body#/delivery}"),
    Operation(WEBHOOK, "webhook.beta", 5, is_declared=False),
)  # fmt: skip
HEALTH = 1
RENDER = 5


def pico_usd(rows: Rows) -> Int64s:
    """Price each event, exactly: components are rounded half to even, each by itself, then added."""
    total = np.zeros(len(rows), np.int64)
    for number, operation in enumerate(OPERATIONS):
        at = np.flatnonzero(rows["operation"] == number)
        components = KINDS.get(operation.type, ()) if operation.components is None else operation.components
        for component in components if len(at) else ():
            total[at] += _component_pico(rows[at], component, operation.weight)
    return total


def settlements(rows: Rows) -> npt.NDArray[np.str_]:
    """Tell who recovers the cost of each event."""
    return np.take(np.array([operation.settlement for operation in OPERATIONS]), rows["operation"])


def _component_pico(rows: Rows, component: Component, weight: int) -> Int64s:
    price = Fraction(component.micro_usd) * _MICRO / _DIVISORS.get(component.basis, 1) / component.scale
    if component.column == "units_micro":
        price *= weight
    return round_half_even(_quantity(rows, component.column), price)


def _quantity(rows: Rows, column: str) -> Int64s:
    if not column:
        return np.ones(len(rows), np.int64)
    return rows["request_bytes"] + rows["response_bytes"] if column == "bytes" else rows[column]


def round_half_even(quantities: Int64s, price: Fraction) -> Int64s:
    """Multiply each quantity by the price, to whole numbers; a half goes to the even neighbour."""
    top, bottom = price.numerator, price.denominator
    fits = int(np.abs(quantities).max(initial=0)) * top <= _INT64_MAX
    products = (quantities if fits else quantities.astype(object)) * top
    wholes, rests = products // bottom, products % bottom
    upwards = (2 * rests > bottom) | ((2 * rests == bottom) & (wholes % 2 == 1))
    return np.asarray(wholes + upwards, np.int64)


def catalog_toml() -> str:
    """Write the catalog as the file that `millrace run --catalog` takes."""
    parts = ["# What the operations of the sample cost.", f'version = "{VERSION}"', ""]
    for kind, components in KINDS.items():
        parts += [f"[kinds.{TYPES[kind]}]", _components_toml(components), ""]
    for operation in OPERATIONS:
        if operation.is_declared:
            parts += [f'[operations."{operation.name}"]', *_entry_toml(operation), ""]
    return "\n".join(parts)


def _entry_toml(operation: Operation) -> list[str]:
    lines = []
    if operation.components is not None:
        lines.append(_components_toml(operation.components))
    if operation.weight != 1:
        lines.append(f"weight = {operation.weight}")
    if operation.settlement != "metered":
        credits_ = f", credits = {operation.credits}" if operation.credits else ""
        lines.append(f'settlement = {{ method = "{operation.settlement}"{credits_} }}')
    if operation.key_template:
        lines.append(f'idempotency_key = "{operation.key_template}"')
    return lines


def _components_toml(components: tuple[Component, ...]) -> str:
    if not components:
        return "components = []"
    return "\n".join(["components = [", *(f"  {_component_toml(c)}," for c in components), "]"])


def _component_toml(component: Component) -> str:
    quantity = f', quantity = "{component.quantity}"' if component.quantity else ""
    price = f'basis = "{component.basis}", micro_usd = "{component.micro_usd}"'
    return f'{{ source = "{component.source}", {price}{quantity} }}'
