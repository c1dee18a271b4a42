"""The console in a real browser: every page, light and dark, on a phone, by keyboard; its figures are the ledger's."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import Ledger, empty
from console_stage import ACME_KEY, ADMIN, NOW, ConsoleStage, browser, event, events, served
from ledger_rows import event as row
from ledger_rows import insert_events, insert_rejects

PAGES = (
    "/",
    "/tenants",
    "/tenant?tenant=acme",
    "/events?range=7d",
    "/explain?tenant=acme&key=a4",
    "/rejects",
    "/stripe",
    "/catalog",
)
REJECT = event("late-1", NOW - timedelta(minutes=20), "ask", usage={"openai": 5}, subject="ann")
WAIT_MS = 20_000
TOO_WIDE = """document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('main *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll'))
    .map(e => e.tagName + '.' + e.className + ': ' + e.innerText).slice(0, 5)"""


@dataclass
class Console:
    """A served console and a browser before it."""

    stage: ConsoleStage
    url: str
    browser: Any

    @contextmanager
    def tab(self, credential: str = ADMIN, **options: Any) -> Iterator["Tab"]:
        context = self.browser.new_context(**{"timezone_id": "Europe/Berlin", "locale": "en-GB", **options})
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        tab = Tab(page, self.url, [], [])
        page.on("console", tab.hear)
        page.on("pageerror", lambda error: tab.errors.append(str(error)))
        page.on("request", lambda request: tab.hosts.append(urlsplit(request.url).netloc))
        page.goto(f"{self.url}/enter?key={credential}")
        page.wait_for_selector(
            "footer:has-text('Europe/Berlin (your zone)')"
        )  # the page has learnt it, and is there anew
        try:
            yield tab
        finally:
            context.close()

    def ask(self, sql: str) -> Any:
        return self.stage.client.query(sql).result_rows[0][0]


@dataclass
class Tab:
    """A page that is open, with what went wrong in it and whom it asked."""

    page: Any
    url: str
    errors: list[str]
    hosts: list[str]

    def hear(self, message: Any) -> None:
        if message.type == "error" and "403" not in message.text:
            self.errors.append(message.text)

    def go(self, path: str) -> Any:
        self.page.goto(f"{self.url}{path}")
        return self.settle()

    def settle(self) -> Any:
        """Wait until everything is read."""
        self.page.wait_for_selector("main h1")
        self.page.wait_for_function("!document.body.innerText.includes('Reading …')")
        return self.page

    @property
    def text(self) -> str:
        return str(self.page.inner_text("main"))


@pytest.fixture(scope="module")
def console(_session_ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with browser() as opened:
        empty(_session_ledger.client)
        stage = ConsoleStage(tmp_path_factory.mktemp("console"), _session_ledger.url, _session_ledger.client)
        stage.run([*events(), event("a3", NOW, "ask", usage={"openai": 1}), b"{"][:-1])
        reject = {
            "reason": "time_in_future",
            "detail": "time must be at most 5 minutes ahead",
            "raw": json.dumps(REJECT).encode(),
        }
        insert_rejects(
            stage.client,
            [{**reject, "topic": "early", "offset": 7, "rejected_at": NOW - timedelta(minutes=10)}],
        )
        stage.client.command(
            "INSERT INTO progress (run, topic, accepted, duplicates, conflicts, written_at)"
            " VALUES (1, 'early', 9, 4, 2, '2026-03-10 11:00:00')"
        )
        with served(stage) as url:
            yield Console(stage, url, opened)


def plain(text: str) -> str:
    """Amounts are set in two sizes: put them together again."""
    return re.sub(r"\s+", " ", text)


def usd(pico: int) -> str:
    """An amount as the console writes it, by another way than the console's."""
    amount = Decimal(pico).scaleb(-12)
    whole, _, digits = f"{amount:.12f}".partition(".")
    return f"${int(whole):,}.{digits[:2]}{digits[2:].rstrip('0')}"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_data_without_an_error_and_without_a_serious_fault_for_anyone(
    console: Console, path: str
) -> None:
    with console.tab(color_scheme="light") as tab:
        page = tab.go(path)
        assert "cannot be" not in tab.text
        assert page.locator("main table tbody tr, main dl dd").count() > 0
        for scheme, is_dark in (("light", False), ("dark", True)):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(
                f"document.body.classList.contains('body--dark') === {str(is_dark).lower()}"
            )
            found = Axe().run(page).response["violations"]
            serious = [
                f"{one['id']}: {one['nodes'][0]['html'][:200]}"
                for one in found
                if one["impact"] in {"serious", "critical"}
            ]
            assert serious == [], scheme
        assert tab.errors == []
        assert set(tab.hosts) == {urlsplit(console.url).netloc}


