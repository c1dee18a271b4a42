"""The usage events that a settlement emits: what it cost, on its way to the ledger like any other usage.

The shipped catalog prices `usage.settled_micro_usd` at 1 micro-USD a unit, so the ledger's row is the settled amount,
to the micro-USD. Credits pay under an operation of their own, which is never told to Stripe. What goes beyond the
reservation is a row of its own, with the action `overrun`: it can be listed, summed and asked about.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.asks import Context, Method
from pipeline.spans import SETTLEMENT_OPERATIONS, SETTLEMENT_SOURCE

OPERATIONS = dict(zip((Method.METERED, Method.CREDIT), SETTLEMENT_OPERATIONS, strict=True))
OVERRUN = "overrun"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Part:
    """One row of a settlement in the ledger."""

    key: str
    """Its idempotency key: the settlement's id, and what part it is."""
    amount_micro: int
    method: Method
    is_overrun: bool


def parts_of(settlement_id: str, covered_micro: int, overrun_micro: int, credit_micro: int) -> list[Part]:
    """Split a settlement into its rows: covered and beyond, each by who pays; at least one, if of nothing."""
    credit_covered = min(credit_micro, covered_micro)
    amounts: list[tuple[str, int, Method, bool]] = [
        ("", covered_micro - credit_covered, Method.METERED, False),
        (":credit", credit_covered, Method.CREDIT, False),
        (":overrun", overrun_micro - (credit_micro - credit_covered), Method.METERED, True),
        (":overrun:credit", credit_micro - credit_covered, Method.CREDIT, True),
    ]
    parts = [
        Part(settlement_id + suffix, micro, by, beyond) for suffix, micro, by, beyond in amounts if micro
    ]
    return parts or [Part(settlement_id, 0, Method.METERED, is_overrun=False)]


def event_line(  # noqa: PLR0913, PLR0917 - what the event says
    part: Part,
    tenant: str,
    settlement_id: str,
    reservation_id: str,
    facilitator_tx: str,
    context: Context,
    at_ms: int,
) -> str:
    """Write the event: one CloudEvent in one line of JSON."""
    more = {
        "settlement_id": settlement_id,
        "reservation_id": reservation_id,
        "facilitator_tx": facilitator_tx,
        "settled_operation": context.operation,
        "settled_action": context.action if part.is_overrun else "",
        **context.attributes,
    }
    data: dict[str, Any] = {
        **{name: value for name, value in more.items() if value},
        "operation": OPERATIONS[part.method],
        "action": OVERRUN if part.is_overrun else context.action or None,
        "units": 0,
        "usage": {"settled_micro_usd": part.amount_micro},
    }
    if context.type:
        data["context"] = {"type": context.type, "name": context.name, "display": context.display}
    if context.trigger:
        data["trigger"] = context.trigger
    event = {
        "specversion": "1.0",
        "id": part.key,
        "source": SETTLEMENT_SOURCE,
        "type": "compute",
        "tenant": tenant,
        "subject": context.principal or None,
        "time": _rfc3339(at_ms),
        "idempotencykey": part.key,
        "data": dict(_there(data)),
    }
    return json.dumps(dict(_there(event)), separators=(",", ":"), ensure_ascii=False)


def _there(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in values.items() if value is not None)


def _rfc3339(at_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
