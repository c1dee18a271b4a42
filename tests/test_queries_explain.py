"""Explaining one event: its row, its corrections, its rollup, and what Stripe was told of its hour."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from conftest import Ledger
from ledger_rows import NOON, event, insert_events

from pipeline.errors import UsageError
from pipeline.outbox import Report, State
from queries.explain import Told, explain

REPORT = Report("n", "acme", "cus_1", "cost", int(NOON.timestamp()), 0, 5, int(NOON.timestamp()))


class Outbox:
    """Remembers what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[int]]] = []

    def told(self, tenant: str, hours: Sequence[int]) -> Sequence[Told]:
        self.asked.append((tenant, list(hours)))
        return [Told(REPORT, State.ACCEPTED)]


@pytest.fixture
def voided(ledger: Ledger) -> Ledger:
    """An event, its correction an hour later, a neighbour in its quarter, and strangers with the same key."""
    insert_events(
        ledger.client,
        [
            event({"a": 5, "b": 7}, idempotency_key="k'1", occurred_at=NOON + timedelta(minutes=20)),
            event(-12, voids="k'1", type="correction", occurred_at=NOON + timedelta(minutes=80)),
            event(100, occurred_at=NOON + timedelta(minutes=29)),
            event(1, idempotency_key="k'1", tenant="other"),
            event(1, idempotency_key="k'1", voids="else", type="correction"),
        ],
    )
    return ledger


def test_an_event_is_shown_with_what_voids_it_and_where_it_is_summed(voided: Ledger) -> None:
    found = explain(voided.client, "acme", "k'1")
    (row,) = found.events
    assert (row["residual_pico_usd"], row["breakdown_sources"], row["breakdown_pico_usd"]) == (
        12,
        ["a", "b"],
        [5, 7],
    )
    (correction,) = found.corrections
    assert (correction["cost_usd"], correction["voids"]) == ("-0.000000000012", "k'1")
    assert [
        (row["occurred_at"].replace(tzinfo=UTC), row["events"], row["cost_usd"]) for row in found.rollups
    ] == [
        (NOON + timedelta(minutes=15), 2, "0.000000000112"),
        (NOON + timedelta(minutes=75), 1, "-0.000000000012"),
    ]
    assert found.told is None


def test_the_outbox_is_asked_for_the_hours_that_hold_the_rows(voided: Ledger) -> None:
    outbox = Outbox()
    found = explain(voided.client, "acme", "k'1", outbox)
    noon = int(NOON.timestamp())
    assert outbox.asked == [("acme", [noon, noon + 3600])]
    assert found.told == (Told(REPORT, State.ACCEPTED),)


def test_what_is_not_metered_is_not_for_stripe(ledger: Ledger) -> None:
    insert_events(ledger.client, [event(1, idempotency_key="k", settlement="credit")])
    outbox = Outbox()
    assert explain(ledger.client, "acme", "k", outbox).told == ()
    assert outbox.asked == []


def test_an_hour_is_utc_whatever_the_zone_of_the_machine(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime(2026, 3, 10, 23, 59, 59, 999000, tzinfo=UTC)
    insert_events(ledger.client, [event(1, idempotency_key="k", occurred_at=at)])
    outbox = Outbox()
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        explain(ledger.client, "acme", "k", outbox)
    time.tzset()
    assert outbox.asked == [("acme", [int(datetime(2026, 3, 10, 23, tzinfo=UTC).timestamp())])]


def test_a_key_that_is_not_there_is_said_to_be_missing(ledger: Ledger) -> None:
    insert_events(ledger.client, [event(1, idempotency_key="k")])
    with pytest.raises(UsageError, match="no event of the tenant 'b' with the idempotency key 'k'"):
        explain(ledger.client, "b", "k")
