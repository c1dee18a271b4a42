"""The catalog: what operations cost, who recovers it, and how events are told apart (contract, section 4).

A catalog is a TOML file or a folder of them, one for each version. It is checked as a whole when it is
loaded: the first mistake is a `ConfigError` with file and line. Afterwards it cannot change and never fails.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.event import EventType
from pipeline.key_template import Template, parse_template
from pipeline.spans import SETTLEMENT_OPERATIONS
from pipeline.toml_file import Table, fixed_point, parse_toml, read_toml, shown, suggestion

WEIGHT_MAX = 1_000_000
CREDITS_MAX = 2**63 - 1
SINCE_EVER_MS = -(2**63)
"""Where a version without `effective_from` begins."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHAT = "the catalog"
_KINDS = {kind.name.lower(): kind for kind in EventType if kind is not EventType.CORRECTION}


class Basis(StrEnum):
    """What a price is for."""

    PER_CALL = "per-call"
    PER_REQUEST = "per-request"
    PER_UNIT = "per-unit"
    PER_TOKEN = "per-token"  # noqa: S105 - tokens of a language model
    PER_SECOND = "per-second"
    PER_1K_TOKENS = "per-1k-tokens"
    PER_MB = "per-mb"


class Quantity(IntEnum):
    """What is priced. `USAGE` stands for `usage[source]`, and what is missing is 0."""

    ONE = 0
    USAGE = 1
    USAGE_OR_ONE = 2
    """`usage[source]` where the event reports that source (0 is a report too), else 1."""
    USAGE_OR_UNITS = 3
    """`usage[source]` where the event reports that source, else compute's weighted units, else 0."""
    REQUEST_BYTES = 4
    RESPONSE_BYTES = 5
    BYTES = 6
    """Request and response together."""
    UNITS = 7
    """Compute's units times the weight."""
    BASE_UNITS = 8
    """Compute's units as reported."""
    STORED_BYTES = 9
    """The signed delta."""


class Pricing(StrEnum):
    """How an operation came to its price."""

    PRICED = "priced"
    FREE = "free"
    UNPRICED = "unpriced"


class Settlement(StrEnum):
    """Who recovers the cost."""

    METERED = "metered"
    CREDIT = "credit"
    RATE_LIMITED = "rate-limited"
    FREE = "free"


DIVISORS = dict.fromkeys(Basis, 1) | {Basis.PER_1K_TOKENS: 1_000, Basis.PER_MB: 1_000_000}
_DEFAULT_QUANTITIES = dict.fromkeys(Basis, Quantity.USAGE) | {
    Basis.PER_CALL: Quantity.ONE,
    Basis.PER_REQUEST: Quantity.USAGE_OR_ONE,
    Basis.PER_UNIT: Quantity.USAGE_OR_UNITS,
}
_NAMED_QUANTITIES = {
    "calls": Quantity.ONE,
    "request_bytes": Quantity.REQUEST_BYTES,
    "response_bytes": Quantity.RESPONSE_BYTES,
    "bytes": Quantity.BYTES,
    "units": Quantity.UNITS,
    "base_units": Quantity.BASE_UNITS,
    "stored_bytes": Quantity.STORED_BYTES,
}
USAGE_QUANTITIES = frozenset({Quantity.USAGE, Quantity.USAGE_OR_ONE, Quantity.USAGE_OR_UNITS})
"""Those that look into the event's usage first."""
_USAGE = "usage."


@dataclass(frozen=True, slots=True)
class Component:
    """One line of an operation's cost: a quantity times a price."""

    source: str
    basis: Basis
    price_e6: int
    """Micro-USD times 10^6, exact and unbounded: pico-USD for one unit of the divided quantity."""
    divisor: int
    quantity: Quantity
    usage_source: str = ""
    """For the USAGE quantities: the source in the event's usage."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the catalog says of an operation; with no argument, what it says of one that it does not know."""

    components: tuple[Component, ...] = ()
    pricing: Pricing = Pricing.UNPRICED
    settlement: Settlement = Settlement.METERED
    credits: int | None = None
    """Credits for one event, where the settlement names them."""
    weight: int = 1
    idempotency_key: Template | None = None
    reconciled: bool = False
    """The amount is the third party's actual charge."""


