"""Pricing of whole columns in 64-bit integers; a row that might not fit is left to the exact arithmetic.

The rule is the contract's: component = round half to even(quantity x micro_usd x 10^6 / divisor), in pico-USD.
`pipeline.pricing` is the reference; both give the same amounts.
"""

import numpy as np

from pipeline.kernels.jit import compiled
from pipeline.kernels.layout import DELTA_BYTES, REQUEST_BYTES, RESPONSE_BYTES

CORRECTION = 4
UNRESOLVED = -2
NO_ENTRY = -1
_MICRO = 1_000_000
_INT64_MAX = np.int64(2**63 - 1)
_ABSENT = np.int64(-(2**63))

# The numbers of pipeline.catalog.Quantity.
ONE, USAGE, USAGE_OR_ONE, USAGE_OR_UNITS, Q_REQUEST, Q_RESPONSE, Q_BYTES, Q_UNITS, Q_BASE, Q_STORED = range(
    10
)


@compiled
def version_rows(times, effective, versions):
    """Versions int16[n]: the newest version whose `effective_from` is not after the row's time; -1 for none."""
    for row in range(len(times)):
        found = -1
        for v in range(len(effective)):
            if effective[v] <= times[row]:
                found = v
        versions[row] = found


@compiled
def entry_rows(verdicts, types, versions, operations, known, entries):
    """Entries int32[n] from the table known int32[versions + 1, 5, operations]; returns whether all are known.

    What is not yet known is marked in the table as UNRESOLVED - 1 for the caller to fill in.
    """
    complete = True
    for row in range(len(verdicts)):
        entries[row] = NO_ENTRY
        if verdicts[row] != 0 or types[row] == CORRECTION:
            continue
        entry = known[versions[row] + 1, types[row], operations[row]]
        if entry <= UNRESOLVED:
            known[versions[row] + 1, types[row], operations[row]] = UNRESOLVED - 1
            complete = False
        entries[row] = entry
    return complete


@compiled
def _half_even(numerator, divisor):
    quotient = numerator // divisor
    rest = numerator - quotient * divisor
    twice = rest - (divisor - rest)
    if twice > 0 or (twice == 0 and quotient & 1):
        quotient += 1
    return quotient


@compiled
def _usage_of(first, count, usage_source, usage_value, source):
    """The reported quantity, scaled; _ABSENT when not reported, one less than that when it is too wide."""
    for i in range(first, first + count):
        if usage_source[i] == source:
            if usage_value[i, 1] != 0 or usage_value[i, 0] < 0:
                return _ABSENT + 1
            return usage_value[i, 0]
    return _ABSENT


@compiled
def _bytes_of(quantity, row, quantities):
    if quantity == Q_REQUEST:
        return quantities[row, REQUEST_BYTES]
    if quantity == Q_RESPONSE:
        return quantities[row, RESPONSE_BYTES]
    if quantity == Q_BYTES:
        return quantities[row, REQUEST_BYTES] + quantities[row, RESPONSE_BYTES]
    return quantities[row, DELTA_BYTES]


@compiled
def rate(
    verdicts, types, entries, quantities, units, usage_first, usage_count, usage_source, usage_value,
    weights, component_first, component_count, prices, divisors, sources, quantity_of,
    weighted, pico, part_first, parts, wide,
):  # fmt: skip
    """Price all rows; returns how many `parts` there are and how many rows are `wide`.

    weighted int64[n, 2]; pico int64[n]; part_first int32[n + 1] into parts int64[] (component amounts in the
    catalog's order). A row that 64 bits may not hold gets its place among the parts and is listed in wide
    int32[]. Prices below zero mark a component that is always wide.
    """
    used = 0
    wides = 0
    for row in range(len(verdicts)):
        part_first[row] = used
        pico[row] = 0
        weighted[row, 0] = 0
        weighted[row, 1] = 0
        entry = entries[row]
        if verdicts[row] != 0 or entry < 0:
            continue
        narrow = True
        weight = np.int64(weights[entry])
        if types[row] == 1:
            narrow = units[row, 1] == 0 and units[row, 0] >= 0 and units[row, 0] <= _INT64_MAX // weight
            if narrow:
                weighted[row, 0] = units[row, 0] * weight
        total = np.int64(0)
        for c in range(component_first[entry], component_first[entry] + component_count[entry]):
            part = used
            used += 1
            parts[part] = 0
            if not narrow:
                continue
            kind = quantity_of[c]
            scaled = True
            value = np.int64(_MICRO)
            if kind == USAGE or kind == USAGE_OR_ONE or kind == USAGE_OR_UNITS:
                value = _usage_of(usage_first[row], usage_count[row], usage_source, usage_value, sources[c])
                if value == _ABSENT:
                    value = np.int64(_MICRO) if kind == USAGE_OR_ONE else np.int64(0)
                    if kind == USAGE_OR_UNITS:
                        value = weighted[row, 0]
                elif value < 0:
                    narrow = False
                    continue
            elif kind == Q_UNITS:
                value = weighted[row, 0]
            elif kind == Q_BASE:
                value = units[row, 0]
            elif kind != ONE:
                value = _bytes_of(kind, row, quantities)
                scaled = False
            divisor = np.int64(divisors[c])
            if scaled:
                if value % _MICRO == 0:
                    value //= _MICRO
                else:
                    divisor *= _MICRO
            price = np.int64(prices[c])
            size = value if value >= 0 else -value
            if price < 0 or (price > 0 and size > _INT64_MAX // price):
                narrow = False
                continue
            amount = _half_even(value * price, divisor)
            parts[part] = amount
            if (amount > 0 and total > _INT64_MAX - amount) or (amount < 0 and total < -_INT64_MAX - amount):
                narrow = False
                continue
            total += amount
        if narrow:
            pico[row] = total
        else:
            wide[wides] = row
            wides += 1
    part_first[len(verdicts)] = used
    return used, wides
