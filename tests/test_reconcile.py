"""`millrace reconcile`: what stands twice is taken back once, and every difference is found and named."""

import json
import random

import pytest

from cli.clock import SystemClock
from cli.main import run
from cli.run import RunOptions, run_files
from pipeline.errors import LedgerFencedError
from queries.named import find_query
from queries.named import run as named
from sinks.clickhouse import connect
from sinks.doubles import TOPIC, Doubles, Reversals
from sinks.inserts import Retry
from sinks.ledger import Ledger
from tests.reconcile_stage import correction, doubled, run_at, settings_of, sums_of, sums_wanted, usage
from tests.test_http_front import front, server

__all__ = ["front", "server"]
IN_LEDGER = "SELECT count(), countIf(topic = '@reconcile'), max(run) FROM ledger"


def reconciled(capsys, url, *arguments, code=0):
    capsys.readouterr()
    assert run(["reconcile", "--ledger", url, "--json", *arguments]) == code
    return json.loads(capsys.readouterr().out)


def of(report, name):
    (found,) = [check for check in report["checks"] if check["name"] == name]
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_after_it_every_sum_is_as_if_no_retry_had_been_counted(ledger, tmp_path, monkeypatch, capsys, seed):
    model = doubled(ledger, tmp_path, monkeypatch, seed)
    wanted = sums_wanted(model)
    assert sums_of(ledger.client) != wanted
    assert len(named(ledger.client, find_query("duplicate_keys")).rows) > 10
    report = reconciled(capsys, ledger.url, "--catalog", str(tmp_path / "catalog.toml"), "--sample", "0")
    assert report["mended"] > 10
    assert of(report, "keys")["state"] == "mended"
    assert sums_of(ledger.client) == wanted
    assert named(ledger.client, find_query("duplicate_keys")).rows == ()
    before = ledger.client.query(IN_LEDGER).result_rows
    again = reconciled(capsys, ledger.url)
    assert (again["equal"], again["mended"], again["run"]) == (True, 0, None)
    assert ledger.client.query(IN_LEDGER).result_rows == before


def test_over_the_wire_it_does_the_same(server, ledger, tmp_path, monkeypatch, capsys):
    model = doubled(server, tmp_path, monkeypatch, 4)
    report = reconciled(capsys, server.url)
    assert report["equal"]
    assert report["mended"] > 10
    assert sums_of(server.client) == sums_wanted(model)


def test_a_dry_run_says_what_is_due_and_writes_nothing(ledger, tmp_path, monkeypatch, capsys):
    doubled(ledger, tmp_path, monkeypatch)
    tables = (
        "SELECT (SELECT count() FROM ledger), (SELECT count() FROM runs), (SELECT count() FROM cap_decisions)"
    )
    before = ledger.client.query(tables).result_rows
    report = reconciled(capsys, ledger.url, "--dry-run", code=1)
    assert ledger.client.query(tables).result_rows == before
    (finding, *_) = of(report, "keys")["findings"]
    assert "run `millrace reconcile` without --dry-run" in finding["sentence"]
    assert "again.ndjson/0/" in finding["got"]
    assert "first.ndjson/0/" in finding["got"]
    assert any("not all of the same content" in f["got"] for f in of(report, "keys")["findings"])


def test_a_reversal_is_a_correction_of_the_row_that_came_second(ledger, tmp_path, monkeypatch, capsys):
    source = random.Random(5)
    event = usage(source, "k", "acme")
    run_at(ledger, tmp_path, "a.ndjson", [event], 24 * 40, monkeypatch)
    run_at(ledger, tmp_path, "b.ndjson", [event], 2, monkeypatch)
    report = reconciled(capsys, ledger.url)
    rows = ledger.client.query(
        "SELECT voids, type, principal, operation, settlement, catalog_version, billing_period, occurred_at, "
        "cost_micro_usd * 1000000 + residual_pico_usd, mapValues(usage), breakdown_pico_usd, run, topic, attributes "
        "FROM ledger ORDER BY run"
    ).result_rows
    first, second, reversal = rows
    assert first[6] != second[6], "two billing months"
    assert reversal[:2] == ("k", "correction")
    assert reversal[2:8] == second[2:8]
    assert reversal[8] == -second[8]
    assert reversal[9] == [-quantity for quantity in second[9]]
    assert reversal[10] == [-part for part in second[10]]
    assert reversal[11] == report["run"]
    assert json.loads(reversal[13])["reverses"] == {
        "topic": "b.ndjson",
        "partition": 0,
        "offset": 1,
        "run": 2,
    }


