"""`millrace explain`: one event, its corrections, its quarter hours and its Stripe reports."""

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import Ledger
from ledger_rows import NOON, event, insert_events
from sqlalchemy import insert

from billing.store import open_store
from billing.tables import intents
from billing.told import reports_of
from cli.main import run
from pipeline.outbox import Report, State

HOUR = int(NOON.timestamp())
MONTH = 1_772_323_200
"""The first of March 2026."""


def report(origin: int, *, slot: int = 0, tenant: str = "acme", meter: str = "cost") -> Report:
    return Report("n", tenant, f"cus_{tenant}", meter, HOUR, slot, 5, origin)


@pytest.fixture(autouse=True)
def _state(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LEDGER", ledger.url)
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path))
    insert_events(
        ledger.client,
        [
            event({"compute": 5, "egress": 7}, idempotency_key="k", operation="a\x1b[2J"),
            event(-12, voids="k", type="correction", occurred_at=NOON + timedelta(minutes=1)),
        ],
    )


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """A control store with reports of the hour, of its month, and of what has nothing to do with them."""
    reports = [
        report(HOUR),
        report(MONTH, slot=1),
        report(HOUR - 3600, slot=2),
        report(HOUR, tenant="other"),
        report(HOUR, meter="calls"),
    ]
    store = open_store(f"sqlite:///{tmp_path / 'control.db'}")
    with store.write() as connection:
        for one in reports:
            values = {"identifier": one.identifier, "api_version": "", "sdk_version": "", "created_at": 0}
            connection.execute(
                insert(intents).values({**asdict(one), **values, "state": State.VERIFIED.value})
            )
    store.close()
    return tmp_path


def test_reports_are_those_of_the_hour_and_of_its_month(outbox: Path) -> None:
    store = open_store(f"sqlite:///{outbox / 'control.db'}")
    found = reports_of(store, "acme", [HOUR])
    store.close()
    assert found == [
        (report(HOUR, meter="calls"), State.VERIFIED),
        (report(MONTH, slot=1), State.VERIFIED),
        (report(HOUR), State.VERIFIED),
    ]


@pytest.mark.usefixtures("outbox")
def test_json_has_all_four_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "acme", "k", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["cost_usd"] for row in found["events"]] == ["0.000000000012"]
    assert found["events"][0]["breakdown_pico_usd"] == [5, 7]
    assert [row["voids"] for row in found["corrections"]] == ["k"]
    assert [row["occurred_at"] for row in found["rollups"]] == ["2026-03-10T12:00:00.000Z"] * 2
    assert [(line["event_name"], line["of"], line["value"]) for line in found["stripe"]] == [
        ("calls", "2026-03-10T12:00:00Z", 5),
        ("cost", "2026-03-01T00:00:00Z", 5),
        ("cost", "2026-03-10T12:00:00Z", 5),
    ]
    assert found["stripe"][0]["state"] == "verified"
    assert found["stripe"][0]["identifier"] == report(HOUR, meter="calls").identifier


@pytest.mark.usefixtures("outbox")
def test_the_text_can_be_read_and_hides_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "acme", "k"]) == 0
    out = capsys.readouterr().out
    for title in ("In the ledger\n", "Made of\n", "Summed in these quarter hours\n", "Told to Stripe"):
        assert title in out
    assert "a\\x1b[2J" in out
    assert "\x1b" not in out


def test_without_an_outbox_it_says_so_and_makes_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", "acme", "k"]) == 0
    assert capsys.readouterr().out.endswith("No Stripe outbox is here: name it with --state or --control.\n")
    assert list(tmp_path.iterdir()) == []
    assert run(["explain", "acme", "k", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["stripe"] is None


def test_a_key_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "acme", "no such key"]) == 2
    err = capsys.readouterr().err
    assert "no event of the tenant 'acme' with the idempotency key 'no such key'" in err
    assert err.count("\n") == 1
