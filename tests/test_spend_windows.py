"""Spend windows: each crossing once, in the order of the events, whoever delivered them and when."""

import random
from collections import defaultdict
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.accounts import Account, Accounts
from pipeline.catalog import Catalog
from pipeline.chunk import Origin
from pipeline.ports import Decision
from pipeline.spend import (
    QUARTER_MS,
    Deltas,
    SpendWindows,
    WindowKey,
    WindowState,
    deltas_of,
    exact_sum,
    is_limited,
    owner_of,
)
from tests.memory_ledger import World, loaded
from tests.model.spend import Spend
from tests.test_lane import CATALOG, lines_of, model_of

MICRO = 10**6
FILE = Origin("f", 0)
Event = tuple[str, int, int]
"""Tenant, ms since 1970, pico-USD."""


def ms(time: str) -> int:
    return int(datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp() * 1000)


NOON = ms("2026-11-02T12:00")


def deltas(
    sequence: int, numbered: list[tuple[int, Event]], stream: str = "files", origin: Origin = FILE
) -> Deltas:
    """Events of one batch as a lane delivers them; each has its number as offset."""
    names = sorted({tenant for _, (tenant, _, _) in numbered})
    times = np.array([at for _, (_, at, _) in numbered], np.int64)
    return deltas_of(
        stream,
        sequence,
        origin,
        names,
        np.array([names.index(tenant) for _, (tenant, _, _) in numbered], np.int32),
        times // QUARTER_MS * (QUARTER_MS // 1000),
        np.array([pico for _, (_, _, pico) in numbered], np.int64),
        np.array([number for number, _ in numbered], np.int64),
    )


def account(
    daily: int | None = None,
    monthly: int | None = None,
    thresholds: tuple[int, ...] = (80, 100),
    zone: str = "UTC",
):
    return Account(
        "",
        time_zone=zone,
        daily_limit_micro_usd=daily,
        monthly_limit_micro_usd=monthly,
        thresholds_percent=thresholds,
    )


def windows(of_all: Account, start: WindowState | None = None) -> SpendWindows:
    return SpendWindows(0, 1, Accounts(defaults=of_all), start or WindowState())


def spend(
    made: SpendWindows, sequence: int, *amounts: int, at: int = NOON
) -> list[tuple[int, str, int, int]]:
    """Spend micro-USD, one event after the other; the decisions as (offset, state, threshold, current)."""
    events = [(100 * sequence + n, ("acme", at, micro * MICRO)) for n, micro in enumerate(amounts)]
    return shown(made.take(0, {"files": sequence + 1}, [deltas(sequence, events)]))


def shown(decisions: list[Decision]) -> list[tuple[int, str, int, int]]:
    return [(d.offset, d.state, d.threshold_percent, d.current_micro_usd) for d in decisions]


# By hand.


def test_spend_crosses_thresholds_one_by_one_and_clears_them_together():
    made = windows(account(daily=100))

    # limit 100:                        80     100
    # spend     0 ------- 50 ------ 79 - 80 --- 100 ---------- 120
    # number      0: +50     1: +29   2: +1   3: +20    4: +20
    assert spend(made, 0, 50, 29, 1, 20, 20) == [(2, "crossed", 80, 80), (3, "crossed", 100, 100)]

    # spend   120 ------- 99 --- 79 ------- 80
    # number      100: -21  101: -20  102: +1
    assert spend(made, 1, -21, -20, 1) == [
        (100, "cleared", 100, 99),
        (101, "cleared", 80, 79),
        (102, "crossed", 80, 80),
    ]


def test_one_event_may_cross_several_thresholds_and_a_correction_clears_them():
    made = windows(account(daily=100, thresholds=(10, 50, 100, 150)))

    # thresholds 10  50  100  150
    # spend     0 to 149 in one leap
    # and back from 149 to 0
    assert spend(made, 0, 149, -149) == [
        (0, "crossed", 10, 149),
        (0, "crossed", 50, 149),
        (0, "crossed", 100, 149),
        (1, "cleared", 10, 0),
        (1, "cleared", 50, 0),
        (1, "cleared", 100, 0),
    ]


