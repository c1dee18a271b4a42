"""Pricing of whole columns gives the amounts of the reference, or rejects for the same reason, row by row."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batch import Batch, Preparer
from pipeline.catalog import DIVISORS, Basis, Catalog, Component, Entry, Pricing, Quantity, Version
from pipeline.decode import Decoder
from pipeline.event import EventType, Reason, Reject
from pipeline.pricing import price_event
from pipeline.rating import Rater
from pipeline.strict import Rules, decode_event
from tests.lines import NOW_MS, Members, event_of, written
from tests.test_scanner_agrees import NoFormats, chunk_of

KINDS = [EventType.TRAFFIC, EventType.COMPUTE, EventType.STORAGE, EventType.WEBHOOK]
SOURCES = ["openai", "gpu", "compute", "caf\xe9", "never reported"]
PRICES_E6 = [
    0,
    1,
    2,
    3,
    500_000,
    999_999,
    1_000_000,
    16_666_000,
    90_000_000,
    2_000_000_000,
    10**12,
    2**31,
    2**32 + 1,
    2**53 + 1,
    2**62,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
]
QUANTITIES = [
    "0",
    "1",
    "2",
    "3",
    "0.5",
    "1.5",
    "2.5",
    "0.000001",
    "0.000002",
    "0.0000015",
    "0.999999",
    "1000",
    "1500",
    "999999",
    "123456789.123456",
    "9223372036854",
    "9223372036855",
    "9007199254740.993",
    "999999999999999.999999",
    "1000000000000000",
    "500000000000000.5",
    "1e3",
]
WEIGHTS = [1, 1, 2, 10, 999_983, 1_000_000]


class Maker:
    """Makes catalogs and lines; the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pick = self.random.choice

    def catalog(self) -> Catalog:
        return Catalog(tuple(self._version(n) for n in range(self.random.randrange(1, 4))))

    def _version(self, number: int) -> Version:
        operations = {
            f"op{n}": {kind: self._entry() for kind in KINDS if self.random.random() < 0.9} for n in range(6)
        }
        kinds = {kind: self._entry() for kind in KINDS if self.random.random() < 0.5}
        return Version(f"v{number}", NOW_MS - 10**9 + number * 400_000_000, operations, kinds)

    def _entry(self) -> Entry:
        components = tuple(self._component() for _ in range(self.pick((0, 1, 1, 2, 3, 5))))
        return Entry(components, Pricing.PRICED, weight=self.pick(WEIGHTS))

    def _component(self) -> Component:
        basis = self.pick(list(Basis))
        price = (
            self.pick(PRICES_E6)
            if self.random.random() < 0.7
            else self.random.randrange(10 ** self.random.randrange(1, 20))
        )
        return Component(
            self.pick(SOURCES), basis, price, DIVISORS[basis], self.pick(list(Quantity)), self.pick(SOURCES)
        )

    def line(self) -> bytes:
        kind = self.pick(KINDS)
        name = kind.name.lower().encode()
        data: Members = [(b"operation", b'"op%d"' % self.random.randrange(8))]
        if self.random.random() < 0.7:
            sources = self.random.sample([*SOURCES, "other"], self.random.randrange(4))
            data.append((b"usage", written([(source.encode(), self._quantity()) for source in sources])))
        data += {
            EventType.TRAFFIC: [(b"request_bytes", self._bytes()), (b"response_bytes", self._bytes())],
            EventType.COMPUTE: [(b"units", self._quantity())] * self.random.randrange(2),
            EventType.STORAGE: [(b"delta_bytes", self.pick((b"", b"-")) + self._bytes())],
            EventType.WEBHOOK: [],
        }[kind]
        ago = self.random.randrange(11 * 10**8)
        time = np.datetime_as_string(np.datetime64(NOW_MS - ago, "ms")).encode()
        attributes = [m for m in event_of(name) if m[0] not in {b"time", b"data"}]
        return written([*attributes, (b"time", b'"%bZ"' % time), (b"data", written(data))])

    def _quantity(self) -> bytes:
        whole, fraction = (
            self.random.randrange(10 ** self.random.randrange(1, 15)),
            self.random.randrange(10**6),
        )
        return self.pick((self.pick(QUANTITIES).encode(), b"%d.%06d" % (whole, fraction)))

    def _bytes(self) -> bytes:
        return self.pick(
            (b"0", b"1", b"500000", b"1500000", b"1000000000000000", b"%d" % self.random.randrange(10**10))
        )


