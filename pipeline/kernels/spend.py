"""Spend out of accepted rows: picked, and summed by tenant and quarter hour."""

import numpy as np

from pipeline.kernels.jit import compiled

U = np.uint64
_MIX, _MIX_TOO = U(0x9E3779B97F4A7C15), U(0xC2B2AE3D27D4EB4F)
QUARTER_MS = 900_000
_QUARTER_S = QUARTER_MS // 1000
_INT64_MAX, _INT64_MIN = (1 << 63) - 1, -(1 << 63)


@compiled
def pick_spend(
    rows, codes, kind, is_limited, entries, counts, pico, times, offsets,
    out_codes, out_quarters, out_pico, out_offsets,
):  # fmt: skip
    """Pick the rows whose tenant `is_limited`, whose settlement `counts`, and which cost something; their number.

    The quarters are the starts of quarter hours in epoch seconds.
    """
    n = 0
    for i in range(len(rows)):
        row = rows[i]
        code = codes[row, kind]
        if pico[row] == 0 or not is_limited[code] or not counts[entries[row]]:
            continue
        out_codes[n] = code
        out_quarters[n] = times[row] // QUARTER_MS * _QUARTER_S
        out_pico[n] = pico[row]
        out_offsets[n] = offsets[row]
        n += 1
    return n


@compiled
def sum_by_quarter(codes, quarters, pico, table, pair_codes, pair_quarters, gained, lost):
    """What each pair of code and quarter gains and loses; returns the number of pairs.

    `table` int32[2^k] is all -1 at first and longer than `codes`. Where a sum would leave 64 bits, the pair stands
    there once more: each sum is exact.
    """
    mask = len(table) - 1
    pairs = 0
    for i in range(len(codes)):
        code, quarter, amount = codes[i], quarters[i], pico[i]
        mixed = (U(code) * _MIX) ^ (U(quarter) * _MIX_TOO)
        slot = np.int64(mixed >> U(32)) & mask
        while True:
            pair = table[slot]
            if pair < 0 or (pair_codes[pair] == code and pair_quarters[pair] == quarter):
                break
            slot = (slot + 1) & mask
        if (
            pair < 0
            or (amount > 0 and gained[pair] > _INT64_MAX - amount)
            or (amount < 0 and lost[pair] < _INT64_MIN - amount)
        ):
            pair = pairs
            pairs += 1
            table[slot] = pair
            pair_codes[pair] = code
            pair_quarters[pair] = quarter
            gained[pair] = 0
            lost[pair] = 0
        if amount > 0:
            gained[pair] += amount
        else:
            lost[pair] += amount
    return pairs
