"""Every check of `millrace reconcile` finds what is wrong, names it in one sentence, and is quiet where all is well."""

import json
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from sqlalchemy import update

from billing.store import open_store
from billing.tables import intents
from cli.main import run
from pipeline.outbox import State
from sinks.http_front import Fault
from tests.ledger_rows import NOON, insert_decisions, insert_rejects
from tests.reconcile_stage import (
    doubled,
    first_and_again,
    model_of,
    run_at,
    settings_of,
    sums_of,
    sums_wanted,
)
from tests.test_http_front import faulty, front
from tests.test_reconcile import of, reconciled

__all__ = ["faulty", "front"]
SYNC = {"mutations_sync": 2}


@pytest.fixture
def whole(ledger, tmp_path, monkeypatch):
    """A ledger of two runs in which all is well, with rejects, corrections and duplicates."""
    first, again = first_and_again(3, 40)
    for name, events in (("a.ndjson", first), ("b.ndjson", again)):
        run_at(ledger, tmp_path, name, events, 0, monkeypatch)
    return ledger


def change(ledger, statement):
    ledger.client.command(statement, settings=SYNC)


def differences(capsys, ledger, name, *arguments):
    """The findings of a check that must be the only one with any."""
    report = reconciled(capsys, ledger.url, *arguments, code=1)
    assert [check["name"] for check in report["checks"] if check["open"]] == [name]
    assert not report["equal"]
    for finding in of(report, name)["findings"]:
        assert finding["sentence"].count("\n") == 0
        assert "expected" in finding["sentence"]
    return of(report, name)["findings"]


def test_where_all_is_well_it_says_so_and_exits_0(whole, tmp_path, capsys):
    catalog, accounts = settings_of(tmp_path)
    given = [
        "--catalog",
        str(catalog),
        "--accounts",
        str(accounts),
        "--sample",
        "0",
        "--state",
        str(tmp_path),
    ]
    report = reconciled(capsys, whole.url, *given)
    assert {check["state"] for check in report["checks"]} == {"equal", "not checked"}
    assert {check["name"] for check in report["checks"] if check["not_checked"]} >= {"stripe"}
    assert all(check["compared"] for check in report["checks"] if not check["not_checked"])
    assert run(["reconcile", "--ledger", whole.url, *given]) == 0
    assert capsys.readouterr().out.endswith("\nall that was checked is equal.\n")
    counted = whole.client.query("SELECT sum(accepted + duplicates + rejected) FROM progress").first_row[0]
    assert sum(account["outcomes"] for account in report["inputs"]) == counted


def test_rows_that_are_missing_below_a_position_are_found(whole, capsys):
    change(whole, "ALTER TABLE ledger DELETE WHERE topic = 'a.ndjson' AND offset = 3")
    (finding,) = differences(capsys, whole, "inputs")
    assert finding["where"].startswith("a.ndjson/0, run 1, lane ")
    assert int(finding["expected"].split()[0]) == int(finding["got"]) + 1
    assert "rows are missing" in finding["advice"]


def test_rows_that_came_in_past_the_program_are_found(whole, capsys):
    whole.client.command(
        "INSERT INTO ledger SELECT * REPLACE (key_hash + 1 AS key_hash, 77 AS offset, 'other' AS idempotency_key) "
        "FROM (SELECT * FROM ledger WHERE topic = 'a.ndjson' AND offset = 3)"
    )
    change(whole, "ALTER TABLE progress UPDATE position = 100 WHERE topic = 'a.ndjson'")
    (finding,) = differences(capsys, whole, "inputs")
    assert "past the program" in finding["advice"]


def test_rejects_that_are_missing_are_found(whole, capsys):
    assert whole.client.query("SELECT count() FROM rejected_events").first_row[0] > 0
    change(whole, "ALTER TABLE rejected_events DELETE WHERE 1")
    findings = differences(capsys, whole, "inputs")
    assert all("rejects are missing" in finding["advice"] for finding in findings)


