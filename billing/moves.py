"""What each ask does to the book: guards first, in their order, then the effects. Pure but for the book's values."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import assert_never

import msgspec

from billing.asks import (
    Authorize,
    Caller,
    Context,
    Exceeded,
    Finalize,
    Method,
    Mode,
    Outcome,
    Release,
    ReservationView,
    Reserve,
    Settle,
    SettlementView,
    Spend,
    Status,
)
from billing.audit import PAYMENT_SETTLED, By, Note, caller_hash, text_of
from billing.book import EXPIRED, FINALIZED, OPEN, RELEASED, Book, Piece, ReservationState
from billing.cap_tables import answers, refusals, settlements, usage_events
from billing.figures import TenantState, exceeded_by, level_of, spend_of
from billing.once import answer_id, fingerprint_of, settlement_id
from billing.policy import Policy
from billing.usage_event import event_line, parts_of

REFUSAL_ALERTS_EVERY_MS = 300_000
_MICRO = 1_000_000
_outcome = msgspec.json.Decoder(Outcome)
_context = msgspec.json.Decoder(Context)


@dataclass(frozen=True, slots=True)
class Desk:
    """What the moves are handed beside the book."""

    policy: Policy
    random_hex: Callable[[int], str]


@dataclass(frozen=True, slots=True)
class _Cost:
    """What is to be settled, and who is behind it."""

    id: str
    key: str
    tenant: str
    amount_micro: int
    reserved_micro: int
    method: Method
    pool: str
    context: Context
    facilitator_tx: str
    reservation: ReservationState | None
    fingerprint: str


def answer(book: Book, desk: Desk, piece: Piece) -> Outcome:
    """Answer one ask: as the first time where its key was used before, else by doing it."""
    once = piece.once
    if once is None:
        return _do(book, desk, piece)
    ident = answer_id(once.scope, once.key)
    if ident in book.busy:
        return Outcome(Status.REQUEST_IN_PROGRESS, decided_at_ms=book.now_ms)
    if ident in book.answers:
        fingerprint, first = book.answers[ident]
        if fingerprint != once.fingerprint:
            return Outcome(Status.IDEMPOTENCY_CONFLICT, decided_at_ms=book.now_ms)
        return replay(first)
    outcome = _do(book, desk, piece)
    encoded = msgspec.json.encode(outcome)
    book.answers[ident] = (once.fingerprint, encoded)
    book.rows[answers].append({
        "id": ident, "scope": once.scope, "key": once.key, "fingerprint": once.fingerprint,
        "outcome": encoded.decode(), "made_at_ms": book.now_ms,
    })  # fmt: skip
    return outcome


def replay(first: bytes) -> Outcome:
    """Give a stored answer again."""
    return replace(_outcome.decode(first), is_replay=True)


def _do(book: Book, desk: Desk, piece: Piece) -> Outcome:
    ask, caller = piece.ask, piece.caller
    match ask:
        case Authorize():
            return _authorize(book, ask, caller)
        case Reserve():
            return _reserve(book, desk, ask, caller)
        case Release():
            return _release(book, ask)
        case Finalize():
            return _finalize(book, desk, ask, piece)
        case Settle():
            return _settle(book, desk, ask, caller)
    assert_never(ask)


def _authorize(book: Book, ask: Authorize, caller: Caller) -> Outcome:
    state = book.tenants[ask.tenant]
    spend, exceeded = _judge(book, state, ask.amount_micro, "authorize", caller)
    return _outcome_of(book, state, ask.amount_micro, spend, exceeded, Status.ALLOWED)


def _reserve(book: Book, desk: Desk, ask: Reserve, caller: Caller) -> Outcome:
    state, policy = book.tenants[ask.tenant], desk.policy
    expires_in_s = policy.reservation_s if ask.expires_in_s is None else ask.expires_in_s
    plain = Outcome(
        Status.AMOUNT_ABOVE_POLICY, ask.tenant, state.mode, ask.amount_micro, decided_at_ms=book.now_ms
    )
    if ask.amount_micro > policy.reservation_micro_max:
        most = policy.reservation_micro_max
        return replace(plain, detail=f"one reservation holds at most {most} micro-USD")
    if expires_in_s > policy.reservation_s_max:
        most = policy.reservation_s_max
        return replace(
            plain, status=Status.EXPIRY_ABOVE_POLICY, detail=f"a reservation holds at most {most} seconds"
        )
    spend, exceeded = _judge(book, state, ask.amount_micro, "reserve", caller)
    outcome = _outcome_of(book, state, ask.amount_micro, spend, exceeded, Status.RESERVED)
    if outcome.is_ok and state.mode is Mode.LIVE and not _credits_do(book, ask):
        outcome = replace(outcome, status=Status.CREDITS_EXHAUSTED)
    if not outcome.is_ok:
        return outcome
    reservation = ReservationState(
        f"res_{desk.random_hex(16)}", ask.tenant, ask.amount_micro, ask.method, ask.pool, state.mode,
        msgspec.json.encode(ask.context).decode(), OPEN, book.now_ms, book.now_ms + expires_in_s * 1000,
    )  # fmt: skip
    book.hold(reservation)
    book.enter(ask.tenant, "reserve", ask.amount_micro, pool=reservation.pool, reservation_id=reservation.id)
    return replace(outcome, reservation=_view(reservation))


def _release(book: Book, ask: Release) -> Outcome:
    reservation = book.reservations.get(ask.reservation_id)
    if reservation is None or ask.tenant not in {None, reservation.tenant}:
        return Outcome(Status.RESERVATION_UNKNOWN, decided_at_ms=book.now_ms)
    state = book.tenants[reservation.tenant]
    is_again = reservation.state == RELEASED
    if reservation.state == OPEN:
        book.close(reservation, RELEASED)
        book.enter(
            reservation.tenant, "release", reservation.amount_micro,
            pool=reservation.pool, reservation_id=reservation.id,
        )  # fmt: skip
    elif not is_again:
        return _closed(book, reservation)
    return Outcome(
        Status.RELEASED, reservation.tenant, state.mode, reservation.amount_micro, spend_of(state),
        reservation=_view(reservation), decided_at_ms=book.now_ms, is_replay=is_again,
    )  # fmt: skip


def _finalize(book: Book, desk: Desk, ask: Finalize, piece: Piece) -> Outcome:
    reservation = book.reservations.get(ask.reservation_id)
    if reservation is None or ask.tenant not in {None, reservation.tenant}:
        return Outcome(Status.RESERVATION_UNKNOWN, decided_at_ms=book.now_ms)
    ident = settlement_id(reservation.tenant, reservation_id=reservation.id)
    fingerprint = fingerprint_of("finalize", {"actual": ask.actual_micro})
    if ident in book.settlements:
        known, first = book.settlements[ident]
        return replay(first) if known == fingerprint else _closed(book, reservation)
    if reservation.state != OPEN:
        return _closed(book, reservation)
    state = book.tenants[reservation.tenant]
    book.close(reservation, FINALIZED)
    cost = _Cost(
        ident, piece.once.key if piece.once else f"reservation:{reservation.id}", reservation.tenant, ask.actual_micro,
        reservation.amount_micro, reservation.method, reservation.pool, _context.decode(reservation.context),
        ask.facilitator_tx, reservation, fingerprint,
    )  # fmt: skip
    return _book_cost(book, desk, state, cost, piece.caller, None)


def _settle(book: Book, desk: Desk, ask: Settle, caller: Caller) -> Outcome:
    ident = settlement_id(ask.tenant, key=ask.key)
    fingerprint = fingerprint_of("settle", {**asdict(ask), "key": ""})
    if ident in book.settlements:
        known, first = book.settlements[ident]
        if known != fingerprint:
            return Outcome(Status.IDEMPOTENCY_CONFLICT, ask.tenant, decided_at_ms=book.now_ms)
        return replay(first)
    state = book.tenants[ask.tenant]
    spend, exceeded = _judge(book, state, ask.amount_micro, "settle", caller)
    outcome = _outcome_of(book, state, ask.amount_micro, spend, exceeded, Status.SETTLED)
    if outcome.is_ok and state.mode is Mode.LIVE and not _credits_do(book, ask):
        outcome = replace(outcome, status=Status.CREDITS_EXHAUSTED)
    if not outcome.is_ok:
        return outcome
    cost = _Cost(
        ident, ask.key, ask.tenant, ask.amount_micro, ask.amount_micro, ask.method, ask.pool, ask.context,
        ask.facilitator_tx, None, fingerprint,
    )  # fmt: skip
    return _book_cost(book, desk, state, cost, caller, exceeded)


def _book_cost(  # noqa: PLR0913, PLR0917 - the parts of a settlement
    book: Book, desk: Desk, state: TenantState, cost: _Cost, caller: Caller, exceeded: Exceeded | None
) -> Outcome:
    """Settle what was allowed: windows, credits, rows for the ledger, history, audit; all in this transaction."""
    before = spend_of(state)
    overrun = max(0, cost.amount_micro - cost.reserved_micro)
    credit = _burn(book, cost) if cost.method is Method.CREDIT else 0
    shortfall = cost.amount_micro - credit if cost.method is Method.CREDIT else 0
    for window, limit in state.windows:
        window.pending_micro += cost.amount_micro
        window.is_changed = window.is_changed or cost.amount_micro > 0
        note_level(book, state, window.window, limit)
    view = SettlementView(
        cost.id, cost.reservation.id if cost.reservation else "", cost.key, cost.amount_micro,
        max(0, cost.reserved_micro - cost.amount_micro), overrun, book.now_ms, credit, shortfall,
    )  # fmt: skip
    outcome = Outcome(
        Status.SETTLED, cost.tenant, state.mode, cost.amount_micro, before if cost.reservation is None else
        spend_of(state), exceeded, _view(cost.reservation) if cost.reservation else None, view,
        decided_at_ms=book.now_ms,
    )  # fmt: skip
    _keep(book, state, cost, outcome)
    _tell(book, cost, view)
    _audit(book, desk, cost, caller)
    return outcome


def _keep(book: Book, state: TenantState, cost: _Cost, outcome: Outcome) -> None:
    """Write the settlement, its events for the ledger, and its lines of history."""
    view = outcome.settlement
    assert view is not None  # noqa: S101 - a settlement has one
    encoded = msgspec.json.encode(outcome)
    book.settlements[cost.id] = (cost.fingerprint, encoded)
    book.rows[settlements].append({
        "id": cost.id, "tenant": cost.tenant, "reservation_id": view.reservation_id or None,
        "idempotency_key": cost.key, "fingerprint": cost.fingerprint, "amount_micro": cost.amount_micro,
        "overrun_micro": view.overrun_micro, "credit_micro": view.credit_micro,
        "shortfall_micro": view.shortfall_micro, "method": cost.method, "mode": state.mode,
        "settled_at_ms": book.now_ms, "outcome": encoded.decode(),
    })  # fmt: skip
    covered = cost.amount_micro - view.overrun_micro
    for part in parts_of(cost.id, covered, view.overrun_micro, view.credit_micro):
        line = event_line(
            part, cost.tenant, cost.id, view.reservation_id, cost.facilitator_tx, cost.context, book.now_ms
        )
        book.rows[usage_events].append({
            "key": part.key, "settlement_id": cost.id, "tenant": cost.tenant, "amount_micro": part.amount_micro,
            "occurred_at_ms": book.now_ms, "day_start_s": state.day.start_s, "month_start_s": state.month.start_s,
            "line": line,
        })  # fmt: skip
    about = {"pool": cost.pool, "reservation_id": view.reservation_id, "settlement_id": cost.id}
    book.enter(cost.tenant, "settle", covered, **about)
    if view.overrun_micro:
        book.enter(cost.tenant, "overrun", view.overrun_micro, **about)


def _burn(book: Book, cost: _Cost) -> int:
    """Take the cost from the pool's lots, but nothing that other reservations hold; gives what was taken."""
    pool = book.pool(cost.tenant, cost.pool)
    left = wanted = min(cost.amount_micro, max(0, pool.balance_micro - pool.held_micro))
    for lot in pool.lots:
        taken = min(left, lot.remaining_micro)
        if taken:
            lot.remaining_micro -= taken
            lot.is_changed = True
            book.enter(cost.tenant, "burn", -taken, pool=cost.pool, lot_id=lot.id, settlement_id=cost.id)
        left -= taken
    return wanted


