"""One transaction's book: what a group of asks needs, read at once; what they change, written at once.

Reading locks the rows of the tenants, in the order of their names, so that on PostgreSQL the processes that decide
about a tenant follow one another and never wait in a circle. In between, asks work on these values alone.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from billing.asks import Ask, Caller, Finalize, Method, Mode, Once, Release, Settle
from billing.audit import By, Note, append
from billing.cap_tables import (
    alerts,
    answers,
    entries,
    lots,
    refusals,
    reservations,
    settlements,
    spend_windows,
    tenants,
    usage_events,
)
from billing.figures import TenantState, WindowState, window_states
from billing.once import answer_id, settlement_id
from billing.store import Store
from pipeline.accounts import Account

OPEN, FINALIZED, RELEASED, EXPIRED = "open", "finalized", "released", "expired"
NEVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class Piece:
    """One ask on its way through a transaction."""

    ask: Ask
    caller: Caller
    once: Once | None


@dataclass(slots=True)
class ReservationState:
    """A reservation."""

    id: str
    tenant: str
    amount_micro: int
    method: Method
    pool: str
    mode: str
    context: str
    state: str
    created_at_ms: int
    expires_at_ms: int
    closed_at_ms: int | None = None
    is_new: bool = False
    is_changed: bool = False


@dataclass(slots=True)
class LotState:
    """A lot that may still pay."""

    id: str
    remaining_micro: int
    is_changed: bool = False


@dataclass(slots=True)
class PoolState:
    """What a pool may still pay."""

    lots: list[LotState]
    held_micro: int

    @property
    def balance_micro(self) -> int:
        """In all lots."""
        return sum(lot.remaining_micro for lot in self.lots)


@dataclass(slots=True)
class Book:
    """The values of one transaction."""

    connection: Connection
    now_ms: int
    tenants: dict[str, TenantState] = field(default_factory=dict)
    reservations: dict[str, ReservationState] = field(default_factory=dict)
    answers: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Answer id -> fingerprint, outcome."""
    busy: frozenset[str] = frozenset()
    """Answer ids that another process works on."""
    settlements: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Settlement id -> fingerprint, outcome."""
    rows: "defaultdict[Any, list[dict[str, Any]]]" = field(default_factory=lambda: defaultdict(list))
    """New rows by table."""
    notes: list[tuple[Note, By]] = field(default_factory=list)
    _pools: dict[tuple[str, str], PoolState] = field(default_factory=dict)
    _held_since: "defaultdict[tuple[str, str], int]" = field(default_factory=lambda: defaultdict(int))

    def unread(self) -> list[str]:
        """Name the tenants whose windows were never read from the ledger."""
        return [name for name, state in self.tenants.items() if state.as_of_ms is None]

    def hold(self, reservation: ReservationState) -> None:
        """Open a reservation."""
        reservation.is_new = True
        self.reservations[reservation.id] = reservation
        self._change_hold(reservation, reservation.amount_micro)

    def close(self, reservation: ReservationState, state: str) -> None:
        """End a reservation; its money is free again."""
        reservation.state, reservation.closed_at_ms, reservation.is_changed = state, self.now_ms, True
        self._change_hold(reservation, -reservation.amount_micro)

    def _change_hold(self, reservation: ReservationState, by_micro: int) -> None:
        tenant = self.tenants[reservation.tenant]
        tenant.held_micro += by_micro
        tenant.is_changed = True
        if reservation.method is Method.CREDIT:
            key = (reservation.tenant, reservation.pool)
            self._held_since[key] += by_micro
            if key in self._pools:
                self._pools[key].held_micro += by_micro

    def pool(self, tenant: str, name: str) -> PoolState:
        """Give a credit pool: its lots in the order in which they burn, and what is held in it."""
        key = (tenant, name)
        if key not in self._pools:
            found = self.connection.execute(_LOTS, {"of": tenant, "pool": name, "now": self.now_ms}).all()
            held = self.connection.execute(_HELD, {"of": tenant, "pool": name}).scalar_one()
            states = [LotState(row.id, row.remaining_micro) for row in found]
            self._pools[key] = PoolState(states, int(held) + self._held_since[key])
        return self._pools[key]

    def enter(  # noqa: PLR0913 - the columns
        self,
        tenant: str,
        entry_type: str,
        amount_micro: int,
        *,
        pool: str,
        lot_id: str | None = None,
        reservation_id: str = "",
        settlement_id: str = "",
    ) -> None:
        """Add an entry to the tenant's history."""
        self.rows[entries].append({
            "tenant": tenant, "entry_type": entry_type, "amount_micro": amount_micro, "pool": pool, "lot_id": lot_id,
            "reservation_id": reservation_id, "settlement_id": settlement_id, "made_at_ms": self.now_ms,
        })  # fmt: skip

    def alert(self, kind: str, tenant: str, dedupe: str, body: dict[str, Any]) -> None:
        """Tell someone, once for each `dedupe`."""
        whole = {"kind": kind, "tenant": tenant, "at_ms": self.now_ms, **body}
        self.rows[alerts].append({
            "dedupe": dedupe, "kind": kind, "tenant": tenant, "made_at_ms": self.now_ms,
            "body": json.dumps(whole, separators=(",", ":"), ensure_ascii=False),
        })  # fmt: skip

    def in_order(self, table: Any) -> list[dict[str, Any]]:
        """Give the new rows of a table; those whose key others may write, too, in its order: no circle of waiting."""
        key = {answers: "id", alerts: "dedupe"}.get(table)
        return self.rows[table] if key is None else sorted(self.rows[table], key=itemgetter(key))

    def flush(self) -> None:
        """Write all that changed."""
        run = self.connection.execute
        held = [{"of": n, "held": s.held_micro} for n, s in self.tenants.items() if s.is_changed]
        if held:
            run(_HOLD, held)
        self._flush_windows()
        new = [_row(r) for r in self.reservations.values() if r.is_new]
        if new:
            run(insert(reservations), new)
        closed = [
            {"of": r.id, "to_state": r.state, "at": r.closed_at_ms}
            for r in self.reservations.values()
            if r.is_changed and not r.is_new
        ]
        if closed:
            run(_CLOSE, closed)
        burned = [
            {"of": lot.id, "remaining": lot.remaining_micro}
            for pool in self._pools.values()
            for lot in pool.lots
            if lot.is_changed
        ]
        if burned:
            run(_BURN, burned)
        for table in (settlements, usage_events, entries, answers, refusals):
            if self.rows[table]:
                run(insert(table), self.in_order(table))
        insert_once(self.connection, alerts, self.in_order(alerts))
        if self.notes:
            append(self.connection, self.notes)

    def _flush_windows(self) -> None:
        changed = [
            (name, window)
            for name, state in self.tenants.items()
            for window in (state.day, state.month)
            if window.is_changed
        ]
        old = [
            {
                "of": n, "of_window": w.window, "of_start": w.start_s, "pending": w.pending_micro,
                "level": w.level_percent,
            }
            for n, w in changed
            if w.is_stored
        ]  # fmt: skip
        new = [
            {
                "tenant": n, "window": w.window, "start_s": w.start_s, "pending_micro": w.pending_micro,
                "level_percent": w.level_percent,
            }
            for n, w in changed
            if not w.is_stored
        ]  # fmt: skip
        if old:
            self.connection.execute(_PEND, old)
        if new:
            self.connection.execute(insert(spend_windows), new)


