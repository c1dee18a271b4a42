"""Hashes of single keys, outside of a batch: the same values as `pipeline.kernels.hashing.seal` gives.

All words are (high, low). The functions may never change: their values are stored.
"""

import json

import numpy as np

from pipeline.chunk import new_buffer
from pipeline.kernels.hashing import DOMAIN_KEY, DOMAIN_VOID, pair_hash
from pipeline.kernels.layout import PREFIX

DOMAIN_REVERSAL = 2
_BELOW_SLOT = (1 << 56) - 1

Words = tuple[int, int]


def key_hash(tenant: str, key: str, seeds: Words) -> Words:
    """The hash of an event's key."""
    return _hash(tenant, key, DOMAIN_KEY, seeds)


def void_hash(tenant: str, voids: str, seeds: Words) -> Words:
    """The hash of what a correction voids, with the slot of the voided key."""
    return _in_slot_of(key_hash(tenant, voids, seeds), _hash(tenant, voids, DOMAIN_VOID, seeds))


def reversal_hash(tenant: str, what: tuple[str | int, ...], slot_of: Words, seeds: Words) -> Words:
    """The hash of what takes one row back that stands beside the first of its key; in the slot of that key."""
    text = json.dumps(what, ensure_ascii=False, separators=(",", ":"))
    return _in_slot_of(slot_of, _hash(tenant, text, DOMAIN_REVERSAL, seeds))


def number_of(words: Words) -> int:
    """The hash as the ledger's `key_hash`."""
    return (words[0] << 64) | words[1]


def words_of(number: int) -> Words:
    """The words of the ledger's `key_hash`."""
    return number >> 64, number & ((1 << 64) - 1)


def _in_slot_of(target: Words, words: Words) -> Words:
    return (words[0] & _BELOW_SLOT) | (target[0] & ~_BELOW_SLOT), words[1]


def _hash(a: str, b: str, domain: int, seeds: Words) -> Words:
    first, second = a.encode(), b.encode()
    buffer = new_buffer(len(first) + len(second))
    text = np.frombuffer(first + second, np.uint8)
    buffer[PREFIX : PREFIX + len(text)] = text
    out = np.empty(2, np.uint64)
    pair_hash(
        buffer, PREFIX, len(first), PREFIX + len(first), len(second), domain, np.uint64(seeds[0]), np.uint64(seeds[1]),
        out,
    )  # fmt: skip
    return int(out[0]), int(out[1])
