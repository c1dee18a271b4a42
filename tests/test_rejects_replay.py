"""Rejects handed in again: once, through the same pipeline, held to the dumb model, linked both ways."""

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from cli.clock import SystemClock
from cli.main import run as millrace
from cli.rejects_replay import ReplayOptions, run_replay
from cli.run import RunOptions, run_files
from pipeline.errors import LedgerFencedError
from sinks.clickhouse import connect
from sinks.http_front import Fault
from sinks.inserts import Retry
from sinks.ledger import Ledger
from sinks.replay_log import Reading, ReplayLog, Selection
from tests.event_lines import event as made
from tests.event_lines import line
from tests.hostile import hostile_stream
from tests.ledger_rows import NOON, insert_rejects
from tests.test_end_to_end import (
    assert_ledger_is,
    assert_rows_are,
    crossings_of,
    decisions_of,
    model_of,
    run,
    settings_files,
)
from tests.test_http_front import faulty, front, server

__all__ = ["faulty", "front", "server", "settings_files"]
LENIENT = "@unattributed"


def replayed(ledger, settings_files, selection=None, **more):
    catalog, accounts = settings_files
    options = RunOptions([], ledger.url, "cloudevents", catalog=catalog, accounts=accounts, **more)
    return run_replay(options, ReplayOptions(selection or Selection()))


def feed_log(ledger, model, since=1, **settings):
    """Feed the model what the replay log holds from a line on; returns how many lines."""
    model._settings = replace(model._settings, **settings)
    rows = ledger.client.query(
        "SELECT number, raw, toUnixTimestamp64Milli(arrived_at) FROM reject_replays ORDER BY number",
        column_formats={"raw": "bytes"},
    ).result_rows
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1)), "numbered through without gaps"
    for number, raw, arrived_ms in rows[since - 1 :]:
        model.feed(raw, "@replay", 0, number, arrived_ms)
    return len(rows)


def assert_all_is(ledger, model):
    assert_ledger_is(ledger, model)
    assert_rows_are(ledger, model)
    assert decisions_of(ledger) == crossings_of(model)