def open_book(connection: Connection, store: Store, pieces: Sequence[Piece], now_ms: int) -> Book:
    """Read what the asks need, and lock what they decide about."""
    book = Book(connection, now_ms)
    ids = [answer_id(p.once.scope, p.once.key) for p in pieces if p.once is not None]
    if ids and store.is_sqlite:
        found = connection.execute(_ANSWERS, {"ids": ids})
        book.answers = {row.id: (row.fingerprint, row.outcome.encode()) for row in found}
    elif ids:
        _lock_answers(book, sorted(set(ids)))
    reserved = sorted({p.ask.reservation_id for p in pieces if isinstance(p.ask, Finalize | Release)})
    names = {p.ask.tenant for p in pieces if not isinstance(p.ask, Finalize | Release)}
    if reserved:
        names |= set(connection.execute(_TENANTS_OF, {"ids": reserved}).scalars())
    book.tenants = lock_tenants(connection, names, now_ms)
    holding = [name for name, state in book.tenants.items() if state.held_micro]
    due = {"tenants": holding, "now": now_ms, "ids": reserved}
    for row in connection.execute(_RESERVATIONS, due) if holding or reserved else ():
        state = reservation_of(row)
        book.reservations[state.id] = state
        if state.state == OPEN and state.expires_at_ms <= now_ms:
            expire(book, state)
    wanted = [settlement_id(r.tenant, reservation_id=r.id) for r in book.reservations.values()]
    wanted += [settlement_id(p.ask.tenant, key=p.ask.key) for p in pieces if isinstance(p.ask, Settle)]
    if wanted and any(isinstance(p.ask, Finalize | Settle) for p in pieces):
        rows = connection.execute(_SETTLED, {"ids": wanted})
        book.settlements = {row.id: (row.fingerprint, row.outcome.encode()) for row in rows}
    return book


