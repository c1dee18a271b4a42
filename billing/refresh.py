"""The refresh of the store's copy of the pipeline's windows: nothing is counted twice, and nothing is missed.

A settlement is pending until the ledger's sums hold it. So the reader tells with its sums which settlements are in
them, and both are written in one transaction: the sum goes up and the pending amount goes down together. A refresh
that was overtaken by another while it read the ledger writes nothing: each tenant's figures have a version, taken
before the ledger is read and held against when they are written.

A settlement whose ledger row holds less than was settled (a catalog that prices it differently) stays pending with
the rest, so a cap never opens by a mistake in prices.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from billing.book import Book, account_of, insert_once, lock_tenants
from billing.cap_tables import alerts, spend_windows, tenants, usage_events
from billing.figures import DAY, MONTH, PICO_OF_MICRO, window_end, window_states
from billing.moves import note_level
from billing.store import Store
from billing.windows import SpendReader
from pipeline.accounts import Account
from pipeline.ports import Clock
from pipeline.spans import Reading, Span

TOGETHER = 100
"""So many tenants are read and written at once."""
MARGIN_MS = 30_000
"""Clocks of several processes differ: settlements are looked for from so long before the oldest. One that is older
still, by a clock that is further off, counts twice until the next refresh, which looks for it by its own moment."""


@dataclass(slots=True)
class _Wanted:
    """What is to be read for one tenant."""

    account: Account
    version: int
    windows: set[tuple[str, int]] = field(default_factory=set)
    oldest_ms: int = 2**62


def refresh(store: Store, reader: SpendReader, clock: Clock, names: Collection[str] | None = None) -> int:
    """Read the current windows of tenants, or of all that there are, and those of settlements that are pending.

    Returns how many tenants were written; one that another refresh has overtaken is not. Raises `LedgerError`.
    """
    written = 0
    for some in _groups(_names(store) if names is None else sorted(names)):
        written += _refresh_some(store, reader, clock, some)
    return written


def _refresh_some(store: Store, reader: SpendReader, clock: Clock, names: Sequence[str]) -> int:
    begun_ms = clock.now_ms()
    wanted = _wanted(store, names, begun_ms)
    if not wanted:
        return 0
    oldest_ms = min(begun_ms, *(w.oldest_ms for w in wanted.values())) - MARGIN_MS
    spans = _spans(wanted)
    reading = reader.read(spans, oldest_ms)
    with store.write(survives_power_cut=False) as connection:  # after a power cut it is read again
        return _write(connection, wanted, reading, begun_ms, clock.now_ms())


def _names(store: Store) -> list[str]:
    with store.read() as connection:
        query = select(tenants.c.tenant).where(tenants.c.tenant != "").order_by(tenants.c.tenant)
        return list(connection.execute(query).scalars())


def _groups(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while group := list(islice(rest, TOGETHER)):
        yield group


def _wanted(store: Store, names: Sequence[str], now_ms: int) -> dict[str, _Wanted]:
    with store.read() as connection:
        defaults = connection.execute(select(tenants).where(tenants.c.tenant == "")).one()
        rows = connection.execute(select(tenants).where(tenants.c.tenant.in_(names))).all()
        pending = connection.execute(_PENDING, {"names": list(names)}).all()
    wanted = {}
    for row in rows:
        account = account_of(row, defaults)
        day, month = window_states(account, now_ms // 1000)
        wanted[row.tenant] = _Wanted(
            account, row.figures_version, {(DAY, day.start_s), (MONTH, month.start_s)}
        )
    for row in pending:
        one = wanted[row.tenant]
        one.windows |= {(DAY, row.day_start_s), (MONTH, row.month_start_s)}
        one.oldest_ms = min(one.oldest_ms, row.oldest_ms)
    return wanted


def _spans(wanted: dict[str, _Wanted]) -> list[Span]:
    """Put tenants that share a window together: as a rule there are as many spans as time zones, times two."""
    of: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name, one in wanted.items():
        for window, start_s in one.windows:
            of[start_s, window_end(one.account, window, start_s)].append(name)
    return [Span(start, end, tuple(sorted(set(names)))) for (start, end), names in sorted(of.items())]


def _write(
    connection: Connection, wanted: dict[str, _Wanted], reading: Reading, as_of_ms: int, now_ms: int
) -> int:
    states = lock_tenants(connection, wanted, now_ms)
    versions = {
        row.tenant: row.figures_version for row in connection.execute(_VERSIONS, {"names": list(wanted)})
    }
    current = [name for name, one in wanted.items() if versions[name] == one.version]
    if not current:
        return 0
    starts = sorted({start_s for name in current for _, start_s in wanted[name].windows})
    relief = _see(connection, set(current), reading, now_ms)
    rows = {
        (row.tenant, row.window, row.start_s): row
        for row in connection.execute(_WINDOWS, {"names": current, "starts": starts})
    }
    book = Book(connection, now_ms, tenants=states)
    changed = []
    for name in current:
        for window, start_s in sorted(wanted[name].windows):
            end_s = window_end(wanted[name].account, window, start_s)
            pico = reading.pico.get((name, start_s, end_s), 0)
            row = rows.get((name, window, start_s))
            pending = (0 if row is None else row.pending_micro) - relief.get((name, window, start_s), 0)
            new = (pico // PICO_OF_MICRO, pico % PICO_OF_MICRO, pending)
            old = None if row is None else (row.ledger_micro, row.ledger_residual_pico, row.pending_micro)
            before = 0 if row is None else row.level_percent
            level = _level(book, name, (window, start_s), new, before)
            if new != old or level != before:
                changed.append((name, window, start_s, *new, level))
    _upsert(connection, changed, set(rows))
    insert_once(connection, alerts, book.rows[alerts])
    connection.execute(_READ, [{"of": name, "as_of": as_of_ms} for name in current])
    return len(current)


def _level(book: Book, name: str, key: tuple[str, int], figures: tuple[int, int, int], before: int) -> int:
    """Judge the thresholds of a current window by its new figures; those of a past one stay as they are."""
    state = book.tenants[name]
    for one, limit in state.windows:
        if (one.window, one.start_s) == key:
            one.ledger_micro, one.ledger_residual_pico, one.pending_micro = figures
            note_level(book, state, one.window, limit)
            return one.level_percent
    return before


def _see(
    connection: Connection, current: set[str], reading: Reading, now_ms: int
) -> dict[tuple[str, str, int], int]:
    """Mark the settlements that the sums hold; gives by how much each window's pending amount goes down."""
    found = {key: pico for key, pico in reading.settled.items() if key[0] in current}
    relief: dict[tuple[str, str, int], int] = defaultdict(int)
    seen = []
    keys = [key for _, key in found]
    for start in range(0, len(keys), 500):
        rows = connection.execute(_TO_SEE, {"keys": keys[start : start + 500]})
        for row in rows:
            pico = found.get((row.tenant, row.key))
            if pico is None:
                continue
            held = max(0, min(row.amount_micro, pico // PICO_OF_MICRO))
            relief[row.tenant, DAY, row.day_start_s] += held
            relief[row.tenant, MONTH, row.month_start_s] += held
            seen.append({"of": row.id, "at": now_ms, "micro": pico // PICO_OF_MICRO})
    if seen:
        connection.execute(_SEEN, seen)
    return relief


def _upsert(
    connection: Connection, changed: Sequence[tuple[Any, ...]], stored: Collection[tuple[str, str, int]]
) -> None:
    names = ("of", "of_window", "of_start", "micro", "residual", "pending", "level")
    columns = (
        "tenant", "window", "start_s", "ledger_micro", "ledger_residual_pico", "pending_micro", "level_percent"
    )  # fmt: skip
    old = [dict(zip(names, row, strict=True)) for row in changed if row[:3] in stored]
    new = [dict(zip(columns, row, strict=True)) for row in changed if row[:3] not in stored]
    if old:
        connection.execute(_UPDATE, old)
    if new:
        connection.execute(insert(spend_windows), new)


_PENDING = (
    select(
        usage_events.c.tenant,
        usage_events.c.day_start_s,
        usage_events.c.month_start_s,
        func.min(usage_events.c.occurred_at_ms).label("oldest_ms"),
    )
    .where(usage_events.c.seen_at_ms.is_(None), usage_events.c.tenant.in_(bindparam("names", expanding=True)))
    .group_by(usage_events.c.tenant, usage_events.c.day_start_s, usage_events.c.month_start_s)
)
_VERSIONS = select(tenants.c.tenant, tenants.c.figures_version).where(
    tenants.c.tenant.in_(bindparam("names", expanding=True))
)
_WINDOWS = select(spend_windows).where(
    spend_windows.c.tenant.in_(bindparam("names", expanding=True)),
    spend_windows.c.start_s.in_(bindparam("starts", expanding=True)),
)
_TO_SEE = select(usage_events).where(
    usage_events.c.seen_at_ms.is_(None), usage_events.c.key.in_(bindparam("keys", expanding=True))
)
_SEEN = (
    update(usage_events)
    .where(usage_events.c.id == bindparam("of"))
    .values(seen_at_ms=bindparam("at"), seen_micro=bindparam("micro"), line="")
)
_READ = (
    update(tenants)
    .where(tenants.c.tenant == bindparam("of"))
    .values(as_of_ms=bindparam("as_of"), figures_version=tenants.c.figures_version + 1)
)
_UPDATE = (
    update(spend_windows)
    .where(
        spend_windows.c.tenant == bindparam("of"),
        spend_windows.c.window == bindparam("of_window"),
        spend_windows.c.start_s == bindparam("of_start"),
    )
    .values(
        ledger_micro=bindparam("micro"),
        ledger_residual_pico=bindparam("residual"),
        pending_micro=bindparam("pending"),
        level_percent=bindparam("level"),
    )
)