def _credits_do(book: Book, ask: Reserve | Settle) -> bool:
    """Whether the pool can pay what is not held by others."""
    if ask.method is not Method.CREDIT:
        return True
    pool = book.pool(ask.tenant, ask.pool)
    return ask.amount_micro <= pool.balance_micro - pool.held_micro


def _judge(
    book: Book, state: TenantState, amount_micro: int, asked: str, caller: Caller
) -> tuple[Spend, Exceeded | None]:
    """Hold an amount against the caps; what exceeds one is recorded, whatever the mode makes of it."""
    spend = spend_of(state)
    exceeded = exceeded_by(spend, amount_micro)
    if exceeded is not None:
        _record(book, state, exceeded, amount_micro, asked, caller)
    return spend, exceeded


def _record(  # noqa: PLR0913, PLR0917 - the columns
    book: Book, state: TenantState, exceeded: Exceeded, amount_micro: int, asked: str, caller: Caller
) -> None:
    tenant = state.account.tenant
    start_s = next(w.start_s for w, _ in state.windows if w.window == exceeded.window)
    book.rows[refusals].append({
        "tenant": tenant, "asked": asked, "window": exceeded.window, "window_start_s": start_s,
        "amount_micro": amount_micro, "limit_micro": exceeded.limit_micro, "current_micro": exceeded.current_micro,
        "mode": state.mode, "caller": caller.name, "request_id": caller.request_id, "decided_at_ms": book.now_ms,
    })  # fmt: skip
    if state.mode is not Mode.SHADOW:
        kind = "cap_refused" if state.mode is Mode.LIVE else "cap_would_refuse"
        bucket = book.now_ms // REFUSAL_ALERTS_EVERY_MS
        book.alert(kind, tenant, f"{kind}:{tenant}:{exceeded.window}:{start_s}:{bucket}", {
            "window": exceeded.window, "window_start_s": start_s, "limit_micro_usd": str(exceeded.limit_micro),
            "current_micro_usd": str(exceeded.current_micro), "amount_micro_usd": str(amount_micro),
        })  # fmt: skip


