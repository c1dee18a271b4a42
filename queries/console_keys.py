"""Finds an event by its key without reading strings: through the hashes that the ledger keeps of both."""

from dataclasses import dataclass

import numpy as np

from pipeline.kernels.hashing import DOMAIN_KEY, DOMAIN_VOID, pair_hash
from queries.named import Client

_WORD = 8
_BELOW_SLOT = (1 << 120) - 1
"""A correction stands in the slot of the key that it voids: they share their top byte."""


@dataclass(frozen=True, slots=True)
class KeyHashes:
    """The hashes of a tenant's key: as an event's, and as what a correction voids."""

    key: int
    void: int


def key_hashes(client: Client, tenant: str, key: str) -> KeyHashes | None:
    """Hash a key with the ledger's own seed; None where the ledger has no seed yet, and so no event."""
    found = client.query("SELECT value FROM meta WHERE name = 'seed'", parameters={}).result_rows
    if not found:
        return None
    seed = str(found[0][0])
    seeds = (int(seed[:16], 16), int(seed[16:], 16))
    of_key, of_void = (_hash(tenant, key, domain, seeds) for domain in (DOMAIN_KEY, DOMAIN_VOID))
    return KeyHashes(of_key, (of_void & _BELOW_SLOT) | (of_key & ~_BELOW_SLOT))


def _hash(tenant: str, key: str, domain: int, seeds: tuple[int, int]) -> int:
    a, b = tenant.encode(), key.encode()
    buffer = np.frombuffer(a + b + bytes(_WORD), np.uint8)
    out = np.zeros(2, np.uint64)
    pair_hash(buffer, 0, len(a), len(a), len(b), domain, np.uint64(seeds[0]), np.uint64(seeds[1]), out)
    return int(out[0]) << 64 | int(out[1])
