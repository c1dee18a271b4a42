"""The caps: what is asked, what is told, and that the two agree with what the store then holds."""

import json
import threading
from contextlib import contextmanager

import pytest
from caps_stage import NOON_MS, caps_stage, make_stage, migrated_url
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from billing.accounts import set_global_mode
from billing.asks import (
    Authorize,
    Caller,
    Context,
    Finalize,
    Method,
    Mode,
    Once,
    Release,
    Reserve,
    Settle,
    Status,
)
from billing.audit import entries, verify
from billing.book import Piece, open_book
from billing.cap_tables import alerts, refusals, usage_events
from billing.credits import mint, pools_of
from billing.history import history
from billing.once import fingerprint_of, settlement_key
from billing.upkeep import expire_due
from pipeline.errors import LedgerError, StoreError

__all__ = ["caps_stage", "migrated_url"]

pytest_plugins = ["stripe_double.fixtures"]


def current(stage, tenant="acme"):
    return stage.ask(Authorize(tenant, 0)).spend.day.current_micro


def reserve(stage, micro, tenant="acme", **more):
    outcome = stage.ask(Reserve(tenant, micro, **more))
    assert outcome.status is Status.RESERVED
    return outcome.reservation.id


def events(stage):
    with stage.store.read() as connection:
        return [
            json.loads(row.line)
            for row in connection.execute(select(usage_events).order_by(usage_events.c.id))
        ]


def lots_of(stage, pool="default", tenant="acme"):
    (found,) = pools_of(stage.store, tenant, stage.clock.ms, pool)
    return found


def give(stage, micro, key, **more):
    return mint(stage.store, "acme", micro, key=key, by=stage.by(), random_hex=stage.random_hex, **more)


def test_exactly_the_limit_may_be_spent_and_not_a_micro_more(caps_stage):
    caps_stage.limit("acme", day="0.001")
    assert caps_stage.ask(Authorize("acme", 1_000)).status is Status.ALLOWED
    refused = caps_stage.ask(Authorize("acme", 1_001))
    assert refused.status is Status.CAP_EXCEEDED
    assert (refused.exceeded.window, refused.exceeded.limit_micro, refused.exceeded.projected_micro) == (
        "day",
        1_000,
        1_001,
    )


def test_a_fraction_of_a_micro_in_the_ledger_counts_as_a_whole_one(caps_stage):
    caps_stage.limit("acme", day="0.001")
    caps_stage.ledger.spend("acme", 1, NOON_MS)
    assert caps_stage.ask(Authorize("acme", 999)).is_ok
    assert caps_stage.ask(Authorize("acme", 1_000)).status is Status.CAP_EXCEEDED


def test_a_tenant_that_was_never_seen_is_read_from_the_ledger_before_anything_is_decided(caps_stage):
    caps_stage.limit("", day="0.001")
    caps_stage.ledger.spend("new", 999_000_000, NOON_MS)
    assert caps_stage.ask(Authorize("new", 2)).status is Status.CAP_EXCEEDED
    assert caps_stage.ask(Authorize("new", 1)).spend.as_of_ms == NOON_MS


def test_a_ledger_that_is_away_fails_only_who_needs_it(caps_stage):
    caps_stage.limit("known", day="0.001")
    caps_stage.ask(Authorize("known", 1))

    def fail(*_):
        raise LedgerError("away")

    caps_stage.ledger.read = fail
    futures = [caps_stage.caps.ask(Authorize(name, 1)) for name in ("known", "unknown", "known")]
    assert futures[0].result(9).is_ok
    assert futures[2].result(9).is_ok
    with pytest.raises(LedgerError):
        futures[1].result(9)
    tries = []
    caps_stage.ledger.read = lambda *_: tries.append(1) or fail()
    for name in ("unknown", "another"):
        with pytest.raises(LedgerError):
            caps_stage.ask(Authorize(name, 1))
    assert tries == []
    caps_stage.clock.ms += 1_000
    with pytest.raises(LedgerError):
        caps_stage.ask(Authorize("unknown", 1))
    assert tries == [1]


def test_a_reservation_holds_and_what_is_left_of_it_comes_back(caps_stage):
    caps_stage.limit("acme", day="0.001")
    held = reserve(caps_stage, 1_000)
    assert caps_stage.ask(Reserve("acme", 1)).status is Status.CAP_EXCEEDED
    done = caps_stage.ask(Finalize(held, 400)).settlement
    assert (done.finalized_micro, done.released_micro, done.overrun_micro) == (400, 600, 0)
    assert current(caps_stage) == 400


