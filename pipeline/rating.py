"""What a batch costs: the catalog's entries found for each row, and exact amounts in pico-USD."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.catalog import Catalog, Entry
from pipeline.columns import Columns, Int8s, Int32s, Int64s
from pipeline.dictionary import Dictionary
from pipeline.event import EventType, Reason, Reject
from pipeline.kernels.layout import KIND_OPERATION, KIND_TENANT, KIND_USAGE
from pipeline.kernels.rating import UNRESOLVED, entry_rows, rate, version_rows
from pipeline.pricing import Quantities, price_event

_INT64_MAX = (1 << 63) - 1
_WORD = (1 << 64) - 1
_ANSWERS_MAX = 1_000_000
"""Operations may be many; what they are priced by is only remembered up to here."""


@dataclass(slots=True)
class Rates:
    """entries int32[n] into the rater's list (-1: none); versions int16[n] (-1: none applies).

    pico int64[n] is the event's amount; parts int64 from part_first[i] to part_first[i + 1] its components' in
    the catalog's order; weighted int64[n, 2] its weighted units, 128 bits scaled by 10^6.
    """

    entries: Int32s
    versions: np.ndarray
    weighted: Int64s
    pico: Int64s
    part_first: Int32s
    parts: Int64s


class Prices:
    """The catalog's entries met so far as arrays, for the inner loop."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.numbers: dict[Entry, int] = {}
        self.source_names: list[str] = []
        self._source_numbers: dict[str, int] = {}
        self._rows: list[tuple[int, int, int, int]] = []
        self.rebuild()

    def number(self, entry: Entry) -> int:
        """The number of an entry, given when it is first met."""
        found = self.numbers.get(entry)
        if found is None:
            found = self.numbers[entry] = len(self.entries)
            self.entries.append(entry)
            self.rebuild()
        return found

    def source(self, name: str) -> int:
        """The number of a cost source or usage source."""
        number = self._source_numbers.get(name)
        if number is None:
            number = self._source_numbers[name] = len(self.source_names)
            self.source_names.append(name)
        return number

    def known_source(self, name: str) -> int:
        """The number of a usage source that some price looks at, else -1."""
        return self._source_numbers.get(name, -1)

    def pricing_codes(self, names: Sequence[str]) -> Int64s:
        """Each entry's pricing as a number into `names`."""
        return np.array([names.index(e.pricing) for e in self.entries], np.int64)

    def settlement_codes(self, names: Sequence[str]) -> Int64s:
        """Each entry's settlement as a number into `names`."""
        return np.array([names.index(e.settlement) for e in self.entries], np.int64)

    def reconciled(self) -> Int8s:
        """Whether each entry's amount is the third party's actual charge."""
        return np.array([e.reconciled for e in self.entries], np.int8)

    def rebuild(self) -> None:
        """Lay the entries out for the inner loop."""
        components = [c for e in self.entries for c in e.components]
        counts = [len(e.components) for e in self.entries]
        self.weights = np.array([e.weight for e in self.entries], np.int64)
        self.component_count = np.array(counts, np.int32)
        self.component_first = np.cumsum([0, *counts], dtype=np.int32)[:-1]
        self.prices = np.array([c.price_e6 if c.price_e6 <= _INT64_MAX else -1 for c in components], np.int64)
        self.divisors = np.array([c.divisor for c in components], np.int64)
        self.usage_of = np.array([self.source(c.usage_source) for c in components], np.int32)
        self.quantity_of = np.array([int(c.quantity) for c in components], np.int8)
        self.part_source = np.array([self.source(c.source) for c in components], np.int32)


