"""API keys: random, shown once, kept as a salted hash, scoped, revocable.

A key reads `mrk_<id>_<secret>`. The id is public: it names the key in lists, logs and the audit. The secret has 256
random bits, so one round of SHA-256 with a salt is enough to keep it.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from billing.accounts import UnknownError, lock
from billing.audit import By, Note, append, text_of
from billing.cap_tables import api_keys
from billing.store import Store
from pipeline.accounts import TENANT_LENGTH_MAX
from pipeline.errors import UsageError

SCOPES = ("ingest", "authorize", "reserve", "settle", "read")
PREFIX = "mrk_"
_FORM = re.compile(r"mrk_([0-9a-f]{16})_([0-9a-f]{64})")
_NAME_MAX = 128


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
    """Make a key; returns it with its secret (`mrk_<id>_<secret>`), which is shown this once.

    Raises `UsageError` for a scope that there is not, or an end that is over.
    """
    _check(tenant, name, scopes, expires_at_ms, by.now_ms)
    key_id, secret, salt = random_hex(8), random_hex(32), random_hex(16)
    key = ApiKey(key_id, tenant, name, frozenset(scopes), tenant_from_subject, by.now_ms, expires_at_ms, None)
    values = {
        "id": key_id, "tenant": tenant, "name": name, "salt": salt, "digest": _digest(salt, secret),
        "scopes": " ".join(sorted(key.scopes)), "tenant_from_subject": tenant_from_subject,
        "created_at_ms": by.now_ms, "expires_at_ms": expires_at_ms,
    }  # fmt: skip
    shown = {name: values[name] for name in ("name", "scopes", "tenant_from_subject", "expires_at_ms")}
    with store.write() as connection:
        lock(connection, tenant, by.now_ms)
        connection.execute(insert(api_keys).values(values))
        append(connection, [(Note(tenant, "key_added", key_id, "", "", text_of(shown)), by)])
    return key, f"{PREFIX}{key_id}_{secret}"


def find(store: Store, presented: str, now_ms: int) -> ApiKey | None:
    """Find the key that was presented, unless it is revoked or expired; in constant time for the secret."""
    form = _FORM.fullmatch(presented)
    if form is None:
        return None
    with store.read() as connection:
        row = connection.execute(select(api_keys).where(api_keys.c.id == form[1])).first()
    if row is None or not hmac.compare_digest(_digest(row.salt, form[2]), row.digest):
        return None
    is_over = row.expires_at_ms is not None and row.expires_at_ms <= now_ms
    return None if is_over or row.revoked_at_ms is not None else _key(row)


def revoke(store: Store, key_id: str, by: By) -> ApiKey:
    """Revoke a key for ever; raises `UsageError` for one that is unknown. Revoking twice changes nothing."""
    with store.write() as connection:
        row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
        if row is None:
            raise UnknownError(f"there is no key {key_id!r}: `millrace tenants keys list` shows them")
        if row.revoked_at_ms is None:
            lock(connection, row.tenant, by.now_ms)
            connection.execute(
                update(api_keys).where(api_keys.c.id == key_id).values(revoked_at_ms=by.now_ms)
            )
            append(connection, [(Note(row.tenant, "key_revoked", key_id), by)])
        return _key(connection.execute(select(api_keys).where(api_keys.c.id == key_id)).one())


def list_keys(store: Store, tenant: str | None = None) -> list[ApiKey]:
    """List the keys, of one tenant or all, the oldest first."""
    query = select(api_keys).order_by(api_keys.c.created_at_ms, api_keys.c.id)
    if tenant is not None:
        query = query.where(api_keys.c.tenant == tenant)
    with store.read() as connection:
        return [_key(row) for row in connection.execute(query)]


def _check(tenant: str, name: str, scopes: Sequence[str], expires_at_ms: int | None, now_ms: int) -> None:
    if not 1 <= len(tenant) <= TENANT_LENGTH_MAX:
        msg = "a key belongs to a tenant: name it"
        raise UsageError(msg)
    if not 1 <= len(name) <= _NAME_MAX or not name.isprintable():
        raise UsageError(f"a key has a name of 1 to {_NAME_MAX} printable characters, not {name!r}")
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        what = f"there is no scope {unknown[0]!r}" if unknown else "a key needs a scope"
        raise UsageError(f"{what}: it is one of {', '.join(SCOPES)}")
    if expires_at_ms is not None and expires_at_ms <= now_ms:
        msg = "the key would be expired from the start: give a later moment"
        raise UsageError(msg)


def _digest(salt: str, secret: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + secret.encode()).hexdigest()


def _key(row: Any) -> ApiKey:
    return ApiKey(
        row.id, row.tenant, row.name, frozenset(row.scopes.split()), row.tenant_from_subject, row.created_at_ms,
        row.expires_at_ms, row.revoked_at_ms,
    )  # fmt: skip