def test_an_overrun_is_a_row_of_its_own_and_alerts(caps_stage):
    held = reserve(
        caps_stage, 100, context=Context(principal="ann", operation="ask", type="project", name="p")
    )
    done = caps_stage.ask(Finalize(held, 130)).settlement
    assert (done.finalized_micro, done.released_micro, done.overrun_micro) == (130, 0, 30)
    covered, beyond = events(caps_stage)
    assert covered["data"]["usage"] == {"settled_micro_usd": 100}
    assert beyond["data"]["usage"] == {"settled_micro_usd": 30}
    assert beyond["data"]["action"] == "overrun"
    assert {e["data"]["operation"] for e in (covered, beyond)} == {"settlement"}
    assert {
        (e["subject"], e["data"]["context"]["name"], e["data"]["settled_operation"])
        for e in (covered, beyond)
    } == {("ann", "p", "ask")}
    with caps_stage.store.read() as connection:
        assert "overrun" in connection.execute(select(alerts.c.kind)).scalars().all()


def test_finalising_is_idempotent_by_reservation_and_amount(caps_stage):
    held = reserve(caps_stage, 100)
    first = caps_stage.ask(Finalize(held, 60))
    caps_stage.clock.ms += 5_000
    again = caps_stage.ask(Finalize(held, 60))
    assert again.is_replay
    assert again.settlement == first.settlement
    assert caps_stage.ask(Finalize(held, 61)).status is Status.RESERVATION_FINALIZED
    assert len(events(caps_stage)) == 1
    assert current(caps_stage) == 60


def test_what_ended_cannot_be_finalised_and_what_is_unknown_is(caps_stage):
    released, expired = reserve(caps_stage, 10), reserve(caps_stage, 10, expires_in_s=1)
    assert caps_stage.ask(Release(released)).status is Status.RELEASED
    assert caps_stage.ask(Release(released)).status is Status.RELEASED
    caps_stage.clock.ms += 1_000
    assert caps_stage.ask(Finalize(released, 1)).status is Status.RESERVATION_RELEASED
    assert caps_stage.ask(Finalize(expired, 1)).status is Status.RESERVATION_EXPIRED
    assert caps_stage.ask(Release(expired)).status is Status.RESERVATION_EXPIRED
    assert caps_stage.ask(Finalize("res_none", 1)).status is Status.RESERVATION_UNKNOWN
    assert current(caps_stage) == 0


def test_a_reservation_of_another_tenant_is_unknown(caps_stage):
    held = reserve(caps_stage, 10)
    assert caps_stage.ask(Release(held, "other")).status is Status.RESERVATION_UNKNOWN
    assert caps_stage.ask(Finalize(held, 1, tenant="other")).status is Status.RESERVATION_UNKNOWN
    assert caps_stage.ask(Release(held, "acme")).status is Status.RELEASED


def test_money_comes_back_by_itself_where_nobody_asks(caps_stage):
    reserve(caps_stage, 10, expires_in_s=60)
    caps_stage.clock.ms += 59_999
    assert expire_due(caps_stage.store, caps_stage.clock.ms) == 0
    caps_stage.clock.ms += 1
    assert expire_due(caps_stage.store, caps_stage.clock.ms) == 1
    assert expire_due(caps_stage.store, caps_stage.clock.ms) == 0
    assert current(caps_stage) == 0
    assert [e.entry_type for e in history(caps_stage.store, "acme").entries] == ["expire", "reserve"]


def test_a_reservation_is_bounded_by_policy(caps_stage):
    assert caps_stage.ask(Reserve("acme", 1_000_000_001)).status is Status.AMOUNT_ABOVE_POLICY
    assert caps_stage.ask(Reserve("acme", 1, expires_in_s=3_601)).status is Status.EXPIRY_ABOVE_POLICY
    assert caps_stage.ask(Reserve("acme", 1_000_000_000, expires_in_s=3_600)).is_ok


