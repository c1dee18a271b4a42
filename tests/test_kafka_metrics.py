"""What a run shows to Prometheus: each figure is what happened, has its meaning beside it, and is in the guide."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.metrics import Metrics
from pipeline.chunk import Origin
from pipeline.durable import Durable
from pipeline.ports import Tally
from pipeline.run_state import CommitNote

GUIDE = Path(__file__).parent.parent / "docs" / "operating.md"
ORIGINS = (Origin("t", 0), Origin("t", 1))
ASKED_FOR = {
    "consumed": "millrace_consumed_records",
    "accepted, duplicates, conflicts, rejected": "millrace_events",
    "lag by partition": "millrace_lag",
    "age of the last commit": "millrace_last_commit_age_seconds",
    "insert size": "millrace_commit_bytes",
    "insert rows": "millrace_commit_rows",
    "insert time": "millrace_commit_seconds",
    "epoch time": "millrace_epoch_seconds",
    "dedupe keys held": "millrace_dedupe_keys",
    "event-to-ledger delay": "millrace_event_to_ledger_seconds",
}


class Partition:
    """A partition of which 7 records were read."""

    records_read = 7

    def __init__(self, durable, origin):
        self.name = f"{origin.topic}/{origin.partition}"
        self.durable = lambda: durable.position(origin)
        self.moved_at_ms = lambda: durable.moved_at_ms(origin)
        self.lag = lambda: 7 - durable.position(origin)


class Stage:
    """The metrics of a run of two lanes over two partitions, with a clock that stands still."""

    def __init__(self):
        self.now_ms = 1_000_000
        self.durable = Durable(2, dict.fromkeys(ORIGINS, 0), lambda: self.now_ms)
        partitions = [Partition(self.durable, origin) for origin in ORIGINS]
        self.metrics = Metrics(lambda: partitions, lambda: self.now_ms, lambda: False)

    def families(self):
        text = self.metrics.text().decode()
        return {f.name: f for f in text_string_to_metric_families(text) if not f.name.endswith("_created")}

    def value(self, name, **labels):
        family = self.families()[name.removesuffix("_total").removesuffix("_sum").removesuffix("_count")]
        return next(s.value for s in family.samples if s.name == name and s.labels == labels)


@pytest.fixture
def stage():
    return Stage()


def test_all_that_an_operator_needs_is_shown(stage):
    assert set(ASKED_FOR.values()) <= stage.families().keys()


def test_each_metric_says_what_it_means_where_it_is_made(stage):
    for name, family in stage.families().items():
        assert len(family.documentation) > 20, name
        assert family.documentation.endswith("."), name


def test_the_guide_names_each_metric_and_none_that_is_not_there(stage):
    named = {line.split("`")[1] for line in GUIDE.read_text().splitlines() if line.startswith("| `millrace_")}
    assert {n.removesuffix("_total") for n in named} == stage.families().keys()


def test_a_commit_is_counted_with_what_it_took(stage):
    tally = Tally(accepted=5, duplicates=2, conflicts=1, rejected=3, replayed=4)
    note = CommitNote(1, {ORIGINS[0]: tally}, 8, 900, 0.25, 1.5, stage.now_ms - 2_000, 77)
    stage.metrics.note(note)
    outcomes = ("accepted", "duplicate", "conflict", "rejected", "replayed")
    counted = [stage.value("millrace_events_total", outcome=outcome) for outcome in outcomes]
    assert counted == [5, 2, 1, 3, 4]
    assert stage.value("millrace_commit_rows_sum") == 8
    assert stage.value("millrace_commit_bytes_total") == 900
    assert stage.value("millrace_commit_seconds_sum") == 0.25
    assert stage.value("millrace_epoch_seconds_sum") == 1.5
    assert stage.value("millrace_event_to_ledger_seconds_sum") == 2
    assert stage.value("millrace_dedupe_keys", lane="1") == 77


def test_the_age_of_the_last_commit_is_that_of_the_slowest_lane_by_partition(stage):
    age = "millrace_last_commit_age_seconds"
    stage.now_ms += 10_000
    stage.durable.note(0, {ORIGINS[0]: 5})  # the other lane has not, so nothing below 5 is durable for sure
    assert (stage.value(age, partition="t/0"), stage.value(age, partition="t/1")) == (10, 10)
    stage.durable.note(1, {ORIGINS[0]: 5})
    stage.now_ms += 3_000
    assert (stage.value(age, partition="t/0"), stage.value(age, partition="t/1")) == (3, 13)
    assert (
        stage.value("millrace_position", partition="t/0"),
        stage.value("millrace_lag", partition="t/0"),
    ) == (5, 2)
    assert stage.value("millrace_consumed_records_total", partition="t/1") == 7
