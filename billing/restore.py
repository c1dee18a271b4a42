"""Notices that the control store was restored from an older copy, and brings it back to what Stripe has.

Each time reports go out, a number in the store and the same number in a file beside it grow. A store whose
number is behind the file's has forgotten what it told: it is read-only until a reconciliation has adopted
from Stripe's sums what is missing. That needs 24 hours from the last report that may have been sent.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import Protocol

from sqlalchemy import Connection, and_, delete, insert, select, update

from billing.machine import ABSENCE_AFTER_S
from billing.meters import Declaration
from billing.periods import REACH_S, hour_start
from billing.reconcile import Reconciliation, lines_of
from billing.resolve import note
from billing.store import Store
from billing.tables import attempts, facts, intents, lanes
from pipeline.errors import StoreError, UsageError
from pipeline.outbox import HOUR_S, UNCOUNTED, Lane, Report, State, Summaries

_SERIAL = "serial"
_READ_ONLY = "read_only"


class Mark(Protocol):
    """Remembers, outside of the store, how far it had come."""

    def read(self) -> tuple[int, int]:
        """Return the number and the moment of the last writing; zeros when there was none."""
        ...

    def write(self, serial: int, now: int) -> None:
        """Remember both."""
        ...


@dataclass(slots=True)
class FileMark:
    """A mark in a small file, replaced as a whole."""

    path: Path

    def read(self) -> tuple[int, int]:
        """Return the number and the moment of the last writing; zeros when there was none."""
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            return int(held["serial"]), int(held["at"])
        except FileNotFoundError:
            return 0, 0
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"the mark {self.path} of the control store cannot be read: mend it, or delete it"
            raise StoreError(msg) from error

    def write(self, serial: int, now: int) -> None:
        """Remember both."""
        own = f"{os.getpid()}-{get_ident()}"  # two senders may write at once, and the later one may be the older
        partial = self.path.with_name(f".{self.path.name}.{own}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)  # a store elsewhere makes no folder for it
            partial.write_text(json.dumps({"serial": serial, "at": now}), encoding="utf-8")
            partial.replace(self.path)
        except OSError as error:
            msg = f"the mark {self.path} of the control store cannot be written: {error.strerror}"
            raise StoreError(msg) from error


def next_serial(connection: Connection) -> int:
    """Count one more sending in the store."""
    held = _fact(connection, _SERIAL)
    serial = int(held or 0) + 1
    if held is None:
        connection.execute(insert(facts).values(name=_SERIAL, value=str(serial)))
    else:
        connection.execute(update(facts).where(facts.c.name == _SERIAL).values(value=str(serial)))
    return serial


def notice_restore(store: Store, mark: Mark, now: int, *, declared: bool = False) -> bool:
    """Make a restored store read-only and say whether it is; `declared`: someone says that it was."""
    with store.write() as connection:
        if is_read_only(connection):
            return True
        behind = int(_fact(connection, _SERIAL) or 0) < mark.read()[0]
        if behind or declared:
            connection.execute(insert(facts).values(name=_READ_ONLY, value=str(now)))
            note(connection, who="millrace", action="read_only", subject="store", detail="restored", now=now)
        return behind or declared


def is_read_only(connection: Connection) -> bool:
    """Say whether the store was restored and nothing may be planned or sent."""
    return _fact(connection, _READ_ONLY) is not None


def check_settled(mark: Mark, now: int) -> None:
    """Raise `UsageError` while what was last sent may not show in Stripe's sums yet."""
    _, last = mark.read()
    due = last + ABSENCE_AFTER_S
    if now < due:
        hours = -(-(due - now) // HOUR_S)
        msg = (
            f"the last report before the restore may not show in Stripe's sums yet: try again in {hours} "
            "hours; until then nothing is planned or sent"
        )
        raise UsageError(msg)


def adopt(
    store: Store, summaries: Summaries, declaration: Declaration, customers: Mapping[str, str], now: int
) -> int:
    """Take into the store what Stripe counts and the store does not know; return how many reports that made.

    `customers` maps tenants to customers; what cannot be told apart goes to a customer's first tenant.
    """
    tenant_of = {customer: tenant for tenant, customer in sorted(customers.items(), reverse=True)}
    first = hour_start(now - REACH_S) + HOUR_S
    _forget_unsent(store, now)
    made = 0
    for meter in declaration.meters:
        for customer, tenant in tenant_of.items():
            lane = Lane(customer, meter.event_name)
            for window, total in summaries.hours(lane, first, hour_start(now) + 2 * HOUR_S).items():
                report = Report(
                    declaration.namespace, tenant, customer, meter.event_name, window, 0, 1, window
                )
                made += _adopt_hour(store, summaries, report, total, now)
    return made


def lift(store: Store, mark: Mark, result: Reconciliation, now: int) -> bool:
    """Let the store be written to again when the comparison found no difference; say whether it was."""
    if result.findings or result.unread_lanes:
        return False
    with store.write() as connection:
        connection.execute(delete(facts).where(facts.c.name == _READ_ONLY))
        serial = max(int(_fact(connection, _SERIAL) or 0), mark.read()[0])
        connection.execute(delete(facts).where(facts.c.name == _SERIAL))
        connection.execute(insert(facts).values(name=_SERIAL, value=str(serial)))
        note(connection, who="millrace", action="lifted", subject="store", detail="reconciled", now=now)
    return True


def _forget_unsent(store: Store, now: int) -> None:
    """Drop plans that were surely never sent: the lost time may have used their minutes for other amounts."""
    unsent = select(intents.c.id).where(intents.c.state.in_((State.PLANNED, State.DEFERRED)))
    with store.write() as connection:
        connection.execute(delete(attempts).where(attempts.c.intent_id.in_(unsent)))
        dropped = connection.execute(
            delete(intents).where(intents.c.state.in_((State.PLANNED, State.DEFERRED)))
        )
        detail = f"{dropped.rowcount} reports that were never sent"
        note(connection, who="millrace", action="dropped", subject="store", detail=detail, now=now)


def _adopt_hour(store: Store, summaries: Summaries, like: Report, total: int, now: int) -> int:
    with store.read() as connection:
        lines = lines_of(connection, like.lane, like.window_start)
    known = {line.report.slot: line.report.value for line in lines if line.standing.state not in UNCOUNTED}
    taken = {line.report.slot for line in lines}
    if total == sum(known.values()):
        return 0
    strangers = _strangers(summaries, like, 0, 60, known)
    fresh = {slot: value for slot, value in strangers.items() if slot not in taken and value > 0}
    if fresh:
        with store.write() as connection:
            _insert(connection, like, fresh, now)
    return len(fresh)


def _strangers(
    summaries: Summaries, like: Report, first: int, last: int, known: Mapping[int, int]
) -> dict[int, int]:
    """Halve an hour until the minutes are found in which Stripe has something else than what is known."""
    start = like.window_start + 60 * first
    total = summaries.span(like.lane, start, like.window_start + 60 * last)
    if total == sum(value for slot, value in known.items() if first <= slot < last):
        return {}
    if last - first == 1:
        return {first: total}
    middle = (first + last) // 2
    left = _strangers(summaries, like, first, middle, known)
    return left | _strangers(summaries, like, middle, last, known)


def _insert(connection: Connection, like: Report, fresh: Mapping[int, int], now: int) -> None:
    where = and_(lanes.c.customer == like.customer, lanes.c.event_name == like.event_name)
    if connection.execute(select(lanes.c.fence).where(where)).first() is None:
        connection.execute(insert(lanes).values(customer=like.customer, event_name=like.event_name))
    connection.execute(insert(intents), _rows(like, fresh, now))
    subject = f"{like.customer} {like.event_name}"
    detail = f"{sum(fresh.values())} units of the hour {like.window_start} in {len(fresh)} reports"
    note(connection, who="millrace", action="adopted", subject=subject[:255], detail=detail, now=now)


def _rows(like: Report, fresh: Mapping[int, int], now: int) -> Sequence[dict[str, object]]:
    same = {
        "namespace": like.namespace,
        "tenant": like.tenant,
        "customer": like.customer,
        "event_name": like.event_name,
        "window_start": like.window_start,
        "origin_start": like.origin_start,
        "api_version": "",
        "sdk_version": "",
        "created_at": now,
        "state": State.VERIFIED,
        "detail": "adopted from Stripe's sums after a restore",
        "settled_at": now,
    }
    reports = {slot: _in_slot(like, slot, value) for slot, value in fresh.items()}
    return [
        {**same, "slot": slot, "value": report.value, "identifier": report.identifier}
        for slot, report in reports.items()
    ]


def _in_slot(like: Report, slot: int, value: int) -> Report:
    return Report(
        like.namespace,
        like.tenant,
        like.customer,
        like.event_name,
        like.window_start,
        slot,
        value,
        like.origin_start,
    )


def _fact(connection: Connection, name: str) -> str | None:
    return connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar()
