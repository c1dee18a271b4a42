"""What the console reads: pages that join without a gap, plans that read a part, windows in the tenant's own zone."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from conftest import Ledger
from hypothesis import given
from hypothesis import strategies as st
from ledger_rows import NOON, event, insert_decisions, insert_events

from dashboards.console.audit import read_audit
from dashboards.console.breakdown import KINDS, After, read_lines
from dashboards.console.caps import nearest, windows_of
from dashboards.console.desk import Ledger as Reading
from dashboards.console.doors import _inside
from dashboards.console.downloads import _event_rows, _written
from dashboards.console.markup import address, printable, tag
from dashboards.console.parts import bar, gauge
from dashboards.console.reading import Cursor, Filter, backwards, read_events
from dashboards.console.services import Viewer
from dashboards.console.sessions import LASTS_MS, RECHECK_MS, Sessions
from dashboards.console.spend import DAY_S, read_spend, running_chart, spend_chart, stretch
from dashboards.console.text import Zone, ago, context_word, usd, usd_parts
from pipeline.accounts import Account, Accounts
from pipeline.catalog import load_catalog
from queries.console_keys import key_hashes

NOW_S = int(NOON.timestamp())
UTC_ZONE = Zone("UTC", "UTC")


class Book:
    """Accounts as the console asks for them."""

    def __init__(self, *accounts: Account) -> None:
        self._accounts = Accounts({one.tenant: one for one in accounts})

    def get(self, tenant: str) -> Account:
        return self._accounts.get(tenant)

    def named(self, search: str, limit: int) -> list[str]:
        return []


# --- text ---


@given(st.integers(-(2**100), 2**100))
def test_an_amount_is_written_to_its_last_digit(pico: int) -> None:
    head, tail = usd_parts(pico)
    digits = (head + tail).replace("$", "").replace(",", "")
    whole, _, fraction = digits.partition(".")
    assert int(whole + fraction.ljust(12, "0")) == pico or whole.startswith("-0")
    assert usd(pico) == head + tail
    if whole.startswith("-0"):
        assert -int(fraction.ljust(12, "0")) == pico


@pytest.mark.parametrize(
    ("context", "word"),
    [
        (("project", "p1", "Website"), "Website"),
        (("admin", "", ""), "admin panel"),
        (("admin", "users", ""), "admin panel"),
        (("project", "p1", ""), "project p1"),
        (("workspace", "w", ""), "workspace w"),
        (("other", "kiosk", ""), "kiosk"),
        (("", "", ""), "unknown"),
    ],
)
def test_a_context_reads_like_a_persons_word(context: tuple[str, str, str], word: str) -> None:
    names = ("context_type", "context_name", "context_display")
    assert context_word(dict(zip(names, context, strict=True))) == word


def test_what_users_name_is_escaped_and_cannot_turn_the_line_around() -> None:
    shown = tag("a", "<b>\u202e&", title='"quoted"').html
    assert shown == '<a title="&quot;quoted&quot;">&lt;b&gt;\\u{202e}&amp;</a>'
    assert printable("tab\tand\x00") == "tab\tand\\u{0}"
    assert address("/tenant", tenant="a/b?c=d&e", empty="") == "/console/tenant?tenant=a%2Fb%3Fc%3Dd%26e"


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/x\r\ny", "javascript:1"]
)
def test_no_way_back_leads_out_of_the_console(to: str) -> None:
    assert _inside(to) == "/"
    assert _inside("/tenant?tenant=a") == "/tenant?tenant=a"


def test_time_that_is_over_is_said_in_words() -> None:
    assert [ago(s) for s in (-1, 3, 59, 60, 7200, 90_000)] == [
        "in the future",
        "just now",
        "59 seconds ago",
        "a minute ago",
        "2 hours ago",
        "a day ago",
    ]


def test_a_gauge_says_in_words_what_it_draws() -> None:
    shown = gauge("Day", 75 * 10**10, 10**6, {50: True, 100: False}).html
    assert "75 %" in shown
    assert "Crossed: 50 %." in shown
    assert "width:75%" in shown
    assert "No threshold crossed." in gauge("Day", 0, 10**6, {50: False}).html
    assert "of no limit" in gauge("Day", 5, None, {}).html
    assert "width:100%" in bar(400).html


# --- sessions ---


class Doors:
    """A door with one key, and a clock."""

    def __init__(self) -> None:
        self.keys, self.ms, self.drawn = {"good": Viewer("key:1", "acme")}, 0, 0

    def sign_in(self, credential: str) -> Viewer | None:
        return self.keys.get(credential)

    def draw_token(self) -> str:
        self.drawn += 1
        return f"token-{self.drawn}"

    @property
    def clock(self) -> "Doors":
        return self

    def now_ms(self) -> int:
        return self.ms


def test_a_session_lasts_while_its_key_is_good_and_no_longer_than_half_a_day() -> None:
    doors = Doors()
    sessions = Sessions(doors)  # type: ignore[arg-type]
    assert sessions.open("wrong") is None
    token, other = sessions.open("good"), sessions.open("good")
    assert token
    assert other
    found = sessions.find(token)
    assert found is not None
    assert (found.viewer.tenant, "good" in repr(found)) == ("acme", False)
    assert sessions.find("guess") is None
    del doors.keys["good"]
    assert sessions.find(token) is found
    doors.ms += RECHECK_MS
    assert sessions.find(token) is None
    doors.keys["good"] = Viewer("key:1", "acme")
    assert sessions.find(token) is None, "a session that has ended stays so"
    doors.ms = LASTS_MS
    assert sessions.find(other) is None


def test_a_key_that_changes_its_tenant_ends_the_session() -> None:
    doors = Doors()
    sessions = Sessions(doors)  # type: ignore[arg-type]
    token = sessions.open("good")
    doors.keys["good"], doors.ms = Viewer("key:1", "globex"), RECHECK_MS
    assert token
    assert sessions.find(token) is None


# --- pages that join ---


def test_pages_of_events_join_without_a_gap_or_a_double(ledger: Ledger) -> None:
    times = [NOON - timedelta(minutes=number // 3) for number in range(40)]
    rows = [
        event(number, idempotency_key=f"k{number % 7}-{number}", occurred_at=at, tenant=f"t{number % 2}")
        for number, at in enumerate(times)
    ]
    insert_events(ledger.client, rows)
    reading, over, cursor, seen = Reading(ledger.client), stretch("24h", NOW_S, UTC_ZONE), None, []
    while True:
        page = read_events(reading, over, Filter(), cursor, 7)
        seen += [row["idempotency_key"] for row in page]
        if len(page) < 7:
            break
        cursor = Cursor(page[-1]["occurred_ms"], page[-1]["tenant"], page[-1]["idempotency_key"])
    wanted = sorted(
        rows, key=lambda row: (-row["occurred_at"].timestamp(), row["tenant"], row["idempotency_key"])
    )
    assert seen == [row["idempotency_key"] for row in wanted]
    only = read_events(reading, over, Filter("t1", "ann", "ask", "compute"), None, 100)
    assert {row["tenant"] for row in only} == {"t1"}
    assert len(only) == 20
    assert read_events(reading, over, Filter(context="nowhere"), None, 100) == []


def test_going_back_covers_the_whole_stretch_once() -> None:
    pieces = list(backwards(0, 90 * DAY_S))
    assert pieces[0][1] == 90 * DAY_S
    assert pieces[-1][0] == 0
    assert all(later[0] == earlier[1] for later, earlier in pairwise(pieces))
    assert len(pieces) < 8


def test_pages_of_a_breakdown_join_and_add_up(ledger: Ledger) -> None:
    insert_events(ledger.client, [event(10 - number % 3, principal=f"p{number}") for number in range(11)])
    reading, over, after, seen = Reading(ledger.client), stretch("24h", NOW_S, UTC_ZONE), None, []
    while True:
        lines = read_lines(reading, KINDS["principal"], "acme", over, after, 4)
        seen += lines
        if len(lines) < 4:
            break
        after = After(lines[-1].pico, lines[-1].key)
    assert [(one.pico, one.label) for one in seen] == sorted(
        ((one.pico, one.label) for one in seen), key=lambda x: (-x[0], x[1])
    )
    assert (len(seen), sum(one.pico for one in seen)) == (11, sum(10 - n % 3 for n in range(11)))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_breakdown_adds_up_to_the_ledger(ledger: Ledger, kind: str) -> None:
    rows = [
        event(
            {"compute": 5 + n, "openai": n},
            action=f"a{n % 2}",
            operation=f"o{n % 3}",
            context_type="project",
            context_name=f"c{n % 2}",
        )
        for n in range(9)
    ]
    insert_events(ledger.client, [*rows, event(-5, voids="key-acme-0")])
    lines = read_lines(Reading(ledger.client), KINDS[kind], "acme", stretch("24h", NOW_S, UTC_ZONE), None, 50)
    assert sum(one.pico for one in lines) == sum(5 + 2 * n for n in range(9)) - 5


def test_the_download_is_the_ledger_and_no_formula(ledger: Ledger) -> None:
    insert_events(
        ledger.client,
        [
            event(1_500_000, principal="=1+1", occurred_at=NOON),
            event(-3, principal="bob", occurred_at=NOON - timedelta(hours=1)),
        ],
    )

    class OneDesk:
        def ledger_here(self) -> Reading:
            return Reading(ledger.client)

    names = (
        "at",
        "tenant",
        "principal",
        "context",
        "type",
        "operation",
        "action",
        "pricing",
        "settlement",
        "cost_usd",
        "key",
        "voids",
        "source",
    )
    text = "".join(_written(names, _event_rows(OneDesk(), stretch("24h", NOW_S, UTC_ZONE), Filter("acme"))))  # type: ignore[arg-type]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["principal"], row["cost_usd"], row["at"]) for row in rows] == [
        ("'=1+1", "0.0000015", "2026-03-10T12:00:00.000Z"),
        ("bob", "-0.000000000003", "2026-03-10T11:00:00.000Z"),
    ]


# --- windows ---


def test_windows_begin_in_each_tenants_own_zone(ledger: Ledger) -> None:
    kathmandu, pago = (
        Account("k", "K", "Asia/Kathmandu", "", 10**6),
        Account("p", "P", "Pacific/Pago_Pago", "", 10**6),
    )
    rows = []
    for tenant in ("k", "p"):
        rows += [
            event(10**12, tenant=tenant, occurred_at=datetime(2026, 3, 9, hour, 20, tzinfo=UTC))
            for hour in (17, 18)
        ]
        rows.append(event(10**12, tenant=tenant, occurred_at=datetime(2026, 3, 10, 11, 5, tzinfo=UTC)))
    insert_events(ledger.client, [*rows, event(5, tenant="k", settlement="free")])
    days = {
        one.account.tenant: one
        for one in windows_of(Reading(ledger.client), [kathmandu, pago], NOW_S)
        if one.name == "day"
    }
    assert (days["k"].events, days["k"].spent_pico) == (2, 2 * 10**12)  # its day began at 18:15 UTC
    assert (days["p"].events, days["p"].spent_pico) == (1, 10**12)  # at 11:00 UTC
    assert days["k"].marks == {80: True, 100: True}


def test_the_nearest_caps_are_those_of_the_dearest_and_of_whoever_stands_over_a_threshold(
    ledger: Ledger,
) -> None:
    book = Book(
        Account("small", "S", daily_limit_micro_usd=1000),
        Account("big", "B", daily_limit_micro_usd=10**7),
        Account("over", "O", monthly_limit_micro_usd=10),
        Account("free", "F"),
    )
    spent = {"small": 900, "big": 10**6, "over": 11, "free": 10**9}
    insert_events(ledger.client, [event(micro * 10**6, tenant=tenant) for tenant, micro in spent.items()])
    insert_decisions(
        ledger.client,
        [{"tenant": "small", "threshold_percent": 80}, {"tenant": "over", "threshold_percent": 100}],
    )
    insert_decisions(
        ledger.client,
        [
            {"tenant": "big", "threshold_percent": 5},
            {
                "tenant": "big",
                "threshold_percent": 5,
                "state": "cleared",
                "sequence": 1,
                "decided_at": NOON + timedelta(seconds=1),
            },
        ],
    )
    coming, over = nearest(Reading(ledger.client), book, ["free"], NOW_S, 5)
    assert [(one.account.tenant, one.share_e4) for one in coming] == [("small", 9000)]
    assert [one.account.tenant for one in over] == ["over"]
    coming, _ = nearest(Reading(ledger.client), book, ["big"], NOW_S, 1)
    assert len(coming) == 1


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])
@pytest.mark.parametrize("name", ["1h", "3h", "today", "24h", "7d", "month", "90d"])
def test_every_chart_holds_every_event_of_its_stretch_once(ledger: Ledger, name: str, zone: str) -> None:
    moments = [NOON - timedelta(minutes=17 * number) for number in range(200)] + [
        NOON - timedelta(days=n) for n in range(100)
    ]
    insert_events(ledger.client, [event(10**9 * 7, occurred_at=at) for at in moments])
    over = stretch(name, NOW_S, Zone(zone, ""))
    rows = read_spend(Reading(ledger.client), over, "")
    chart = spend_chart(over, rows, "x")
    inside = [at for at in moments if over.from_s <= at.timestamp() < over.to_s]
    assert sum(row["events"] for row in rows) == len(inside)
    assert sum(chart.series[0].values) == len(inside) * 7000
    assert running_chart(over, rows, "x", None).series[0].values[-1] == len(inside) * 7000


# --- explain, audit ---


def test_a_key_is_hashed_as_the_pipeline_hashes_it(
    ledger: Ledger, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from console_stage import ConsoleStage
    from console_stage import event as line

    stage = ConsoleStage(tmp_path_factory.mktemp("keys"), ledger.url, ledger.client)
    assert key_hashes(ledger.client, "acme", "k") is None
    voids = {
        "specversion": "1.0",
        "id": "c",
        "source": "s",
        "type": "correction",
        "tenant": "acme",
        "data": {"voids": "schlüssel"},
    }
    stage.run([line("schlüssel", NOON, "ask"), line("k" * 200, NOON, "ask", tenant="größe"), voids])
    stored = dict(
        ledger.client.query(
            "SELECT if(voids = '', idempotency_key, 'void'), key_hash FROM ledger"
        ).result_rows
    )
    hashes = key_hashes(ledger.client, "acme", "schlüssel")
    assert hashes is not None
    assert (hashes.key, hashes.void) == (stored["schlüssel"], stored["void"])
    long = key_hashes(ledger.client, "größe", "k" * 200)
    assert long is not None
    assert long.key == stored["k" * 200]
    found = Reading(ledger.client).rows(
        "console_key", tenant="acme", key="schlüssel", key_hash=hashes.key, void_hash=hashes.void
    )
    assert [(row["idempotency_key"] == "schlüssel", row["voids"]) for row in found] == [
        (True, ""),
        (False, "schlüssel"),
    ]
    audit = read_audit(Reading(ledger.client), load_catalog(stage.folder / "catalog.toml"), NOW_S)
    assert audit.undeclared == ()
    assert set(audit.never_seen) == {"never", "render"}


def test_the_audit_finds_what_has_no_price(ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("catalog") / "c.toml"
    path.write_text('version = "v"\n[operations.ask]\ncomponents = []\n')
    rows = [
        event(5),
        event(0, operation="mystery", pricing="unpriced"),
        event(5, operation="other", type="traffic"),
    ]
    insert_events(ledger.client, rows)
    found = read_audit(Reading(ledger.client), load_catalog(path), NOW_S)
    assert [(one.operation, one.type, one.pricing) for one in found.undeclared] == [
        ("mystery", "compute", "unpriced"),
        ("other", "traffic", "priced"),
    ]
    assert json.dumps(found.never_seen) == "[]"