def expire(book: Book, reservation: ReservationState) -> None:
    """End a reservation whose time is over."""
    book.close(reservation, EXPIRED)
    book.enter(
        reservation.tenant, "expire", reservation.amount_micro,
        pool=reservation.pool, reservation_id=reservation.id,
    )  # fmt: skip


def lock_tenants(connection: Connection, names: Iterable[str], now_ms: int) -> dict[str, TenantState]:
    """Lock tenants' rows in the order of their names, making those that are missing; give each as it stands."""
    wanted = sorted(set(names))
    if not wanted:
        return {}
    found = {row.tenant: row for row in connection.execute(_LOCK, {"names": wanted})}
    missing = [name for name in wanted if name not in found]
    if missing:
        new = [{"tenant": name, "created_at_ms": now_ms, "changed_at_ms": now_ms} for name in missing]
        insert_once(connection, tenants, new)
        found = {row.tenant: row for row in connection.execute(_LOCK, {"names": wanted})}
    states = {name: tenant_of(found[name], now_ms) for name in wanted}
    starts = {w.start_s for s in states.values() for w in (s.day, s.month)}
    for row in connection.execute(_WINDOWS, {"names": wanted, "starts": list(starts)}):
        state = states[row.tenant]
        window = state.day if row.window == state.day.window else state.month
        if row.start_s == window.start_s:
            _fill(window, row)
    return states


def account_of(row: Any, defaults: Any) -> Account:
    """Give the account that holds for a tenant's row: its own where it was declared, else the defaults."""
    source = row if row.is_declared else defaults
    return Account(
        tenant=row.tenant,
        display_name=source.display_name or row.tenant,
        time_zone=source.time_zone,
        stripe_customer=source.stripe_customer,
        daily_limit_micro_usd=source.daily_limit_micro,
        monthly_limit_micro_usd=source.monthly_limit_micro,
        thresholds_percent=thresholds_of(source.thresholds_percent),
        tier=row.tier,
        mode=row.mode,
    )


@lru_cache
def thresholds_of(text: str) -> tuple[int, ...]:
    """Read the thresholds of an account as the store has them."""
    return tuple(int(part) for part in text.split(",") if part)


