"""`millrace stripe` as a user runs it: without a key, and with one against the stand-in over HTTP."""

import json
from datetime import UTC, datetime

import pytest
from stripe_double.stage import EVENT_NAME, HOUR, NOON

from cli import main, stripe_desk
from cli import stripe as command
from sinks.stripe_fake import Account
from sinks.stripe_fake_http import Wire
from sinks.stripe_fake_server import FakeServer

pytest_plugins = ["stripe_double.fixtures"]
KEY = "sk_test_double"


class FixedClock:
    def now_ms(self):
        return NOON * 1000


ACCOUNTS = """
[tenants.acme]
stripe_customer = "{customer}"
[tenants.beta]
"""


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setenv("STRIPE_SECRET_KEY", KEY)
    account = Account(lambda: NOON)
    with FakeServer(Wire(account)) as server:
        monkeypatch.setenv("MILLRACE_STRIPE_URL", server.url)
        yield account


@pytest.fixture
def millrace(tmp_path, capsys, ledger, monkeypatch):
    monkeypatch.delenv("STRIPE_SECRET_KEY", raising=False)
    monkeypatch.setattr(stripe_desk, "SystemClock", FixedClock)
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MILLRACE_ACCOUNTS", str(tmp_path / "accounts.toml"))
    (tmp_path / "accounts.toml").write_text(ACCOUNTS.format(customer="cus_00000001"))

    def run(*arguments, code=0, text=False):
        with_ledger = ["--ledger", ledger.url] if arguments[0] in {"push", "reconcile"} else []
        assert main.run(["stripe", *arguments, *with_ledger]) == code
        captured = capsys.readouterr()
        if text:
            return captured.out
        return captured.err if code else json.loads(captured.out)

    return run


def fill(ledger):
    hour = NOON - HOUR
    when = datetime.fromtimestamp(hour, UTC)
    costs = [("acme", 12, 500_000), ("acme", 3, 600_000), ("beta", 5, 0), ("gamma", 4, 1)]
    ledger.client.insert(
        "ledger",
        [[tenant, when, cost, residual, "metered"] for tenant, cost, residual in costs],
        column_names=["tenant", "occurred_at", "cost_micro_usd", "residual_pico_usd", "settlement"],
    )
    return hour


def test_without_a_key_push_says_exactly_what_it_would_send(millrace, ledger):
    hour = fill(ledger)
    said = millrace("push", "--format", "json")
    (call,) = said["would_send"]
    assert call.pop("identifier").startswith("mt1.")
    assert call == {
        "tenant": "acme",
        "event_name": EVENT_NAME,
        "timestamp": hour + 30,
        "payload": {"stripe_customer_id": "cus_00000001", "value": "16"},
    }
    assert [(o["tenant"], o["units"], o["remainder"]) for o in said["owed_without_customer"]] == [
        ("beta", 5, "0.000000"),
        ("gamma", 4, "0.000001"),
    ]
    assert millrace("push", "--format", "json")["would_send"][0]["payload"]["value"] == "16"
    assert millrace("status", "--format", "json")["reports"] == {"planned": 1}


def test_a_dry_run_keeps_nothing(millrace, ledger):
    fill(ledger)
    assert len(millrace("push", "--dry-run", "--format", "json")["would_send"]) == 1
    assert millrace("status", "--format", "json")["reports"] == {}


def test_from_setup_to_numbers_at_stripe(millrace, ledger, fake):
    fake.create("customer", "cus", {"name": "acme"})
    fill(ledger)
    planned = millrace("setup", "--create-customers", "--format", "json")
    assert (planned["done"], {step["action"] for step in planned["steps"]}) == (False, {"create", "adopt"})
    made = millrace("setup", "--create-customers", "--yes", "--format", "json")
    again = millrace("setup", "--create-customers", "--yes", "--format", "json")
    assert {step["action"] for step in again["steps"]} == {"adopt"}
    assert [step["id"] for step in again["steps"]] == [step["id"] for step in made["steps"]]
    sent = millrace("push", "--format", "json")
    assert (sent["planned"], sent["results"], sent["units"]) == (2, {"applied": 2}, 21)
    assert [owed["tenant"] for owed in sent["owed_without_customer"]] == ["gamma"]
    customers = {step["name"]: step["id"] for step in made["steps"] if step["kind"] == "customer"}
    totals = {name: int(fake.sum(EVENT_NAME, customer, 0, 2**40)) for name, customer in customers.items()}
    assert totals == {"acme": 16, "beta": 5}
    assert millrace("push", "--format", "json")["results"] == {}


def test_the_stream_brings_the_same_sums(millrace, ledger, fake):
    customer = fake.create("customer", "cus", {"name": "acme"})["id"]
    fill(ledger)
    millrace("setup", "--yes", "--format", "json")
    assert millrace("push", "--stream", "--format", "json")["results"] == {"applied": 1}
    assert fake.sum(EVENT_NAME, customer, 0, 2**40) == 16
    assert millrace("reconcile", "--format", "json")["difference"] == 0


def test_setup_refuses_what_stripe_never_changes_and_says_the_way_out(millrace, fake):
    fake.create("customer", "cus", {"name": "acme"})
    fake.create_meter({"event_name": EVENT_NAME, "default_aggregation": {"formula": "count"}})
    assert "Stripe never changes a meter: declare another event_name" in millrace("setup", "--yes", code=1)


