"""Credits that were minted by mistake are taken back once, of what is left, with the reason in the audit."""

import json

import pytest
from caps_stage import NOON_MS, caps_stage, migrated_url
from sqlalchemy import text

from billing import audit
from billing.asks import Finalize, Method, Reserve, Settle, Status
from billing.cap_checks import check_caps
from billing.credits import lapse, mint, pools_of
from billing.history import history
from billing.take_back import take_back
from cli.main import run
from pipeline.errors import StoreError, UsageError

__all__ = ["caps_stage", "migrated_url"]

pytest_plugins = ["stripe_double.fixtures"]
DAY_MS = 86_400_000


def minted(stage, amount, key, **more):
    made = mint(stage.store, "acme", amount, key=key, by=stage.by(), random_hex=stage.random_hex, **more)
    return made.lot.id


def taken(stage, lot, amount=None):
    found = take_back(stage.store, lot, amount, reason="minted twice", by=stage.by())
    assert check_caps(stage.store, stage.clock.ms).findings == []
    return found


def balance(stage):
    (pool,) = pools_of(stage.store, "acme", stage.clock.ms, "default")
    return pool.balance_micro


def test_a_double_credit_is_taken_back_once_and_the_first_one_stays(caps_stage):
    minted(caps_stage, 500, "order-1")
    second = minted(caps_stage, 500, "order-1-again")
    first_time, again = taken(caps_stage, second), taken(caps_stage, second)
    assert (first_time.now_micro, first_time.taken_micro, first_time.missing_micro) == (500, 500, 0)
    assert (again.now_micro, again.taken_micro, again.missing_micro) == (0, 500, 0)
    assert balance(caps_stage) == 500
    kinds = [(e.entry_type, e.amount_micro) for e in history(caps_stage.store, "acme").entries]
    assert kinds == [("take_back", -500), ("mint", 500), ("mint", 500)]


def test_the_audit_has_who_took_it_back_and_why_once(caps_stage):
    lot = minted(caps_stage, 500, "k")
    taken(caps_stage, lot)
    taken(caps_stage, lot)
    (entry,) = audit.entries(caps_stage.store, chain="acme", action="credits_taken_back")
    assert (entry["who"], entry["subject"], entry["detail"]) == ("admin:ann", lot, "minted twice")
    assert json.loads(entry["after"])["now_micro"] == 500


def test_what_is_burned_stays_burned_and_is_told(caps_stage):
    lot = minted(caps_stage, 500, "k")
    caps_stage.ask(Settle("acme", 120, Method.CREDIT, key="1"))
    found = taken(caps_stage, lot)
    assert (found.taken_micro, found.burned_micro, found.left_micro, found.missing_micro) == (
        380,
        120,
        0,
        120,
    )
    assert balance(caps_stage) == 0
    assert caps_stage.ask(Settle("acme", 1, Method.CREDIT, key="2")).status is Status.CREDITS_EXHAUSTED


def test_a_part_is_said_as_a_whole_so_asking_again_takes_only_what_is_missing(caps_stage):
    lot = minted(caps_stage, 500, "k")
    assert [taken(caps_stage, lot, wanted).now_micro for wanted in (90, 90, 100)] == [90, 0, 10]
    assert balance(caps_stage) == 400


def test_what_a_reservation_holds_stays_promised_until_it_has_ended(caps_stage):
    lot = minted(caps_stage, 500, "k")
    held = caps_stage.ask(Reserve("acme", 200, method=Method.CREDIT)).reservation.id
    found = taken(caps_stage, lot)
    assert (found.now_micro, found.held_micro, found.left_micro) == (300, 200, 200)
    settled = caps_stage.ask(Finalize(held, 150)).settlement
    assert (settled.credit_micro, settled.shortfall_micro) == (150, 0)
    later = taken(caps_stage, lot)
    assert (later.now_micro, later.taken_micro, later.burned_micro, later.missing_micro) == (
        50,
        350,
        150,
        150,
    )


def test_a_hold_that_another_lot_covers_keeps_nothing_back(caps_stage):
    minted(caps_stage, 200, "first")
    second = minted(caps_stage, 500, "second")
    caps_stage.ask(Reserve("acme", 200, method=Method.CREDIT))
    assert taken(caps_stage, second).now_micro == 500


def test_what_has_expired_is_not_taken_back_too(caps_stage):
    lot = minted(caps_stage, 500, "k", expires_at_ms=NOON_MS + DAY_MS)
    caps_stage.clock.ms += 2 * DAY_MS
    assert taken(caps_stage, lot).now_micro == 0
    lapse(caps_stage.store, caps_stage.clock.ms)
    found = taken(caps_stage, lot)
    assert (found.now_micro, found.lapsed_micro, found.left_micro) == (0, 500, 0)


@pytest.mark.parametrize(("amount", "reason"), [(501, "x"), (0, "x"), (1, " ")])
def test_what_cannot_be_is_refused_and_changes_nothing(caps_stage, amount, reason):
    lot = minted(caps_stage, 500, "k")
    with pytest.raises(UsageError):
        take_back(caps_stage.store, lot, amount, reason=reason, by=caps_stage.by())
    with pytest.raises(UsageError):
        take_back(caps_stage.store, "lot_none", None, reason="x", by=caps_stage.by())
    assert balance(caps_stage) == 500


def test_the_entry_cannot_be_changed_nor_taken_out(caps_stage):
    taken(caps_stage, minted(caps_stage, 500, "k"))
    for change in ("UPDATE entries SET amount_micro = 0", "DELETE FROM entries"):
        with pytest.raises(StoreError, match="only added to"), caps_stage.store.write() as connection:
            connection.execute(text(change))


def test_the_command_says_what_stays(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def mr(*arguments, code=0):
        assert run([*arguments, "--state", str(tmp_path), "--format", "json"]) == code
        said = capsys.readouterr()
        return json.loads(said.out), said.err

    (lot,), _ = mr("credits", "mint", "acme", "25.5", "--key", "a")
    (row,), said = mr("credits", "take-back", lot["lot"], "5.5", "--reason", "too much")
    assert (row["taken_now_usd"], row["left_usd"], said) == ("5.5", "20", "")
    assert mr("credits", "list", "acme")[0][0]["left_usd"] == "20"
    mr("credits", "take-back", lot["lot"], "--reason", "all of it")
    assert mr("credits", "list", "acme")[0] == []
    assert (
        mr("audit", "list", "--tenant", "acme", "--action", "credits_taken_back")[0][0]["detail"]
        == "all of it"
    )
    assert run(["credits", "take-back", lot["lot"], "--state", str(tmp_path)]) == 2
    assert "needs a reason" in capsys.readouterr().err
