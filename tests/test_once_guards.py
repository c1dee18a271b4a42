"""What keeps rows single, each guard by itself: tokens, the fence, the end of old inserts, the order of writing.

The table in docs/operating.md says which test goes red without which guard.
"""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from cli.clock import SystemClock
from cli.run import run_files
from cli.run_kafka import KafkaOptions, run_kafka
from cli.running import RunOptions
from pipeline.errors import LedgerAwayError
from sinks.clickhouse import connect
from sinks.http_front import Fault
from sinks.inserts import Retry, insert_block
from sinks.ledger import Hot, Ledger, LedgerLane, ReadAgain
from sinks.native import Block, strings
from sinks.pending import Pending
from tests.event_lines import event, line
from tests.test_http_front import faulty, front, lane_of, server

__all__ = ["faulty", "front", "server"]


def note(value):
    block = Block(1)
    block.data("run", "UInt32", np.array([1], np.uint32))
    block.data("topic", "String", strings(["t"]))
    block.data("position", "UInt64", np.array([value], np.uint64))
    return block.bytes()


def positions(client):
    return [p for (p,) in client.query("SELECT position FROM progress ORDER BY 1").result_rows]


def test_an_insert_is_known_by_its_token_even_when_its_bytes_are_others(server):
    for value in (7, 8):
        insert_block(server.client, "progress_in", [note(value)], "1-0-1-progress", 1)
    assert positions(server.client) == [7]


def test_two_inserts_with_the_same_bytes_are_two_when_their_tokens_are(server):
    for token in ("1-0-1-progress", "1-0-2-progress"):
        insert_block(server.client, "progress_in", [note(7)], token, 1)
    assert positions(server.client) == [7, 7]