def expected(catalog: Catalog, line: bytes) -> tuple[object, ...]:
    """What the strict decoder and the reference price make of a line."""
    event = decode_event(line, NOW_MS, Rules())
    if isinstance(event, Reject):
        return (event.reason, event.detail)
    version = catalog.version_at(event.occurred_at_ms)
    priced = price_event(catalog.entry(version, event.type, event.operation), event)
    if isinstance(priced, Reject):
        return (priced.reason, priced.detail)
    return (version, priced.weighted_micro, priced.breakdown_pico, priced.pico)


def found(batch: Batch, row: int) -> tuple[object, ...]:
    c, rates = batch.columns, batch.rates
    if c.verdicts[row]:
        return (Reason(int(c.verdicts[row])), c.details[row])
    low, high = (int(word) for word in rates.weighted[row])
    parts = rates.parts[rates.part_first[row] : rates.part_first[row + 1]]
    weighted = (high << 64) | (low & (1 << 64) - 1)
    return (int(rates.versions[row]), weighted, tuple(parts.tolist()), int(rates.pico[row]))


def rated(rater: Rater, lines: list[bytes], *, fast: bool = True) -> Batch:
    return Preparer(Decoder(Rules(), fast), rater, NoFormats(), (1, 2), 2).prepare(chunk_of(lines))


@pytest.mark.parametrize("seed", range(60))
def test_every_row_of_a_batch_is_priced_as_the_reference_prices_it(seed):
    maker = Maker(seed)
    catalog = maker.catalog()
    rater = Rater(catalog)
    for _ in range(3):  # one rater for several batches: it learns entries and sources as it goes
        lines = [maker.line() for _ in range(100)]
        batch = rated(rater, lines)
        assert [found(batch, row) for row in range(100)] == [expected(catalog, line) for line in lines]


def test_the_random_rows_meet_every_way_through():
    reasons, wide = set(), 0
    for seed in range(20):
        maker = Maker(seed)
        batch = rated(Rater(maker.catalog()), [maker.line() for _ in range(300)])
        reasons |= {Reason(int(v)) for v in batch.columns.verdicts}
        wide += int((batch.rates.weighted[batch.columns.verdicts == 0, 1] != 0).sum())

    assert {
        Reason.NONE,
        Reason.QUANTITY_OUT_OF_RANGE,
        Reason.AMOUNT_OUT_OF_RANGE,
        Reason.INVALID_DATA,
    } <= reasons
    assert wide > 20


# One component, one quantity, anywhere in its range.

COMPONENTS = st.builds(
    lambda price, basis, quantity: Component("s", basis, price, DIVISORS[basis], quantity, "u"),
    st.one_of(st.sampled_from(PRICES_E6), st.integers(0, 2**64), st.integers(0, 10**9)),
    st.sampled_from(list(Basis)),
    st.sampled_from(list(Quantity)),
)
SCALED = st.one_of(st.integers(0, 10**21), st.integers(0, 10**7), st.sampled_from([10**21, 10**6, 5 * 10**5]))
SIZES = st.one_of(st.integers(-(10**15), 10**15), st.integers(-1000, 1000))


def decimal(micro: int) -> bytes:
    return b"%d.%06d" % divmod(micro, 10**6)


@given(
    st.lists(COMPONENTS, max_size=4),
    st.sampled_from(WEIGHTS),
    st.tuples(SCALED, st.none() | SCALED),
    st.tuples(SIZES, SIZES),
)
@settings(deadline=None, max_examples=300)
def test_any_quantity_at_any_price_comes_out_as_the_reference_says(components, weight, scaled, sizes):
    entry = Entry(tuple(components), Pricing.PRICED, weight=weight)
    (units, usage), (size, delta) = scaled, sizes
    kinds = dict.fromkeys(KINDS, entry)
    catalog = Catalog((Version("v", 0, {}, kinds),))
    reported = [] if usage is None else [(b"usage", written([(b"u", decimal(usage))]))]
    datas = {
        b"traffic": [(b"request_bytes", b"%d" % abs(size)), (b"response_bytes", b"%d" % abs(delta))],
        b"compute": [(b"operation", b'"o"'), (b"units", decimal(units))],
        b"storage": [(b"delta_bytes", b"%d" % delta)],
        b"webhook": [],
    }
    lines = [
        written([*event_of(kind)[:-1], (b"data", written([*data, *reported]))])
        for kind, data in datas.items()
    ]

    batch = rated(Rater(catalog), lines)

    assert [found(batch, row) for row in range(4)] == [expected(catalog, line) for line in lines]


# Edges, by hand.


def amounts(
    components: list[Component], data: Members, kind: bytes = b"compute", weight: int = 1
) -> tuple[object, ...]:
    entry = Entry(tuple(components), Pricing.PRICED, weight=weight)
    catalog = Catalog((Version("v", 0, {}, dict.fromkeys(KINDS, entry)),))
    line = written([*event_of(kind)[:-1], (b"data", written([*data, (b"operation", b'"o"')]))])
    batch = rated(Rater(catalog), [line])
    assert found(batch, 0) == expected(catalog, line)
    return found(batch, 0)