def test_no_page_is_wider_than_a_phone(console: Console) -> None:
    with console.tab(viewport={"width": 390, "height": 844}) as tab:
        too_wide = {path: tab.go(path).evaluate(TOO_WIDE) for path in PAGES}
    assert too_wide == {path: [] for path in PAGES}


def test_the_figures_are_the_ledgers(console: Console) -> None:
    pico = "sum(toInt128(cost_micro_usd)) * 1000000 + sum(residual_pico_usd)"
    month = console.ask(f"SELECT {pico} FROM ledger WHERE occurred_at >= '2026-02-28 23:00:00'")
    today = console.ask(f"SELECT {pico} FROM ledger WHERE occurred_at >= '2026-03-09 23:00:00'")
    user = console.ask(
        f"SELECT {pico} FROM ledger WHERE tenant = 'acme' AND principal = 'user-1'"
        " AND occurred_at >= '2026-02-28 23:00:00'"
    )
    globex = console.ask(
        f"SELECT {pico} FROM ledger WHERE tenant = 'globex' AND occurred_at >= '2026-02-28 23:00:00'"
    )
    with console.tab() as tab:
        tab.go("/")
        figures = tab.page.locator(".figure").all_inner_texts()
        assert [usd(today) in figures[1], usd(month) in figures[2]] == [True, True]
        tab.go("/?range=month")
        assert usd(globex) in plain(tab.page.locator("tr", has_text="Globex").first.inner_text())
        tab.go("/tenant?tenant=acme&range=month&by=principal")
        assert usd(user) in tab.page.locator("tr", has_text="user-1").first.inner_text()


def test_times_are_in_the_zone_that_the_viewer_chooses(console: Console) -> None:
    with console.tab(ADMIN) as tab:
        tab.go("/events?range=7d")
        assert "Europe/Berlin (your zone)" in tab.page.inner_text("footer")
        assert "10 Mar 13:05:00" in tab.text  # 12:05 UTC
        tab.page.click("summary:has-text('admin:ops')")
        tab.page.select_option("#m-zone", "UTC")
        tab.page.select_option("#m-theme", "dark")
        tab.page.click("text=Apply")
        tab.page.wait_for_selector("footer:has-text('UTC (as chosen)')")
        tab.settle()
        assert "10 Mar 12:05:00" in tab.text
        assert tab.page.evaluate("document.body.classList.contains('body--dark')")


def test_a_crossing_appears_without_a_reload(console: Console) -> None:
    with console.tab() as tab:
        page = tab.go("/tenant?tenant=acme")
        page.evaluate("window.stayed = true")
        before = page.locator("tr", has_text="day 10 Mar").filter(has_text="100 %").count()
        console.stage.run([event("big-1", NOW - timedelta(minutes=1), "ask", usage={"openai": 150_000})])
        page.wait_for_function(
            "[...document.querySelectorAll('tr')]"
            ".some(r => /day 10 Mar[^]*100 %[^]*crossed/.test(r.innerText))"
        )
        assert (before, page.evaluate("window.stayed")) == (0, True)
        decided = console.ask(
            "SELECT max(current_micro_usd) FROM cap_decisions"
            " WHERE tenant = 'acme' AND window = 'day' AND threshold_percent = 100"
        )
        assert usd(decided * 10**6) in tab.text


def test_paused_pages_stand_still(console: Console) -> None:
    with console.tab() as tab:
        page = tab.go("/")
        page.click("button.live")
        page.wait_for_selector("button.live[aria-pressed=true]:has-text('Paused')")
        events_before = page.locator(".figure").nth(2).inner_text()
        insert_events(
            console.stage.client,
            [row(10**9, occurred_at=NOW - timedelta(minutes=2), idempotency_key="quiet-1")],
        )
        page.wait_for_timeout(2500)
        assert page.locator(".figure").nth(2).inner_text() == events_before
        page.click("button.live")
        page.wait_for_function(
            f"document.querySelectorAll('.figure')[2].innerText !== {json.dumps(events_before)}"
        )


def test_rejects_are_replayed_after_a_confirmation_and_once(console: Console) -> None:
    with console.tab() as tab:
        page = tab.go("/rejects?reason=time_in_future")
        page.click("main summary:has-text('bytes')")
        assert "late-1" in page.inner_text("pre.raw")
        page.click("button:has-text('Replay the one shown')")
        page.click("[role=dialog] button:has-text('Leave them')")
        page.wait_for_selector("[role=dialog]", state="detached")
        assert console.stage.log.lines == []
        page.click("button:has-text('Replay the one shown')")
        page.click("[role=dialog] button:has-text('Replay')")
        page.wait_for_selector("text=Handed in 1, still wrong 0.")
    assert len(console.stage.log.lines) == 1
    console.stage.run(console.stage.log.lines)
    console.stage.run(console.stage.log.lines)
    assert console.ask("SELECT count() FROM ledger WHERE idempotency_key = 'late-1'") == 1
    with console.tab() as tab:
        tab.go("/explain?tenant=acme&key=late-1")
        assert "Row of the ledger" in tab.text
        assert "Refused under the same key" in tab.text


