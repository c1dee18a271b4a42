"""The pipeline lags, is overtaken, or prices differently: nothing is counted twice, and nothing is missed."""

import dataclasses

import pytest
from caps_stage import NOON_MS, PICO, caps_stage, migrated_url
from conftest import Ledger
from sqlalchemy import select

from billing.asks import Authorize, Context, Finalize, Method, Reserve, Settle
from billing.cap_checks import check_caps
from billing.cap_tables import usage_events
from billing.credits import mint
from billing.refresh import refresh
from cli.run import RunOptions, run_files
from pipeline.spans import Span
from sinks.caps_reader import LedgerSpend

__all__ = ["caps_stage", "migrated_url"]

pytest_plugins = ["stripe_double.fixtures"]


def figures(stage, tenant="acme"):
    day = stage.ask(Authorize(tenant, 0)).spend.day
    return day.ledger_micro, day.pending_micro, day.held_micro


def test_a_settlement_counts_once_at_every_step_of_its_way(caps_stage):
    """
    settled     handed over   in the ledger   refreshed
    pending 70  pending 70    pending 70      ledger 70
    """
    caps_stage.ask(Settle("acme", 70, key="1"))
    assert figures(caps_stage) == (0, 70, 0)
    caps_stage.hand_over()
    caps_stage.refresh()
    assert figures(caps_stage) == (0, 70, 0)
    caps_stage.ledger.catch_up()
    assert figures(caps_stage) == (0, 70, 0)
    caps_stage.refresh()
    assert figures(caps_stage) == (70, 0, 0)


def test_a_settlement_made_while_the_ledger_is_read_stays_pending(caps_stage):
    caps_stage.ask(Settle("acme", 70, key="1"))
    caps_stage.hand_over()
    caps_stage.ledger.catch_up()
    read = caps_stage.ledger.read

    def settle_meanwhile(spans, since):
        reading = read(spans, since)
        caps_stage.ask(Settle("acme", 5, key="2"))
        return reading

    caps_stage.ledger.read = settle_meanwhile
    caps_stage.refresh()
    assert figures(caps_stage) == (70, 5, 0)


def test_a_refresh_that_was_overtaken_writes_nothing(caps_stage):
    """
    old   begins --- reads (without the settlement) ------------------ writes: refused
    new                  settlement arrives, begins, reads, writes
    """
    caps_stage.ask(Settle("acme", 70, key="1"))
    read = caps_stage.ledger.read

    def overtaken(spans, since):
        reading = read(spans, since)
        caps_stage.ledger.read = read
        caps_stage.hand_over()
        caps_stage.ledger.catch_up()
        assert caps_stage.refresh() == 1
        return reading

    caps_stage.ledger.read = overtaken
    assert caps_stage.refresh() == 0
    assert figures(caps_stage) == (70, 0, 0)


def test_a_settlement_that_the_ledger_holds_for_less_stays_pending_with_the_rest(caps_stage):
    caps_stage.ask(Settle("acme", 70, key="1"))
    with caps_stage.store.read() as connection:
        (event,) = connection.execute(select(usage_events)).all()
    caps_stage.ledger.spend("acme", 20 * PICO, NOON_MS, event.key)
    caps_stage.refresh()
    assert figures(caps_stage) == (20, 50, 0)
    (finding,) = check_caps(caps_stage.store, NOON_MS).findings
    assert "expected 70 micro-USD, got 20" in finding.sentence


def test_a_settlement_of_yesterday_that_arrives_today_leaves_yesterday(caps_stage):
    caps_stage.ask(Settle("acme", 70, key="1"))
    caps_stage.clock.ms += 86_400_000
    assert figures(caps_stage) == (0, 0, 0)
    assert caps_stage.ask(Authorize("acme", 0)).spend.month.pending_micro == 70
    caps_stage.hand_over()
    caps_stage.ledger.catch_up()
    caps_stage.refresh()
    month = caps_stage.ask(Authorize("acme", 0)).spend.month
    assert (month.ledger_micro, month.pending_micro) == (70, 0)
    assert check_caps(caps_stage.store, caps_stage.clock.ms).findings == []