def test_of_two_runs_that_want_the_same_number_one_gets_it_and_the_other_the_next(server):
    ledgers = [Ledger(server.url, SystemClock()) for _ in range(6)]
    together, numbers = threading.Barrier(len(ledgers)), []

    def begin(ledger, seed):
        together.wait(30)
        numbers.append(ledger._take_number(f"{seed:032x}"))

    threads = [threading.Thread(target=begin, args=(ledger, i)) for i, ledger in enumerate(ledgers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    first = min(numbers)
    assert sorted(numbers) == list(range(first, first + len(ledgers)))


SLOW = """
INSERT INTO rejected_events_in (reason, topic, offset, run)
SELECT 'unreadable', 't', number + sleepEachRow(0.5), {run} FROM numbers(12)
SETTINGS log_comment = 'run-{run}', max_block_size = 1, max_threads = 1
"""


def test_what_an_older_run_is_still_inserting_ends_before_the_newer_one_loads_anything(server):
    """Its rows have passed the fence already; only killing it keeps them from standing up behind the newer run."""
    old = Ledger(server.url, SystemClock()).begin_run(1)
    outcome = []

    def insert():
        try:
            connect(server.url).command(SLOW.format(run=old.number))
            outcome.append("stands")
        except Exception as error:  # noqa: BLE001 - whatever the driver makes of a query that was killed
            outcome.append(str(error))

    thread = threading.Thread(target=insert)
    thread.start()
    running = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = {comment:String}"
    deadline = time.monotonic() + 30
    while not server.client.query(running, parameters={"comment": f"run-{old.number}"}).first_row[0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    Ledger(server.url, SystemClock()).begin_run(2)
    assert server.client.query(running, parameters={"comment": f"run-{old.number}"}).first_row[0] == 0
    thread.join(30)
    assert outcome != ["stands"]
    assert server.client.query("SELECT count() FROM rejected_events").first_row[0] == 0


@pytest.mark.parametrize("door", ["ledger_in", "rejected_events_in"])
def test_the_position_moves_after_the_rows_and_the_rejects(faulty, ledger, door):
    lane, commit = lane_of(faulty.url, Ledger(faulty.url, SystemClock()).begin_run(1))
    lane.retry.stop.set()
    if door == "ledger_in":
        lane._aside = Pending()
        lane._aside.add([b"rows, but the door is shut"])
    faulty.faults.add(Fault("refuse", f"INSERT INTO {door}", times=9))
    with pytest.raises(LedgerAwayError):
        lane.commit(commit)
    assert positions(ledger.client) == []


def test_the_keys_that_are_loaded_are_those_of_earlier_runs_only(ledger):
    """A lane that begins while others insert would take their rows for old ones, and count their keys twice."""
    for run in (1, 2, 3):
        ledger.client.command(
            f"INSERT INTO ledger (key_hash, fingerprint, run, ingested_at, occurred_at) VALUES ({run}, {run}, {run}, "
            "now64(3), now64(3))"
        )
    run = replace(Ledger(ledger.url, SystemClock()).begin_run(1), number=2)
    lane = LedgerLane(ledger.url, run, 0, 1, Hot(), {}, ReadAgain({}, {}), SystemClock(), Retry())
    assert [prints.tolist() for _, prints in lane.load_keys()] == [[1]]
    three = np.array([[0, 1], [0, 2], [0, 3]], np.uint64)
    assert lane.find_keys(three, is_past_replays=False)[1].tolist() == [1]
    assert sorted(lane.find_keys(three, is_past_replays=True)[1].tolist()) == [1, 2]


CATALOG = """
version = "1"
[operations.ask]
components = [{ source = "compute", basis = "per-call", micro_usd = "60" }]
"""
ACCOUNTS = '[tenants.acme.spendLimit]\ndailySpendUsd = "0.0001"\n'


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "catalog.toml").write_text(CATALOG)
    (tmp_path / "accounts.toml").write_text(ACCOUNTS)
    return {
        "catalog": tmp_path / "catalog.toml", "accounts": tmp_path / "accounts.toml", "reject_budget": 1.0, "workers": 1
    }  # fmt: skip


def compute(key):
    return line(event(id=key, time="2026-01-01T00:00:00Z"))


def void(key):
    return line(event("correction", {"voids": f"/svc {key}"}, id=f"void-{key}", time="2026-01-01T00:00:00Z"))


@pytest.fixture(params=["files", "kafka"])
def again(request, ledger, tmp_path, settings):
    """Read the same lines; each call is a run of its own."""
    lines = [compute("a"), compute("b")]
    if request.param == "files":
        (tmp_path / "events.ndjson").write_bytes(b"\n".join(lines))
        return lambda: run_files(RunOptions([str(tmp_path / "events.ndjson")], ledger.url, **settings))
    kafka = request.getfixturevalue("mock_kafka")
    topic = kafka.create_topic(f"level-{time.time_ns()}")
    kafka.send(topic, {0: lines})
    options = KafkaOptions(kafka.address, topic, "lag", [], until_end=True)
    return lambda: run_kafka(RunOptions([], ledger.url, **settings), options)


def test_decisions_follow_the_level_so_those_that_a_death_left_out_come_at_the_next_start(again, ledger):
    asked = "SELECT window, threshold_percent, state FROM cap_decisions ORDER BY sequence"
    again()
    decided = ledger.client.query(asked).result_rows
    assert len(decided) == 2
    ledger.client.command(
        "TRUNCATE TABLE cap_decisions"
    )  # as if the process had died between rows and decisions
    again()
    assert ledger.client.query(asked).result_rows == decided
    again()
    assert ledger.client.query(asked).result_rows == decided


def test_what_a_death_left_between_rows_and_rejects_is_judged_again_as_it_was(mock_kafka, ledger, settings):
    """The correction stands before what it voids: it found nothing, and must not find what comes behind it."""
    topic = mock_kafka.create_topic(f"behind-{time.time_ns()}")
    mock_kafka.send(topic, {0: [void("a"), compute("a"), compute("a")]})
    options = KafkaOptions(mock_kafka.address, topic, "lag", [], until_end=True)
    counted = ("accepted", "duplicates", "rejected", "replayed")
    first = run_kafka(RunOptions([], ledger.url, **settings), options)
    assert [first[k] for k in counted] == [1, 1, 1, 0]
    for table in ("rejected_events", "progress"):
        ledger.client.command(f"TRUNCATE TABLE {table}")
    second = run_kafka(RunOptions([], ledger.url, **settings), options)
    assert [second[k] for k in counted] == [0, 1, 1, 1]
    assert ledger.client.query("SELECT count() FROM ledger").first_row[0] == 1
    found = ledger.client.query("SELECT reason, offset FROM rejected_events").result_rows
    assert [tuple(r) for r in found] == [("voids_unknown", 0)]