def test_a_customer_that_stripe_does_not_have_is_named(millrace, fake):
    assert fake.of_kind("customer") == []
    said = millrace("setup", "--yes", code=1)
    assert "Stripe has no customer cus_00000001: mend stripe_customer in the accounts file" in said


@pytest.mark.parametrize(
    ("key", "arguments", "said"),
    [
        ("nonsense", [], "does not look like a secret key"),
        ("sk_live_abc", [], "is a live key: give --live"),
        ("sk_live_abc", ["--live", "--stripe-url", "http://127.0.0.1:1"], "a live key goes to Stripe only"),
        ("sk_test_abc", ["--stripe-url", "ftp://x"], "is not understood: give http://host:port"),
        ("sk_test_abc", ["--stripe-url", "http://127.0.0.1:9"], "Stripe does not give the account"),
    ],
)
def test_a_wrong_key_or_address_is_one_sentence_without_the_key(millrace, monkeypatch, key, arguments, said):
    monkeypatch.setenv("STRIPE_SECRET_KEY", key)
    told = millrace("push", *arguments, code=2 if "account" not in said else 1)
    assert said in told
    assert key not in told
    assert told.count("\n") == 1


def test_a_store_of_one_account_is_never_used_with_another(millrace, fake):
    fake.create("customer", "cus", {"name": "acme"})
    millrace("setup", "--yes", "--format", "json")
    object.__setattr__(fake.rules, "account", "acct_other")
    assert "belongs to Stripe account acct_fake (test), but the key is of acct_other" in millrace(
        "push", code=2
    )


def test_the_stand_in_says_how_to_use_it(monkeypatch, capsys):
    def interrupt(_seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", interrupt)
    assert main.run(["stripe", "fake", "--port", "0"]) == 130
    assert (
        "export STRIPE_SECRET_KEY=sk_test_fake MILLRACE_STRIPE_URL=http://127.0.0.1:"
        in capsys.readouterr().out
    )


@pytest.fixture
def pushed(millrace, ledger, fake):
    fake.create("customer", "cus", {"name": "acme"})
    fill(ledger)
    millrace("setup", "--create-customers", "--yes", "--format", "json")
    millrace("push", "--format", "json")
    return fake


def test_reconcile_closes_the_books_with_difference_zero(millrace, pushed):
    assert pushed.events
    result = millrace("reconcile", "--format", "json")
    assert (result["difference"], result["moved"], result["pending_units"]) == (0, {"verified": 2}, 0)
    assert [
        (b["tenant"], b["ledger"], b["verified"], b["on_the_way"], b["owed"]) for b in result["books"]
    ] == [
        ("acme", "16.1", "16", "0", "0.1"),
        ("beta", "5", "5", "0", "0"),
        ("gamma", "4.000001", "0", "0", "4.000001"),
    ]


def test_reconcile_names_a_difference_and_fails(millrace, pushed):
    pushed.cancel({"event_name": EVENT_NAME, "cancel": {"identifier": pushed.events[0].identifier}})
    pushed.events[1].value += 1
    millrace("reconcile", "--format", "json", code=1)
    shown = millrace("status", text=True)
    assert "accepted" in shown


def test_what_is_held_is_listed_and_decided_by_name(millrace, pushed, ledger):
    del pushed.objects["cus_00000001"]
    ledger.client.insert(
        "ledger",
        [["acme", datetime.fromtimestamp(NOON - 2 * HOUR, UTC), 9, "metered"]],
        column_names=["tenant", "occurred_at", "cost_micro_usd", "settlement"],
    )
    assert millrace("push", "--format", "json")["results"] == {"refused": 1}
    (held,) = millrace("quarantine", "list", "--format", "json")["held"]
    assert (held["state"], held["units"], held["detail"]) == (
        "rejected",
        "9",
        "No such customer: 'cus_00000001'",
    )
    said = millrace("quarantine", "resolve", held["identifier"], "--as", "absent", "--why", "gone", text=True)
    assert said == f"{held['identifier']} is absent now\n"
    assert millrace("quarantine", "list", "--format", "json")["held"] == []


def test_a_store_that_is_said_to_be_restored_waits_a_day_and_then_learns(millrace, pushed, monkeypatch):
    assert "try again in 24 hours" in millrace("reconcile", "--restored", code=2)
    assert "restored from an older copy" in millrace("push", code=1)
    monkeypatch.setattr(FixedClock, "now_ms", lambda _self: (NOON + 86400) * 1000)
    monkeypatch.setattr(pushed, "clock", lambda: NOON + 86400)
    assert millrace("reconcile", "--format", "json")["difference"] == 0
    assert millrace("push", "--format", "json")["results"] == {}
    assert "read_only" in str(millrace("status", "--format", "json"))


def test_tables_for_people_say_the_same(millrace, pushed):
    assert pushed.events
    assert "difference 0" in millrace("reconcile", text=True)
    assert "verified" in millrace("status", text=True)
    assert "Reports that wait for a decision: none" in millrace("quarantine", "list", text=True)
    assert "Plan: 5" in millrace("setup", text=True)
    assert "nothing was due" in millrace("push", text=True)


def test_without_a_key_there_is_nothing_to_reconcile_with(millrace):
    assert "set STRIPE_SECRET_KEY" in millrace("reconcile", code=2)


def test_the_benchmark_measures_a_whole_way(millrace):
    figures = millrace("bench", "--reports", "40", "--customers", "10", "--in-flight", "4")
    assert (figures["planned"], figures["planned_again"], figures["results"]) == (40, 0, {"applied": 40})
    assert figures["difference"] == 0
