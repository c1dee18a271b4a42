"""API keys: random, shown once, kept as a salted hash, scoped, revocable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from billing.audit import By
from billing.store import Store

SCOPES = ("ingest", "authorize", "reserve", "settle", "read")
PREFIX = "mrk_"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is known afterwards: without its secret."""

    id: str
    tenant: str
    name: str
    scopes: frozenset[str]
    tenant_from_subject: bool
    """Whether events that it sends without a tenant belong to their subject instead of `tenant`."""
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None


def create(  # noqa: PLR0913 - what a key is
    store: Store,
    tenant: str,
    *,
    name: str,
    scopes: Sequence[str] = SCOPES,
    tenant_from_subject: bool = False,
    expires_at_ms: int | None = None,
    by: By,
    random_hex: Callable[[int], str],
) -> tuple[ApiKey, str]:
    """Make a key; returns it with its secret (`mrk_<id>_<secret>`), which is shown this once."""
    raise NotImplementedError


def find(store: Store, presented: str, now_ms: int) -> ApiKey | None:
    """Find the key that was presented, unless it is revoked or expired; in constant time for the secret."""
    raise NotImplementedError


def revoke(store: Store, key_id: str, by: By) -> ApiKey:
    """Revoke a key for ever; raises `UsageError` for one that is unknown. Revoking twice changes nothing."""
    raise NotImplementedError


def list_keys(store: Store, tenant: str | None = None) -> list[ApiKey]:
    """List the keys, of one tenant or all."""
    raise NotImplementedError
