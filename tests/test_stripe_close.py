"""The close of a period: an invoice becomes final only when ledger, reports and Stripe's sums agree."""

import json
from datetime import UTC, datetime

import pytest
from stripe_double.stage import HOUR, at

from billing.close import period_of
from cli import main, stripe_desk
from pipeline.errors import UsageError
from sinks.stripe_fake import Account, Rules
from sinks.stripe_fake_http import Wire
from sinks.stripe_fake_server import FakeServer

pytest_plugins = ["stripe_double.fixtures"]
START, END = at("2026-11-01T00:00"), at("2026-12-01T00:00")


class Clock:
    at_s = START

    def now_ms(self):
        return Clock.at_s * 1000


@pytest.fixture
def account(monkeypatch):
    Clock.at_s = START
    account = Account(lambda: Clock.at_s, Rules())
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_double")
    monkeypatch.setattr(stripe_desk, "SystemClock", Clock)
    with FakeServer(Wire(account)) as server:
        monkeypatch.setenv("MILLRACE_STRIPE_URL", server.url)
        yield account


@pytest.fixture
def millrace(account, tmp_path, capsys, ledger, monkeypatch):
    customer = account.create("customer", "cus", {"name": "acme"})["id"]
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MILLRACE_ACCOUNTS", str(tmp_path / "accounts.toml"))
    monkeypatch.setenv("MILLRACE_LEDGER", ledger.url)
    (tmp_path / "accounts.toml").write_text(f'[tenants.acme]\nstripe_customer = "{customer}"\n')

    def run(*arguments, code=0, text=False):
        named = () if text or arguments[0] == "setup" else ("--format", "json")
        assert main.run(["stripe", *arguments, *named]) == code
        captured = capsys.readouterr()
        return captured.out + captured.err if text or not captured.out else captured.out

    run("setup", "--yes")
    (price,) = account.of_kind("price")
    months = {"current_period_start": START, "current_period_end": END}
    account.create("subscription", "sub", {"customer": customer, "prices": [price["id"]], **months})
    return run


def use(ledger, hour, micro_usd, pico=0):
    row = ["acme", datetime.fromtimestamp(hour, UTC), micro_usd, pico, "metered"]
    names = ["tenant", "occurred_at", "cost_micro_usd", "residual_pico_usd", "settlement"]
    ledger.client.insert("ledger", [row], column_names=names)


@pytest.fixture
def told(millrace, ledger):
    """Seven units of the period's last day, told before its end; half an hour of the grace has passed."""
    use(ledger, END - 5 * HOUR, 7, 600_000)
    Clock.at_s = END - HOUR
    millrace("push")
    Clock.at_s = END + 1800
    return millrace


def closed(run, *flags, code=0):
    said = json.loads(run("close", "2026-11", *flags, code=code))
    (position,) = said["positions"]
    return position, [why for found in said["obstacles"].values() for why in found]


def status_of(account):
    (invoice,) = account.of_kind("invoice")
    return invoice["status"]


def test_a_period_closes_when_all_sums_agree(told, account):
    told("reconcile")
    position, obstacles = closed(told, "--finalize")
    assert obstacles == []
    assert (position["due"], position["told_in"], position["stripe"], position["billed"]) == (7, 7, 7, 7)
    assert (position["status"], position["done"], status_of(account)) == ("open", "finalised", "open")
    again, _ = closed(told, "--finalize")
    assert (again["status"], again["done"]) == ("open", "")


def test_what_is_not_proven_is_in_the_way(told, account):
    _, obstacles = closed(told, "--finalize", code=1)
    assert ["7 units are not proven" in why for why in obstacles] == [True]
    assert status_of(account) == "draft"


def test_what_can_still_be_told_is_in_the_way_until_the_cut_off(told, ledger, account):
    told("reconcile")
    use(ledger, END - 2 * HOUR, 5)
    position, obstacles = closed(told, "--finalize", code=1)
    assert (position["owed"], "5 units can still be told" in obstacles[0]) == (5, True)
    assert status_of(account) == "draft"
    told("push")
    told("reconcile")
    assert closed(told, "--finalize")[0]["billed"] == 12


