"""Tenants, keys, credits and the audit from the command line; the pipeline sees the limits that the store has."""

import json
import sqlite3

import pytest
from conftest import Ledger

from billing import api_keys
from billing.store import open_store
from cli.known_accounts import known_accounts
from cli.main import run
from cli.run import RunOptions, run_files
from pipeline.errors import StoreError

EVENT = (
    '{"specversion":"1.0","id":"1","source":"s","type":"compute","tenant":"acme","time":"2026-11-20T12:00:00Z",'
    '"data":{"operation":"settlement","usage":{"settled_micro_usd":900}}}\n'
)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path))
    return tmp_path


@pytest.fixture
def mr(capsys):
    def call(*arguments, code=0):
        assert run([*arguments, "--format", "json"]) == code
        return json.loads(capsys.readouterr().out or "null")

    return call


def test_a_tenant_is_added_changed_and_shown(mr, capsys):
    (added,) = mr("tenants", "add", "acme", "--spend-day", "0.25", "--spend-month", "5", "--tier", "gold")
    assert (added["day_usd"], added["month_usd"], added["tier"], added["mode"]) == (
        "0.25",
        "5",
        "gold",
        "live (global)",
    )
    assert run(["tenants", "add", "acme"]) == 2
    assert "there already" in capsys.readouterr().err
    mr("tenants", "set", "acme", "--spend-day", "none", "--mode", "soft", "--threshold", "50")
    (shown,) = mr("tenants", "show", "acme")
    assert (shown["day_usd"], shown["month_usd"], shown["mode"], shown["thresholds"]) == (
        "no limit",
        "5",
        "soft",
        "50",
    )
    assert run(["tenants", "set", "acne"]) == 2
    assert "did you mean 'acme'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "sentence"),
    [
        ("--spend-day", "1e3", "a limit is US dollars"),
        ("--spend-day", "-1", "a limit is US dollars"),
        ("--spend-day", "0.0000001", "a limit is US dollars"),
        ("--time-zone", "Europe/Berln", "did you mean 'Europe/Berlin'"),
        ("--mode", "loud", "a mode is shadow, soft, live or global"),
        ("--threshold", "0", "a threshold is an integer from 1 to 1000"),
    ],
)
def test_a_wrong_value_is_one_sentence_and_changes_nothing(mr, capsys, flag, value, sentence):
    assert run(["tenants", "add", "acme", f"{flag}={value}"]) == 2
    assert sentence in capsys.readouterr().err
    assert mr("tenants", "list") == []


def test_a_key_is_shown_once_found_by_its_secret_and_revoked_for_ever(mr, state):
    mr("tenants", "add", "acme")
    (made,) = mr("tenants", "keys", "add", "acme", "--scope", "read", "--tenant-from-subject")
    store = open_store(f"sqlite:///{state}/control.db")
    found = api_keys.find(store, made["secret"], 0)
    assert (found.tenant, found.scopes, found.tenant_from_subject) == ("acme", {"read"}, True)
    assert api_keys.find(store, made["secret"][:-1] + "0", 0) is None or made["secret"].endswith("0")
    assert api_keys.find(store, "mrk_nothing", 0) is None
    assert made["secret"].rpartition("_")[2] not in (state / "control.db").read_bytes().decode("latin-1")
    mr("tenants", "keys", "revoke", made["key"])
    assert api_keys.find(store, made["secret"], 0) is None
    store.close()


def test_a_key_that_has_expired_is_none(mr, state):
    mr("tenants", "add", "acme")
    (made,) = mr("tenants", "keys", "add", "acme", "--expires", "2100-01-01T00:00:00Z")
    store = open_store(f"sqlite:///{state}/control.db")
    end_ms = 4_102_444_800_000
    assert api_keys.find(store, made["secret"], end_ms - 1) is not None
    assert api_keys.find(store, made["secret"], end_ms) is None
    store.close()


def test_credits_are_minted_once_for_each_key(mr, capsys):
    first = mr("credits", "mint", "acme", "25.5", "--key", "order-1")
    again = mr("credits", "mint", "acme", "25.5", "--key", "order-1")
    assert first == again == mr("credits", "list", "acme")
    assert run(["credits", "mint", "acme", "26", "--key", "order-1"]) == 2
    assert "has minted another lot" in capsys.readouterr().err


