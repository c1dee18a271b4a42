"""`millrace caps show`: the current day and month of a tenant against its limits."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Ledger
from ledger_rows import event, insert_decisions, insert_events

from cli.main import run

ACCOUNTS = """
[tenants.acme]
display_name = "Acme Ltd"
time_zone = "Asia/Kathmandu"
thresholds_percent = [50, 100]
spendLimit.dailySpendUsd = "2"
spendLimit.monthlySpendUsd = "0.5"

[tenants.paused]
spendLimit.dailySpendUsd = "0"
"""
USD = 10**12
MIDNIGHT = datetime(2026, 3, 9, 18, 15, tzinfo=UTC)
"""The start of the 10th of March in Kathmandu."""


@pytest.fixture(autouse=True)
def _settings(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "accounts.toml"
    file.write_text(ACCOUNTS)
    monkeypatch.setenv("MILLRACE_LEDGER", ledger.url)
    monkeypatch.setenv("MILLRACE_ACCOUNTS", str(file))


@pytest.fixture
def spent(ledger: Ledger) -> None:
    """Spend of acme around a midnight of Kathmandu.

                 9 March        | 10 March                        | 11 March
    UTC  18:14:59.999  18:15:00 |        the next day 18:14:59.999 | 18:15:00
    USD         0.1        1    |                  0.2             |   0.4
    """
    ms, day = timedelta(milliseconds=1), timedelta(days=1)
    moments = {
        MIDNIGHT - ms: USD // 10,
        MIDNIGHT: USD + 1,
        MIDNIGHT + day - ms: USD // 5,
        MIDNIGHT + day: USD * 2 // 5,
    }
    rows = [event(pico, occurred_at=at) for at, pico in moments.items()]
    rows += [event(9 * USD, occurred_at=MIDNIGHT, settlement=method) for method in ("free", "rate-limited")]
    rows += [event(7, occurred_at=MIDNIGHT, settlement="credit"), event(USD, tenant="other")]
    insert_events(ledger.client, rows)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["caps", "show", *arguments, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("spent")
def test_the_day_and_the_month_are_those_of_the_tenants_zone(capsys: pytest.CaptureFixture[str]) -> None:
    report = shown(capsys, "acme", "--at", "2026-03-10T12:00:00+05:45")
    assert report["time_zone"] == "Asia/Kathmandu"
    day, month = report["windows"]
    assert day == {
        "window": "day",
        "starts_at": "2026-03-09T18:15:00Z",
        "ends_at": "2026-03-10T18:15:00Z",
        "events": 3,
        "spend_micro_usd": 1_200_000,
        "spend_usd": "1.200000000008",
        "limit_usd": "2",
        "remaining_usd": "0.799999999992",
        "percent": 60,
    }
    assert (month["starts_at"], month["ends_at"]) == ("2026-02-28T18:15:00Z", "2026-03-31T18:15:00Z")
    assert (month["spend_usd"], month["remaining_usd"]) == ("1.700000000008", "-1.200000000008")
    assert (month["limit_usd"], month["percent"]) == ("0.5", 340)


@pytest.mark.parametrize(
    ("at", "spend"),
    [
        ("2026-03-09T18:14:59Z", "0.1"),
        ("2026-03-09T18:15:00Z", "1.200000000008"),
        ("2026-03-10T18:14:59Z", "1.200000000008"),
        ("2026-03-10T18:15:00Z", "0.4"),
    ],
)
@pytest.mark.usefixtures("spent")
def test_a_day_ends_where_the_next_begins(at: str, spend: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "acme", "--at", at)["windows"][0]["spend_usd"] == spend


@pytest.mark.parametrize(
    ("at", "zone", "bounds"),
    [
        ("2026-03-29T12:00:00Z", "Europe/Berlin", ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")),
        ("2026-10-25T12:00:00Z", "Europe/Berlin", ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")),
        ("2011-12-29T12:00:00Z", "Pacific/Apia", ("2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z")),
    ],
)
def test_a_day_of_any_length_is_whole(
    at: str, zone: str, bounds: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Daylight saving gives days of 23 and 25 hours; Samoa skipped the 30th of December 2011."""
    (tmp_path / "accounts.toml").write_text(f'[tenants.a]\ntime_zone = "{zone}"\n')
    window = shown(capsys, "a", "--at", at)["windows"][0]
    assert (window["starts_at"], window["ends_at"]) == bounds


@pytest.mark.usefixtures("spent")
def test_a_tenant_without_limits_is_shown_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    report = shown(capsys, "other", "--at", "2026-03-10T12:00:00Z")
    assert [window["spend_usd"] for window in report["windows"]] == ["1", "1"]
    assert {window["limit_usd"] for window in report["windows"]} == {None}
    assert {window["percent"] for window in report["windows"]} == {None}


def test_a_limit_of_nothing_has_no_percentage(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    insert_events(ledger.client, [event(1, tenant="paused")])
    day, month = shown(capsys, "paused", "--at", "2026-03-10T12:00:00Z")["windows"]
    assert (day["limit_usd"], day["remaining_usd"], day["percent"]) == ("0", "-0.000000000001", None)
    assert month["limit_usd"] is None


def test_the_last_decisions_come_newest_first(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    insert_decisions(
        ledger.client,
        [
            {"sequence": 0, "threshold_percent": 50},
            {"sequence": 1, "threshold_percent": 100},
            {"sequence": 2, "threshold_percent": 100, "state": "cleared", "current_micro_usd": 999_999},
            {"tenant": "other"},
        ],
    )
    decisions = shown(capsys, "acme", "--decisions", "2")["decisions"]
    assert [(line["threshold_percent"], line["state"]) for line in decisions] == [
        (100, "cleared"),
        (100, "crossed"),
    ]
    assert decisions[0]["decided_at"] == "2026-03-10T12:00:00.000Z"
    assert decisions[0]["current_micro_usd"] == 999_999


@pytest.mark.usefixtures("spent")
def test_the_table_can_be_read(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    insert_decisions(ledger.client, [{}])
    assert run(["caps", "show", "acme", "--at", "2026-03-10T12:00:00+05:45"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Acme Ltd (acme): days and months of Asia/Kathmandu, thresholds at 50 %, 100 %"
    assert lines[4].split() == [
        "day",
        "2026-03-09T18:15:00Z",
        "2026-03-10T18:15:00Z",
        "3",
        "1.200000000008",
        "2",
        "0.799999999992",
        "60",
    ]
    assert any("100 %" in line and "crossed" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--at", "noon"], "the moment 'noon' is not understood"),
        (["--at", "2026-03-10T12:00:00"], "give it with its offset"),
        (["--accounts", "/nowhere/accounts.toml"], "/nowhere/accounts.toml"),
        (["--ledger", "chdb:///nowhere/at/all"], "there is no ledger"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["caps", "show", "acme", *arguments]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