def test_up_and_down_inside_one_batch_is_seen_though_nothing_is_left_of_it():
    made = windows(account(daily=100))

    # spend     0 ---- 100 ---- 0 ---- 100 ---- 0
    up = ["crossed 80", "crossed 100"]
    down = ["cleared 80", "cleared 100"]
    assert [f"{d[1]} {d[2]}" for d in spend(made, 0, 100, -100, 100, -100)] == [*up, *down, *up, *down]


def test_below_all_thresholds_nothing_is_decided_and_the_last_pico_counts():
    made = windows(account(daily=100, thresholds=(100,)))
    almost = [(0, ("acme", NOON, 100 * MICRO - 1)), (1, ("acme", NOON, 1))]

    # spend     0 ---- 99.999999 ---- 100
    assert shown(made.take(0, {"files": 1}, [deltas(0, almost)])) == [(1, "crossed", 100, 100)]


def test_a_limit_of_nothing_is_reached_by_the_first_pico_and_not_by_spending_nothing():
    made = windows(account(daily=0))
    events = [
        ("acme", NOON, 0),
        ("acme", NOON, 1),
        ("acme", NOON, -1),
        ("acme", NOON, -1),
        ("acme", NOON, 1),
        ("acme", NOON, 1),
    ]

    # spend     0 -- 0 -- 1 -- 0 -- -1 -- 0 -- 1 pico
    # number    0    1    2    3     4    5
    assert shown(made.take(0, {"files": 1}, [deltas(0, list(enumerate(events)))])) == [
        (1, "crossed", 80, 0),
        (1, "crossed", 100, 0),
        (2, "cleared", 80, 0),
        (2, "cleared", 100, 0),
        (5, "crossed", 80, 0),
        (5, "crossed", 100, 0),
    ]


def test_without_a_limit_nothing_is_decided():
    assert spend(windows(account()), 0, 10**12) == []
    assert spend(windows(account(daily=1, thresholds=())), 0, 10**6) == []


