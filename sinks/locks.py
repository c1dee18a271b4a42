"""Locked billing periods in the ledger: said by a person, read when a run begins, and kept with the run."""

from collections import defaultdict
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from pipeline.errors import UsageError
from pipeline.locks import Locks, period_name, read_period
from sinks.inserts import at, insert_rows, sql

EVERYONE = ""
"""Stands for all tenants."""


@dataclass(frozen=True, slots=True)
class PeriodLock:
    """A period that is locked for a tenant, or for all of them."""

    tenant: str
    """Empty: all."""
    period: str
    since: str
    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """What someone says about a period."""

    tenant: str
    period: int
    who: str
    why: str
    now_ms: int


def list_locks(client: Client) -> list[PeriodLock]:
    """List what is locked now, by period."""
    rows = client.query(sql("period_locks")).result_rows
    return [
        PeriodLock(str(t), str(p), f"{since:%Y-%m-%dT%H:%M:%SZ}", str(w), str(y))
        for t, p, since, w, y in rows
    ]


def lock(client: Client, change: Change) -> bool:
    """Lock a period; `False`: it was."""
    if _is_locked(client, change.tenant, change.period):
        return False
    _say(client, change, is_locked=True)
    return True


def unlock(client: Client, change: Change) -> None:
    """Open a period again; raises `UsageError` where it is not locked under this name."""
    if not _is_locked(client, change.tenant, change.period):
        name = period_name(change.period)
        msg = (
            f"the period {name} is not locked for {change.tenant or 'all tenants'}: `millrace periods list` shows "
            "what is, and a lock for all is opened for all"
        )
        raise UsageError(msg)
    _say(client, change, is_locked=False)


def locks_of_run(client: Client, run: int, *, refuse: bool) -> Locks:
    """Read the locks that a run goes by, and keep them under its number."""
    found: dict[str, set[int]] = defaultdict(set)
    held = list_locks(client)
    for one in held:
        found[one.tenant].add(read_period(one.period))
    if held:
        late = "refuse" if refuse else "adjust"
        rows: list[list[object]] = [[run, late, one.tenant, one.period] for one in held]
        insert_rows(client, "run_locks", ["run", "late", "tenant", "period"], rows, f"run-{run}-locks")
    everyone = frozenset(found.pop(EVERYONE, set()))
    return Locks(everyone, {tenant: frozenset(months) for tenant, months in found.items()}, refuse)


def _is_locked(client: Client, tenant: str, period: int) -> bool:
    return any((one.tenant, one.period) == (tenant, period_name(period)) for one in list_locks(client))


def _say(client: Client, change: Change, *, is_locked: bool) -> None:
    number = int(client.query("SELECT max(sequence) FROM period_locks").result_rows[0][0]) + 1
    names = ["tenant", "period", "is_locked", "sequence", "changed_at", "who", "why"]
    row: list[object] = [
        change.tenant, period_name(change.period), is_locked, number, at(change.now_ms), change.who, change.why,
    ]  # fmt: skip
    insert_rows(client, "period_locks", names, [row])