class Rater:
    """Prices batches by one catalog. Not shared between threads.

    Guarantee: the amounts are those of `pipeline.pricing.price_event`, byte for byte, whatever the batch. A row
    whose weighted units or amounts do not fit is rejected with its reason.
    """

    def __init__(self, catalog: Catalog, is_known_tenant: Callable[[str], bool] | None = None) -> None:
        self._catalog = catalog
        self._is_known_tenant = is_known_tenant
        self.prices = Prices()
        self._effective = np.array([v.effective_from_ms for v in catalog.versions], np.int64)
        self._cache: dict[tuple[int, int, str], int] = {}

    @property
    def entries(self) -> list[Entry]:
        """The entries that `Rates.entries` counts through."""
        return self.prices.entries

    def version_names(self) -> list[str]:
        """The names of the catalog's versions behind an empty one: `Rates.versions` + 1 counts through them."""
        return ["", *(v.version for v in self._catalog.versions)]

    def find_entries(self, columns: Columns, dictionary: Dictionary) -> tuple[Int32s, np.ndarray]:
        """The entry and the catalog version of each row; -1 where there is none (rejects, corrections)."""
        n = len(columns)
        versions = np.empty(n, np.int16)
        version_rows(columns.times, self._effective, versions)
        operations = dictionary.codes[:, KIND_OPERATION]
        known = np.full(
            (len(self._effective) + 1, 5, max(int(dictionary.counts[KIND_OPERATION]), 1)),
            UNRESOLVED,
            np.int32,
        )
        entries = np.empty(n, np.int32)
        if not entry_rows(columns.verdicts, columns.types, versions, operations, known, entries):
            self._resolve(known, dictionary.values(KIND_OPERATION, columns))
            entry_rows(columns.verdicts, columns.types, versions, operations, known, entries)
        return entries, versions

    def _resolve(self, known: np.ndarray, operations: list[str]) -> None:
        for version, kind, operation in np.argwhere(known == UNRESOLVED - 1).tolist():
            key = (version - 1, kind, operations[operation])
            number = self._cache.get(key)
            if number is None:
                entry = self._catalog.entry(key[0], EventType(kind), key[2])
                number = self._cache[key] = self.prices.number(entry)
                if len(self._cache) > _ANSWERS_MAX:
                    self._cache.clear()
            known[version, kind, operation] = number

    def rate(self, columns: Columns, dictionary: Dictionary, entries: Int32s, versions: np.ndarray) -> Rates:
        """Price every row; rejects those that the contract does not let through."""
        compiled, n = self.prices, len(columns)
        most = int(compiled.component_count.max()) if len(compiled.component_count) else 0
        names = dictionary.values(KIND_USAGE, columns)
        source_of = np.array([compiled.known_source(name) for name in names] or [-1], np.int32)
        usage_source = source_of[dictionary.usage_codes] if columns.usage_used else np.empty(0, np.int32)
        rates = Rates(
            entries, versions, np.empty((n, 2), np.int64), np.empty(n, np.int64), np.empty(n + 1, np.int32),
            np.empty(n * most, np.int64),
        )  # fmt: skip
        wide = np.empty(n, np.int32)
        used, wides = rate(
            columns.verdicts, columns.types, entries, columns.quantities, columns.units, columns.usage_first,
            columns.usage_count, usage_source, columns.usage_value, compiled.weights, compiled.component_first,
            compiled.component_count, compiled.prices, compiled.divisors, compiled.usage_of, compiled.quantity_of,
            rates.weighted, rates.pico, rates.part_first, rates.parts, wide,
        )  # fmt: skip
        rates.parts = rates.parts[:used]
        for row in wide[:wides].tolist():
            self._rate_exactly(columns, rates, row)
        self._refuse_unknown_tenants(columns, dictionary)
        return rates

    def _rate_exactly(self, columns: Columns, rates: Rates, row: int) -> None:
        quantities = Quantities(
            EventType(int(columns.types[row])),
            int(columns.quantities[row, 0]),
            int(columns.quantities[row, 1]),
            int(columns.quantities[row, 2]),
            columns.units_micro(row),
            columns.usage(row),
        )
        priced = price_event(self.entries[rates.entries[row]], quantities)
        if isinstance(priced, Reject):
            columns.reject(row, priced)
            return
        first = rates.part_first[row]
        rates.parts[first : first + len(priced.breakdown_pico)] = priced.breakdown_pico
        rates.pico[row] = priced.pico
        low = priced.weighted_micro & _WORD
        rates.weighted[row] = (low - (1 << 64) if low >> 63 else low, priced.weighted_micro >> 64)

    def _refuse_unknown_tenants(self, columns: Columns, dictionary: Dictionary) -> None:
        if self._is_known_tenant is None:
            return
        names = dictionary.values(KIND_TENANT, columns)
        unknown = np.array([not self._is_known_tenant(name) for name in names] or [False])
        rows = np.flatnonzero((columns.verdicts == 0) & unknown[dictionary.codes[:, KIND_TENANT]])
        for row in rows.tolist():
            tenant = names[dictionary.codes[row, KIND_TENANT]]
            columns.reject(
                row,
                Reject(
                    Reason.UNKNOWN_TENANT,
                    f"tenant {tenant!r} is not in the accounts: add it, or set unknown_tenants to accept",
                ),
            )