def test_a_record_with_a_row_and_a_reject_is_found(whole, capsys):
    insert_rejects(whole.client, [{"topic": "a.ndjson", "offset": 3, "run": 1}])
    report = reconciled(capsys, whole.url, code=1)
    (finding,) = of(report, "records")["findings"]
    assert (finding["where"], finding["got"]) == ("a.ndjson/0/3, reading 1", "1 rows and 1 rejects")


def test_more_outcomes_than_records_are_found(whole, capsys):
    columns = "run, lane, lanes, topic, partition, pass, position, duplicates"
    whole.client.command(f"INSERT INTO progress ({columns}) VALUES (2, 0, 1, 'usage', 4, 1, 10, 11)")
    (finding,) = differences(capsys, whole, "inputs")
    assert (finding["where"], finding["expected"]) == ("usage/4", "10 at most")


def test_sums_that_are_not_the_rows_are_found(whole, capsys):
    view = whole.client.query("SELECT as_select FROM system.tables WHERE name = 'usage_by_quarter' "
                              "AND database = currentDatabase()").first_row[0]  # fmt: skip
    wrong = view.replace("sum(residual_pico_usd)", "sum(residual_pico_usd) + 1")
    try:
        whole.client.command(f"CREATE OR REPLACE VIEW usage_by_quarter AS {wrong}")
        findings = differences(capsys, whole, "sums")
    finally:
        whole.client.command(f"CREATE OR REPLACE VIEW usage_by_quarter AS {view}")
    assert "MATERIALIZE PROJECTION" in findings[0]["advice"]
    assert findings[0]["where"].split(",")[0] in {"acme", "böse 'tenant'", "other"}


def test_a_window_whose_last_decision_is_not_its_sum_is_found(whole, tmp_path, capsys):
    _, accounts = settings_of(tmp_path)
    crossed = whole.client.query("SELECT count() FROM cap_decisions").first_row[0]
    assert crossed > 0
    change(whole, "ALTER TABLE cap_decisions DELETE WHERE threshold_percent = 10 AND window = 'month'")
    (finding,) = differences(capsys, whole, "windows", "--accounts", str(accounts))
    assert finding["where"].startswith("acme, month from ")
    assert finding["expected"].startswith("crossed at ")


def test_a_crossing_that_was_decided_twice_is_found(ledger, capsys):
    moments = [NOON + timedelta(hours=n) for n in range(3)]
    states = ("crossed", "crossed", "cleared")
    insert_decisions(
        ledger.client,
        [
            {"sequence": n, "state": s, "decided_at": m}
            for n, (s, m) in enumerate(zip(states, moments, strict=True))
        ],
    )
    (finding,) = differences(capsys, ledger, "decisions")
    assert finding["what"] == "decision 1 says crossed a second time"


def test_amounts_that_the_catalog_does_not_give_are_found(whole, tmp_path, capsys):
    catalog, _ = settings_of(tmp_path)
    change(
        whole,
        "ALTER TABLE ledger UPDATE residual_pico_usd = residual_pico_usd + 1 WHERE topic = 'a.ndjson' AND offset = 3",
    )
    report = reconciled(capsys, whole.url, "--catalog", str(catalog), "--sample", "0", code=1)
    (finding,) = of(report, "prices")["findings"]
    assert "pico-USD" in finding["expected"] != finding["got"]
    catalog.write_text(catalog.read_text().replace("2026-01", "2026-02"))
    report = reconciled(capsys, whole.url, "--catalog", str(catalog), "--sample", "0", code=1)
    (finding,) = of(report, "prices")["findings"]
    assert finding["where"] == "version '2026-01'"
    assert of(report, "prices")["compared"] == 0


def test_a_correction_that_takes_back_something_else_is_found(whole, capsys):
    change(whole, "ALTER TABLE ledger UPDATE cost_micro_usd = cost_micro_usd - 5 WHERE voids = "
                  "(SELECT min(voids) FROM ledger WHERE voids != '')")  # fmt: skip
    (finding,) = differences(capsys, whole, "corrections")
    assert "a correction takes back something else" in finding["what"]


