"""API keys that were found good a moment ago, so that not every request looks into the store."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

KEPT_MS = 2_000
"""How long a revoked key may still open the door of this process."""
KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class KnownKey:
    """An API key that is good now."""

    key_id: str
    tenant: str
    scopes: frozenset[str]
    tenant_from_subject: bool = False
    """Whether events that it sends without a tenant belong to their subject instead."""


FindKey = Callable[[str, int], KnownKey | None]
"""Finds the key with a secret at a moment (ms), unless it is revoked or expired; raises `StoreError`."""


class RecentKeys:
    """Finds keys and keeps the good ones for two seconds, under a digest of their secret."""

    def __init__(self, find: FindKey) -> None:
        self._find = find
        self._kept: dict[bytes, tuple[int, KnownKey]] = {}

    def recall(self, secret: str, now_ms: int) -> KnownKey | None:
        """The key, if it was found good a moment ago; never waits."""
        found_at_ms, key = self._kept.get(_digest(secret), (0, None))
        return key if key and now_ms - found_at_ms < KEPT_MS else None

    def find(self, secret: str, now_ms: int) -> KnownKey | None:
        """Look the key up; may wait for the store."""
        key = self._find(secret, now_ms)
        if key is not None:
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            self._kept[_digest(secret)] = (now_ms, key)
        return key


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).digest()