def test_who_may_only_look_gets_no_button(console: Console) -> None:
    with console.tab("looker") as tab:
        tab.go("/rejects")
        assert tab.page.locator("button", has_text="Replay").count() == 0
        assert "Your token may look, not replay." in tab.text


@pytest.mark.parametrize(
    "path",
    [
        "/tenant?tenant=globex",
        "/events?tenant=globex",
        "/explain?tenant=globex&key=u2",
        "/tenants",
        "/rejects",
        "/stripe",
        "/catalog",
    ],
)
def test_what_is_not_the_tenants_is_refused(console: Console, path: str) -> None:
    with console.tab(ACME_KEY) as tab:
        answer = tab.page.goto(f"{console.url}{path}")
        assert answer.status == 403
        assert "globex" not in tab.page.content().lower().replace("tenant=globex", "")


def test_a_tenants_key_shows_its_own_everywhere(console: Console) -> None:
    with console.tab(ACME_KEY) as tab:
        for path in ("/", "/tenant", "/events?range=7d"):
            tab.go(path)
            assert "globex" not in tab.text.lower()
            assert "initech" not in tab.text.lower()
        assert tab.page.locator("nav[aria-label='Pages of the console'] a").all_inner_texts() == [
            "Overview",
            "Tenant",
            "Events",
            "Explain",
        ]
        assert tab.page.request.get(f"{console.url}/events.csv?tenant=globex").status == 403
        assert tab.errors == []


def test_nobody_comes_in_without_a_good_key_and_comes_back_where_they_were(console: Console) -> None:
    context = console.browser.new_context()
    page = context.new_page()
    page.goto(f"{console.url}/tenant?tenant=acme")
    page.fill("#credential", "wrong")
    page.click("text=Sign in >> visible=true")
    assert "not good" in page.inner_text("[role=alert]")
    assert [
        one["id"]
        for one in Axe().run(page).response["violations"]
        if one["impact"] in {"serious", "critical"}
    ] == []
    page.fill("#credential", ADMIN)
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("h1:has-text('Acme Ltd')")
    page.click("summary:has-text('admin:ops')")
    page.click("text=Sign out")
    page.wait_for_selector("#credential")
    page.goto(f"{console.url}/")
    assert page.locator("#credential").count() == 1
    context.close()


def test_a_key_that_is_revoked_ends_its_open_pages(console: Console) -> None:
    console.stage.viewers["short"] = console.stage.viewers[ACME_KEY]
    with console.tab("short") as tab:
        tab.go("/")
        del console.stage.viewers["short"]
        console.stage.clock.ms += 11_000
        tab.page.wait_for_selector("#credential")
    console.stage.clock.ms -= 11_000


def test_the_keyboard_reaches_the_content_at_once_and_everything_in_order(console: Console) -> None:
    with console.tab() as tab:
        page = tab.go("/tenant?tenant=acme")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
        heads = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => Number(h.tagName[1]))")
        assert heads[0] == 1
        assert heads.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(heads))
        tables = page.locator("main table")
        assert all(tables.nth(n).locator("caption").count() == 1 for n in range(tables.count()))


def test_the_chain_can_be_followed_both_ways(console: Console) -> None:
    with console.tab() as tab:
        page = tab.go("/explain?tenant=acme&key=a8")
        for step in ("Event", "Row of the ledger", "Price", "Rollup", "Reported to Stripe", "Correction"):
            assert page.locator("h3", has_text=step).count() >= 1
        assert "$0.0020005 for 1,000 tokens" in tab.text
        page.locator(".chain a[href*='report=']").first.click()
        page.wait_for_selector("h2:has-text('The report and what it holds')")
        page.locator(".chain a[href*='key=']").first.click()
        page.wait_for_selector("h3:has-text('Row of the ledger')")
        tab.go("/explain?tenant=acme&key=a4")
        assert "wrong model" in tab.text
        tab.go("/explain?tenant=acme&key=nowhere")
        assert "There is no such event." in tab.text


def test_names_are_shown_as_they_are_and_never_run(console: Console) -> None:
    with console.tab() as tab:
        tab.go("/tenant?tenant=globex")
        assert tab.page.inner_text("h1") == "Globex <script>alert(1)</script>"
        tab.go("/events?range=7d&tenant=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
        assert tab.page.locator("img").count() == 0
        assert tab.errors == []


def test_health_says_what_is_behind(console: Console) -> None:
    console.stage.complaints.append("usage/0: 12 records wait and nothing was made durable for 61 s")
    try:
        with console.tab() as tab:
            tab.go("/")
            assert "usage/0: 12 records wait" in tab.text
    finally:
        console.stage.complaints.clear()
