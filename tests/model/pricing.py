"""What an event costs (contract, section 4), in exact fractions."""

import datetime as dt
import re
from dataclasses import dataclass
from fractions import Fraction

from .json_text import Number, exact
from .reading import QUANTITY_MAX, refuse_if

DIVISORS = {
    "per-call": 1,
    "per-request": 1,
    "per-unit": 1,
    "per-token": 1,
    "per-second": 1,
    "per-1k-tokens": 1000,
    "per-mb": 1_000_000,
}
AMOUNT_MAX = 2**63 - 1
_TEMPLATE = re.compile(r"\{\$event\.(id|body#[^}]*)\}")


@dataclass
class Rated:
    version: str
    pricing: str
    settlement: str
    weighted_units: Fraction
    breakdown: list

    @property
    def pico(self):
        return sum(pico for _, pico in self.breakdown)


def version_at(versions, at_ms):
    """The catalog that applies at an instant: the newest that is in force, or an empty one."""
    at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=at_ms)
    in_force = [version for version in versions if _effective_from(version) <= at]
    return max(in_force, key=_effective_from, default={})


def _effective_from(version):
    return version.get("effective_from", dt.datetime.min.replace(tzinfo=dt.UTC))


def _entries(version, event):
    """-> (the entry that applies or None, the default of the type or None)."""
    default = version.get("kinds", {}).get(event.type)
    return version.get("operations", {}).get(event.operation, default), default


def key_of(version, event):
    """The event's idempotency key: its own, the template's, or source and id."""
    entry, _ = _entries(version, event)
    template = (entry or {}).get("idempotency_key") if event.type != "correction" else None
    key = event.key or (template and _fill(template, event))
    return key if key and len(key) <= 512 else f"{event.source} {event.event_id}"


def _fill(template, event):
    """The template's text, or None where the event lacks a member that it names."""
    parts = []
    for number, part in enumerate(_TEMPLATE.split(template)):
        named = part if number % 2 == 0 else _named(part, event)
        if named is None:
            return None
        parts.append(named)
    return "".join(parts)


def _named(name, event):
    if name == "id":
        return event.event_id
    value = event.payload
    for step in name.removeprefix("body#").split("/")[1:]:
        member = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            index = int(member) if re.fullmatch(r"0|[1-9][0-9]*", member) else len(value)
            value = value[index] if index < len(value) else None
        else:
            value = value.get(member) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str) else None


def rate(version, event):
    """The amounts of an event; refuses what is out of range, quantities before amounts."""
    entry, default = _entries(version, event)
    weighted = event.units * (entry or {}).get("weight", 1)
    refuse_if(weighted > QUANTITY_MAX, "quantity_out_of_range")
    components = (entry or {}).get("components", (default or {}).get("components"))
    breakdown = [(part["source"], _pico(part, event, weighted)) for part in components or []]
    amounts = [pico for _, pico in breakdown]
    refuse_if(any(abs(pico) > AMOUNT_MAX for pico in [*amounts, sum(amounts)]), "amount_out_of_range")
    return Rated(
        version=version.get("version", ""),
        pricing="unpriced" if components is None else "priced" if components else "free",
        settlement=(entry or {}).get("settlement", {}).get("method", "metered"),
        weighted_units=weighted,
        breakdown=breakdown,
    )


def _pico(component, event, weighted):
    price, _ = exact(Number(component["micro_usd"]))
    quantity = _priced_quantity(component, event, weighted)
    return round(quantity * price * 10**6 / DIVISORS[component["basis"]])


def _priced_quantity(component, event, weighted):
    if "quantity" in component:
        return _named_quantity(component["quantity"], event, weighted)
    if component["basis"] == "per-call":
        return Fraction(1)
    missing = {"per-request": Fraction(1), "per-unit": weighted}
    return event.usage.get(component["source"], missing.get(component["basis"], Fraction(0)))


def _named_quantity(name, event, weighted):
    if name.startswith("usage."):
        return event.usage.get(name.removeprefix("usage."), Fraction(0))
    return {
        "calls": Fraction(1),
        "request_bytes": event.request_bytes,
        "response_bytes": event.response_bytes,
        "bytes": event.request_bytes + event.response_bytes,
        "units": weighted,
        "base_units": event.units,
        "stored_bytes": event.delta_bytes,
    }[name]
