"""The audit: who did what, when and on whose request, what was before and after; only added to, chained by hash.

There is a chain for each tenant, and one of the empty name for what concerns all. A tenant's chain grows under the
lock of the tenant's row, so chains never wait for each other. The head of each chain is kept apart: an entry that
was changed, left out, put in, or cut off at the end is found by `verify`.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from billing.cap_tables import audit_heads
from billing.chain import Link, link_hash
from billing.store import Store
from billing.tables import audit

PAYMENT_SETTLED = "payment_settled"
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class By:
    """Who changes something, on which request, when."""

    who: str
    now_ms: int
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be kept; `before`, `after` and `detail` are text, as a rule JSON."""

    chain: str
    action: str
    subject: str
    detail: str = ""
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a chain is broken."""

    chain: str
    number: int
    why: str


def append(connection: Connection, notes: Iterable[tuple[Note, By]]) -> None:
    """Add entries to their chains; the connection's transaction holds what protects the chains.

    That is the writers' lock of the store, or the lock of the row of the tenant whose chain it is.
    """
    heads: dict[str, tuple[int, str]] = {}
    known: set[str] = set()
    rows = []
    for note, by in notes:
        if note.chain not in heads:
            head = connection.execute(_HEAD.where(audit_heads.c.chain == note.chain)).first()
            heads[note.chain] = (0, "") if head is None else (head.number, head.hash)
            known |= set() if head is None else {note.chain}
        number, previous = heads[note.chain]
        link = Link(
            note.chain, number + 1, by.now_ms // 1000, by.who, note.action, note.subject, note.detail, note.before,
            note.after, by.request_id, previous,
        )  # fmt: skip
        heads[note.chain] = (link.number, link_hash(link))
        rows.append({**link._asdict(), "hash": heads[note.chain][1]})
    if rows:
        connection.execute(insert(audit), rows)
    for chain, (number, digest) in heads.items():
        values = {"number": number, "hash": digest}
        if chain in known:
            connection.execute(update(audit_heads).where(audit_heads.c.chain == chain).values(values))
        else:
            connection.execute(insert(audit_heads).values(chain=chain, **values))


_HEAD = select(audit_heads.c.number, audit_heads.c.hash).with_for_update()


def verify(store: Store) -> list[Finding]:
    """Check every chain from its first entry to its head; nothing found: nothing was changed, left out or cut."""
    findings = []
    with store.read() as connection:
        heads = {row.chain: (row.number, row.hash) for row in connection.execute(select(audit_heads))}
        ends: dict[str, tuple[int, str]] = {}
        for link, digest in _links(connection):
            number, previous = ends.get(link.chain, (0, ""))
            why = _wrong(link, digest, number, previous)
            if why:
                findings.append(Finding(link.chain, link.number, why))
            ends[link.chain] = (link.number, digest)
    for chain in sorted({*heads, *ends}):
        if heads.get(chain) != ends.get(chain):
            number = max(heads.get(chain, (0, ""))[0], ends.get(chain, (0, ""))[0])
            findings.append(Finding(chain, number, "the chain does not end where its head says"))
    return findings


def _wrong(link: Link, digest: str, number: int, previous: str) -> str:
    if link.number != number + 1:
        return f"entry {number + 1} is not there"
    if link.previous != previous:
        return "it does not follow the entry before it"
    return "" if digest == link_hash(link) else "it was changed after it was written"


def _links(connection: Connection) -> Iterator[tuple[Link, str]]:
    columns = [audit.c[name] for name in Link._fields]
    at: tuple[str, int] | None = None
    while True:
        query = select(*columns, audit.c.hash).order_by(audit.c.chain, audit.c.number).limit(_PAGE)
        if at is not None:
            query = query.where(
                (audit.c.chain > at[0]) | ((audit.c.chain == at[0]) & (audit.c.number > at[1]))
            )
        rows = connection.execute(query).all()
        for row in rows:
            yield Link(*row[:-1]), row[-1]
        if len(rows) < _PAGE:
            return
        at = (rows[-1].chain, rows[-1].number)


def entries(
    store: Store, *, chain: str | None = None, action: str = "", before: int | None = None, limit: int = 100
) -> list[Mapping[str, Any]]:
    """List entries, newest first: of one chain or all, of one action or any, older than the entry `before`."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if chain is not None:
        query = query.where(audit.c.chain == chain)
    if action:
        query = query.where(audit.c.action == action)
    if before is not None:
        query = query.where(audit.c.id < before)
    with store.read() as connection:
        return [row._asdict() for row in connection.execute(query)]


def caller_hash(key: bytes, caller: str) -> str:
    """Tell callers apart without naming them: HMAC-SHA256, so that nobody without the key can try names."""
    return hmac.new(key, caller.encode(), hashlib.sha256).hexdigest()


def text_of(values: Mapping[str, Any]) -> str:
    """Write values for an entry."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
