"""The declaration of meters: what each sums, its unit, its name at Stripe and its price (TOML).

A meter never changes its meaning once it has reported: what it sums and its unit are kept in the control
store, and another meaning needs another event name. Examples: `examples/meters.toml`.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from billing.store import Store
from billing.tables import meters as meters_table
from pipeline.errors import ConfigError
from pipeline.outbox import HOUR_S, Measure, Sums
from pipeline.toml_file import Table, fixed_point, parse_toml, read_toml, shown

DEFAULT = """
[meters.cost]
event_name = "millrace_micro_usd"
display_name = "Metered cost in micro-USD"
sums = "cost"
unit = "1"
price = { unit_amount_decimal = "0.0001" }
"""
WHAT = "the meters file"
_EVENT_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_CURRENCY = re.compile(r"[a-z]{3}")
_INTERVALS = ("day", "week", "month", "year")


@dataclass(frozen=True, slots=True)
class Price:
    """What Stripe charges for one unit: a decimal string in the currency's smallest unit (cents)."""

    unit_amount_decimal: str
    currency: str = "usd"
    interval: str = "month"


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter: `unit` of what `measure` sums is one whole unit at Stripe."""

    name: str
    event_name: str
    display_name: str
    measure: Measure
    unit: int
    """Scaled by 10^6: pico-USD for cost, millionths for quantities; above 0."""
    price: Price | None = None

    @property
    def definition(self) -> str:
        """The meter's meaning as text that two programs compare."""
        measure = self.measure
        sums = measure.sums.value if measure.sums is not Sums.USAGE else f"usage.{measure.usage_source}"
        meaning = {
            "sums": sums,
            "operations": sorted(measure.operations),
            "sources": sorted(measure.sources),
            "unit": f"{self.unit // 10**6}.{self.unit % 10**6:06}",
        }
        return json.dumps(meaning, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Declaration:
    """All meters, and how Stripe's invoices close."""

    meters: tuple[Meter, ...]
    namespace: str = "millrace"
    """Part of every identifier: two installations that report to one account need two."""
    bill_from: int = 0
    """Usage before this hour is never told."""
    finalizes_after_s: int = HOUR_S
    """The grace between a period's end and its invoice's finalisation, as it is set in Stripe."""


def load_meters(path: Path | None) -> Declaration:
    """Read the declaration at `path`, or the built-in one: a single meter of all metered micro-USD.

    Raises `ConfigError` that names the file and the line.
    """
    root = read_toml(path, WHAT) if path else parse_toml(DEFAULT, "the built-in meters", WHAT)
    root.only("namespace", "bill_from", "finalizes_after_hours", "meters")
    namespace = (
        _matching(root, "namespace", _NAMESPACE, "1 to 64 letters, digits, dots, dashes") or "millrace"
    )
    hours = root.whole("finalizes_after_hours", 1, 72) or 1
    meters = tuple(_meter(name, table) for name, table in root.tables("meters"))
    if not meters:
        root.fail(
            None, "no meter is declared: add a table [meters.NAME], or give no file for the built-in one"
        )
    _refuse_same_event_name(root, meters)
    return Declaration(meters, namespace, _bill_from(root), hours * HOUR_S)


def hold_meaning(store: Store, declaration: Declaration, *, write: bool = True) -> None:
    """Note what each meter means, and raise `ConfigError` where one has reported with another meaning."""
    with store.write() if write else store.read() as connection:
        rows = connection.execute(select(meters_table.c.event_name, meters_table.c.definition))
        known = {row.event_name: row.definition for row in rows}
        for meter in declaration.meters:
            held = known.get(meter.event_name)
            if held is None and write:
                values = {"event_name": meter.event_name, "definition": meter.definition}
                connection.execute(insert(meters_table).values(values))
            elif held not in {None, meter.definition}:
                raise ConfigError(_changed(meter, held))


def _changed(meter: Meter, held: str | None) -> str:
    return (
        f"meter {meter.name!r} (event name {meter.event_name!r}) has reported as {held}, but is declared as "
        f"{meter.definition}: declare the new meaning under a new event name, and set bill_from to the hour "
        "from which it counts"
    )


def _meter(name: str, table: Table) -> Meter:
    table.only("event_name", "display_name", "sums", "operations", "sources", "unit", "price")
    allowed = "1 to 100 letters, digits and _ . : -"
    event_name = _matching(table, "event_name", _EVENT_NAME, allowed) or f"millrace_{name}"
    measure = _measure(table)
    return Meter(
        name=name,
        event_name=event_name,
        display_name=table.text("display_name") or name,
        measure=measure,
        unit=_unit(table),
        price=_price(table),
    )


def _measure(table: Table) -> Measure:
    text = table.text("sums") or "cost"
    kind, _, source = text.partition(".")
    if kind not in {s.value for s in Sums} or (kind == Sums.USAGE) != bool(source):
        expected = ", ".join(s.value for s in Sums if s is not Sums.USAGE)
        table.fail("sums", f"{table.label('sums')} must be one of {expected} or usage.SOURCE, not {text!r}")
    sources = _names(table, "sources")
    if sources and kind != Sums.COST:
        table.fail("sources", f'{table.label("sources")} goes with sums = "cost" only: leave it out')
    return Measure(Sums(kind), source, _names(table, "operations"), sources)


def _names(table: Table, key: str) -> tuple[str, ...]:
    values = table.list(key)
    for value in values or ():
        if not isinstance(value, str) or not value:
            table.fail(key, f"{table.label(key)} must be an array of names, not of {shown(value)}")
    if values == []:
        table.fail(key, f"{table.label(key)} is empty, so nothing would be summed: name some or leave it out")
    return tuple(dict.fromkeys(values or ()))


def _unit(table: Table) -> int:
    text = table.text("unit") or "1"
    unit = fixed_point(text)
    if not unit:
        expected = 'a decimal string above 0 with at most 6 fractional digits, such as "1000"'
        table.fail("unit", f"{table.label('unit')} must be {expected}, not {text!r}")
    return unit


def _price(table: Table) -> Price | None:
    price = table.table("price")
    if price is None:
        return None
    price.only("unit_amount_decimal", "currency", "interval")
    amount = _matching(price, "unit_amount_decimal", _AMOUNT, 'a decimal string in cents such as "0.04"')
    if amount is None:
        price.fail(None, f'{price.label()} needs unit_amount_decimal, in cents: add it, such as "0.04"')
    currency = _matching(price, "currency", _CURRENCY, 'three small letters such as "usd"') or "usd"
    interval = price.text("interval") or "month"
    if interval not in _INTERVALS:
        price.fail("interval", f"{price.label('interval')} must be one of {', '.join(_INTERVALS)}")
    return Price(amount, currency, interval)


def _matching(table: Table, key: str, pattern: re.Pattern[str], expected: str) -> str | None:
    text = table.text(key)
    if text is not None and not pattern.fullmatch(text):
        table.fail(key, f"{table.label(key)} must be {expected}, not {text!r}")
    return text


def _bill_from(root: Table) -> int:
    value: Any = root.values.get("bill_from")
    if value is None:
        return 0
    if not isinstance(value, datetime) or value.tzinfo is None or value.timestamp() % HOUR_S:
        expected = "the start of an hour with its offset, such as 2026-11-01T00:00:00Z"
        root.fail("bill_from", f"bill_from must be {expected}, not {shown(value)}")
    return int(value.astimezone(UTC).timestamp())


def _refuse_same_event_name(root: Table, meters: tuple[Meter, ...]) -> None:
    seen: dict[str, str] = {}
    for meter in meters:
        other = seen.setdefault(meter.event_name, meter.name)
        if other != meter.name:
            place = ("meters", meter.name, "event_name")
            sentence = f"meters.{meter.name} and meters.{other} both report as {meter.event_name!r}"
            root.file.fail(place, f"{sentence}: give each its own event_name")
