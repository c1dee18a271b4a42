"""The identity of an event: 128 bits for its key, 64 for the fingerprint of what is billed.

The key's hash is SipHash-1-3 with 128 bits of output, keyed with a seed that each ledger draws for itself, over
a message that starts with both lengths (so that ("ab", "c") and ("a", "bc") differ) and a domain (a key, or
what a correction voids). Both values are stored in the ledger, so neither function may ever change.
"""

import numpy as np

from pipeline.kernels.jit import LOW_BYTES, compiled, word_at
from pipeline.kernels.layout import (
    ACTION,
    DELTA_BYTES,
    KEY,
    OPERATION,
    PRINCIPAL,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    TENANT,
    VOIDS,
)

U = np.uint64
DOMAIN_KEY = 0
DOMAIN_VOID = 1
CORRECTION = 4
_SLOT_BITS = U(56)
_BELOW_SLOT = U((1 << 56) - 1)
_GOLDEN = U(0x9E3779B97F4A7C15)
_MIX_A = U(0xFF51AFD7ED558CCD)
_MIX_B = U(0xC4CEB9FE1A85EC53)


@compiled
def _rotate(x, bits):
    return (x << U(bits)) | (x >> U(64 - bits))


@compiled
def _round(v0, v1, v2, v3):
    v0 += v1
    v2 += v3
    v1 = _rotate(v1, 13) ^ v0
    v3 = _rotate(v3, 16) ^ v2
    v0 = _rotate(v0, 32)
    v2 += v1
    v0 += v3
    v1 = _rotate(v1, 17) ^ v2
    v3 = _rotate(v3, 21) ^ v0
    v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


@compiled
def _absorb(buffer, start, size, v0, v1, v2, v3):
    """Take in `size` bytes as zero-padded words."""
    done = 0
    while done < size:
        word = word_at(buffer, start + done)
        if size - done < 8:
            word &= LOW_BYTES[size - done]
        v3 ^= word
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
        v0 ^= word
        done += 8
    return v0, v1, v2, v3


@compiled
def pair_hash(buffer, a, a_size, b, b_size, domain, seed0, seed1, out):
    """SipHash-1-3-128 of (domain, a, b) into out[0], out[1]; a and b are byte ranges of a padded buffer."""
    v0 = seed0 ^ U(0x736F6D6570736575)
    v1 = seed1 ^ U(0x646F72616E646F6D) ^ U(0xEE)
    v2 = seed0 ^ U(0x6C7967656E657261)
    v3 = seed1 ^ U(0x7465646279746573)
    head = U(a_size) | (U(b_size) << U(24)) | (U(domain) << U(56))
    v3 ^= head
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= head
    v0, v1, v2, v3 = _absorb(buffer, a, a_size, v0, v1, v2, v3)
    v0, v1, v2, v3 = _absorb(buffer, b, b_size, v0, v1, v2, v3)
    v2 ^= U(0xEE)
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    out[0] = v0 ^ v1 ^ v2 ^ v3
    v1 ^= U(0xDD)
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    out[1] = v0 ^ v1 ^ v2 ^ v3


@compiled
def bytes_mix(buffer, start, size, state):
    """Mix a byte range and its length into a 64-bit state."""
    state = (state ^ U(size)) * _GOLDEN
    done = 0
    while done < size:
        word = word_at(buffer, start + done)
        if size - done < 8:
            word &= LOW_BYTES[size - done]
        state = (state ^ word) * _MIX_A
        state ^= state >> U(32)
        done += 8
    state *= _GOLDEN
    return state ^ (state >> U(29))


@compiled
def _word_mix(word, state):
    state = (state ^ word) * _MIX_B
    return state ^ (state >> U(31))


@compiled
def _fingerprint(
    buffer, row, at, length, kind, quantities, units, first, count, usage_at, usage_length, usage_value, seed
):
    state = _word_mix(U(kind), seed)
    state = bytes_mix(buffer, at[row, PRINCIPAL], length[row, PRINCIPAL], state)
    state = bytes_mix(buffer, at[row, OPERATION], length[row, OPERATION], state)
    state = bytes_mix(buffer, at[row, ACTION], length[row, ACTION], state)
    state = _word_mix(U(quantities[row, REQUEST_BYTES]), state)
    state = _word_mix(U(quantities[row, RESPONSE_BYTES]), state)
    state = _word_mix(U(quantities[row, DELTA_BYTES]), state)
    state = _word_mix(U(units[row, 0]), state)
    state = _word_mix(U(units[row, 1]), state)
    total = U(0)  # a sum, so that the order of the entries does not matter; zero is the same as absent
    for i in range(first, first + count):
        if usage_value[i, 0] != 0 or usage_value[i, 1] != 0:
            entry = bytes_mix(buffer, usage_at[i], usage_length[i], _GOLDEN)
            total += _word_mix(U(usage_value[i, 1]), _word_mix(U(usage_value[i, 0]), entry))
    return _word_mix(total, state)


@compiled
def seal(
    buffer, verdicts, types, at, length, quantities, units, usage_first, usage_count, usage_at, usage_length,
    usage_value, offsets, seed0, seed1, hashes, targets, prints, slots,
):  # fmt: skip
    """Give each row its identity.

    hashes uint64[n, 2]: of (tenant, key), and for a correction of what it voids, with the slot of the voided
    key; targets uint64[n, 2]: for a correction the hash of the voided key. prints uint64[n]. slots uint8[n]:
    the shard, the top byte of the hash; a rejected line goes by its offset.
    """
    for row in range(len(verdicts)):
        if verdicts[row] != 0:
            slots[row] = offsets[row] & 255
            continue
        tenant = at[row, TENANT]
        tenant_size = length[row, TENANT]
        if types[row] == CORRECTION:
            pair_hash(
                buffer,
                tenant,
                tenant_size,
                at[row, VOIDS],
                length[row, VOIDS],
                DOMAIN_KEY,
                seed0,
                seed1,
                targets[row],
            )
            pair_hash(
                buffer,
                tenant,
                tenant_size,
                at[row, VOIDS],
                length[row, VOIDS],
                DOMAIN_VOID,
                seed0,
                seed1,
                hashes[row],
            )
            hashes[row, 0] = (hashes[row, 0] & _BELOW_SLOT) | (targets[row, 0] & ~_BELOW_SLOT)
            prints[row] = U(0)
        else:
            pair_hash(
                buffer,
                tenant,
                tenant_size,
                at[row, KEY],
                length[row, KEY],
                DOMAIN_KEY,
                seed0,
                seed1,
                hashes[row],
            )
            prints[row] = _fingerprint(
                buffer, row, at, length, types[row], quantities, units, usage_first[row], usage_count[row],
                usage_at, usage_length, usage_value, seed0,
            )  # fmt: skip
        slots[row] = hashes[row, 0] >> _SLOT_BITS