UNPRICED = Entry()


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the prices."""

    version: str
    """Its name, as the ledger's rows carry it."""
    effective_from_ms: int
    """The first millisecond (UTC epoch) that it applies to; `SINCE_EVER_MS` where none is given."""
    operations: Mapping[str, Mapping[EventType, Entry]]
    kinds: Mapping[EventType, Entry]

    def entry(self, event_type: EventType, operation: str) -> Entry:
        """Look an operation up: its own entry, else the shipped one of settlements, else its kind's.

        What none of them has is `UNPRICED`.
        """
        own = self.operations.get(operation)
        if own is not None:
            return own.get(event_type, UNPRICED)
        return _shipped(event_type, operation) or self.kinds.get(event_type, UNPRICED)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All versions, by the moment they take effect."""

    versions: tuple[Version, ...]
    starts_ms: tuple[int, ...] = field(init=False)
    """`effective_from_ms` of each version, ascending: for a search over whole columns."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts_ms", tuple(version.effective_from_ms for version in self.versions))

    def version_at(self, occurred_at_ms: int) -> int:
        """Find the version for a moment: the newest that does not begin after it; -1 where there is none."""
        return bisect_right(self.starts_ms, occurred_at_ms) - 1

    def name(self, version_index: int) -> str:
        """Name a version for the ledger; empty for -1."""
        return self.versions[version_index].version if version_index >= 0 else ""

    def entry(self, version_index: int, event_type: EventType, operation: str) -> Entry:
        """Look an operation up in a version; never fails: what is not declared is `UNPRICED`."""
        if version_index >= 0:
            return self.versions[version_index].entry(event_type, operation)
        return _shipped(event_type, operation) or UNPRICED


def load_catalog(path: Path) -> Catalog:
    """Load a TOML file, or all `*.toml` files of a folder as versions.

    Raises `ConfigError` with the file and the line of the first mistake.
    """
    return _catalog([read_toml(file, _WHAT) for file in _files(path)])


@cache
def default_catalog() -> Catalog:
    """Load the catalog that is shipped: it prices nothing but settlements."""
    file = resources.files("pipeline") / "defaults" / "catalog.toml"
    return _catalog([parse_toml(file.read_text(encoding="utf-8"), "defaults/catalog.toml", _WHAT)])


def _shipped(event_type: EventType, operation: str) -> Entry | None:
    """The shipped entry of a settlement: what the caps have settled is never free because a catalog omits it."""
    if operation not in SETTLEMENT_OPERATIONS:
        return None
    return default_catalog().versions[0].operations[operation].get(event_type)


def _files(path: Path) -> list[Path]:
    """List the file itself, or the versions in a folder by name."""
    try:
        if not path.is_dir():
            return [path]
        files = sorted(file for file in path.iterdir() if file.suffix == ".toml" and file.name[0] != ".")
    except OSError as error:
        msg = f"the catalog {path} cannot be read ({error.strerror}): give one that this user may read"
        raise ConfigError(msg) from None
    if not files:
        msg = f"the catalog folder {path} holds no .toml file: put one for each version there"
        raise ConfigError(msg)
    return files


def _catalog(roots: list[Table]) -> Catalog:
    """Read each file and refuse two versions that cannot be told apart."""
    read: list[tuple[Version, Table]] = []
    for root in roots:
        version = _version(root)
        for other, its in read:
            _check_apart(version, root, other, its)
        read.append((version, root))
    return Catalog(tuple(sorted((version for version, _ in read), key=lambda v: v.effective_from_ms)))


def _check_apart(version: Version, root: Table, other: Version, its: Table) -> None:
    if version.version == other.version:
        root.fail(
            "version", f"version {version.version!r} is also in {its.file.name}: give each its own name"
        )
    if version.effective_from_ms == other.effective_from_ms:
        since = shown(root.values["effective_from"]) if "effective_from" in root else "since ever"
        both = (
            f"version {version.version!r} takes effect {since}, as does {other.version!r} in {its.file.name}"
        )
        root.fail("effective_from", f"{both}: give each its own effective_from")


def _version(root: Table) -> Version:
    root.only("version", "effective_from", "kinds", "operations")
    kinds: dict[EventType, Entry] = {}
    for name, table in root.tables("kinds"):
        kinds[_kind(root, name)] = _entry(table, None)
    operations: dict[str, dict[EventType, Entry]] = {
        name: {kind: _entry(table, kinds.get(kind)) for kind in _KINDS.values()}
        for name, table in root.tables("operations")
    }
    return Version(_version_name(root), _effective_from_ms(root), operations, kinds)


def _version_name(root: Table) -> str:
    """Read the version's name; without one, the file's name without `.toml` serves."""
    return root.text("version") or Path(root.file.name).stem


