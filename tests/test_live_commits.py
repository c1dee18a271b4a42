"""When a lane of live events commits, and when a partition rests: with lanes and readers that only count."""

import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from pipeline import flow
from pipeline.flow import CommitPolicy, RunState
from pipeline.inputs import PartitionedInput

LIVE = CommitPolicy(age_ms=200, is_live=True)


class CountingLane:
    lane, pending_rows, has_pending = 0, 1, False

    def __init__(self, took_s):
        self.took_s, self.taken, self.commits, self.ended = took_s, 0, 0, 0

    def take(self, _share):
        self.has_pending, self.taken = True, self.taken + 1

    def pending_bytes(self):
        return 1

    def begin(self):
        assert self.commits == self.ended, "two are on their way"
        self.has_pending, self.commits = False, self.commits + 1

        def write():
            time.sleep(self.took_s)
            return SimpleNamespace(pico_usd=0, tallies={})

        return write

    def end(self, delivered):
        self.ended += 1
        return delivered


def share(*, is_behind=False):
    chunk = SimpleNamespace(is_behind=is_behind, read_at_ms=1)
    return SimpleNamespace(lane=0, batch=SimpleNamespace(chunk=chunk))


def logic_of(lane, policy=LIVE, lanes=1):
    parts = SimpleNamespace(make_lane=lambda _number: lane, policy=policy, state=RunState(), lanes=lanes)
    return flow._LaneLogic(parts, None)


def notify_until(logic, done):
    """Notify as Bytewax does, as often as it is asked for, until it is done."""
    delivered, deadline = [], time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        delivered += logic.on_notify()[0]
        time.sleep(min(max(wait_s(logic) or 0, 0), 0.005))
    return delivered


def wait_s(logic):
    due = logic.notify_at()
    return None if due is None else (due - datetime.now(UTC)).total_seconds()


def test_the_first_events_after_a_pause_are_committed_at_once():
    logic = logic_of(lane := CountingLane(0))
    assert wait_s(logic) is None
    logic.on_batch([share()])
    assert wait_s(logic) <= 0
    notify_until(logic, lambda: lane.ended)
    assert (lane.commits, wait_s(logic)) == (1, None)


def test_what_comes_next_waits_three_times_as_long_as_the_commit_took():
    logic = logic_of(lane := CountingLane(0.04))
    logic.on_batch([share()])
    notify_until(logic, lambda: lane.ended)
    logic.on_batch([share()])
    assert 0.06 < wait_s(logic) <= 0.2
    logic.on_notify()  # set for the block before: it writes nothing
    assert lane.commits == 1


@pytest.mark.parametrize(
    ("policy", "is_behind", "least"), [(LIVE, True, 1.8), (CommitPolicy(age_ms=900), False, 0.7)]
)
def test_files_and_what_is_behind_wait_for_their_age(policy, is_behind, least):
    logic = logic_of(CountingLane(0), policy)
    logic.on_batch([share(is_behind=is_behind)])
    assert wait_s(logic) > least


def test_no_block_waits_longer_than_the_age_after_a_slow_commit():
    logic = logic_of(lane := CountingLane(0.15))
    logic.on_batch([share()])
    notify_until(logic, lambda: lane.ended)
    logic.on_batch([share()])
    assert 0 < wait_s(logic) <= 0.2


def test_while_a_block_is_written_the_next_is_filled_and_waits_for_it():
    logic = logic_of(lane := CountingLane(0.3), CommitPolicy(age_ms=20, is_live=True, writes_beside=True))
    logic.on_batch([share()])
    time.sleep(0.02)
    logic.on_notify()
    begun = time.monotonic()
    for _ in range(3):
        assert logic.on_batch([share()])[0] == []
    time.sleep(0.03)
    assert logic.on_notify()[0] == []
    assert (lane.taken, lane.commits) == (4, 1)
    assert time.monotonic() - begun < 0.3
    assert 0 < wait_s(logic) < 0.1
    assert len(notify_until(logic, lambda: lane.ended == 2)) == 2
    assert time.monotonic() - begun > 0.5


def test_a_full_block_waits_until_the_one_before_is_written():
    logic = logic_of(lane := CountingLane(0.2), CommitPolicy(rows=1, writes_beside=True))
    begun = time.monotonic()
    assert logic.on_batch([share()])[0] == []
    assert time.monotonic() - begun < 0.2
    assert len(logic.on_batch([share()])[0]) == 1
    assert time.monotonic() - begun > 0.2
    assert len(logic.on_eof()[0]) == 1
    assert (lane.commits, lane.ended) == (2, 2)


@pytest.mark.parametrize("writes_beside", [True, False])
def test_what_goes_wrong_while_a_block_is_written_ends_the_run_at_the_next_look(writes_beside):
    lane = CountingLane(0)
    lane.begin = lambda: lambda: 1 // 0
    logic = logic_of(lane, CommitPolicy(age_ms=20, is_live=True, writes_beside=writes_beside))
    logic.on_batch([share()])
    with pytest.raises(ZeroDivisionError):
        notify_until(logic, lambda: False)
    assert isinstance(logic._parts.state.error, ZeroDivisionError)
    assert logic.on_eof()[0] == []


def test_when_the_workers_fall_a_commit_beside_them_tries_no_longer(monkeypatch):
    parts = SimpleNamespace(state=RunState(), cluster=flow.ALONE, workers=1)
    monkeypatch.setattr(flow, "_build", lambda _parts: None)
    monkeypatch.setattr(flow, "cluster_main", lambda *_, **__: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        flow.run_flow(parts)
    assert parts.state.stop.is_set()


class Reader:
    done = False

    def __init__(self, chunks):
        self.chunks = chunks

    def next_chunk(self):
        return self.chunks.pop(0)


def rests(chunks, pause_ms):
    reader = SimpleNamespace(open=lambda _name: Reader(chunks))
    partition = PartitionedInput(reader, RunState(), pause_ms).build_part("input", "topic/0", None)
    found = []
    while chunks:
        partition.next_batch()
        at = partition.next_awake()
        found.append(0 if at is None else (at - datetime.now(UTC)).total_seconds() * 1000)
    return found


def test_a_partition_rests_after_a_small_chunk_but_not_while_it_has_much_before_it():
    small, full, behind = (
        SimpleNamespace(offsets=range(count), is_behind=is_behind)
        for count, is_behind in ((10, False), (5000, False), (10, True))
    )
    rest, none, none_either, idle = rests([small, full, behind, None], 500)
    assert rest > 100
    assert (none, none_either) == (0, 0)
    assert idle < 50
    assert rests([small], 0) == [0]
