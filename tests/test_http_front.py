"""The ledger over the wire: a server (or an embedded folder behind HTTP), and what happens when it misbehaves."""

import os
import threading
import time
import tomllib
import uuid
from dataclasses import dataclass

import numpy as np
import pytest

from cli.clock import SystemClock
from pipeline.chunk import Origin
from pipeline.errors import LedgerAwayError, LedgerError, LedgerFencedError
from pipeline.ports import Commit, RejectRow, Tally
from sinks.clickhouse import connect, migrate
from sinks.http_front import KINDS, Fault, serving
from sinks.inserts import Retry
from sinks.ledger import Hot, Ledger, LedgerLane, ReadAgain
from tests.conftest import empty
from tests.hostile import hostile_accounts, hostile_catalogs, hostile_stream
from tests.model import Model
from tests.test_end_to_end import (
    assert_ledger_is,
    assert_rows_are,
    crossings_of,
    decisions_of,
    run,
    settings_files,
)

__all__ = ["settings_files"]
DOORS = ("ledger_in", "rejected_events_in", "progress_in", "cap_decisions_in")


@dataclass(frozen=True, slots=True)
class Server:
    """A ledger over HTTP."""

    url: str
    client: object


@pytest.fixture(scope="module")
def front(_session_ledger):
    with serving(_session_ledger.url.removeprefix("chdb://")) as front:
        yield front


@pytest.fixture
def server(front, ledger):
    """The server that MILLRACE_TEST_CLICKHOUSE names, in a database of its own, else the front."""
    named = os.environ.get("MILLRACE_TEST_CLICKHOUSE")
    if not named:
        yield Server(front.url, connect(front.url))
        return
    url = f"{named.rstrip('/')}/millrace_test_{uuid.uuid4().hex[:8]}"
    client = connect(url)
    migrate(client)
    empty(client)
    yield Server(url, client)
    client.command(f"DROP DATABASE {client.database}")


@pytest.fixture
def faulty(front, ledger):
    front.faults.clear()
    front.faults.happened.clear()
    sleep, applied = front.sleep, front.applied
    yield front
    front.faults.clear()
    front.sleep, front.applied = sleep, applied


def modelled(lines):
    model = Model([tomllib.loads(t) for t in hostile_catalogs()], tomllib.loads(hostile_accounts()))
    model.feed_lines(lines, "events.ndjson", int(time.time() * 1000))
    return model


@pytest.mark.parametrize(("seed", "workers", "block_rows"), [(5, 2, 300), (6, 3, 250_000)])
def test_over_the_wire_a_stream_comes_out_as_the_model_says(
    server, tmp_path, settings_files, seed, workers, block_rows
):
    lines = hostile_stream(seed, 2_000)
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(lines))
    model = modelled(lines)
    run(server, [tmp_path / "events.ndjson"], settings_files, workers=workers, block_rows=block_rows)
    assert_ledger_is(server, model)
    assert_rows_are(server, model)
    assert decisions_of(server) == crossings_of(model)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_server_does_wrong_each_row_stands_once(faulty, ledger, tmp_path, settings_files, kind):
    lines = hostile_stream(KINDS.index(kind), 1_500)
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(lines))
    model = modelled(lines)
    for door in DOORS:
        faulty.faults.add(Fault(kind, f"INSERT INTO {door}", times=2, skip=1, seconds=0.3))
    summary = run(
        Server(faulty.url, None), [tmp_path / "events.ndjson"], settings_files, workers=2, block_rows=200
    )
    assert len(faulty.faults.happened) >= 2 * len(DOORS) - 2
    time.sleep(0.5 if kind == "late" else 0)
    assert summary["accepted"] == model.counts["accepted"]
    assert_ledger_is(ledger, model)
    assert decisions_of(ledger) == crossings_of(model)
    counted = ledger.client.query(
        "SELECT sum(accepted), sum(duplicates), sum(rejected) FROM progress"
    ).first_row
    assert tuple(counted) == tuple(model.counts[k] for k in ("accepted", "duplicate", "rejected"))


def lane_of(url, run_, retry=None):
    clock, origin = SystemClock(), Origin("t", 0)
    lane = LedgerLane(url, run_, 0, 1, Hot(), {}, ReadAgain({}, {}), clock, retry or Retry())
    commit = Commit(
        [RejectRow("unreadable", "why", b"raw", origin, 7)], [], {origin: 8}, {origin: Tally(rejected=1)}
    )
    return lane, commit


def test_without_a_token_an_insert_that_is_sent_again_would_stand_twice(faulty, ledger):
    client = connect(faulty.url)
    faulty.faults.add(Fault("no_answer", "INSERT INTO meta"))
    client.raw_insert("meta", insert_block=b'"a","b"\n', fmt="CSV")
    assert ledger.client.query("SELECT count() FROM meta").first_row[0] == 2


def test_a_newer_run_fences_the_older_one_with_a_sentence(server):
    clock = SystemClock()
    first = Ledger(server.url, clock).begin_run(1)
    lane, commit = lane_of(server.url, first)
    lane.commit(commit)
    Ledger(server.url, clock).begin_run(2)
    with pytest.raises(LedgerFencedError, match="a newer run has taken over"):
        lane.commit(commit)
    assert server.client.query("SELECT count() FROM rejected_events").first_row[0] == 1


def test_an_insert_that_is_applied_after_a_newer_run_has_begun_leaves_nothing(faulty, ledger):
    clock = SystemClock()
    lane, commit = lane_of(faulty.url, Ledger(faulty.url, clock).begin_run(1))
    gate, landed = threading.Event(), threading.Event()
    faulty.faults.add(Fault("late", "INSERT INTO rejected_events_in", times=9))
    faulty.sleep, faulty.applied = lambda _: gate.wait(20), landed.set
    lane.retry.stop.set()
    with pytest.raises(LedgerError):
        lane.commit(commit)
    Ledger(faulty.url, clock).begin_run(2)
    gate.set()
    assert landed.wait(30)
    assert ledger.client.query("SELECT count() FROM rejected_events").first_row[0] == 0


def test_while_the_ledger_is_away_a_lane_waits_visibly_and_goes_on_by_itself(faulty, ledger):
    said = []
    lane, commit = lane_of(
        faulty.url, Ledger(faulty.url, SystemClock()).begin_run(1), Retry(report=said.append)
    )
    faulty.faults.add(Fault("refuse", "INSERT INTO progress_in", times=8))
    lane.commit(commit)
    assert any("does not answer" in sentence for sentence in said)
    assert lane.retry.waiting_for == ""
    assert ledger.client.query("SELECT sum(position) FROM progress").first_row[0] == 8


def test_a_stop_ends_the_waiting_and_leaves_the_position_where_it_was(faulty, ledger):
    retry = Retry()
    lane, commit = lane_of(faulty.url, Ledger(faulty.url, SystemClock()).begin_run(1), retry)
    faulty.faults.add(Fault("refuse", "INSERT INTO progress_in", times=10**6))
    threading.Timer(0.5, retry.stop.set).start()
    begun = time.monotonic()
    with pytest.raises(LedgerAwayError):
        lane.commit(commit)
    assert time.monotonic() - begun < 10
    assert ledger.client.query("SELECT count() FROM progress").first_row[0] == 0


def test_many_keys_are_looked_up_within_what_a_server_takes_in_one_request(server):
    clock = SystemClock()
    lane, _ = lane_of(server.url, Ledger(server.url, clock).begin_run(1))

    hashes, prints = lane.find_keys(np.full((5_000, 2), 2**64 - 1, np.uint64), is_past_replays=False)
    assert len(hashes) == len(prints) == 0