def note_level(book: Book, state: TenantState, window_name: str, limit_micro: int | None) -> None:
    """Alert where spend has come to another threshold, or fallen back under one."""
    window = state.day if window_name == state.day.window else state.month
    level = level_of(state.account, limit_micro, window.spent_micro)
    before, window.level_percent = window.level_percent, level
    if level == before:
        return
    window.is_changed = True
    tenant, high, low = state.account.tenant, max(before, level), min(before, level)
    kind = "cap_crossed" if level > before else "cap_cleared"
    for percent in state.account.thresholds_percent:
        if low < percent <= high:
            name = f"{kind}:{tenant}:{window.window}:{window.start_s}:{percent}:{book.now_ms}"
            book.alert(kind, tenant, name, {
                "window": window.window, "window_start_s": window.start_s, "threshold_percent": percent,
                "limit_micro_usd": str(limit_micro), "current_micro_usd": str(window.spent_micro),
            })  # fmt: skip


def _tell(book: Book, cost: _Cost, view: SettlementView) -> None:
    about = {"settlement_id": cost.id, "reservation_id": view.reservation_id}
    if view.overrun_micro:
        book.alert(
            "overrun",
            cost.tenant,
            f"overrun:{cost.id}",
            {**about, "overrun_micro_usd": str(view.overrun_micro)},
        )
    if view.shortfall_micro:
        book.alert(
            "credit_shortfall", cost.tenant, f"credit_shortfall:{cost.id}",
            {**about, "pool": cost.pool, "shortfall_micro_usd": str(view.shortfall_micro)},
        )  # fmt: skip