def per(price_e6: int, quantity: Quantity, basis: Basis = Basis.PER_UNIT) -> Component:
    return Component("s", basis, price_e6, DIVISORS[basis], quantity, "u")


@pytest.mark.parametrize(
    ("price_e6", "delta", "pico"),
    [
        (2**63 - 1, 1, 2**63 - 1),
        (2**63 - 1, -1, -(2**63 - 1)),
        (2**62, -2, Reason.AMOUNT_OUT_OF_RANGE),
        (2**62, 2, Reason.AMOUNT_OUT_OF_RANGE),
        (2**63, 1, Reason.AMOUNT_OUT_OF_RANGE),
        (2**63, 0, 0),
        (9223, 10**15, 9223 * 10**15),
        (9224, -(10**15), Reason.AMOUNT_OUT_OF_RANGE),
        (1, -(10**15), -(10**15)),
        (0, -(10**15), 0),
    ],
)
def test_an_amount_is_kept_or_refused_exactly_at_the_edge(price_e6, delta, pico):
    data = [(b"delta_bytes", b"%d" % delta)]
    outcome = amounts([per(price_e6, Quantity.STORED_BYTES)], data, b"storage")
    assert outcome[0] == pico if isinstance(pico, Reason) else outcome[3] == pico


@pytest.mark.parametrize(
    ("bytes_", "pico"),
    [
        (500_000, 0),
        (500_001, 1),
        (1_500_000, 2),
        (2_500_000, 2),
        (-500_000, 0),
        (-500_001, -1),
        (-1_500_000, -2),
        (-2_500_000, -2),
    ],
)
def test_a_half_goes_to_the_even_neighbour_on_either_side_of_zero(bytes_, pico):
    data = [(b"delta_bytes", b"%d" % bytes_)]
    assert amounts([per(1, Quantity.STORED_BYTES, Basis.PER_MB)], data, b"storage")[3] == pico


def test_a_sum_that_only_in_between_leaves_64_bits_is_kept():
    data = [(b"delta_bytes", b"-1"), (b"usage", b'{"u":1}')]
    components = [
        per(2**63 - 1, Quantity.USAGE),
        per(2**63 - 1, Quantity.USAGE),
        per(2**63 - 1, Quantity.STORED_BYTES),
    ]

    version, _, breakdown, pico = amounts(components, data, b"storage")

    assert (version, breakdown, pico) == (0, (2**63 - 1, 2**63 - 1, -(2**63 - 1)), 2**63 - 1)


def test_a_sum_beyond_64_bits_is_refused_though_each_part_fits():
    components = [per(2**63 - 1, Quantity.ONE), per(1, Quantity.ONE)]
    assert amounts(components, [])[0] is Reason.AMOUNT_OUT_OF_RANGE


@pytest.mark.parametrize(
    ("units", "weight", "is_kept"),
    [
        (b"1000000000", 10**6, True),
        (b"1000000000.000001", 10**6, False),
        (b"1000000000000000", 1, True),
        (b"500000000000000.000001", 2, False),
        (b"9223372036854.775807", 2, True),
        (b"9223372036854.775808", 1, True),
    ],
)
def test_weighted_units_are_bounded_after_the_weight(units, weight, is_kept):
    outcome = amounts([per(1, Quantity.UNITS)], [(b"units", units)], weight=weight)
    assert (outcome[0] is not Reason.QUANTITY_OUT_OF_RANGE) is is_kept


def test_a_source_reported_as_zero_is_a_report():
    components = [per(7, Quantity.USAGE_OR_ONE), per(7, Quantity.USAGE_OR_UNITS), per(7, Quantity.USAGE)]

    assert amounts(components, [(b"units", b"3"), (b"usage", b'{"u":0}')])[2] == (0, 0, 0)
    assert amounts(components, [(b"units", b"3"), (b"usage", b'{"v":5}')])[2] == (7, 21, 0)
    assert amounts(components, [(b"units", b"3")], weight=2)[2] == (7, 42, 0)


def test_a_batch_without_a_single_valid_row_is_rated_too():
    batch = rated(Rater(Maker(1).catalog()), [b"{}", b"[]", b"x"])
    assert batch.columns.verdicts.all()
    assert batch.rates.parts.tolist() == []


def test_a_catalog_without_prices_leaves_everything_unpriced():
    batch = rated(Rater(Catalog(())), [written(event_of(b"compute"))])
    assert (batch.rates.pico.tolist(), batch.rates.versions.tolist()) == ([0], [-1])
    assert batch.rater.entries[batch.rates.entries[0]].pricing is Pricing.UNPRICED
