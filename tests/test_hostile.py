"""The hostile streams are as hostile as they claim, and the same for the same seed."""

import tomllib

from tests.hostile import TENANTS, hostile_accounts, hostile_catalog, hostile_catalogs, hostile_stream
from tests.model import Model
from tests.model.cases import ARRIVAL_MS

REASONS = (
    "unreadable", "not_an_object", "missing_attribute", "invalid_attribute", "unknown_type",
    "invalid_data", "time_in_future", "quantity_out_of_range", "amount_out_of_range", "unknown_tenant",
    "idempotency_conflict", "voids_unknown", "billing_period_locked",
)  # fmt: skip


def judged(seed, n, arrival_ms):
    judge = Model([tomllib.loads(text) for text in hostile_catalogs()], tomllib.loads(hostile_accounts()))
    judge.feed_lines(hostile_stream(seed, n, arrival_ms), "hostile", ARRIVAL_MS)
    return judge


def test_a_hostile_stream_has_every_outcome_that_needs_no_setting():
    judge = judged(1, 4_000, ARRIVAL_MS)
    expected = set(REASONS) - {"unknown_tenant", "billing_period_locked"}
    assert judge.rejects_by_reason().keys() == expected
    assert min(judge.counts[kind] for kind in ("accepted", "duplicate", "conflicts")) > 50
    assert {r.tenant for r in judge.rows} >= set(TENANTS)
    assert {r.type for r in judge.rows} == {"traffic", "compute", "storage", "webhook", "correction"}
    assert {(r.pricing, r.settlement) for r in judge.rows} >= {
        ("priced", "metered"), ("priced", "credit"), ("priced", "rate-limited"), ("priced", "free"),
        ("free", "metered"), ("unpriced", "metered"),
    }  # fmt: skip
    assert len({r.catalog_version for r in judge.rows}) == 3
    assert {c.state for c in judge.spend.crossings} == {"crossed", "cleared"}
    assert max(judge.sums("tenant").values()) > 2**63, "no sum of a tenant leaves 64 bits"
    assert any(r.at_ms > ARRIVAL_MS for r in judge.rows), "no stamp lies ahead within the five minutes"


def test_a_hostile_stream_is_the_same_for_the_same_seed_and_holds_no_line_feeds():
    stream = hostile_stream(5, 300)
    assert stream == hostile_stream(5, 300) != hostile_stream(6, 300)
    assert len(stream) == 300
    assert not any(b"\n" in one for one in stream)


def test_without_an_arrival_no_outcome_hangs_on_the_clock():
    stream = hostile_stream(3, 1_500)
    outcomes = []
    for years in (1, 3):
        judge = Model(tomllib.loads(hostile_catalog()), tomllib.loads(hostile_accounts()))
        arrival_ms = ARRIVAL_MS + years * 31_536_000_000
        outcomes.append(judge.feed_lines(stream, "hostile", arrival_ms))
    assert outcomes[0] == outcomes[1]
