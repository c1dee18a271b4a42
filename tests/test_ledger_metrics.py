"""What the ledger shows to a monitor equals what is in it."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cli.ledger_metrics import LedgerMetrics, watched
from cli.metrics import Metrics
from queries.watch import Unusual, Volume, unusual_volumes
from tests.ledger_rows import event, insert_decisions, insert_events, insert_rejects

NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def samples(collector):
    """All samples of a collector, by name and labels."""
    registry = CollectorRegistry()
    registry.register(collector)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, *sorted(s.labels.values())): s.value for f in families for s in f.samples}


@pytest.fixture
def seen(ledger):
    def look(volumes=True):
        metrics = LedgerMetrics(lambda: 5_000)
        metrics.look(ledger.client, volumes=volumes)
        return samples(metrics)

    return look


def test_rejects_are_counted_by_reason_and_every_reason_is_there(ledger, seen):
    insert_rejects(ledger.client, [{}, {}, {"reason": "billing_period_locked"}])
    found = seen()
    assert found["millrace_ledger_rejects_total", "unreadable"] == 2
    assert found["millrace_ledger_rejects_total", "billing_period_locked"] == 1
    assert found["millrace_ledger_rejects_total", "unknown_tenant"] == 0
    assert ("millrace_ledger_rejects_total", "") not in found


def test_decisions_are_counted_by_window_state_and_threshold(ledger, seen):
    insert_decisions(ledger.client, [{}, {"threshold_percent": 80}, {"state": "cleared", "window": "month"}])
    found = seen()
    name = "millrace_ledger_cap_decisions_total"
    assert {key[1:]: value for key, value in found.items() if key[0] == name and value} == {
        ("crossed", "day", "limit"): 1,
        ("below", "crossed", "day"): 1,
        ("cleared", "limit", "month"): 1,
    }
    assert sum(key[0] == name for key in found) == 8


def test_what_has_no_price_is_named_while_it_is_young(ledger, seen):
    now = datetime.now(UTC)
    young = event(0, pricing="unpriced", operation="new", occurred_at=now - timedelta(hours=1))
    old = event(0, pricing="unpriced", operation="old", occurred_at=now - timedelta(hours=30))
    void = event(0, pricing="unpriced", operation="new", occurred_at=now - timedelta(hours=1), voids="k")
    insert_events(ledger.client, [young, young, old, void, event(5, occurred_at=now)])
    found = seen()
    assert found["millrace_unpriced_events", "new"] == 2
    assert found["millrace_unpriced_operations",] == 1
    assert ("millrace_unpriced_events", "old") not in found


def test_the_disk_of_the_ledger_is_seen(seen):
    found = seen()
    assert (
        0
        < found["millrace_ledger_disk_free_bytes", "default"]
        < found["millrace_ledger_disk_bytes", "default"]
    )


def hours(tenant, *counts, minute=5):
    """Events of a tenant in the hour before noon: of the day itself, of the day before, and so on."""
    return [
        event(1, tenant=tenant, occurred_at=NOON - timedelta(days=day, hours=1) + timedelta(minutes=minute, seconds=n))
        for day, count in enumerate(counts)
        for n in range(count)
    ]  # fmt: skip


AT = "2026-03-10T12:15:00Z"
BOUNDS = Unusual(least=10)


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ((0, 20, 20, 20), [Volume("acme", 0, 20, 0)]),  # gone
        ((4, 20, 20, 20), [Volume("acme", 4, 20, 20)]),
        ((5, 20, 20, 20), []),
        ((99, 20, 20, 20), []),
        ((100, 20, 20, 20), [Volume("acme", 100, 20, 500)]),  # leapt
        ((100, 20, 20), []),  # two days are no habit
        ((100, 9, 9, 9), []),  # too few to judge
        ((100, 0, 30, 0, 10, 0, 20), [Volume("acme", 100, 20, 500)]),
        ((0, 0, 0, 0, 0, 0, 0, 0, 20, 20, 20), []),  # more than a week ago
    ],
)
def test_a_tenant_is_held_against_the_same_hour_of_the_days_before(ledger, counts, found):
    insert_events(ledger.client, hours("acme", *counts))
    insert_events(ledger.client, hours("steady", 20, 20, 20, 20))
    assert unusual_volumes(ledger.client, BOUNDS, AT) == found


def test_only_that_hour_counts_and_only_when_it_is_over_for_a_quarter(ledger):
    insert_events(ledger.client, hours("acme", 20, 20, 20, 20))
    insert_events(ledger.client, hours("acme", 200, 300, 300, 300, minute=61))  # after noon: not yet
    assert unusual_volumes(ledger.client, BOUNDS, AT) == []
    assert unusual_volumes(ledger.client, BOUNDS, "2026-03-10T12:14:59Z") == []


def test_volumes_are_answered_from_the_rollup(ledger):
    insert_events(ledger.client, hours("acme", 20, 20, 20, 20))
    sql = "SELECT tenant, sum(events) FROM usage_by_quarter WHERE quarter >= '2026-03-01' GROUP BY tenant"
    plan = "\n".join(row[0] for row in ledger.client.query(f"EXPLAIN {sql}").result_rows)
    assert "by_quarter" in plan


def test_names_of_tenants_survive_the_way_to_a_monitor(ledger, seen):
    awkward = 'a"b\\c\nd'
    metrics = LedgerMetrics(lambda: 0)
    metrics.look(ledger.client, volumes=False)
    metrics._seen.volumes.append(Volume(awkward, 0, 10, 0))
    assert samples(metrics)["millrace_tenant_volume_percent", awkward] == 0


def test_the_watch_looks_by_itself_and_survives_a_ledger_that_is_away(ledger):
    metrics = LedgerMetrics(lambda: 7_000)
    with watched(ledger.url, metrics, is_wanted=True, every_s=0.01):
        pass  # the first look is finished before the watch is
    assert samples(metrics)["millrace_ledger_watch_timestamp_seconds",] == 7
    away = LedgerMetrics(lambda: 7_000)
    with watched("http://127.0.0.1:9/nothing", away, is_wanted=True, every_s=0.01):
        pass
    assert samples(away)["millrace_ledger_watch_failures_total",] >= 1
    assert ("millrace_ledger_watch_timestamp_seconds",) not in samples(away)


def test_a_watch_that_is_not_wanted_does_not_look():
    metrics = LedgerMetrics(lambda: 7_000)
    with watched("chdb:///nowhere", metrics, is_wanted=False):
        pass
    assert samples(metrics) == {("millrace_ledger_watch_failures_total",): 0}


def test_a_failure_that_is_repeated_is_counted_by_what_was_attempted():
    said = []
    metrics = Metrics(list, lambda: 0, lambda: False)
    metrics.budget(0.25)
    report = metrics.reporting(said.append)
    report("ledger_in: the ledger does not answer while writing to ledger: refused")
    report("ledger_in: the ledger does not answer: timed out")
    text = metrics.text().decode()
    assert 'millrace_ledger_failures_total{what="ledger_in"} 2.0' in text
    assert "millrace_reject_budget_ratio 0.25" in text
    assert len(said) == 2


def test_what_alerts_wait_for_is_there_before_it_happens():
    """Where a series begins at 1, Prometheus sees no increase."""
    text = Metrics(list, lambda: 0, lambda: False).text().decode()
    assert 'millrace_events_total{outcome="conflict"} 0.0' in text
    assert 'millrace_ledger_failures_total{what="ledger_in"} 0.0' in text
