"""What keeps rows single, each guard by itself: tokens, the fence, the end of old inserts, the order of writing.

The table in docs/operating.md says which test goes red without which guard.
"""

import threading
import time

import numpy as np
import pytest

from cli.clock import SystemClock
from pipeline.errors import LedgerAwayError
from sinks.clickhouse import connect
from sinks.http_front import Fault
from sinks.inserts import insert_block
from sinks.ledger import Ledger
from sinks.native import Block, strings
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
    lane._blocks = [b"rows, but the door is shut"] if door == "ledger_in" else []
    faulty.faults.add(Fault("refuse", f"INSERT INTO {door}", times=9))
    with pytest.raises(LedgerAwayError):
        lane.commit(commit)
    assert positions(ledger.client) == []