def test_what_the_outbox_holds_is_compared_with_the_metered_rows(whole, tmp_path, capsys):
    _, accounts = settings_of(tmp_path)
    given = ["--accounts", str(accounts), "--state", str(tmp_path / "desk")]
    push = ["stripe", "push", "--now", "--ledger", whole.url, "--state", str(tmp_path / "desk")]
    assert run([*push, "--accounts", str(accounts)]) == 0
    report = reconciled(capsys, whole.url, *given)
    assert (of(report, "stripe")["state"], of(report, "stripe")["compared"]) == ("equal", 3)
    store = open_store(f"sqlite:///{tmp_path / 'desk' / 'control.db'}")
    with store.write() as connection:
        values = {"value": intents.c.value + 10**9, "state": State.VERIFIED}
        connection.execute(update(intents).where(intents.c.tenant == "acme").values(values))
    store.close()
    (finding,) = differences(capsys, whole, "stripe", *given)
    assert finding["where"] == "acme, millrace_micro_usd"
    assert "Stripe was told more than the ledger has now" in finding["what"]


def test_after_a_run_that_was_cut_the_counts_still_agree(ledger, tmp_path, monkeypatch, capsys):
    """Rows that were written, and never noted: the last commit of a run that died, before the next run."""
    first, _ = first_and_again(5, 40)
    run_at(ledger, tmp_path, "a.ndjson", first, 0, monkeypatch, block_rows=5, chunk_bytes=2048, workers=2)
    last = "SELECT max(position) FROM progress WHERE topic = 'a.ndjson' AND lane = 1"
    change(
        ledger, f"ALTER TABLE progress DELETE WHERE topic = 'a.ndjson' AND lane = 1 AND position = ({last})"
    )
    change(ledger, "ALTER TABLE passes DELETE WHERE finished = 1")
    assert reconciled(capsys, ledger.url)["equal"]
    run_at(ledger, tmp_path, "a.ndjson", first, 0, monkeypatch, block_rows=5, chunk_bytes=2048, workers=3)
    assert ledger.client.query("SELECT sum(replayed) FROM progress").first_row[0] > 0
    assert reconciled(capsys, ledger.url)["equal"]
    assert model_fed(first, "a.ndjson") == sums_of(ledger.client)


def model_fed(events, name):
    model = model_of()
    model.feed_lines([json.dumps(event).encode() for event in events], name, int(time.time() * 1000))
    return sums_wanted(model)


CODE = "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"


def test_killed_in_the_middle_and_run_again_each_reversal_stands_once(
    faulty, ledger, tmp_path, monkeypatch, capsys
):
    model = doubled(ledger, tmp_path, monkeypatch, 11, events=1_300)
    faulty.faults.add(Fault("stall", "INSERT INTO ledger_in", skip=1, seconds=60))
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "reconcile", "--ledger", faulty.url],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 180
    while not faulty.faults.happened and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    process.kill()
    process.wait()
    faulty.faults.clear()
    reversals = "SELECT count(), uniqExact(key_hash) FROM ledger WHERE topic = '@reconcile'"
    (written, _) = ledger.client.query(reversals).first_row
    assert written > 0
    report = reconciled(capsys, ledger.url)
    assert report["mended"] > 0
    assert ledger.client.query(reversals).first_row == (written + report["mended"],) * 2
    assert sums_of(ledger.client) == sums_wanted(model)


@pytest.mark.parametrize("kind", ["no_answer", "error_after", "late", "cut"])
def test_whatever_the_server_does_wrong_each_reversal_stands_once(
    faulty, ledger, tmp_path, monkeypatch, capsys, kind
):
    model = doubled(ledger, tmp_path, monkeypatch, 12, events=30)
    faulty.faults.add(Fault(kind, "INSERT INTO ledger_in", seconds=0.3))
    report = reconciled(capsys, faulty.url)
    assert faulty.faults.happened
    time.sleep(0.4 if kind == "late" else 0)
    assert report["mended"] > 0
    assert sums_of(ledger.client) == sums_wanted(model)
