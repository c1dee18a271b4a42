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
        self.took_s, self.commits = took_s, 0

    def take(self, _share):
        self.has_pending = True

    def pending_bytes(self):
        return 1

    def tallies(self):
        return {}

    def commit(self):
        time.sleep(self.took_s)
        self.has_pending, self.commits = False, self.commits + 1
        return SimpleNamespace(pico_usd=0)


def share(*, is_behind=False):
    chunk = SimpleNamespace(is_behind=is_behind, read_at_ms=1)
    return SimpleNamespace(lane=0, batch=SimpleNamespace(chunk=chunk))


def logic_of(lane, policy=LIVE, lanes=1):
    parts = SimpleNamespace(make_lane=lambda _number: lane, policy=policy, state=RunState(), lanes=lanes)
    return flow._LaneLogic(parts, None)


def wait_s(logic):
    due = logic.notify_at()
    return None if due is None else (due - datetime.now(UTC)).total_seconds()


def test_the_first_events_after_a_pause_are_committed_at_once():
    logic = logic_of(lane := CountingLane(0))
    assert wait_s(logic) is None
    logic.on_batch([share()])
    assert wait_s(logic) <= 0
    logic.on_notify()
    assert (lane.commits, wait_s(logic)) == (1, None)


def test_what_comes_next_waits_three_times_as_long_as_the_commit_took():
    logic = logic_of(lane := CountingLane(0.04))
    logic.on_batch([share()])
    logic.on_notify()
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
    logic = logic_of(CountingLane(0.15))
    logic.on_batch([share()])
    logic.on_notify()
    logic.on_batch([share()])
    assert 0 < wait_s(logic) <= 0.2


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