def test_day_and_month_are_limited_each_by_its_own():
    made = windows(account(daily=100, monthly=150, thresholds=(100,)))

    # day 2        100|                   month    150|
    # day 2  0 -- 60                      month 0 -- 60
    # day 3          0 -- 60 -- 100       month         -- 120 -- 160
    assert spend(made, 0, 60, at=NOON) == []
    [day, month] = made.take(
        0,
        {"files": 2},
        [deltas(1, [(n, ("acme", NOON + 86_400_000, m * MICRO)) for n, m in ((1, 60), (2, 40))])],
    )
    assert (day.window, day.window_start_s, day.current_micro_usd) == ("day", ms("2026-11-03") // 1000, 100)
    assert (month.window, month.window_start_s, month.current_micro_usd) == (
        "month",
        ms("2026-11-01") // 1000,
        160,
    )
    assert (month.limit_micro_usd, month.topic, month.partition, month.offset) == (150, "f", 0, 2)


def test_late_spend_goes_to_its_own_day():
    made = windows(account(daily=100, thresholds=(100,)))

    # day 1         99 ............... +1 -> 100
    # day 2               99                      +1 -> 100
    assert spend(made, 0, 99, at=NOON - 86_400_000) == []
    assert spend(made, 1, 99) == []
    assert spend(made, 2, 1, at=NOON - 86_400_000) == [(200, "crossed", 100, 100)]
    assert spend(made, 3, 1) == [(300, "crossed", 100, 100)]


def test_sums_beyond_64_bits_are_exact():
    most = 2**63 - 1
    events = [("acme", NOON, most)] * 4 + [("acme", NOON, -most)] * 3
    made = windows(account(daily=3 * most // MICRO + 1, thresholds=(100,)))

    # spend     0 --- most --- 2 most --- 3 most -| 4 most |- 3 most --- 2 most --- most
    assert shown(made.take(0, {"files": 1}, [deltas(0, list(enumerate(events)))])) == [
        (3, "crossed", 100, 4 * most // MICRO),
        (4, "cleared", 100, 3 * most // MICRO),
    ]


@pytest.mark.parametrize(
    ("zone", "before", "after"),
    [
        ("UTC", "2026-11-01T23:59:59.999", "2026-11-02T00:00"),
        ("Asia/Kathmandu", "2026-11-02T18:14:59.999", "2026-11-02T18:15"),
        ("America/New_York", "2026-11-02T04:59:59.999", "2026-11-02T05:00"),
        ("America/New_York", "2026-11-01T03:59:59.999", "2026-11-01T04:00"),  # the day that has 25 hours
        ("Pacific/Auckland", "2026-09-26T11:59:59.999", "2026-09-26T12:00"),  # the day that has 23 hours
        ("America/Santiago", "2026-09-06T03:59:59.999", "2026-09-06T04:00"),  # a day that begins at one
        ("Africa/Monrovia", "2026-11-01T23:59:59.999", "2026-11-02T00:00"),
    ],
)
def test_a_day_begins_where_its_zone_says(zone, before, after):
    made = windows(account(daily=100, thresholds=(100,), zone=zone))

    # old day   99 |
    #              | 99   99+1 -> crossed
    assert spend(made, 0, 99, at=ms(before)) == []
    assert spend(made, 1, 99, at=ms(after)) == []
    [decision] = made.take(0, {"files": 3}, [deltas(2, [(200, ("acme", ms(after), MICRO))])])
    assert (decision.window_start_s, decision.current_micro_usd) == (ms(after) // 1000, 100)


@pytest.mark.parametrize(("zone", "hours"), [("America/New_York", 25), ("Europe/Berlin", 24)])
def test_the_day_on_which_clocks_go_back_is_longer(zone, hours):
    made = windows(account(daily=2, thresholds=(100,), zone=zone))
    first = ms("2026-11-01T04:00") if hours == 25 else ms("2026-10-31T23:00")
    last = first + hours * 3_600_000 - 1

    assert spend(made, 0, 1, at=first) == []
    assert spend(made, 1, 1, at=last + 1) == []
    assert [d[0] for d in spend(made, 2, 1, at=last)] == [200]


# Starting from a ledger.

DAY = WindowKey("acme", "day", ms("2026-11-02") // 1000)


def test_what_the_run_before_could_not_decide_is_decided_at_the_start():
    start = WindowState({DAY: 90 * MICRO}, {})
    made = windows(account(daily=100), start)

    [decision] = made.settle()

    assert decision == Decision("acme", "day", DAY.start_s, 100, 90, 80, "crossed", "", 0, 0)
    assert made.settle() == []
    # spend    90 ---- 99 ---- 100
    assert spend(made, 0, 9, 1) == [(1, "crossed", 100, 100)]


def test_what_was_decided_before_is_not_decided_again():
    made = windows(account(daily=100), WindowState({DAY: 90 * MICRO}, {DAY: {80}}))

    # spend    90 ---- 95 ---- 70 ---- 90
    assert made.settle() == []
    assert spend(made, 0, 5, -25, 20) == [(1, "cleared", 80, 70), (2, "crossed", 80, 90)]


@pytest.mark.parametrize(
    ("daily", "found"),
    [
        (1000, [("cleared", 80, 1000), ("cleared", 100, 1000)]),
        (120, [("cleared", 100, 120)]),
        (100, []),
        (1, []),
        (None, []),
    ],
)
def test_a_changed_limit_is_decided_at_the_start(daily, found):
    made = windows(account(daily=daily), WindowState({DAY: 100 * MICRO}, {DAY: {80, 100}}))

    assert [(d.state, d.threshold_percent, d.limit_micro_usd) for d in made.settle()] == found
    assert made.settle() == []


def test_a_window_whose_spend_is_gone_is_cleared_at_the_start():
    made = windows(account(daily=100), WindowState({}, {DAY: {80}}))

    assert [(d.state, d.current_micro_usd) for d in made.settle()] == [("cleared", 0)]


# Lanes.


def test_nothing_is_decided_before_all_lanes_have_delivered():
    made = [
        SpendWindows(n, 2, Accounts(defaults=account(daily=100, thresholds=(100,))), WindowState())
        for n in range(2)
    ]
    [mine] = [w for n, w in enumerate(made) if owner_of("acme", 2) == n]

    # lane 0   batch 0: 60          batch 1: 60 (the 100 is reached here)
    # lane 1             nothing yet           batch 0: 39
    lane_0 = [deltas(0, [(0, ("acme", NOON, 60 * MICRO))]), deltas(1, [(9, ("acme", NOON, 60 * MICRO))])]
    assert mine.take(0, {"files": 2}, lane_0) == []
    assert shown(mine.take(1, {"files": 1}, [deltas(0, [(5, ("acme", NOON, 39 * MICRO))])])) == []
    assert shown(mine.take(1, {"files": 2}, [])) == [(9, "crossed", 100, 159)]


def test_streams_do_not_wait_for_each_other():
    made = SpendWindows(0, 1, Accounts(defaults=account(daily=100, thresholds=(100,))), WindowState())
    of_topic = deltas(0, [(7, ("acme", NOON, 100 * MICRO))], "t-3", Origin("t", 3))

    [decision] = made.take(0, {"files": 0, "t-3": 1}, [of_topic])
    assert (decision.topic, decision.partition, decision.offset) == ("t", 3, 7)


def test_each_tenant_has_one_owner():
    accounts = Accounts(defaults=account(daily=1, thresholds=(100,)))
    tenants = [f"t{n}" for n in range(100)]
    events = [(n, (tenant, NOON, MICRO)) for n, tenant in enumerate(tenants)]
    start = WindowState({WindowKey(t, "day", DAY.start_s - 86_400): MICRO for t in tenants}, {})
    made = [SpendWindows(n, 3, accounts, start) for n in range(3)]

    settled = [d.tenant for w in made for d in w.settle()]
    decided = [
        d.tenant
        for w in made
        for lane in range(3)
        for d in w.take(lane, {"files": 1}, [deltas(0, events)] if lane == 1 else [])
    ]

    assert sorted(settled) == sorted(decided) == sorted(tenants)


# Any events, any split: as one event after the other.

ZONES = ("UTC", "Asia/Kathmandu", "America/New_York", "Pacific/Auckland", "America/Santiago")
TENANTS = ("acme", "o'reilly", "顧客")
AMOUNTS = (
    *(micro * MICRO for micro in (10, 50, 99, 100, -10, -100)), 0, 1, 10**17, -(10**17), 2**63 - 1, 1 - 2**63,
)  # fmt: skip
TIMES = [
    ms(day) + minute * 60_000
    for day in ("2026-10-31T22:00", "2026-11-01T03:30", "2026-11-02T17:45")
    for minute in range(0, 120, 5)
]
LIMITS = (None, 0, 1, 100, 150, 10**11, 10**13)
ACCOUNTS = st.fixed_dictionaries(
    {
        "daily": st.sampled_from(LIMITS),
        "monthly": st.sampled_from(LIMITS),
        "thresholds": st.sampled_from([(80, 100), (), (100,), (1, 50, 100, 1000)]),
        "zone": st.sampled_from(ZONES),
    }
)
EVENTS = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.sampled_from(TIMES), st.sampled_from(AMOUNTS)),
    min_size=1,
    max_size=60,
)


def usd(micro: int) -> str:
    return f"{micro // MICRO}.{micro % MICRO:06}"


def table_of(settings_of: dict[str, dict]) -> dict:
    """The accounts file that the model reads."""
    tenants = {}
    for tenant, s in settings_of.items():
        limits = {"dailySpendUsd": s["daily"], "monthlySpendUsd": s["monthly"]}
        tenants[tenant] = {
            "time_zone": s["zone"],
            "thresholds_percent": list(s["thresholds"]),
            "spendLimit": {name: usd(micro) for name, micro in limits.items() if micro is not None},
        }
    return {"tenants": tenants}


def by_window(decisions: list[Decision]) -> dict[tuple, list[tuple]]:
    found = defaultdict(list)
    for d in decisions:
        found[d.tenant, d.window, d.window_start_s].append(
            (d.offset, d.threshold_percent, d.state, d.current_micro_usd, d.limit_micro_usd)
        )
    return dict(found)


def crossings_of(model: Spend, first: int = 0) -> dict[tuple, list[tuple]]:
    found = defaultdict(list)
    for c in model.crossings[first:]:
        found[c.tenant, c.window, int(c.window_start.timestamp())].append(
            (c.origin[2], c.threshold_percent, c.state, c.current_pico_usd // MICRO, c.limit_micro_usd)
        )
    return dict(found)


def delivered(
    plan: random.Random, numbered: list[tuple[int, Event]], lanes: int, made: list[SpendWindows]
) -> list[Decision]:
    """Cut events into batches and lanes, let each lane commit when it likes, and hear what all windows decide."""
    sequences: list[list[tuple[int, Event]]] = [[]]
    for event in numbered:
        if plan.random() < 0.3:
            sequences.append([])
        sequences[-1].append(event)
    lane_of = {number: plan.randrange(lanes) for number, _ in numbered}
    at = [0] * lanes
    decisions = []
    while any(done < len(sequences) for done in at):
        lane = plan.choice([n for n, done in enumerate(at) if done < len(sequences)])
        until = plan.randrange(at[lane] + 1, len(sequences) + 1)
        shares = [
            (sequence, [e for e in sequences[sequence] if lane_of[e[0]] == lane])
            for sequence in range(at[lane], until)
        ]
        out = [deltas(sequence, share) for sequence, share in shares if share]
        plan.shuffle(out)  # corrections are delivered behind the rows of all sequences
        at[lane] = until
        for one in made:
            decisions += one.take(lane, {"files": until}, out)
    return decisions


@given(
    st.lists(ACCOUNTS, min_size=3, max_size=3),
    EVENTS,
    st.integers(1, 4),
    st.integers(0, 2**32),
    st.integers(0, 60),
)
@settings(deadline=None, max_examples=200)
def test_any_split_over_lanes_and_commits_decides_what_one_event_after_the_other_does(
    chosen, events, lanes, seed, before
):
    settings_of = dict(zip(TENANTS, chosen, strict=True))
    accounts = Accounts({tenant: account(**s) for tenant, s in settings_of.items()})
    model = Spend(table_of(settings_of))
    numbered = list(enumerate(events))
    for number, (tenant, at, pico) in numbered[:before]:
        model.add(tenant, at, pico, ("f", 0, number))
    start = WindowState({WindowKey(t, w, int(s.timestamp())): pico for (t, w, s), pico in model.pico.items()})
    for tenant, window, begins, percent in model.crossed():
        start.crossed.setdefault(WindowKey(tenant, window, int(begins.timestamp())), set()).add(percent)
    known = len(model.crossings)
    for number, (tenant, at, pico) in numbered[before:]:
        model.add(tenant, at, pico, ("f", 0, number))

    made = [SpendWindows(n, lanes, accounts, start) for n in range(lanes)]
    assert [d for one in made for d in one.settle()] == []
    decisions = delivered(random.Random(seed), numbered[before:], lanes, made)

    assert by_window(decisions) == crossings_of(model, known)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    return loaded(CATALOG, tmp_path_factory.mktemp("catalog"))


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_what_lanes_deliver_makes_the_decisions_of_the_model(catalog, seed, count, lanes):
    plan = random.Random(seed)
    settings_of = {
        "acme": {"daily": 100, "monthly": 150, "thresholds": (50, 100), "zone": "UTC"},
        "other": {"daily": 50, "monthly": None, "thresholds": (80, 100), "zone": "America/New_York"},
    }
    accounts = Accounts({tenant: account(**s) for tenant, s in settings_of.items()})
    lines = lines_of(plan, count)
    world, model = World(catalog, accounts), model_of(lines, table_of(settings_of))

    out = world.run(lines, plan, lanes)

    made = [SpendWindows(n, lanes, accounts, WindowState()) for n in range(lanes)]
    decisions = [d for one in made for by in out for d in one.take(by.lane, by.below, by.deltas)]
    assert by_window(decisions) == crossings_of(model.spend)


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), max_size=50))
def test_a_sum_of_amounts_is_exact(amounts):
    assert exact_sum(np.array(amounts, np.int64)) == sum(amounts)


@pytest.mark.parametrize(
    ("daily", "monthly", "limited"), [(None, None, False), (0, None, True), (None, 0, True)]
)
def test_a_limit_of_nothing_is_a_limit(daily, monthly, limited):
    assert is_limited(account(daily, monthly)) is limited