def test_a_settlement_that_never_arrives_is_told(caps_stage):
    caps_stage.ask(Settle("acme", 70, key="1"))
    assert check_caps(caps_stage.store, NOON_MS + 3_600_000).findings == []
    (finding,) = check_caps(caps_stage.store, NOON_MS + 3_600_001).findings
    assert "has not come to the event log" in finding.sentence


def run_events(stage, url, folder, **options):
    """Run the pipeline over what waits to be sent."""
    with stage.store.read() as connection:
        lines = connection.execute(select(usage_events.c.line).order_by(usage_events.c.id)).scalars().all()
    (folder / "events.ndjson").write_text("".join(f"{line}\n" for line in lines if line))
    return run_files(
        RunOptions([str(folder / "events.ndjson")], url, source="settlements", workers=1, **options)
    )


def test_the_ledger_tells_keys_from_the_moment_that_is_asked_for_and_sums_all(
    caps_stage, ledger: Ledger, tmp_path
):
    """
    quarter hour   |              12:00               |
    settled at       A 12:00:10        B 12:10:00         asked: keys since 12:05
    """
    caps_stage.clock.ms = NOON_MS - 86_400_000 * 2 + 10_000
    caps_stage.ask(Settle("acme", 3, key="A"))
    caps_stage.clock.ms += 590_000
    caps_stage.ask(Settle("acme", 4, key="B"))
    run_events(caps_stage, ledger.url, tmp_path)
    start_s = (NOON_MS - 86_400_000 * 2) // 1000
    span = Span(start_s, start_s + 900, ("acme",))
    reading = LedgerSpend(lambda: ledger.client).read([span], (start_s + 300) * 1000)
    assert dict(reading.pico) == {("acme", start_s, start_s + 900): 7 * PICO}
    assert list(reading.settled.values()) == [4 * PICO]
    later = LedgerSpend(lambda: ledger.client).read([span], (start_s + 86_400) * 1000)
    assert (dict(later.pico), later.settled) == (dict(reading.pico), {})


@pytest.mark.parametrize(
    "catalog", ["", 'version = "mine"\n[kinds.compute]\ncomponents = []\n'], ids=["shipped", "own"]
)
def test_through_the_real_pipeline_and_ledger_to_the_micro(caps_stage, ledger: Ledger, tmp_path, catalog):
    """Overruns and credits too, under the shipped catalog and under one that does not name settlements."""
    caps_stage.clock.ms = NOON_MS - 86_400_000 * 2  # events may not lie in the future
    stage = dataclasses.replace(caps_stage)
    stage.ledger = LedgerSpend(lambda: ledger.client)
    mint(stage.store, "acme", 55, key="m", by=stage.by(), random_hex=stage.random_hex)
    held = stage.ask(
        Reserve("acme", 100, context=Context("ann", "ask", type="project", name="p"))
    ).reservation.id
    stage.ask(Finalize(held, 130))
    paid = stage.ask(Reserve("acme", 50, method=Method.CREDIT)).reservation.id
    stage.ask(Finalize(paid, 60))
    stage.ask(Settle("acme", 7, key="1"))
    assert refresh(stage.store, stage.ledger, stage.clock) == 1
    assert figures(stage) == (0, 197, 0)
    options = {}
    if catalog:
        (tmp_path / "catalog.toml").write_text(catalog)
        options["catalog"] = tmp_path / "catalog.toml"
    summary = run_events(stage, ledger.url, tmp_path, **options)
    assert (summary["accepted"], summary["cost_micro_usd"], summary["residual_pico_usd"]) == (6, 197, 0)
    refresh(stage.store, stage.ledger, stage.clock)
    assert figures(stage) == (197, 0, 0)
    rows = ledger.client.query(
        "SELECT settlement, action, sum(cost_micro_usd) FROM ledger GROUP BY ALL ORDER BY ALL"
    ).result_rows
    assert [tuple(row) for row in rows] == [
        ("credit", "", 50), ("credit", "overrun", 5), ("metered", "", 107), ("metered", "overrun", 35)
    ]  # fmt: skip
    assert check_caps(stage.store, stage.clock.ms).findings == []
