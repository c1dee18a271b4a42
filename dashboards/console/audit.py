"""Which operations were seen that the catalog does not declare, and which are declared and were not seen.

Read from the sums of all tenants by time, which know how each operation was priced; of the few that are shown first,
the rows of their last quarter hour say whose they were.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dashboards.console.desk import Ledger
from dashboards.console.spend import DAY_S, QUARTER_S, seconds_of
from dashboards.console.text import iso
from pipeline.catalog import Catalog

DAYS = 31
LOOKED_UP = 12
QUARTERS_MAX = 4
"""Whose an operation was is looked up in so many quarter hours at most."""
OPERATIONS_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Undeclared:
    """An operation that no version declares by name."""

    operation: str
    type: str
    pricing: str
    """How it was priced in its last quarter hour; unpriced, where that was in several ways."""
    events: int
    pico: int
    last_s: int
    last_tenant: str = ""
    """Empty where it was not looked up."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What the catalog lacks, and what it has for nothing."""

    since_s: int
    undeclared: tuple[Undeclared, ...]
    never_seen: tuple[str, ...]


def read_audit(ledger: Ledger, catalog: Catalog, now_s: int) -> Audit:
    """Compare the catalog with what the ledger has seen lately."""
    since = now_s - now_s % QUARTER_S - DAYS * DAY_S
    given = {"from_": iso(since), "to": iso(now_s - now_s % QUARTER_S + QUARTER_S)}
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in ledger.rows("console_seen", **given, limit=OPERATIONS_MAX):
        lines.setdefault(row["operation"], []).append(row)
    declared = {name for version in catalog.versions for name in version.operations}
    unknown = [_put_together(of) for operation, of in lines.items() if operation not in declared]
    unknown.sort(key=lambda one: (one.pricing != "unpriced", one.pico != 0, -one.events))
    return Audit(since, tuple(_with_tenants(ledger, unknown)), tuple(sorted(declared - lines.keys())))


def _put_together(lines: Sequence[Mapping[str, Any]]) -> Undeclared:
    """Make one of an operation's lines; what corrections repeat of what they take back says nothing new."""
    own = [row for row in lines if row["type"] != "correction"] or lines
    newest = max(own, key=lambda row: (row["last_quarter"], row["pricing"] == "unpriced", row["events"]))
    last = max(seconds_of(row["last_quarter"]) for row in lines)
    events, pico = (sum(row[name] for row in lines) for name in ("events", "pico_usd"))
    return Undeclared(newest["operation"], newest["type"], newest["pricing"], events, pico, last)


def _with_tenants(ledger: Ledger, unknown: Sequence[Undeclared]) -> list[Undeclared]:
    shown = unknown[:LOOKED_UP]
    whose: dict[str, str] = {}
    for quarter in list(dict.fromkeys(one.last_s for one in shown))[:QUARTERS_MAX]:
        names = json.dumps([one.operation for one in shown if one.last_s == quarter])
        rows = ledger.rows("console_last_users", at=iso(quarter), operations=names)
        whose |= {row["operation"]: row["tenant"] for row in rows}
    return [replace(one, last_tenant=whose.get(one.operation, "")) for one in unknown]