def test_the_same_key_gets_the_first_answer_whatever_it_was(caps_stage):
    caps_stage.limit("acme", day="0.001")
    once = Once("reserve:acme", "k", fingerprint_of("reserve", {"amount": 1_001}))
    refused = caps_stage.ask(Reserve("acme", 1_001), once)
    caps_stage.limit("acme", day="1")
    again = caps_stage.ask(Reserve("acme", 1_001), once)
    assert again.is_replay
    assert (again.status, again.exceeded, again.spend) == (refused.status, refused.exceeded, refused.spend)
    other = Once("reserve:acme", "k", fingerprint_of("reserve", {"amount": 1_002}))
    assert caps_stage.ask(Reserve("acme", 1_002), other).status is Status.IDEMPOTENCY_CONFLICT
    elsewhere = Once("reserve:zeta", "k", once.fingerprint)
    assert caps_stage.ask(Reserve("zeta", 1_001), elsewhere).is_ok


def test_a_key_that_comes_twice_at_once_is_worked_once(caps_stage):
    once = Once("reserve:acme", "k", "f")
    outcomes = [
        f.result(9) for f in [caps_stage.caps.ask(Reserve("acme", 10), None, once) for _ in range(20)]
    ]
    assert len({o.reservation.id for o in outcomes}) == 1
    assert sum(not o.is_replay for o in outcomes) == 1
    assert current(caps_stage) == 10


def test_a_key_that_another_process_works_on_is_in_progress_until_it_is_done(postgres):
    """On PostgreSQL; SQLite's writers follow one another, so there the second waits for the first."""
    once = Once("reserve:acme", "k", "f")
    with postgres.database() as url:
        stage, other = make_stage(url), make_stage(url)
        with other.store.write(is_alone=False) as connection:
            open_book(connection, other.store, [Piece(Reserve("acme", 1), Caller(), once)], NOON_MS)
            elsewhere = Once("reserve:zeta", "k", "f")
            assert stage.ask(Reserve("zeta", 1), elsewhere).is_ok
            waiting = stage.caps.ask(Reserve("beta", 1), None, Once("reserve:acme", "k", "f"))
            assert waiting.result(9).status is Status.REQUEST_IN_PROGRESS
        assert stage.ask(Reserve("acme", 1), once).is_ok
        for one in (stage, other):
            one.caps.close()
            one.store.close()


def test_fingerprints_see_content_and_not_form():
    assert fingerprint_of("a", {"x": 1, "y": "2"}) == fingerprint_of("a", {"y": "2", "x": 1})
    assert fingerprint_of("a", {"x": 1}) != fingerprint_of("b", {"x": 1})
    assert settlement_key("a", {"x": 1}) == settlement_key("a", {"x": 1}) != settlement_key("b", {"x": 1})


def test_settling_in_one_step_is_under_the_cap_and_once_for_each_key_for_ever(caps_stage):
    caps_stage.limit("acme", day="0.001")
    first = caps_stage.ask(Settle("acme", 700, key="pay-1", facilitator_tx="0xabc"))
    assert (
        caps_stage.ask(Settle("acme", 700, key="pay-1", facilitator_tx="0xabc")).settlement
        == first.settlement
    )
    assert (
        caps_stage.ask(Settle("acme", 701, key="pay-1", facilitator_tx="0xabc")).status
        is Status.IDEMPOTENCY_CONFLICT
    )
    assert caps_stage.ask(Settle("acme", 301, key="pay-2")).status is Status.CAP_EXCEEDED
    assert caps_stage.ask(Settle("acme", 300, key="pay-2")).is_ok
    assert current(caps_stage) == 1_000


def test_each_settlement_is_one_entry_of_the_audit_with_a_hash_of_who(caps_stage):
    caps_stage.ask(
        Settle("acme", 1_500_000, key="pay-1", facilitator_tx="0xabc"), caller=Caller("key:k1", "req-7")
    )
    (entry,) = entries(caps_stage.store, chain="acme", action="payment_settled")
    detail = json.loads(entry["detail"])
    assert detail["amountUsd"] == "1.500000"
    assert detail["facilitatorTx"] == "0xabc"
    assert (detail["tenant"], detail["idempotencyKey"], detail["timestamp"]) == ("acme", "pay-1", NOON_MS)
    assert "k1" not in entry["detail"]
    assert len(detail["callerHash"]) == 64
    assert entry["request_id"] == "req-7"
    assert entry["subject"].startswith("set_")
    assert verify(caps_stage.store) == []


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.SOFT, Mode.LIVE])
def test_what_a_mode_makes_of_a_request_beyond_the_cap(caps_stage, mode):
    caps_stage.limit("acme", day="0.001")
    set_global_mode(caps_stage.store, mode, caps_stage.by())
    outcomes = [
        caps_stage.ask(Authorize("acme", 1_001)),
        caps_stage.ask(Reserve("acme", 1_001)),
        caps_stage.ask(Settle("acme", 1_001, key="k")),
    ]
    assert {o.is_ok for o in outcomes} == {mode is not Mode.LIVE}
    assert {o.exceeded.window for o in outcomes} == {"day"}
    with caps_stage.store.read() as connection:
        recorded = connection.execute(select(refusals.c.asked, refusals.c.mode).order_by(refusals.c.id)).all()
        kinds = set(connection.execute(select(alerts.c.kind)).scalars())
    assert recorded == [("authorize", mode), ("reserve", mode), ("settle", mode)]
    wanted = {Mode.SHADOW: None, Mode.SOFT: "cap_would_refuse", Mode.LIVE: "cap_refused"}[mode]
    assert {k for k in kinds if k.startswith(("cap_would", "cap_ref"))} == ({wanted} if wanted else set())