def test_of_a_locked_period_a_reversal_counts_in_the_first_open_one(ledger, tmp_path, monkeypatch, capsys):
    event = usage(random.Random(8), "k", "acme")
    run_at(ledger, tmp_path, "a.ndjson", [event], 24 * 80, monkeypatch)
    run_at(ledger, tmp_path, "b.ndjson", [event], 24 * 50, monkeypatch)
    periods = ledger.client.query("SELECT DISTINCT billing_period FROM ledger").result_rows
    for (period,) in periods:
        assert run(["periods", "lock", period, "--why", "billed", "--ledger", ledger.url]) == 0
    assert reconciled(capsys, ledger.url)["mended"] == 1
    rows = ledger.client.query(
        "SELECT billing_period, now() - occurred_at < 60 FROM ledger WHERE voids = 'k'"
    ).result_rows
    ((period, is_now),) = rows
    assert is_now
    assert (period,) not in periods
    assert reconciled(capsys, ledger.url)["mended"] == 0


def test_what_was_mended_can_still_be_corrected_once(ledger, tmp_path, monkeypatch, capsys):
    source = random.Random(6)
    event = usage(source, "k", "acme")
    other = usage(source, "k", "acme")
    run_at(ledger, tmp_path, "a.ndjson", [event], 40, monkeypatch)
    run_at(ledger, tmp_path, "b.ndjson", [other], 2, monkeypatch)
    reconciled(capsys, ledger.url)
    void = {
        "specversion": "1.0", "id": "c", "source": "/s", "type": "correction", "tenant": "acme",
        "data": {"voids": "k"},
    }  # fmt: skip
    summary = run_at(ledger, tmp_path, "c.ndjson", [void, void], 0, monkeypatch)
    assert (summary["accepted"], summary["duplicates"]) == (1, 1)
    assert sums_of(ledger.client) == {}
    assert reconciled(capsys, ledger.url)["mended"] == 0


