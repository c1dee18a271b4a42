"""`millrace bench --flat`: what it measures is there, whole and equal, before it is timed."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import flat
from cli import bench_flat
from pipeline.errors import MillraceError
from pipeline.keys import KeyTable
from sinks.ledger import Ledger


def test_a_table_tells_the_keys_that_are_there_from_those_that_are_not() -> None:
    draw = np.random.default_rng(7)
    there, not_there = draw.integers(1, 1 << 64, (2, 1000, 2), np.uint64)
    table = KeyTable(2000)
    table.put(there, there[:, 0])
    assert table.find(there).all()
    assert not table.find(not_there).any()


def test_figures_of_keys_speak_of_as_many_keys_as_were_asked_for() -> None:
    found = flat.of_keys(3000)
    assert found["keys"] == 3000
    assert found["bytes_a_key"] >= 24


def test_the_summary_and_the_export_see_every_row_and_every_principal(ledger: Ledger, tmp_path: Path) -> None:
    flat.fill(ledger.client, 5000, 400)
    assert {**flat.of_summary(ledger.client, 1), "seconds": 0} == {"rows": 5000, "lines": 400, "seconds": 0}
    export = flat.of_export(ledger.client, tmp_path)
    assert export["lines"] == 400
    assert export["peak_bytes"] >= export["base_bytes"] > 0


def test_a_ledger_is_made_once_and_by_another_process_than_the_one_that_is_measured(tmp_path: Path) -> None:
    for is_new in (True, False):
        assert bench_flat._in_a_process("fill", "export", tmp_path, 0, tmp_path) is is_new
    export = bench_flat._in_a_process("measure", "export", tmp_path, 0, tmp_path)
    assert export["lines"] == 300
    with pytest.raises(MillraceError, match="the measurement of summary failed at measure"):
        bench_flat._in_a_process("measure", "summary", tmp_path, 7, tmp_path)


def test_a_summary_that_differs_from_the_rows_is_an_error(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat.fill(ledger.client, 100, 10)
    monkeypatch.setattr(flat, "_RAW", "SELECT 100, 1 WHERE {period:String} != ''")
    with pytest.raises(AssertionError, match="the rows say 1"):
        flat.of_summary(ledger.client, 1)


def test_the_table_names_every_figure_beside_its_goal() -> None:
    found = {
        "keys": {"keys": 10, "bytes_a_key": 39.04, "lookups_a_core_second": 7.4e6},
        "restart": {"keys": 10, "events": 5, "seconds": 1.25},
        "summary": {"rows": 10, "lines": 2, "seconds": 0.016},
        "export": {"lines": 8, "seconds": 0.44, "base_bytes": 3e6, "peak_bytes": 8e6}
        | {"of_a_quarter": {"lines": 2, "base_bytes": 3e6, "peak_bytes": 7e6}},
    }
    lines = bench_flat.table(found).splitlines()
    assert len(lines) == 8
    assert lines[2] == "|bytes for a key, 10 keys held|39.0|40 or less|"
    took = "0.4 s, 5 MB above the opened ledger"
    assert lines[6] == f"|finance export of 8 principals|{took}|under 10 s, memory bounded|"
    assert lines[7] == "|memory of the export of 2 principals|4 MB|about as much|"
