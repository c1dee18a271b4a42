"""Which operations were seen that the catalog does not declare, and which are declared and were not seen.

Read from the rollup, which knows operations but not types; of an operation that is not declared one row is looked
up where the rollup saw it last, and says by what it was priced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.console.desk import Ledger
from dashboards.console.reading import NEWEST_MS
from dashboards.console.spend import DAY_S, QUARTER_S, seconds_of
from dashboards.console.text import iso
from pipeline.catalog import Catalog

DAYS = 31
LOOKED_UP = 40
OPERATIONS_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Undeclared:
    """An operation that no version declares by name."""

    operation: str
    type: str
    pricing: str
    """How its last row was priced; empty where too many are not declared to look each up."""
    events: int
    pico: int
    last_s: int
    last_tenant: str


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
    seen = ledger.rows("console_operations", **given, limit=OPERATIONS_MAX)
    declared = {name for version in catalog.versions for name in version.operations}
    unknown = [row for row in seen if row["operation"] not in declared]
    unknown.sort(key=lambda row: (row["pico_usd"] != 0, -row["events"]))
    found = [
        _look_up(ledger, row) if place < LOOKED_UP else _of(row, "", "") for place, row in enumerate(unknown)
    ]
    return Audit(since, tuple(found), tuple(sorted(declared - {row["operation"] for row in seen})))


def _look_up(ledger: Ledger, row: Mapping[str, Any]) -> Undeclared:
    begin = seconds_of(row["last_quarter"])
    given = {
        "from_": iso(begin),
        "to": iso(begin + QUARTER_S),
        "tenant": row["last_tenant"],
        "operation": row["operation"],
    }
    rows = ledger.rows("console_events", **given, after_ms=NEWEST_MS, limit=1)
    return _of(row, rows[0]["type"], rows[0]["pricing"]) if rows else _of(row, "", "")


def _of(row: Mapping[str, Any], kind: str, pricing: str) -> Undeclared:
    last = seconds_of(row["last_quarter"])
    return Undeclared(
        row["operation"], kind, pricing, row["events"], row["pico_usd"], last, row["last_tenant"]
    )
