"""A group that only asks whether it may spend: nothing is locked, and two statements do what else takes eight.

An authorization holds nothing, so nobody has to wait for it. All that it is decided by is read by one statement, and
so of one moment; the answers are kept by another, with what is to be recorded of refusals. What is out of the
ordinary is left to the long way, as if nothing had been done: a tenant that was never seen, a reservation that has
to end first, a key that another process used in between.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Integer, Table
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from billing.asks import Authorize, Outcome
from billing.book import Book, Piece, lock_number, tenant_of
from billing.cap_tables import alerts, answers, refusals
from billing.figures import WindowState
from billing.moves import Desk, answer
from billing.once import answer_id
from billing.store import Store
from pipeline.errors import StoreError
from pipeline.ports import Clock


class _Row(msgspec.Struct, array_like=True, frozen=True):
    """What one ask is decided by."""

    id: str | None
    is_free: int
    fingerprint: str | None
    outcome: str | None
    """None: the key was not used before."""
    tenant: str | None
    """None: it was never seen."""
    is_due: int
    """A reservation has to end first."""
    display_name: str
    stripe_customer: str
    held_micro: int
    as_of_ms: int | None
    time_zone: str
    thresholds_percent: str
    daily_limit_micro: int | None
    monthly_limit_micro: int | None
    mode: str
    day: tuple[int | None, int, int, int, int]
    """The newest that is stored: start, counted, its rest, pending, level."""
    month: tuple[int | None, int, int, int, int]


_row = msgspec.json.Decoder(_Row)


class _UnusualError(Exception):
    """It has to be done the long way."""


def authorize(
    store: Store, desk: Desk, clock: Clock, pieces: Sequence[Piece], *, needs_figures: bool
) -> list[Outcome] | None:
    """Decide asks that are all `Authorize`; None: nothing was done, it has to be done the long way.

    With `needs_figures` a tenant whose windows were never read is such a case. Raises `StoreError` where it is not
    known whether the answers were kept.
    """
    try:
        with store.kept() as connection:
            book = Book(connection, clock.now_ms())
            _read(book, pieces, is_sqlite=store.is_sqlite, needs_figures=needs_figures)
            outcomes = [answer(book, desk, piece) for piece in pieces]
            _write(book, is_sqlite=store.is_sqlite)
            return outcomes
    except _UnusualError:
        return None
    except StoreError as error:
        if isinstance(error.__cause__, IntegrityError):
            return None
        raise


def _read(book: Book, pieces: Sequence[Piece], *, is_sqlite: bool, needs_figures: bool) -> None:
    """Fill the book; raises `_UnusualError` where that is not all that the decision needs."""
    asks = []
    for piece in pieces:
        assert isinstance(piece.ask, Authorize)  # noqa: S101 - all are of one kind
        ident = None if piece.once is None else answer_id(piece.once.scope, piece.once.key)
        asks.append((ident, None if ident is None else lock_number(ident), piece.ask.tenant))
    values = {"now": book.now_ms, "asks": msgspec.json.encode(asks).decode()}
    try:
        rows = book.connection.exec_driver_sql(_SQLITE if is_sqlite else _POSTGRESQL, values).scalars().all()
    except SQLAlchemyError as error:  # such as a connection that was lost while it lay idle
        raise _UnusualError from error
    busy = set()
    for row in map(_row.decode, rows):
        if row.tenant is None or row.is_due or (needs_figures and row.as_of_ms is None):
            raise _UnusualError
        if row.id is not None and row.fingerprint is not None and row.outcome is not None:
            book.answers[row.id] = (row.fingerprint, row.outcome.encode())
        if row.id is not None and not row.is_free:
            busy.add(row.id)
        if row.tenant not in book.tenants:
            state = book.tenants[row.tenant] = tenant_of(row, book.now_ms)
            _fill(state.day, *row.day)
            _fill(state.month, *row.month)
    book.busy = frozenset(busy)


def _fill(  # noqa: PLR0913, PLR0917 - the columns
    window: WindowState, start_s: int | None, micro: int, residual: int, pending: int, level: int
) -> None:
    """Take the newest window that is stored; raises `_UnusualError` where the current one is an older one."""
    if start_s is None or start_s < window.start_s:
        return
    if start_s > window.start_s:
        raise _UnusualError
    window.ledger_micro, window.ledger_residual_pico = micro, residual
    window.pending_micro, window.level_percent, window.is_stored = pending, level, True


def _write(book: Book, *, is_sqlite: bool) -> None:
    """Keep the answers, and what is to be recorded of refusals: all or nothing."""
    found = [(table, book.in_order(table)) for table in (answers, refusals, alerts)]
    found = [(table, rows) for table, rows in found if rows]
    run = book.connection.exec_driver_sql
    if is_sqlite:
        for table, rows in found:
            run(_insert_sqlite(table, tuple(rows[0])), [tuple(row.values()) for row in rows])
    elif found:
        columns = tuple((table, tuple(rows[0])) for table, rows in found)
        values = {table.name: msgspec.json.encode(rows).decode() for table, rows in found}
        run(_insert_postgresql(columns), values)


@lru_cache
def _insert_sqlite(table: Table, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" for _ in columns)
    return f"INSERT INTO {table.name} ({_quoted(columns)}) VALUES ({marks}){_once(table)}"  # noqa: S608 - names of ours


@lru_cache
def _insert_postgresql(given: tuple[tuple[Table, tuple[str, ...]], ...]) -> str:
    """One statement for all tables. The commit is not synced: an answer that moves no money survives the process.

    Rows come as JSON, since the driver writes arrays of long texts sign by sign.
    """
    *others, last = (_insert_json(table, columns) for table, columns in reversed(given))
    also = "".join(f", more_{number} AS ({sql})" for number, sql in enumerate(others))
    return f"WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)){also} {last}"


def _insert_json(table: Table, columns: tuple[str, ...]) -> str:
    types = ", ".join(f'"{name}" {_type(table.columns[name].type)}' for name in columns)
    rows = f"json_to_recordset(CAST(%({table.name})s AS json)) AS u ({types})"
    return f"INSERT INTO {table.name} ({_quoted(columns)}) SELECT u.* FROM quick, {rows}{_once(table)}"  # noqa: S608 - names of ours


def _type(kind: Any) -> str:
    return "bigint" if isinstance(kind, BigInteger) else "integer" if isinstance(kind, Integer) else "text"


def _once(table: Table) -> str:
    return " ON CONFLICT DO NOTHING" if table is alerts else ""


def _quoted(columns: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


_IN_FORCE = ", ".join(
    f"CASE WHEN t.is_declared THEN t.{name} ELSE d.{name} END"
    for name in ("time_zone", "thresholds_percent", "daily_limit_micro", "monthly_limit_micro")
)
_WINDOWS = ", ".join(
    f"{{array}}({window}.start_s, coalesce({window}.ledger_micro, 0), coalesce({window}.ledger_residual_pico, 0), "
    f"coalesce({window}.pending_micro, 0), coalesce({window}.level_percent, 0))"
    for window in ("day", "month")
)
_NEWEST = " ".join(
    f"""LEFT JOIN spend_windows {window} ON {window}.tenant = t.tenant AND {window}."window" = '{window}'
    AND {window}.start_s =
      (SELECT max(w.start_s) FROM spend_windows w WHERE w.tenant = t.tenant AND w."window" = '{window}')"""  # noqa: S608 - no value is written into it
    for window in ("day", "month")
)
_SELECT = f"""
SELECT CAST({{array}}(asks.id, asks.is_free, a.fingerprint, a.outcome, t.tenant,
  CASE WHEN t.held_micro > 0 AND EXISTS (SELECT 1 FROM reservations r
    WHERE r.tenant = t.tenant AND r.state = 'open' AND r.expires_at_ms <= asks.now_ms) THEN 1 ELSE 0 END,
  coalesce(t.display_name, ''), coalesce(t.stripe_customer, ''), coalesce(t.held_micro, 0), t.as_of_ms, {_IN_FORCE},
  CASE WHEN t.mode <> '' THEN t.mode ELSE d.mode END, {_WINDOWS}) AS text)