def listed(capsys, url, *arguments):
    capsys.readouterr()
    assert millrace(["rejects", "list", "--ledger", url, "--format", "json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def shown(capsys, url, name):
    capsys.readouterr()
    assert millrace(["rejects", "show", name, "--ledger", url, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def accounts_for(lines, *extra):
    return b"\n".join([*(line(one) if isinstance(one, dict) else one for one in lines), *extra])


def run_lines(ledger, tmp_path, lines, **more):
    (tmp_path / "events.ndjson").write_bytes(accounts_for(lines))
    options = RunOptions(
        [str(tmp_path / "events.ndjson")], ledger.url, "cloudevents", reject_budget=1.0, **more
    )
    return run_files(options)


@pytest.mark.parametrize(("seed", "workers"), [(21, 1), (22, 2)])
def test_every_outcome_is_as_the_model_says_and_a_second_time_adds_nothing(
    server, tmp_path, settings_files, capsys, seed, workers
):
    lines = hostile_stream(seed, 700)
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(lines))
    run(server, [tmp_path / "events.ndjson"], settings_files)
    model = model_of(("events.ndjson", lines))
    before = dict(model.counts)
    summary = replayed(server, settings_files, workers=workers, block_rows=60, unattributed_tenant=LENIENT)
    handed_in = feed_log(server, model, unattributed_tenant=LENIENT)
    assert_all_is(server, model)
    assert handed_in == before["rejected"] == summary["handed_in"] == summary["events"]
    assert summary["accepted"] == model.counts["accepted"] - before["accepted"] > 0
    assert summary["duplicates"] == model.counts["duplicate"] - before["duplicate"]
    tables = "SELECT (SELECT count() FROM ledger), (SELECT count() FROM rejected_events)"
    stand = server.client.query(tables).result_rows
    again = replayed(server, settings_files, workers=workers, unattributed_tenant=LENIENT)
    assert (again["handed_in"], again["events"]) == (0, 0)
    assert server.client.query(tables).result_rows == stand
    outcomes = Counter(row["outcome"] for row in listed(capsys, server.url) if row["topic"] != "@replay")
    wanted = {
        "accepted": summary["accepted"], "duplicate": summary["duplicates"], "rejected": summary["rejected"],
    }  # fmt: skip
    assert outcomes == {name: count for name, count in wanted.items() if count}
    assert millrace(["reconcile", "--ledger", server.url]) == 0, capsys.readouterr()


CODE = "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"


@pytest.mark.parametrize("door", ["reject_replays_in", "rejected_events_in", "progress_in"])
def test_after_a_kill_in_the_middle_the_same_command_finishes_it(
    faulty, ledger, tmp_path, settings_files, capsys, door
):
    lines = hostile_stream(31, 500)
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(lines))
    run(ledger, [tmp_path / "events.ndjson"], settings_files)
    model = model_of(("events.ndjson", lines))
    faulty.faults.add(Fault("stall", f"INSERT INTO {door}", skip=door != "reject_replays_in", seconds=60))
    catalog, accounts = settings_files
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "rejects", "replay", "--ledger", faulty.url, "--catalog", str(catalog),
         "--accounts", str(accounts), "--block-rows", "25", "--unattributed-tenant", LENIENT],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 180
    while not faulty.faults.happened and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    process.kill()
    process.wait()
    faulty.faults.clear()
    summary = replayed(ledger, settings_files, unattributed_tenant=LENIENT)
    feed_log(ledger, model, unattributed_tenant=LENIENT)
    assert_ledger_is(ledger, model)
    assert_rows_are(ledger, model)
    assert summary["replayed"] > 0 or door == "reject_replays_in"
    assert replayed(ledger, settings_files)["events"] == 0
    assert millrace(["reconcile", "--ledger", ledger.url]) == 0, capsys.readouterr()


@pytest.mark.parametrize("kind", ["no_answer", "late"])
def test_a_page_of_the_log_that_is_sent_twice_stands_once(faulty, ledger, tmp_path, kind):
    run_lines(ledger, tmp_path, [b"{", b"[]"])
    faulty.faults.add(Fault(kind, "INSERT INTO reject_replays_in", seconds=0.3))
    summary = run_replay(RunOptions([], faulty.url), ReplayOptions(Selection()))
    time.sleep(0.4 if kind == "late" else 0)
    assert faulty.faults.happened
    assert summary["rejected"] == 2
    assert ledger.client.query("SELECT count(), uniqExact(number) FROM reject_replays").first_row == (2, 2)


def test_a_newer_run_fences_a_replay_off_and_nothing_of_it_comes_after(server, ledger, tmp_path):
    run_lines(server, tmp_path, [b"{", b"[]"])
    clock = SystemClock()
    older = Ledger(server.url, clock).begin_run(1)
    Ledger(server.url, clock).begin_run(2)
    log = ReplayLog(connect(server.url), clock, Retry())
    with pytest.raises(LedgerFencedError):
        log.append(Selection(), Reading(lambda _: "cloudevents"), older)
    assert ledger.client.query("SELECT count() FROM reject_replays").first_row[0] == 0


def mended(capsys, monkeypatch, tmp_path, url, name, text, code=0):
    (tmp_path / "mended.json").write_bytes(text)
    capsys.readouterr()
    assert (
        millrace(["rejects", "fix", name, "--file", str(tmp_path / "mended.json"), "--ledger", url]) == code
    )
    return capsys.readouterr()


def test_a_line_mended_by_hand_becomes_a_row_and_each_end_names_the_other(
    ledger, tmp_path, capsys, monkeypatch
):
    wrong = made(members={"units": "twelve"}, id="e7")
    run_lines(ledger, tmp_path, [wrong])
    (reject,) = listed(capsys, ledger.url)
    out, err = mended(
        capsys, monkeypatch, tmp_path, ledger.url, reject["reject"][:8], line(made(id="e7")) + b"\n"
    )
    assert (f"millrace rejects replay {reject['reject']}" in out, err) == (True, "")
    assert listed(capsys, ledger.url)[0]["outcome"] == "fixed"
    assert run_replay(RunOptions([], ledger.url), ReplayOptions(Selection()))["accepted"] == 1
    (after,) = listed(capsys, ledger.url)
    assert (after["outcome"], after["replay"], after["raw"]) == ("accepted", 1, line(wrong).decode())
    found = shown(capsys, ledger.url, reject["reject"])
    assert (found["row"]["topic"], found["row"]["offset"], found["row"]["idempotency_key"]) == (
        "@replay",
        1,
        "/svc e7",
    )
    assert found["replay"]["by_hand"]
    assert millrace(["explain", "acme", "/svc e7", "--ledger", ledger.url, "--format", "json"]) == 0
    (was,) = json.loads(capsys.readouterr().out)["replayed"]
    assert (was["reject"], was["reason"], was["by_hand"]) == (reject["reject"], "invalid_data", True)
    assert (was["from_topic"], was["from_offset"]) == ("events.ndjson", 1)
    assert millrace(["explain", "acme", "/svc e7", "--ledger", ledger.url]) == 0
    assert "Rejected first, and handed in again" in capsys.readouterr().out
    _, err = mended(capsys, monkeypatch, tmp_path, ledger.url, reject["reject"], b"{}", code=2)
    assert "is accepted: there is nothing to mend" in err


def test_what_is_refused_again_is_a_new_reject_that_can_be_mended(ledger, tmp_path, capsys, monkeypatch):
    run_lines(ledger, tmp_path, [made(members={"units": "twelve"}, id="e7")])
    (first,) = listed(capsys, ledger.url)
    _, err = mended(
        capsys, monkeypatch, tmp_path, ledger.url, first["reject"], line(made(id="e7", type="nonsense"))
    )
    assert "it would be refused again as unknown_type" in err
    assert run_replay(RunOptions([], ledger.url), ReplayOptions(Selection()))["rejected"] == 1
    second, was_first = listed(capsys, ledger.url)
    assert (was_first["outcome"], was_first["became"]) == ("rejected", second["reject"])
    assert (second["topic"], second["offset"], second["was"], second["reason"]) == (
        "@replay", 1, first["reject"], "unknown_type",
    )  # fmt: skip
    assert [row["reject"] for row in listed(capsys, ledger.url, "--open")] == [second["reject"]]
    _, err = mended(capsys, monkeypatch, tmp_path, ledger.url, first["reject"], b"{}", code=2)
    assert f"what came of it is the reject {second['reject']}: mend that one" in err
    assert run_replay(RunOptions([], ledger.url), ReplayOptions(Selection()))["events"] == 0
    once_more = run_replay(RunOptions([], ledger.url), ReplayOptions(Selection(again=True)))
    assert once_more["rejected"] == 1
    third = next(row for row in listed(capsys, ledger.url) if row["was"] == second["reject"])
    mended(capsys, monkeypatch, tmp_path, ledger.url, third["reject"], line(made(id="e7")))
    assert run_replay(RunOptions([], ledger.url), ReplayOptions(Selection()))["accepted"] == 1
    found = shown(capsys, ledger.url, third["reject"])
    assert (found["was"]["reject"], found["row"]["offset"]) == (second["reject"], 3)
    assert millrace(["reconcile", "--ledger", ledger.url]) == 0, capsys.readouterr()


def test_a_conflict_shows_both_contents_and_the_row_it_met(ledger, tmp_path, capsys):
    run_lines(
        ledger, tmp_path,
        [made(idempotencykey="k'1"), made(idempotencykey="k'1", members={"units": 5}), made(idempotencykey="x")],
    )  # fmt: skip
    (conflict,) = listed(capsys, ledger.url, "--reason", "idempotency_conflict")
    found = shown(capsys, ledger.url, conflict["reject"])
    assert found["conflict"]["first"] == found["met"]["fingerprint"] != found["conflict"]["this"]
    assert (found["met"]["topic"], found["met"]["offset"], found["key"]) == ("events.ndjson", 1, "k'1")
    assert millrace(["rejects", "show", conflict["reject"], "--ledger", ledger.url]) == 0
    assert f"{found['conflict']['first']} stands" in capsys.readouterr().out


def test_a_duplicate_shows_the_row_that_it_met(ledger, tmp_path, capsys, monkeypatch):
    run_lines(ledger, tmp_path, [made(idempotencykey="k"), b"{"])
    (reject,) = listed(capsys, ledger.url)
    mended(capsys, monkeypatch, tmp_path, ledger.url, reject["reject"], line(made(idempotencykey="k")))
    assert run_replay(RunOptions([], ledger.url), ReplayOptions(Selection()))["duplicates"] == 1
    found = shown(capsys, ledger.url, reject["reject"])
    assert (found["replay"]["outcome"], found["row"]["topic"], found["row"]["offset"]) == (
        "duplicate", "events.ndjson", 1,
    )  # fmt: skip


def test_a_log_line_keeps_the_key_of_its_place(ledger, tmp_path, capsys):
    log = tmp_path / "access.log"
    good = '192.0.2.7 - - [17/Nov/2025:10:05:0{n} +0000] "GET /a HTTP/1.1" 200 203 "-" "curl/8"\n'
    log.write_text("".join(good.format(n=n) for n in range(3)))
    run_files(RunOptions([str(log)], ledger.url, "cloudevents", reject_budget=1.0))
    options = RunOptions([], ledger.url, "auto", tenant="site")
    assert run_replay(options, ReplayOptions(Selection()))["accepted"] == 3
    again = run_files(RunOptions([str(log)], ledger.url, "access-log", tenant="site"))
    assert (again["accepted"], again["duplicates"]) == (0, 3)
    keys = ledger.client.query("SELECT idempotency_key FROM ledger ORDER BY offset").result_rows
    assert [key.split(":")[:2] for (key,) in keys] == [["access.log", str(n)] for n in (1, 2, 3)]


def test_lines_of_a_csv_file_are_read_by_its_header(ledger, tmp_path):
    (tmp_path / "m.toml").write_text(
        'type = "compute"\n[attributes]\ntenant = { const = "acme" }\n[data]\noperation = { column = "op" }\n'
        'units = { column = "n" }\n'
    )
    insert_rejects(ledger.client, [{"raw": b"ask,7", "topic": "calls.csv", "offset": 2, "run": 0}])
    capable = RunOptions([], ledger.url, "csv", mapping=tmp_path / "m.toml")
    summary = run_replay(capable, ReplayOptions(Selection(), header="op,n"))
    assert summary["accepted"] == 1
    row = ledger.client.query("SELECT operation, base_units FROM ledger").first_row
    assert (row[0], int(row[1])) == ("ask", 7)


def test_usage_without_a_time_happened_when_it_first_arrived(ledger):
    timeless = {name: value for name, value in made(id="t").items() if name != "time"}
    early = made(id="f", time="2026-03-10T13:00:00Z")
    insert_rejects(
        ledger.client,
        [
            {"raw": line(timeless), "offset": 1, "reason": "unknown_tenant", "run": 0},
            {"raw": line(early), "offset": 2, "reason": "time_in_future", "run": 0},
        ],
    )
    assert run_replay(RunOptions([], ledger.url), ReplayOptions(Selection()))["accepted"] == 2
    rows = ledger.client.query("SELECT event_id, toUnixTimestamp(occurred_at) FROM ledger").result_rows
    wanted = {"t": int(NOON.timestamp()), "f": int((NOON + timedelta(hours=1)).timestamp())}
    assert dict(rows) == wanted


def test_only_what_is_selected_is_handed_in(ledger, capsys):
    rejects = [
        {"raw": b'{"tenant":"acme"}', "offset": 1, "reason": "missing_attribute"},
        {"raw": b'{"tenant":"other"}', "offset": 2, "reason": "missing_attribute"},
        {"raw": b"{", "offset": 3, "topic": "u"},
        {
            "raw": b"[]",
            "offset": 4,
            "topic": "u",
            "reason": "not_an_object",
            "rejected_at": NOON + timedelta(days=1),
        },
    ]
    insert_rejects(ledger.client, [{**reject, "run": 0} for reject in rejects])
    names = {row["offset"]: row["reject"] for row in listed(capsys, ledger.url)}
    assert [row["offset"] for row in listed(capsys, ledger.url, "--tenant", "acme")] == [1]
    assert [row["offset"] for row in listed(capsys, ledger.url, "--skip", "1", "--limit", "2")] == [2, 3]
    handed_in = [
        run_replay(RunOptions([], ledger.url), ReplayOptions(selection))["handed_in"]
        for selection in (
            Selection(tenant="acme"), Selection(reason="missing_attribute"), Selection(topic="v"),
            Selection(since="2026-03-11T00:00:00Z"), Selection((names[3][:9],)), Selection((names[3],)),
        )
    ]  # fmt: skip
    assert handed_in == [1, 1, 0, 1, 1, 0]
    places = ledger.client.query("SELECT from_offset FROM reject_replays ORDER BY number").result_rows
    assert [place for (place,) in places] == [1, 2, 4, 3]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "nonsense"], "there is no reject 'nonsense': `millrace rejects list` shows the names"),
        (["replay", "nonsense"], "there is no reject 'nonsense'"),
        (["fix", "nonsense", "--file", "/nowhere"], "there is no reject"),
        (["fix", "x"], "--file PATH (- is standard input) or --editor: give one of them"),
        (["replay", "--format", "csv"], "needs --mapping"),
        (["replay", "--late", "never"], "--late is adjust or refuse"),
        (["replay", "--decisions-topic", "t"], "give --brokers"),
    ],
)
def test_a_mistake_is_one_sentence_and_begins_nothing(ledger, capsys, arguments, sentence):
    assert millrace(["rejects", *arguments, "--ledger", ledger.url]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert ledger.client.query("SELECT count() FROM runs").first_row[0] == 0


def test_an_editor_gets_the_bytes_and_what_it_leaves_is_kept(ledger, capsys, tmp_path, monkeypatch):
    insert_rejects(ledger.client, [{"raw": b'{"a": \xff}'}])
    (reject,) = listed(capsys, ledger.url)
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\ncp "$1" "$0.saw"\nprintf \'{"b": 1}\\n\' > "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    assert millrace(["rejects", "fix", reject["reject"], "--editor", "--ledger", ledger.url]) == 0
    assert (tmp_path / "editor.sh.saw").read_bytes() == b'{"a": \xff}\n'
    assert [fix["raw"] for fix in shown(capsys, ledger.url, reject["reject"])["fixes"]] == ['{"b": 1}']
    assert millrace(["rejects", "fix", reject["reject"], "--editor", "--ledger", ledger.url]) == 2
    assert "the line is as it was" in capsys.readouterr().err


def test_the_summary_is_alone_on_stdout(ledger, tmp_path, capfd):
    run_lines(ledger, tmp_path, [b"{"])
    capfd.readouterr()
    assert millrace(["rejects", "replay", "--ledger", ledger.url, "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert (summary["handed_in"], summary["events"], summary["rejected"]) == (1, 1, 1)


def test_a_ledger_of_an_older_program_is_brought_up_to_date(ledger, capsys):
    insert_rejects(ledger.client, [{}])
    for kind, name in (("VIEW", "reject_outcomes"), ("VIEW", "rejects")):
        ledger.client.command(f"DROP {kind} {name}")
    ledger.client.command(
        "ALTER TABLE schema_migrations DELETE WHERE name LIKE '0003%'", settings={"mutations_sync": 2}
    )
    assert len(listed(capsys, ledger.url)) == 1