def test_what_comes_after_the_cut_off_is_late_and_a_line_of_the_next_period(told, ledger):
    told("reconcile")
    Clock.at_s = END + 46 * 60
    use(ledger, END - 2 * HOUR, 5)
    assert closed(told, "--finalize")[0]["owed"] == 5
    Clock.at_s = END + 2 * HOUR
    told("push")
    told("reconcile")
    position, _ = closed(told)
    assert (position["owed"], position["late_out"], position["told_in"], position["billed"]) == (0, 5, 7, 7)
    december = json.loads(told("close", "2026-12"))["positions"][0]
    assert (december["late_in"], december["told_in"], december["stripe"]) == (5, 5, 5)


def test_what_came_after_the_period_was_locked_is_no_business_of_its_close(told, ledger):
    told("reconcile")
    late = ["acme", datetime.fromtimestamp(END - 2 * HOUR, UTC), 5, 0, "metered", "2026-12"]
    names = ["tenant", "occurred_at", "cost_micro_usd", "residual_pico_usd", "settlement", "billing_period"]
    ledger.client.insert("ledger", [late], column_names=names)
    position, obstacles = closed(told, "--finalize")
    assert (position["due"], position["owed"], position["billed"], obstacles) == (7, 0, 7, [])
    Clock.at_s = END + 2 * HOUR
    told("push")
    told("reconcile")
    december = json.loads(told("close", "2026-12"))["positions"][0]
    assert (december["late_in"], december["told_in"], december["stripe"]) == (0, 5, 5)
    assert closed(told)[0]["late_out"] == 0


def test_what_waits_for_a_decision_is_in_the_way(millrace, ledger, account):
    use(ledger, END - 40 * HOUR, 7)
    (customer,) = account.of_kind("customer")
    account.reject_async[customer["id"]] = "meter_event_invalid_value"
    Clock.at_s = END - 30 * HOUR
    millrace("push")
    for minutes in (0, 11):
        Clock.at_s = END - 5 * HOUR + 60 * minutes
        millrace("reconcile")
    Clock.at_s = END + 1800
    _, obstacles = closed(millrace, "--finalize", code=1)
    assert "7 units are held: `millrace stripe quarantine list`" in " ".join(obstacles)
    assert status_of(account) == "draft"


def test_a_sum_at_stripe_that_was_not_told_is_in_the_way(told, account):
    told("reconcile")
    account.events[0].value += 2
    _, obstacles = closed(told, "--finalize", code=1)
    assert "Stripe's sum is 9, told were 7" in obstacles[0]
    assert status_of(account) == "draft"


def test_more_told_than_the_ledger_holds_is_in_the_way(told, ledger, account):
    told("reconcile")
    use(ledger, END - 3 * HOUR, -3)
    _, obstacles = closed(told, "--finalize", code=1)
    assert "3 units more were told than the ledger holds now" in obstacles[0]
    assert status_of(account) == "draft"


def test_a_held_draft_does_not_become_final_by_itself(told, account):
    position, _ = closed(told, "--hold", code=1)
    assert (position["status"], position["done"]) == ("draft (held)", "held")
    Clock.at_s = END + 5 * HOUR
    account.advance()
    assert status_of(account) == "draft"
    told("reconcile")
    assert closed(told, "--finalize")[0]["billed"] == 7


def test_without_a_hold_stripe_makes_it_final_and_what_is_wrong_with_it_is_named(told, account):
    told("reconcile")
    Clock.at_s = END + 2 * HOUR
    account.advance()
    (invoice,) = account.of_kind("invoice")
    invoice["lines"]["data"][0]["quantity"] = 4
    position, obstacles = closed(told, code=1)
    assert (position["status"], position["billed"]) == ("open", 4)
    assert "the final invoice has 4 units, told were 7: correct it with a credit note" in obstacles[0]


def test_before_its_end_the_period_says_what_is_owed_and_until_when(millrace, ledger):
    use(ledger, END - 5 * HOUR, 7)
    Clock.at_s = END - HOUR
    said = json.loads(millrace("close", "2026-11", code=1))
    assert said["cut_off"] == "2026-12-01T00:45:00Z"
    assert (said["positions"][0]["owed"], said["positions"][0]["status"]) == (7, "no invoice")
    assert "has not ended" in millrace("close", "2026-11", "--finalize", code=2, text=True)


def test_the_table_says_the_same(told):
    told("reconcile")
    assert "finalised" in told("close", "2026-11", "--finalize", text=True)


@pytest.mark.parametrize("text", ["2026-13", "november", "2026-11-01", ""])
def test_a_period_is_a_month(text):
    with pytest.raises(UsageError, match="is not a month: give it as 2026-11"):
        period_of(text, HOUR)