def insert_once(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    """Insert rows, leaving out those that are there."""
    if rows:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


def tenant_of(row: Any, now_ms: int) -> TenantState:
    """Read a tenant's row with what is in force for it; its windows have nothing in them yet."""
    account = Account(
        row.tenant, row.display_name or row.tenant, row.time_zone, row.stripe_customer, row.daily_limit_micro,
        row.monthly_limit_micro, thresholds_of(row.thresholds_percent),
    )  # fmt: skip
    day, month = window_states(account, now_ms // 1000)
    return TenantState(account, Mode(row.mode), row.held_micro, row.as_of_ms, day, month)


def _fill(window: WindowState, row: Any) -> None:
    window.ledger_micro, window.ledger_residual_pico = row.ledger_micro, row.ledger_residual_pico
    window.pending_micro, window.level_percent = row.pending_micro, row.level_percent
    window.is_stored = True


def reservation_of(row: Any) -> ReservationState:
    """Read a reservation's row."""
    return ReservationState(
        row.id, row.tenant, row.amount_micro, Method(row.method), row.pool, row.mode, row.context, row.state,
        row.created_at_ms, row.expires_at_ms, row.closed_at_ms,
    )  # fmt: skip


def _row(r: ReservationState) -> dict[str, Any]:
    names = (c.name for c in reservations.columns)
    return {name: getattr(r, name) for name in names}


def _lock_answers(book: Book, ids: list[str]) -> None:
    """Try to lock answer ids for this transaction and read their answers; noted is what another process has locked.

    The lock goes with the connection, so a process that dies leaves nothing behind to be taken over. An answer that is
    committed between the look and the lock is not seen: then the insert of ours fails, and the ask is done again.
    """
    rows = book.connection.execute(
        _LOCK_ANSWERS, {"ids": ids, "keys": [lock_number(one) for one in ids]}
    ).all()
    book.busy = frozenset(row.id for row in rows if not row.is_locked)
    book.answers = {
        row.id: (row.fingerprint, row.outcome.encode()) for row in rows if row.outcome is not None
    }


def lock_number(ident: str) -> int:
    """Name an answer id for the locks of PostgreSQL, which have numbers."""
    return int.from_bytes(hashlib.sha256(ident.encode()).digest()[:8], "big", signed=True)


_in = bindparam
_LOCK_ANSWERS = text(
    "SELECT t.id, pg_try_advisory_xact_lock((t.k >> 32)::int, ((t.k << 32) >> 32)::int) AS is_locked, "
    "a.fingerprint, a.outcome "
    "FROM unnest(CAST(:ids AS text[]), CAST(:keys AS bigint[])) AS t(id, k) LEFT JOIN answers a ON a.id = t.id"
)
_ANSWERS = select(answers.c.id, answers.c.fingerprint, answers.c.outcome).where(
    answers.c.id.in_(_in("ids", expanding=True))
)
_TENANTS_OF = select(reservations.c.tenant).where(reservations.c.id.in_(_in("ids", expanding=True)))
_defaults = tenants.alias("defaults")
_IN_FORCE = ("time_zone", "thresholds_percent", "daily_limit_micro", "monthly_limit_micro")
_LOCK = (
    select(
        *(
            tenants.c[name]
            for name in ("tenant", "display_name", "stripe_customer", "held_micro", "as_of_ms")
        ),
        *(
            case((tenants.c.is_declared, tenants.c[name]), else_=_defaults.c[name]).label(name)
            for name in _IN_FORCE
        ),
        case((tenants.c.mode != "", tenants.c.mode), else_=_defaults.c.mode).label("mode"),
    )
    .join(_defaults, _defaults.c.tenant == "")
    .where(tenants.c.tenant.in_(_in("names", expanding=True)))
    .order_by(tenants.c.tenant)
    .with_for_update(of=tenants)
)
"""Tenants with what is in force for them: their own where they were declared, else the defaults."""
_WINDOWS = select(spend_windows).where(
    spend_windows.c.tenant.in_(_in("names", expanding=True)),
    spend_windows.c.start_s.in_(_in("starts", expanding=True)),
)
_is_due = (
    reservations.c.tenant.in_(_in("tenants", expanding=True))
    & (reservations.c.state == OPEN)
    & (reservations.c.expires_at_ms <= _in("now"))
)
_RESERVATIONS = select(reservations).where(_is_due | reservations.c.id.in_(_in("ids", expanding=True)))
_SETTLED = select(settlements.c.id, settlements.c.fingerprint, settlements.c.outcome).where(
    settlements.c.id.in_(_in("ids", expanding=True))
)
_LOTS = (
    select(lots.c.id, lots.c.remaining_micro)
    .where(
        lots.c.tenant == _in("of"),
        lots.c.pool == _in("pool"),
        lots.c.remaining_micro > 0,
        func.coalesce(lots.c.expires_at_ms, NEVER_MS) > _in("now"),
    )
    .order_by(func.coalesce(lots.c.expires_at_ms, NEVER_MS), lots.c.priority, lots.c.id)
)
_HELD = select(func.coalesce(func.sum(reservations.c.amount_micro), 0)).where(
    reservations.c.tenant == _in("of"),
    reservations.c.pool == _in("pool"),
    reservations.c.state == OPEN,
    reservations.c.method == Method.CREDIT,
)
_HOLD = update(tenants).where(tenants.c.tenant == _in("of")).values(held_micro=_in("held"))
_CLOSE = (
    update(reservations)
    .where(reservations.c.id == _in("of"))
    .values(state=_in("to_state"), closed_at_ms=_in("at"))
)
_BURN = update(lots).where(lots.c.id == _in("of")).values(remaining_micro=_in("remaining"))
_PEND = (
    update(spend_windows)
    .where(
        spend_windows.c.tenant == _in("of"),
        spend_windows.c.window == _in("of_window"),
        spend_windows.c.start_s == _in("of_start"),
    )
    .values(pending_micro=_in("pending"), level_percent=_in("level"))
)