def test_the_audit_tells_who_did_what_and_a_change_by_hand_is_found(mr, state):
    mr("tenants", "add", "acme", "--spend-day", "1")
    mr("tenants", "set", "acme", "--spend-day", "2")
    entries = mr("audit", "list")
    assert [e["action"] for e in entries] == ["tenant_changed", "tenant_added"]
    assert (entries[0]["before"], entries[0]["after"]) == (
        '{"daily_limit_micro":1000000}',
        '{"daily_limit_micro":2000000}',
    )
    assert entries[0]["who"].startswith("cli:")
    assert mr("audit", "verify") == []
    with sqlite3.connect(state / "control.db") as raw:
        raw.execute("DROP TRIGGER audit_refuses_update")
        raw.execute("""UPDATE audit SET after = '{"daily_limit_micro":9}' WHERE number = 2""")
    (finding,) = mr("audit", "verify", code=1)
    assert (finding["tenant"], finding["entry"], finding["why"]) == (
        "acme",
        2,
        "it was changed after it was written",
    )


@pytest.mark.parametrize("number", [1, 2], ids=["first", "last"])
def test_an_entry_that_was_taken_out_is_found(mr, state, number):
    mr("tenants", "add", "acme")
    mr("tenants", "set", "acme", "--tier", "gold")
    with sqlite3.connect(state / "control.db") as raw:
        raw.execute("DROP TRIGGER audit_refuses_delete")
        raw.execute("DELETE FROM audit WHERE number = ?", (number,))
    why = "entry 1 is not there" if number == 1 else "the chain does not end where its head says"
    assert [finding["why"] for finding in mr("audit", "verify", code=1)] == [why]


def test_principals_are_declared_and_taken_off_the_list(mr, capsys):
    mr("tenants", "principals", "add", "acme", "ann", "--display-name", "Ann Lee", "--kind", "user")
    assert mr("tenants", "principals", "list", "acme") == [
        {"tenant": "acme", "principal": "ann", "name": "Ann Lee", "kind": "user"}
    ]
    mr("tenants", "principals", "remove", "acme", "ann")
    assert mr("tenants", "principals", "list", "acme") == []
    assert run(["tenants", "principals", "remove", "acme", "bob"]) == 2
    assert "no principal 'bob'" in capsys.readouterr().err


def test_a_file_may_say_tier_and_mode_and_leaves_what_it_does_not_say(mr, state):
    file = state / "accounts.toml"
    file.write_text('[tenants.acme]\ntier = "gold"\nmode = "soft"\n[defaults]\nmode = "shadow"\n')
    mr("tenants", "load", str(file))
    (shown,) = mr("tenants", "show", "acme")
    assert (shown["tier"], shown["mode"]) == ("gold", "soft")
    (defaults,) = mr("tenants", "defaults")
    assert defaults["mode"] == "shadow"
    file.write_text("[tenants.acme]\n")
    assert {r["became"] for r in mr("tenants", "load", str(file))} == {"unchanged"}
    file.write_text('[tenants.acme]\nmode = "lave"\n')
    assert run(["tenants", "load", str(file)]) == 2


def test_an_accounts_file_is_taken_over_and_taking_it_over_again_changes_nothing(mr, state):
    file = state / "accounts.toml"
    file.write_text(
        '[tenants.acme]\nspendLimit.dailySpendUsd = "2"\n[defaults]\ntime_zone = "Asia/Kathmandu"\n'
    )
    assert {r["tenant"]: r["became"] for r in mr("tenants", "load", str(file))} == {
        "(defaults)": "changed",
        "acme": "added",
    }
    assert {r["became"] for r in mr("tenants", "load", str(file))} == {"unchanged"}
    known = known_accounts(None, f"sqlite:///{state}/control.db")
    assert known.get("acme").daily_limit_micro_usd == 2_000_000
    assert known.get("acme").time_zone == "UTC"
    assert known.get("other").time_zone == "Asia/Kathmandu"


def test_the_pipeline_decides_by_the_limits_that_the_store_has(mr, state, ledger: Ledger):
    mr("tenants", "add", "acme", "--spend-day", "0.001", "--threshold", "90")
    (state / "events.ndjson").write_text(EVENT)
    run_files(RunOptions([str(state / "events.ndjson")], ledger.url, control=f"sqlite:///{state}/control.db"))
    rows = ledger.client.query(
        "SELECT tenant, window, threshold_percent, state FROM cap_decisions"
    ).result_rows
    assert [tuple(row) for row in rows] == [("acme", "day", 90, "crossed")]


def test_a_store_that_is_away_is_told_or_has_nothing_to_give(state):
    (state / "no").write_text("no database, but long enough to be looked at as one" * 20)
    with pytest.raises(StoreError):
        known_accounts(None, f"sqlite:///{state}/no")
    assert known_accounts(None, f"sqlite:///{state}/no", may_be_away=True).tenants == {}


def test_the_mode_is_shown_and_set_and_the_report_is_there(capsys, mr):
    assert run(["caps", "mode", "shadow"]) == 0
    assert run(["caps", "mode"]) == 0
    assert capsys.readouterr().out.split() == ["shadow", "shadow"]
    assert mr("caps", "report", "--days", "3") == []