def test_a_tenants_own_mode_wins_over_the_global_one(caps_stage):
    caps_stage.limit("acme", day="0", mode="shadow")
    assert caps_stage.ask(Authorize("acme", 1)).is_ok
    caps_stage.limit("acme", day="0", mode="global")
    assert caps_stage.ask(Authorize("acme", 1)).status is Status.CAP_EXCEEDED


def test_crossings_are_told_once_and_back(caps_stage):
    caps_stage.limit("acme", day="0.001", thresholds_percent=(50, 100))
    caps_stage.ask(Settle("acme", 500, key="1"))
    caps_stage.ask(Settle("acme", 499, key="2"))
    caps_stage.ask(Settle("acme", 1, key="3"))
    with caps_stage.store.read() as connection:
        told = [
            json.loads(b) for b in connection.execute(select(alerts.c.body).order_by(alerts.c.id)).scalars()
        ]
    assert [(t["kind"], t["threshold_percent"], t["current_micro_usd"]) for t in told] == [
        ("cap_crossed", 50, "500"), ("cap_crossed", 100, "1000"),
    ]  # fmt: skip
    caps_stage.limit("acme", day="0.0015", thresholds_percent=(50, 100))
    caps_stage.refresh()
    with caps_stage.store.read() as connection:
        kinds = connection.execute(select(alerts.c.kind).order_by(alerts.c.id)).scalars().all()
    assert kinds[2:] == ["cap_cleared"]


def test_days_and_months_are_those_of_the_tenants_zone(caps_stage):
    caps_stage.limit("acme", day="0.001", month="0.0015", time_zone="Asia/Kathmandu")
    caps_stage.clock.ms = 1_795_284_900_000 - 1_000  # 18:14:59Z: a second before Kathmandu's midnight
    assert caps_stage.ask(Settle("acme", 1_000, key="1")).is_ok
    assert caps_stage.ask(Settle("acme", 1, key="2")).exceeded.window == "day"
    caps_stage.clock.ms += 1_000
    assert caps_stage.ask(Settle("acme", 500, key="3")).is_ok
    assert caps_stage.ask(Settle("acme", 1, key="4")).exceeded.window == "month"


def test_credits_pay_earliest_expiry_first_then_by_priority(caps_stage):
    day = 86_400_000
    give(caps_stage, 100, "late", expires_at_ms=NOON_MS + 2 * day)
    give(caps_stage, 100, "never")
    give(caps_stage, 100, "soon-second", expires_at_ms=NOON_MS + day, priority=5)
    give(caps_stage, 100, "soon-first", expires_at_ms=NOON_MS + day, priority=1)
    done = caps_stage.ask(Settle("acme", 250, method=Method.CREDIT, key="1")).settlement
    assert (done.credit_micro, done.shortfall_micro) == (250, 0)
    assert [(lot.priority, lot.remaining_micro) for lot in lots_of(caps_stage).lots] == [(0, 50), (0, 100)]
    assert {e["data"]["operation"] for e in events(caps_stage)} == {"settlement_credit"}