def _effective_from_ms(root: Table) -> int:
    moment = root.values.get("effective_from")
    if moment is None:
        return SINCE_EVER_MS
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        expected = "a date and time with offset, not in quotes, such as 2026-11-01T00:00:00Z"
        root.fail("effective_from", f"effective_from must be {expected}, not {shown(moment)}")
    return -((_EPOCH - moment) // timedelta(milliseconds=1))


def _kind(root: Table, name: str) -> EventType:
    kind = _KINDS.get(name)
    if kind is None:
        kinds = root.table("kinds") or root
        if name == "correction":
            kinds.fail(name, "a correction has no price: it takes back the amount of the event that it voids")
        kinds.fail(name, f"unknown kind {name!r}: {suggestion(name, _KINDS)}")
    return kind


def _entry(table: Table, kind: Entry | None) -> Entry:
    """Read an entry; without `components` it takes those of `kind`."""
    table.only("components", "weight", "settlement", "idempotency_key", "reconciled")
    components = _components(table)
    if components is None:
        inherited = kind or UNPRICED
        components, pricing = inherited.components, inherited.pricing
    else:
        pricing = Pricing.PRICED if components else Pricing.FREE
    settlement, credits_ = _settlement(table.table("settlement"))
    return Entry(
        components=components,
        pricing=pricing,
        settlement=settlement,
        credits=credits_,
        weight=table.whole("weight", 1, WEIGHT_MAX) or 1,
        idempotency_key=_template(table),
        reconciled=table.flag("reconciled") or False,
    )


def _components(table: Table) -> tuple[Component, ...] | None:
    elements = table.list("components")
    if elements is None:
        return None
    return tuple(_component(table.element("components", n, value)) for n, value in enumerate(elements))


def _component(table: Table) -> Component:
    table.only("source", "basis", "micro_usd", "quantity")
    source = table.text("source")
    if source is None:
        table.fail(None, f"{table.label()} has no source: name who or what costs this, such as 'egress'")
    basis = _basis(table)
    quantity, usage_source = _quantity(table, basis, source)
    return Component(source, basis, _price_e6(table), DIVISORS[basis], quantity, usage_source)


def _basis(table: Table) -> Basis:
    name = table.text("basis")
    if name is None:
        table.fail(None, f"{table.label()} has no basis: give one of {', '.join(Basis)}")
    if name not in set(Basis):
        table.fail("basis", f"unknown basis {name!r}: {suggestion(name, Basis)}")
    return Basis(name)


def _quantity(table: Table, basis: Basis, source: str) -> tuple[Quantity, str]:
    name = table.text("quantity")
    if name is None:
        quantity = _DEFAULT_QUANTITIES[basis]
        return quantity, "" if quantity is Quantity.ONE else source
    if name.startswith(_USAGE) and name != _USAGE:
        return Quantity.USAGE, name.removeprefix(_USAGE)
    if name not in _NAMED_QUANTITIES:
        known = [*_NAMED_QUANTITIES, "usage.<source>"]
        table.fail("quantity", f"unknown quantity {name!r}: {suggestion(name, known)}")
    return _NAMED_QUANTITIES[name], ""


def _price_e6(table: Table) -> int:
    value: Any = table.values.get("micro_usd")
    label = table.label("micro_usd")
    if value is None:
        table.fail(None, f'{table.label()} has no micro_usd: give its price, such as micro_usd = "50"')
    if type(value) in (int, float):
        why = "a TOML number may be a binary float, which cannot hold a price exactly"
        table.fail("micro_usd", f'{label} is the number {value}, but {why}: put it in quotes, as in "16.666"')
    price = fixed_point(value) if isinstance(value, str) else None
    if price is None:
        expected = "a decimal string, not negative, of at most 38 digits and 6 more behind the point"
        table.fail("micro_usd", f'{label} must be {expected}, such as "16.666", not {shown(value)}')
    return price


def _settlement(table: Table | None) -> tuple[Settlement, int | None]:
    if table is None:
        return Settlement.METERED, None
    table.only("method", "credits")
    method = table.text("method") or Settlement.METERED
    if method not in set(Settlement):
        table.fail("method", f"unknown settlement method {method!r}: {suggestion(method, Settlement)}")
    if "credits" in table and method != Settlement.CREDIT:
        table.fail("credits", f"{table.label('credits')} goes with method 'credit' only, not with {method!r}")
    return Settlement(method), table.whole("credits", 0, CREDITS_MAX)


def _template(table: Table) -> Template | None:
    text = table.text("idempotency_key")
    if text is None:
        return None
    try:
        return parse_template(text)
    except ValueError as error:
        table.fail("idempotency_key", f"{table.label('idempotency_key')} is wrong: {error}")
