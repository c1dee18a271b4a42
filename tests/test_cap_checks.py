"""Each check of the caps can fail: what someone changed by hand is found, and named."""

import pytest
from caps_stage import NOON_MS, caps_stage, migrated_url
from sqlalchemy import text

from billing.asks import Finalize, Method, Reserve, Settle
from billing.cap_checks import check_caps
from billing.credits import mint

__all__ = ["caps_stage", "migrated_url"]

pytest_plugins = ["stripe_double.fixtures"]

BURN_BY_HAND = """
    INSERT INTO entries (tenant, entry_type, pool, amount_micro, lot_id, made_at_ms)
    SELECT tenant, 'burn', pool, -1, id, 0 FROM lots
"""
ENTRY_BY_HAND = """
    INSERT INTO audit (made_at, who, action, subject, detail, chain, number, previous, hash)
    VALUES (1, 'x', 'y', 'z', '', 'acme', 9, '', '')
"""


@pytest.fixture
def busy(caps_stage):
    """A tenant with all that there is to check."""
    caps_stage.limit("acme", day="1")
    mint(caps_stage.store, "acme", 500, key="m", by=caps_stage.by(), random_hex=caps_stage.random_hex)
    held = caps_stage.ask(Reserve("acme", 100)).reservation.id
    caps_stage.ask(Reserve("acme", 70))
    caps_stage.ask(Finalize(held, 120))
    caps_stage.ask(Settle("acme", 50, Method.CREDIT, key="1"))
    assert check_caps(caps_stage.store, NOON_MS).findings == []
    return caps_stage


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE tenants SET held_micro = held_micro + 1 WHERE tenant = 'acme'", "expected 70 micro-USD, got 71"),
        ("UPDATE spend_windows SET pending_micro = 7 WHERE \"window\" = 'day'", "expected 170 micro-USD, got 7"),
        ("UPDATE lots SET remaining_micro = 451", "expected 450 micro-USD, got 451"),
        (BURN_BY_HAND, "expected 449 micro-USD, got 450"),
        ("UPDATE usage_events SET amount_micro = 51 WHERE amount_micro = 50", "its events are not of its amount"),
        ("DELETE FROM usage_events WHERE amount_micro = 50", "its events are not of its amount"),
        ("UPDATE usage_events SET seen_at_ms = 1, seen_micro = 9", "the ledger has another amount"),
        (ENTRY_BY_HAND, "the audit is not as it was written"),
        ("UPDATE audit_heads SET number = 1", "the audit is not as it was written"),
    ],
)  # fmt: skip
def test_what_was_changed_by_hand_is_found(busy, change, what):
    with busy.store.write() as connection:
        assert connection.execute(text(change)).rowcount >= 1
    sentences = [finding.sentence for finding in check_caps(busy.store, NOON_MS).findings]
    assert any(what in sentence for sentence in sentences), sentences
