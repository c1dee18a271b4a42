"""Principals of a tenant: users, services or keys that cause its cost, by names that people know.

A principal need not be declared to cause cost: events and settlements name whom they like. To declare one gives it a
name, and says who was expected.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from billing.accounts import UnknownError, lock
from billing.audit import By, Note, append, text_of
from billing.cap_tables import principals
from billing.store import Store
from pipeline.errors import UsageError

KINDS = ("", "user", "service", "key", "other")
_NAME_MAX = 255


@dataclass(frozen=True, slots=True)
class Principal:
    """One principal."""

    tenant: str
    principal: str
    display_name: str
    kind: str
    created_at_ms: int
    removed_at_ms: int | None


def declare(  # noqa: PLR0913 - what a principal is
    store: Store, tenant: str, principal: str, *, display_name: str = "", kind: str = "", by: By
) -> Principal:
    """Declare a principal, or change one that was declared; raises `UsageError` for a name that cannot be."""
    for name, text, least in (("principal", principal, 1), ("display name", display_name, 0)):
        if not least <= len(text) <= _NAME_MAX or not text.isprintable():
            raise UsageError(f"a {name} has {least} to {_NAME_MAX} printable characters, not {text!r}")
    if kind not in KINDS:
        raise UsageError(f"a kind of principal is one of {', '.join(KINDS[1:])}, not {kind!r}")
    values = {"display_name": display_name, "kind": kind, "removed_at_ms": None}
    with store.write() as connection:
        lock(connection, tenant, by.now_ms)
        row = connection.execute(_one(tenant, principal)).first()
        if row is None:
            key = {"tenant": tenant, "principal": principal}
            connection.execute(insert(principals).values(**key, **values, created_at_ms=by.now_ms))
            _note(connection, tenant, principal, "principal_added", {}, values, by)
        else:
            before = {name: getattr(row, name) for name in values}
            if before != values:
                connection.execute(update(principals).where(*_key(tenant, principal)).values(values))
                _note(connection, tenant, principal, "principal_changed", before, values, by)
        return _principal(connection.execute(_one(tenant, principal)).one())


def remove(store: Store, tenant: str, principal: str, by: By) -> Principal:
    """Take a principal off the list; what it has cost stays. Raises `UnknownError` for one that is not there."""
    with store.write() as connection:
        row = connection.execute(_one(tenant, principal)).first()
        if row is None:
            raise UnknownError(
                f"tenant {tenant!r} has no principal {principal!r}: list them to see their names"
            )
        if row.removed_at_ms is None:
            lock(connection, tenant, by.now_ms)
            connection.execute(
                update(principals).where(*_key(tenant, principal)).values(removed_at_ms=by.now_ms)
            )
            _note(connection, tenant, principal, "principal_removed", {}, {}, by)
        return _principal(connection.execute(_one(tenant, principal)).one())


def list_principals(store: Store, tenant: str, *, after: str = "", limit: int = 100) -> list[Principal]:
    """List a tenant's principals by name, those behind `after`, without the removed ones."""
    query = (
        select(principals)
        .where(
            principals.c.tenant == tenant,
            principals.c.principal > after,
            principals.c.removed_at_ms.is_(None),
        )
        .order_by(principals.c.principal)
        .limit(limit)
    )
    with store.read() as connection:
        return [_principal(row) for row in connection.execute(query)]


def _note(  # noqa: PLR0913, PLR0917 - an entry of the audit
    connection: Connection,
    tenant: str,
    principal: str,
    action: str,
    before: dict[str, Any],
    after: dict[str, Any],
    by: By,
) -> None:
    note = Note(
        tenant, action, principal, "", text_of(before) if before else "", text_of(after) if after else ""
    )
    append(connection, [(note, by)])


def _key(tenant: str, principal: str) -> tuple[Any, Any]:
    return (principals.c.tenant == tenant, principals.c.principal == principal)


def _one(tenant: str, principal: str) -> Any:
    return select(principals).where(*_key(tenant, principal))


def _principal(row: Any) -> Principal:
    return Principal(
        row.tenant, row.principal, row.display_name, row.kind, row.created_at_ms, row.removed_at_ms
    )
