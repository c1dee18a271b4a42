"""Rows of the outbox as values and back."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, bindparam, update

from billing.machine import Standing
from billing.tables import intents
from pipeline.outbox import Report, State

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

REPORT_COLUMNS = (
    intents.c.namespace,
    intents.c.tenant,
    intents.c.customer,
    intents.c.event_name,
    intents.c.window_start,
    intents.c.slot,
    intents.c.value,
    intents.c.origin_start,
)
STANDING_COLUMNS = (
    intents.c.state,
    intents.c.detail,
    intents.c.attempts,
    intents.c.key_number,
    intents.c.uncertain_attempt,
    intents.c.uncertain_since,
    intents.c.last_attempt_at,
    intents.c.retry_at,
    intents.c.zero_reads,
    intents.c.last_read_at,
    intents.c.accepted_at,
    intents.c.settled_at,
)


def report_of(row: AnyRow) -> Report:
    """Read the frozen part of a row."""
    return Report(**{column.name: getattr(row, column.name) for column in REPORT_COLUMNS})


def standing_of(row: AnyRow) -> Standing:
    """Read the changing part of a row."""
    values = {column.name: getattr(row, column.name) for column in STANDING_COLUMNS}
    return Standing(**{**values, "state": State(values["state"])})


_WRITE = (
    update(intents)
    .where(intents.c.id == bindparam("of_id"))
    .values({column.name: bindparam(f"to_{column.name}") for column in STANDING_COLUMNS})
)


def write_standing(connection: Connection, intent_id: int, standing: Standing) -> None:
    """Write the changing part of an intent."""
    write_standings(connection, [(intent_id, standing)])


def write_standings(connection: Connection, standings: Sequence[tuple[int, Standing]]) -> None:
    """Write the changing parts of many intents."""
    rows = [
        {"of_id": intent_id, **{f"to_{name}": value for name, value in asdict(standing).items()}}
        for intent_id, standing in standings
    ]
    if rows:
        connection.execute(_WRITE, rows)
