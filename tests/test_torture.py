"""A slice of the torture: few kills, two seeds; `python -m tests.torture` does it at length."""

import time

import pytest

from sinks.http_front import serving
from tests.event_lines import event, line
from tests.model import Model
from tests.torture.campaign import Campaign
from tests.torture.order import InconsistentError, Order, decisions_alternate


@pytest.fixture
def front(_session_ledger, ledger):
    with serving(_session_ledger.url.removeprefix("chdb://")) as front:
        yield front


@pytest.mark.parametrize(("seed", "cluster", "sizes"), [(1, "mock", (1, 2)), (2, "real", (2, 1))])
def test_whatever_dies_every_total_is_exact(request, front, tmp_path, seed, cluster, sizes):
    kafka = request.getfixturevalue(f"{cluster}_kafka")
    totals = Campaign(seed, kafka, front, tmp_path, events=500, kills=2, sizes=sizes).run()
    assert totals["kills"] >= 1
    assert totals["accepted"] > 0


CATALOG = {"version": "1", "kinds": {}, "operations": {}}
NOW_MS = int(time.time() * 1000)


def order_of(partitions, accepted, rejects=()):
    records = {p: [(v, NOW_MS) for v in values] for p, values in partitions.items()}
    return Order(Model(CATALOG), "t", records, set(accepted), dict(rejects))


def compute(key, units=1):
    return line(event(id=key, time="2026-01-01T00:00:00Z", members={"units": units}))


def void(key):
    return line(event("correction", {"voids": f"/svc {key}"}, id=f"void-{key}", time="2026-01-01T00:00:00Z"))


@pytest.mark.parametrize("accepted", [{(0, 0)}, {(1, 0)}])
def test_either_of_two_partitions_may_have_been_first(accepted):
    order_of({0: [compute("a")], 1: [compute("a")]}, accepted).replay()


def test_a_correction_before_what_it_voids_finds_nothing_whatever_partition_it_came_by():
    order_of({0: [void("a")], 1: [compute("a")]}, {(1, 0)}, {(0, 0): "voids_unknown"}).replay()
    order_of({0: [void("a")], 1: [compute("a")]}, {(1, 0), (0, 0)}).replay()


@pytest.mark.parametrize(
    ("accepted", "rejects"),
    [
        ({(0, 0), (1, 0)}, {}),  # a key twice
        (set(), {}),  # a key lost
        ({(0, 1)}, {}),  # the second before the first of its partition
        ({(0, 0)}, {(0, 1): "idempotency_conflict"}),  # a duplicate taken for a conflict
        ({(0, 0)}, {(1, 0): "unreadable"}),  # a good event refused
    ],
)
def test_the_order_finds_what_is_wrong(accepted, rejects):
    with pytest.raises(InconsistentError):
        order_of({0: [compute("a"), compute("a")], 1: [compute("a")]}, accepted, rejects).replay()


def test_a_decision_that_stands_twice_is_found():
    with pytest.raises(AssertionError):
        decisions_alternate([("t", "day", 0, 100, "crossed"), ("t", "day", 0, 100, "crossed")])
