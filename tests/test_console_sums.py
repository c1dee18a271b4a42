"""What the console reads of sums by hour and day equals the rows, wherever a stretch begins and ends."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from conftest import Ledger, empty
from ledger_rows import event, insert_events

from dashboards.console.breakdown import KINDS, read_lines
from dashboards.console.caps import windows_of
from dashboards.console.desk import Ledger as Reading
from dashboards.console.spend import stretch
from dashboards.console.text import Zone, iso
from pipeline.accounts import Account
from pipeline.zones import window_starts
from queries.events_index import PROJECTIONS, add_events_index

NOW = datetime(2026, 3, 10, 12, 5, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
QUARTER_S, MICRO = 900, 10**6
SETTLEMENTS = ("metered", "metered", "credit", "free")


@pytest.fixture(scope="module", params=["with the sums", "with the rollup alone"])
def rows(request: pytest.FixtureRequest, _session_ledger: Ledger) -> tuple[Client, list[dict[str, Any]]]:
    """Events of seven weeks, many of them close to where days, hours and months begin; and the ledger that has them."""
    client, random_ = _session_ledger.client, random.Random(7)
    empty(client)
    for name in PROJECTIONS:
        client.command(f"ALTER TABLE ledger DROP PROJECTION IF EXISTS {name} SETTINGS mutations_sync = 2")
    if request.param == "with the sums":
        add_events_index(client)
    made = []
    for number in range(1500):
        at = NOW - timedelta(seconds=random_.randrange(48 * 86_400))
        if number % 3 == 0:
            at = at.replace(
                hour=random_.choice([0, 22, 23]), minute=random_.choice([0, 14, 15, 59]), second=0
            )
        made.append(
            event(
                random_.randrange(1, 10**9), tenant=f"t{number % 3}", occurred_at=at, idempotency_key=f"k{number}",
                settlement=random_.choice(SETTLEMENTS), action=f"a{number % 4}", principal=f"p{number % 5}",
            )
        )  # fmt: skip
    for begin in range(0, len(made), 500):
        insert_events(client, made[begin : begin + 500])
    found = client.query(
        "SELECT tenant, toUnixTimestamp64Milli(occurred_at) AS ms, settlement, action, principal,"
        " toInt128(cost_micro_usd) * 1000000 + residual_pico_usd AS pico FROM ledger"
    )
    names = ("tenant", "ms", "settlement", "action", "principal", "pico")
    return client, [dict(zip(names, row, strict=True)) for row in found.result_rows]


def sums(rows: list[dict[str, Any]], begin: int, end: int, by: str = "tenant") -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        if begin * 1000 <= row["ms"] < end * 1000:
            count, pico = found.get(row[by], (0, 0))
            found[row[by]] = (count + 1, pico + row["pico"])
    return found


def test_tenants_are_summed_once_whatever_the_stretch(rows: Any) -> None:
    client, there = rows
    random_, whole = random.Random(3), NOW_S - NOW_S % 86_400
    stretches = [
        (whole - 3 * 86_400, whole), (whole - 3 * 86_400, whole - 3 * 86_400), (whole, whole + QUARTER_S),
        (whole - 3600, whole + 3600), (whole - QUARTER_S, whole + QUARTER_S), (whole + 3600, whole + 2 * 3600),
        (whole + QUARTER_S, whole + 3 * QUARTER_S), (whole - 40 * 86_400 + QUARTER_S, whole + 5 * QUARTER_S),
    ]  # fmt: skip
    for _ in range(25):
        begin = NOW_S - NOW_S % QUARTER_S - random_.randrange(48 * 96) * QUARTER_S
        stretches.append((begin, begin + random_.randrange(random_.choice([4, 96, 3000])) * QUARTER_S))
    for begin, end in stretches:
        found = Reading(client).rows("console_tenants", from_=iso(begin), to=iso(end))
        assert {r["tenant"]: (r["events"], r["pico_usd"]) for r in found} == sums(there, begin, end), (
            begin,
            end,
        )


@pytest.mark.parametrize(
    "moment", ["2026-03-10T12:05", "2026-03-01T00:05", "2026-02-28T23:20", "2026-03-02T05:00"]
)
def test_windows_are_those_of_each_tenants_zone(rows: Any, moment: str) -> None:
    client, there = rows
    now_s = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())
    there = [row for row in there if row["settlement"] in {"metered", "credit"}]
    zones = ("Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu")
    accounts = [Account(f"t{n}", time_zone=zone) for n, zone in enumerate(zones)]
    for one in windows_of(Reading(client), accounts, now_s):
        starts = window_starts(one.account.zone, now_s)
        begin = starts.day_s if one.name == "day" else starts.month_s
        expected = sums(there, begin, NOW_S + 86_400).get(one.account.tenant, (0, 0))
        assert (one.events, one.spent_pico) == expected, (one.account.tenant, one.name)


@pytest.mark.parametrize("kind", ["principal", "action"])
def test_a_breakdown_adds_up_to_the_rows(rows: Any, kind: str) -> None:
    client, there = rows
    over = stretch("7d", NOW_S, Zone("UTC", "UTC"))
    lines = read_lines(Reading(client), KINDS[kind], "t1", over, None, 50)
    own = [row for row in there if row["tenant"] == "t1"]
    expected = sums(own, over.from_s, over.to_s, kind)
    assert {line.label: (line.events, line.pico) for line in lines} == expected
    assert [line.pico for line in lines] == sorted((line.pico for line in lines), reverse=True)


def test_windows_of_nobody_are_none(rows: Any) -> None:
    assert Reading(rows[0]).rows("console_windows", windows=json.dumps([])) == []
