"""The export slice by slice: the cuts leave no trace, memory holds two answers, a failure beside is a failure."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import Ledger
from ledger_rows import event, insert_events
from test_export_principals import MARCH, TENANTS, files, made_up

from pipeline.errors import LedgerError, MillraceError
from queries import export, sheets, slices
from queries.export import Scope, export_principals
from queries.named import find_query, named_queries, run
from queries.sheets import SOURCES, SheetWriter, sheet_writer
from queries.slices import Slice
from sinks.clickhouse import connect
from sinks.http_front import serving

SHEETS = ("principals_of_month", "principal_sources_of_month")
PERIOD = "2026-03"


def cut_small(monkeypatch: pytest.MonkeyPatch, principals: int) -> None:
    """Make slices of so many principals."""
    monkeypatch.setattr(slices, "ONE_IN", 1)
    monkeypatch.setattr(slices, "DRAWN", principals)


@pytest.mark.parametrize("principals", [1, 2, 7])
@pytest.mark.parametrize("tenant", ["", TENANTS[1]])
def test_the_cuts_leave_no_trace(
    principals: int, tenant: str, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_events(ledger.client, made_up(6))
    insert_events(ledger.client, [event(tenant="odd") | {"cost_micro_usd": 3}])
    export_principals(ledger.client, Scope(PERIOD, tenant), tmp_path / "whole")
    cut_small(monkeypatch, principals)
    assert len(slices.slices(ledger.client, PERIOD, tenant)) > (1 if principals < 7 else 0)
    export_principals(ledger.client, Scope(PERIOD, tenant), tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_over_http_it_is_the_same_bytes(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_events(ledger.client, made_up(7))
    export_principals(ledger.client, MARCH, tmp_path / "embedded")
    cut_small(monkeypatch, 3)
    with serving(ledger.url.removeprefix("chdb://")) as front:
        export_principals(connect(front.url), MARCH, tmp_path / "http")
    assert files(tmp_path / "http") == files(tmp_path / "embedded")


@pytest.mark.parametrize("name", SHEETS)
def test_each_principal_is_in_one_slice(name: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    insert_events(ledger.client, made_up(8))
    whole = run(ledger.client, find_query(name), {"period": PERIOD}).rows
    cut_small(monkeypatch, 2)
    parts = [
        run(ledger.client, find_query(name), {"period": PERIOD} | part.given()).rows
        for part in slices.slices(ledger.client, PERIOD, "")
    ]
    assert tuple(row for part in parts for row in part) == whole
    assert all(len({row[:2] for row in part}) == 2 for part in parts[:-1])


def test_slices_follow_on_one_another_and_have_no_end_but_the_last() -> None:
    class Drawn:
        def query(self, *_: Any, **__: Any) -> Any:
            return type("Answer", (), {"result_rows": [("t", f"p{n:04}") for n in range(200)]})

    found = slices.slices(Drawn(), PERIOD, "")
    assert [part.from_principal for part in found] == ["", "p0064", "p0128", "p0192"]
    assert (found[0].from_tenant, found[-1].to_tenant, found[-1].to_principal) == ("", "", "")
    assert all(
        (one.to_tenant, one.to_principal) == (two.from_tenant, two.from_principal)
        for one, two in pairwise(found)
    )


def test_a_ledger_draws_about_one_principal_of_so_many(ledger: Ledger) -> None:
    """By the principal and not by the row: who has many rows is drawn no more often."""
    insert_events(ledger.client, [event(1, principal=f"p{n}") for n in range(4000)])
    insert_events(ledger.client, [event(1, principal="busy") for _ in range(2000)])
    drawn = run(ledger.client, find_query("principals_drawn"), {"period": PERIOD, "one_in": 16}).rows
    assert 170 < len(drawn) < 330
    assert len(set(drawn)) == len(drawn)
    assert list(drawn) == sorted(drawn)


def read_by(ledger: Ledger, name: str, **given: str) -> str:
    """Tell how ClickHouse reads the table for a query."""
    query = named_queries()[name]
    plan = ledger.client.query(f"EXPLAIN {query.sql}", parameters=query.bind({"period": PERIOD} | given))
    return "\n".join(row[0] for row in plan.result_rows)


def test_lines_come_from_the_rollup_and_what_they_are_held_to_does_not(ledger: Ledger) -> None:
    insert_events(ledger.client, made_up(9))
    part = Slice("acme", "a", "o'hara", "b").given()
    assert "by_principal" in read_by(ledger, "principals_of_month", **part)
    assert "by_principal" in read_by(ledger, "principals_drawn", one_in="8")
    assert "by_" not in read_by(ledger, "month_by_settlement")


def test_memory_holds_the_answer_that_is_written_and_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table(
        {"tenant": ["t"], "principal": ["p"], "period": [PERIOD], "cost_source": ["s"]}
        | {"events": [1], "cost_micro_usd": [1], "residual_pico_usd": [0], "cost_usd": [0]}
    )
    written: list[int] = []
    add = SheetWriter.add

    def counted(writer: SheetWriter, batch: Any) -> None:
        add(writer, batch)
        written.append(len(batch))

    def answers() -> Iterator[pa.Table]:
        for number in range(20):
            assert len(written) >= number - 1, "more than one answer waits"
            yield table

    monkeypatch.setattr(SheetWriter, "add", counted)
    with sheet_writer(SOURCES, tmp_path / "a.csv", tmp_path / "a.parquet") as writer:
        export._add_beside(writer, answers())
        assert len(written) == 20, "all is handed over when this returns"
    assert writer.rows == 20


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_failure_beside_ends_the_export_and_leaves_what_was_there(
    after: int, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_events(ledger.client, made_up(10))
    export_principals(ledger.client, MARCH, tmp_path)
    before = files(tmp_path)
    insert_events(ledger.client, [event(5, principal="new")])
    cut_small(monkeypatch, 4)
    done: list[int] = []
    add = SheetWriter.add

    def full(writer: SheetWriter, batch: Any) -> None:
        if len(done) == after:
            raise OSError(28, "No space left on device")
        done.append(1)
        add(writer, batch)

    monkeypatch.setattr(SheetWriter, "add", full)
    with pytest.raises(MillraceError, match="no space left on device; what was there is as it was"):
        export_principals(ledger.client, MARCH, tmp_path)
    assert files(tmp_path) == before
    assert len(done) == after


class Losing:
    """A client whose ledger gets a row in the middle of a sheet."""

    def __init__(self, ledger: Ledger, row: dict[str, Any], at: int) -> None:
        self.client = ledger.client
        self.row = row
        self.left = at

    def query(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.query(*args, **kwargs)

    @contextmanager
    def query_arrow_stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        self.left -= 1
        if not self.left:
            insert_events(self.client, [self.row])
        with self.client.query_arrow_stream(*args, **kwargs) as batches:
            yield batches


def test_a_row_that_comes_behind_its_slice_is_missed_and_said(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_events(ledger.client, [event(5, principal=f"p{n}") for n in range(9)])
    cut_small(monkeypatch, 3)
    late = event(1, principal="p0", idempotency_key="late")
    with pytest.raises(LedgerError, match=r"principals does not add up: cost is 45 pico-USD.* say 46;"):
        export_principals(Losing(ledger, late, at=2), MARCH, tmp_path)
    assert files(tmp_path) == {}


def test_pages_of_a_sheet_do_not_depend_on_the_pieces_it_came_in(tmp_path: Path) -> None:
    """A row group of Parquet has pages, which end where a piece of a column does unless it is one piece."""
    count = sheets.ROWS_OF_A_GROUP
    amounts = [n * 104_729 % 999_983 for n in range(count)]
    table = pa.table(
        {"tenant": ["t"] * count, "principal": [f"user-{amount:040}" for amount in amounts]}
        | {"period": [PERIOD] * count, "cost_source": ["s"] * count, "events": [1] * count}
        | {"cost_micro_usd": amounts, "residual_pico_usd": amounts, "cost_usd": amounts}
    )
    written = []
    for size in (count, 20_001):
        paths = tmp_path / f"{size}.csv", tmp_path / f"{size}.parquet"
        with sheet_writer(SOURCES, *paths) as writer:
            for start in range(0, count, size):
                writer.add(table.slice(start, size))
        written.append([path.read_bytes() for path in paths])
    assert written[1] == written[0]
