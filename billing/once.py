"""Idempotency: what makes two requests the same, and the keys that are derived where a client brings none."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def fingerprint_of(operation: str, body: Mapping[str, Any]) -> str:
    """Digest a request's operation and body, whatever the order and spacing of its JSON members."""
    return _digest(operation, json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def settlement_key(tenant: str, body: Mapping[str, Any]) -> str:
    """Derive the key of a settlement that brings none, from its payload: the same payload, the same key."""
    return f"derived:{fingerprint_of(f'settlement:{tenant}', body)[:40]}"


def settlement_id(tenant: str, *, reservation_id: str = "", key: str = "") -> str:
    """Name a settlement for ever: by its reservation, or by its idempotency key where there is none."""
    kind, name = ("reservation", reservation_id) if reservation_id else ("key", key)
    return f"set_{_digest(kind, tenant, name)[:40]}"


def answer_id(scope: str, key: str) -> str:
    """Name a stored answer."""
    return _digest(scope, key)[:40]


def _digest(*parts: str) -> str:
    """Digest texts so that no two lists of them meet: each has its length before it."""
    hashed = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hashed.update(len(data).to_bytes(8, "big") + data)
    return hashed.hexdigest()
