"""The sizing page: derived from measured figures by the formulas that it states."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.sizing import HEADROOM, MEASURED, RATES, page, size_of, table

PAGE = (Path(__file__).parent.parent / "docs" / "sizing.md").read_text()
ROUND = replace(
    MEASURED,
    events_a_second=200_000,
    cpu_us=6.0,
    engine_cpu_us=4.0,
    row_bytes=100,
    key_bytes=40.0,
    keys_read_a_second=1_000_000,
)


def test_the_page_is_what_the_figures_come_to() -> None:
    assert page() == PAGE, "run python -m benchmarks.sizing > docs/sizing.md, and commit what it writes"


def test_sizes_follow_from_the_figures() -> None:
    """A million a second, sized twice: 2 x 2 cores of our own, 2 x 4 x 2 of the engine, merging among them."""
    size = size_of(1_000_000, replace(ROUND, key_bytes=4.0), 1)
    assert (size.processes, size.partitions, size.nodes) == (2, 8, 2)
    assert size.keys == 3_600_000_000
    assert size.key_bytes == 2 * 3_600_000_000 * 4
    assert size.restart_s == 3_600_000_000 // 4 // 1_000_000
    assert size.storage_bytes == 1_000_000 * 30 * 86_400 * 100


@pytest.mark.parametrize(
    ("rate", "is_measured"), [(1000, True), (100_000, True), (100_001, False), (1_000_000, False)]
)
def test_a_rate_is_measured_where_one_process_ran_with_the_headroom(rate: int, is_measured: bool) -> None:
    assert size_of(rate, ROUND).is_measured is is_measured
    assert (rate * HEADROOM <= ROUND.events_a_second) is is_measured


def test_keys_that_no_process_can_hold_are_more_processes() -> None:
    size = size_of(1_000_000, ROUND, 24)
    assert size.key_bytes == 2 * 86_400_000_000 * 40
    assert size.processes == 108  # 64 GB each


def test_small_rates_need_one_of_each() -> None:
    size = size_of(1000, ROUND)
    assert (size.processes, size.nodes) == (1, 1)


def test_the_table_has_a_line_for_each_rate_and_says_which_were_computed() -> None:
    lines = table(ROUND).splitlines()[2:]
    assert [line.split("|")[1] for line in lines] == [f"{rate:,}" for rate in RATES]
    assert {line.rstrip("|").rpartition("|")[2] for line in lines} == {"measured", "computed"}