def _audit(book: Book, desk: Desk, cost: _Cost, caller: Caller) -> None:
    detail = text_of({
        "amountUsd": f"{cost.amount_micro // _MICRO}.{cost.amount_micro % _MICRO:06d}",
        "facilitatorTx": cost.facilitator_tx,
        "tenant": cost.tenant,
        "callerHash": caller_hash(desk.policy.caller_key, caller.name),
        "timestamp": book.now_ms,
        "idempotencyKey": cost.key,
    })  # fmt: skip
    by = By("settlement", book.now_ms, caller.request_id)
    book.notes.append((Note(cost.tenant, PAYMENT_SETTLED, cost.id, detail), by))


def _outcome_of(  # noqa: PLR0913, PLR0917 - what was decided
    book: Book, state: TenantState, amount_micro: int, spend: Spend, exceeded: Exceeded | None, ok: Status
) -> Outcome:
    is_refused = exceeded is not None and state.mode is Mode.LIVE
    status = Status.CAP_EXCEEDED if is_refused else ok
    return Outcome(
        status, state.account.tenant, state.mode, amount_micro, spend, exceeded, decided_at_ms=book.now_ms
    )


def _closed(book: Book, reservation: ReservationState) -> Outcome:
    statuses = {
        FINALIZED: Status.RESERVATION_FINALIZED,
        RELEASED: Status.RESERVATION_RELEASED,
        EXPIRED: Status.RESERVATION_EXPIRED,
    }
    return Outcome(
        statuses[reservation.state],
        reservation.tenant,
        reservation=_view(reservation),
        decided_at_ms=book.now_ms,
    )


def _view(r: ReservationState) -> ReservationView:
    return ReservationView(r.id, r.amount_micro, r.state, r.expires_at_ms, r.created_at_ms)