def test_credits_that_are_held_or_used_up_pay_nobody_else(caps_stage):
    give(caps_stage, 100, "1")
    held = reserve(caps_stage, 80, method=Method.CREDIT)
    assert caps_stage.ask(Reserve("acme", 21, method=Method.CREDIT)).status is Status.CREDITS_EXHAUSTED
    assert (
        caps_stage.ask(Settle("acme", 21, method=Method.CREDIT, key="x")).status is Status.CREDITS_EXHAUSTED
    )
    assert caps_stage.ask(Settle("acme", 20, method=Method.CREDIT, key="x")).is_ok
    done = caps_stage.ask(Finalize(held, 95)).settlement
    assert (done.finalized_micro, done.credit_micro, done.shortfall_micro, done.overrun_micro) == (
        95,
        80,
        15,
        15,
    )
    amounts = {
        (e["data"]["operation"], e["data"].get("action"), e["data"]["usage"]["settled_micro_usd"])
        for e in events(caps_stage)[1:]
    }
    assert amounts == {("settlement_credit", None, 80), ("settlement", "overrun", 15)}
    assert pools_of(caps_stage.store, "acme", NOON_MS) == []


def test_an_overrun_takes_no_credits_that_another_reservation_holds(caps_stage):
    give(caps_stage, 100, "1")
    one, other = (reserve(caps_stage, 50, method=Method.CREDIT) for _ in range(2))
    first = caps_stage.ask(Finalize(one, 80)).settlement
    assert (first.credit_micro, first.shortfall_micro) == (50, 30)
    assert caps_stage.ask(Finalize(other, 50)).settlement.credit_micro == 50


def test_nothing_can_take_back_or_change_what_is_only_added_to(caps_stage):
    caps_stage.ask(Settle("acme", 1, key="1"))
    for statement in (
        "UPDATE settlements SET amount_micro = 2", "DELETE FROM settlements", "UPDATE entries SET amount_micro = 2",
        "DELETE FROM entries", "UPDATE audit SET detail = ''", "DELETE FROM audit",
    ):  # fmt: skip
        with pytest.raises(Exception, match="only added to"), caps_stage.store.write() as connection:
            connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenants SET held_micro = -1",
        "UPDATE lots SET remaining_micro = amount_micro + 1",
        "UPDATE lots SET remaining_micro = -1",
    ],
)
def test_the_database_itself_refuses_what_must_never_be(caps_stage, statement):
    give(caps_stage, 100, "1")
    with pytest.raises(Exception, match=r"(?i)constraint"), caps_stage.store.write() as connection:
        connection.execute(text(statement))


def test_history_is_newest_first_and_pages_without_gaps(caps_stage):
    for number in range(7):
        caps_stage.ask(Settle("acme", number + 1, key=str(number)))
    first = history(caps_stage.store, "acme", limit=3)
    second = history(caps_stage.store, "acme", limit=3, before=first.next_cursor)
    third = history(caps_stage.store, "acme", limit=3, before=second.next_cursor)
    assert [e.amount_micro for page in (first, second, third) for e in page.entries] == [7, 6, 5, 4, 3, 2, 1]
    assert (first.total, third.next_cursor) == (7, None)
    assert [e.amount_micro for e in history(caps_stage.store, "acme", limit=2, offset=2).entries] == [5, 4]


def test_one_broken_ask_takes_no_other_with_it(caps_stage):
    """An amount that the database cannot hold fails alone, though it shares a transaction."""
    futures = [caps_stage.caps.ask(Settle("acme", micro, key=str(micro))) for micro in (1, 2**70, 2)]
    assert futures[0].result(9).is_ok
    assert futures[2].result(9).is_ok
    with pytest.raises((DBAPIError, OverflowError, Exception)):
        futures[1].result(9)
    assert current(caps_stage) == 3


def test_where_the_store_is_away_all_that_wait_are_told_at_once(caps_stage, monkeypatch):
    gate, tries = threading.Event(), []
    write = caps_stage.store.write

    @contextmanager
    def slow(**options):
        gate.wait(9)
        with write(**options) as connection:
            yield connection

    @contextmanager
    def away(**_options):
        tries.append(1)
        raise StoreError("away") from OperationalError("", {}, Exception("no answer"))
        yield

    monkeypatch.setattr(caps_stage.store, "write", slow)
    first = caps_stage.caps.ask(Authorize("acme", 1))
    monkeypatch.setattr(caps_stage.store, "write", away)
    rest = [caps_stage.caps.ask(Authorize("acme", 1)) for _ in range(50)]
    gate.set()
    assert isinstance(first.exception(9) or StoreError(), StoreError)
    assert {type(one.exception(9)) for one in rest} == {StoreError}
    assert len(tries) <= 3