FROM asks LEFT JOIN answers a ON a.id = asks.id
  LEFT JOIN tenants t ON t.tenant = asks.tenant
  JOIN tenants d ON d.tenant = ''
  {_NEWEST}
"""  # noqa: S608 - no value is written into it
"""One array for each ask: its stored answer, and its tenant with what is in force and with the newest windows. One
column costs the driver and SQLAlchemy a tenth of what 25 do."""
_SQLITE = """
WITH asks (now_ms, id, tenant, is_free) AS (
  SELECT :now, json_extract(value, '$[0]'), json_extract(value, '$[2]'), 1 FROM json_each(:asks))
""" + _SELECT.replace("{array}", "json_array")  # noqa: S608 - no value is written into it
_POSTGRESQL = """
WITH asks (now_ms, id, tenant, is_free) AS MATERIALIZED (
  SELECT CAST(%(now)s AS bigint), id, tenant,
    CASE WHEN k IS NULL OR pg_try_advisory_xact_lock((k >> 32)::int, ((k << 32) >> 32)::int) THEN 1 ELSE 0 END
  FROM (SELECT value->>0 AS id, (value->>1)::bigint AS k, value->>2 AS tenant
        FROM json_array_elements(CAST(%(asks)s AS json))) one)
""" + _SELECT.replace("{array}", "json_build_array")  # noqa: S608 - no value is written into it
"""A key that another process works on is locked by it (`billing.book`)."""