def test_whatever_part_of_the_reversals_was_written_the_rest_is_written_once(
    ledger, tmp_path, monkeypatch, capsys
):
    model = doubled(ledger, tmp_path, monkeypatch, 7)
    reconciled(capsys, ledger.url)
    keys = [
        row[0]
        for row in ledger.client.query(
            "SELECT idempotency_key FROM ledger WHERE topic = '@reconcile'"
        ).result_rows
    ]
    lost = random.Random(7).sample(sorted(keys), len(keys) // 2)
    ledger.client.command(
        "ALTER TABLE ledger DELETE WHERE topic = '@reconcile' AND idempotency_key IN {lost:Array(String)}",
        parameters={"lost": lost}, settings={"mutations_sync": 2},
    )  # fmt: skip
    report = reconciled(capsys, ledger.url)
    assert report["mended"] == len(lost)
    found = ledger.client.query("SELECT idempotency_key FROM ledger WHERE topic = '@reconcile'").result_rows
    assert sorted(row[0] for row in found) == sorted(keys)
    assert sums_of(ledger.client) == sums_wanted(model)


def test_rows_of_one_insert_that_was_applied_twice_are_taken_back(ledger, tmp_path, monkeypatch, capsys):
    events = [usage(random.Random(n), f"k-{n}", "acme") for n in range(5)]
    run_at(ledger, tmp_path, "a.ndjson", events, 1, monkeypatch)
    wanted = sums_of(ledger.client)
    for _ in range(2):
        ledger.client.command(
            "INSERT INTO ledger SELECT * FROM ledger WHERE topic = 'a.ndjson' LIMIT 1 BY key_hash "
            "SETTINGS insert_deduplicate = 0"
        )
    report = reconciled(capsys, ledger.url, code=1)
    assert of(report, "keys")["state"] == "mended"
    assert ledger.client.query(IN_LEDGER).result_rows[0][:2] == (25, 10)
    assert sums_of(ledger.client) == wanted
    assert of(report, "records")["state"] == "differs", "the records have several rows, and it says so"
    assert reconciled(capsys, ledger.url, code=1)["mended"] == 0


def test_a_correction_that_has_taken_the_second_row_back_leaves_the_first_to_be_reversed(
    ledger, tmp_path, monkeypatch, capsys
):
    source = random.Random(9)
    void = {"specversion": "1.0", "id": "c", "source": "/s", "type": "correction", "tenant": "acme"}
    run_at(ledger, tmp_path, "b.ndjson", [usage(source, "k", "acme")], 41, monkeypatch)
    run_at(ledger, tmp_path, "c.ndjson", [void | {"data": {"voids": "k"}}], 40, monkeypatch)
    run_at(ledger, tmp_path, "d.ndjson", [usage(source, "k", "acme")], 2, monkeypatch)
    ledger.client.command(
        "ALTER TABLE ledger UPDATE run = 9 WHERE topic = 'b.ndjson'", settings={"mutations_sync": 2}
    )  # as if an older program had voided the later row
    report = reconciled(capsys, ledger.url, code=1)
    assert of(report, "keys")["mended"] == 1
    assert sums_of(ledger.client) == {}


def test_a_key_that_was_voided_twice_is_voided_once_in_the_end(ledger, tmp_path, monkeypatch, capsys):
    run_at(
        ledger,
        tmp_path,
        "a.ndjson",
        [usage(random.Random(4), "k", "acme"), correction("k", "acme", "c")],
        1,
        monkeypatch,
    )
    ledger.client.command(
        "INSERT INTO ledger SELECT * REPLACE (77 AS offset) FROM (SELECT * FROM ledger WHERE voids = 'k')"
    )
    assert sums_of(ledger.client) != {}
    report = reconciled(capsys, ledger.url)
    (finding,) = of(report, "keys")["findings"]
    assert (finding["what"], finding["is_mended"]) == ("a key was voided more than once", True)
    assert sums_of(ledger.client) == {}
    assert reconciled(capsys, ledger.url)["mended"] == 0


def test_a_range_of_hashes_at_a_time_finds_the_same(ledger, tmp_path, monkeypatch):
    doubled(ledger, tmp_path, monkeypatch, 8)
    other = connect(ledger.url)
    whole = [d for some in Doubles(other, ledger.client).find() for d in some]
    parts = [d for some in Doubles(other, ledger.client, keys_a_pass=7).find() for d in some]
    assert len(whole) > 10
    assert parts == whole


def test_a_newer_run_fences_a_reconciliation_off(server, ledger, tmp_path, monkeypatch):
    doubled(ledger, tmp_path, monkeypatch, 9)
    clock = SystemClock()
    run_ = Ledger(server.url, clock).begin_run(1)
    doubles = [
        e for some in Doubles(connect(server.url), server.client).find() for d in some for e in d.to_reverse
    ]
    reversals = Reversals(server.client, run_, clock, Retry())
    reversals.write(doubles[:3])
    Ledger(server.url, clock).begin_run(2)
    with pytest.raises(LedgerFencedError):
        reversals.write(doubles[3:])
    assert ledger.client.query(IN_LEDGER).first_row[1] == 3


def test_the_windows_follow_with_the_next_run(ledger, tmp_path, monkeypatch, capsys):
    catalog, accounts = settings_of(tmp_path)
    event = usage(random.Random(3), "k", "acme")
    event["data"] = {"operation": "ask", "units": 1000}
    event["type"] = "compute"
    run_at(ledger, tmp_path, "a.ndjson", [event], 2, monkeypatch)
    run_at(ledger, tmp_path, "b.ndjson", [event], 0, monkeypatch)
    report = reconciled(capsys, ledger.url, "--accounts", str(accounts), code=1)
    assert of(report, "keys")["state"] == "mended"
    (finding, *_) = of(report, "windows")["findings"]
    assert "cleared at" in finding["expected"]
    (tmp_path / "none.ndjson").write_text("")
    run_files(RunOptions([str(tmp_path / "none.ndjson")], ledger.url, catalog=catalog, accounts=accounts))
    assert reconciled(capsys, ledger.url, "--accounts", str(accounts))["equal"]


def test_the_place_of_reversals_is_told_apart(ledger, tmp_path, monkeypatch, capsys):
    doubled(ledger, tmp_path, monkeypatch, 10)
    report = reconciled(capsys, ledger.url)
    assert TOPIC not in {account["topic"] for account in report["inputs"]}
    by_topic = {account["topic"]: account for account in report["inputs"]}
    noted = ledger.client.query(
        "SELECT topic, sum(accepted + duplicates + rejected) FROM progress GROUP BY topic"
    )
    assert {topic: by_topic[topic]["outcomes"] for topic in by_topic} == dict(noted.result_rows)
