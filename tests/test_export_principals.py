"""The finance export: it adds up to the pico-USD, is the same bytes each time, and is whole or not there."""

import csv
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from conftest import Ledger, empty
from ledger_rows import NOON, event, insert_events

from cli.main import run
from pipeline.errors import LedgerError, MillraceError, UsageError
from queries import sheets
from queries.export import VIEWS, Scope, export_principals
from queries.sheets import SOURCES, sheet_writer
from queries.totals import exact

MARCH = Scope("2026-03")
TENANTS = ["acme", "o'hara; DROP TABLE x", "日本", 'say "hi",\nthen\tgo', "=1+1"]
SETTLEMENTS = ["metered", "credit", "rate-limited", "free"]


def made_up(seed: int, count: int = 200) -> list[dict[str, Any]]:
    """Rows of March that bill extremes, remainders and corrections; a few belong to another month."""
    dice = random.Random(seed)
    return [
        event(
            {
                source: dice.choice([dice.randint(-(10**7), 10**7), dice.randint(-(2**61), 2**61)])
                for source in dice.sample(["compute", "egress", "openai"], dice.randint(0, 3))
            },
            tenant=dice.choice(TENANTS),
            principal=dice.choice(["ann", "bob", "@unattributed", "ß€\u0001", "null", ""]),
            idempotency_key=f"key {number}",
            voids=dice.choice(["", "", f"void {number}"]),
            settlement=dice.choice(SETTLEMENTS),
            pricing=dice.choice(["priced", "unpriced"]),
            occurred_at=NOON + timedelta(milliseconds=dice.randint(0, 10**9)),
            billing_period=dice.choice(["2026-03"] * 9 + ["2026-04"]),
            request_bytes=dice.randint(0, 10**15),
            delta_bytes=dice.randint(-(10**15), 10**15),
            base_units=Decimal(dice.randint(-(10**21), 10**21)) / 10**6,
        )
        for number in range(count)
    ]


def pico_of(row: Any, prefix: str = "") -> int:
    return int(row[f"{prefix}cost_micro_usd"]) * 10**6 + int(row[f"{prefix}residual_pico_usd"])


def files(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_there_is_one_line_for_each_principal_that_says_what_its_rows_say(
    ledger: Ledger, tmp_path: Path
) -> None:
    rows = [row for row in made_up(1) if row["billing_period"] == "2026-03"]
    insert_events(ledger.client, made_up(1))
    export_principals(ledger.client, MARCH, tmp_path)
    groups = defaultdict(list)
    for row in rows:
        groups[row["tenant"], row["principal"]].append(row)
    lines = pl.read_parquet(tmp_path / "principals-2026-03.parquet").to_dicts()
    assert [(line["tenant"], line["principal"]) for line in lines] == sorted(
        groups, key=lambda key: [part.encode() for part in key]
    )
    for line in lines:
        group = groups[line["tenant"], line["principal"]]
        assert line["period"] == "2026-03"
        assert line["events"] == len(group)
        assert line["corrections"] == sum(row["voids"] != "" for row in group)
        assert line["unpriced"] == sum(row["pricing"] == "unpriced" for row in group)
        assert pico_of(line) == sum(map(pico_of, group)) == line["cost_usd"] * 10**12
        for settlement in SETTLEMENTS:
            wanted = sum(pico_of(row) for row in group if row["settlement"] == settlement)
            assert pico_of(line, settlement.replace("-", "_") + "_") == wanted
        for column in ("request_bytes", "delta_bytes", "base_units"):
            assert line[column] == sum(row[column] for row in group)
        assert line["first_occurred_at"].replace(tzinfo=UTC) == min(row["occurred_at"] for row in group)
        assert line["last_occurred_at"].replace(tzinfo=UTC) == max(row["occurred_at"] for row in group)


def test_there_is_one_line_for_each_cost_source_of_a_principal(ledger: Ledger, tmp_path: Path) -> None:
    insert_events(ledger.client, made_up(2))
    insert_events(ledger.client, [event(tenant="odd") | {"cost_micro_usd": 3}])
    export_principals(ledger.client, MARCH, tmp_path)
    wanted: dict[Any, int] = defaultdict(int)
    wanted["odd", "ann", "compute"] = 0
    wanted["odd", "ann", ""] = 3_000_000
    for row in made_up(2):
        if row["billing_period"] == "2026-03":
            for source, pico in zip(row["breakdown_sources"], row["breakdown_pico_usd"], strict=True):
                wanted[row["tenant"], row["principal"], source] += pico
    lines = pl.read_parquet(tmp_path / "principal_sources-2026-03.parquet").to_dicts()
    found = {(line["tenant"], line["principal"], line["cost_source"]): pico_of(line) for line in lines}
    assert found == wanted
    assert len(lines) == len(found)
    assert all(line["cost_usd"] * 10**12 == pico_of(line) for line in lines)


@pytest.mark.parametrize("sheet", ["principals", "principal_sources"])
def test_csv_and_parquet_say_the_same(sheet: str, ledger: Ledger, tmp_path: Path) -> None:
    insert_events(ledger.client, made_up(3))
    export_principals(ledger.client, MARCH, tmp_path)
    lines = read_csv(tmp_path / f"{sheet}-2026-03.csv")
    table = pl.read_parquet(tmp_path / f"{sheet}-2026-03.parquet").to_dicts()
    assert len(lines) == len(table) > 0
    for line, row in zip(lines, table, strict=True):
        assert list(line) == list(row)
        for name, value in row.items():
            if isinstance(value, datetime):
                assert datetime.fromisoformat(line[name]) == value.replace(tzinfo=UTC)
            else:
                assert line[name] == value if isinstance(value, str) else Decimal(line[name]) == value


def test_the_same_ledger_gives_the_same_bytes_however_it_came_about(ledger: Ledger, tmp_path: Path) -> None:
    rows = made_up(4)
    insert_events(ledger.client, rows)
    export_principals(ledger.client, MARCH, tmp_path / "a")
    before = files(tmp_path / "a")
    export_principals(ledger.client, MARCH, tmp_path / "a")
    assert files(tmp_path / "a") == before
    empty(ledger.client)
    random.Random(9).shuffle(rows)
    for start in range(0, len(rows), 50):
        insert_events(ledger.client, rows[start : start + 50])
    export_principals(ledger.client, MARCH, tmp_path / "b")
    assert files(tmp_path / "b") == before


@pytest.mark.parametrize("size", [1, 6, 7, 8, 50, 100])
def test_the_cut_of_the_blocks_leaves_no_trace(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "ROWS_OF_A_GROUP", 7)
    rows = [("t", f"p{n:03}", "2026-03", "s", 1, n, 0, Decimal(n) / 10**6) for n in range(50)]
    written = {}
    for cut in (size, 50):
        paths = tmp_path / f"{cut}.csv", tmp_path / f"{cut}.parquet"
        with sheet_writer(SOURCES, *paths) as writer:
            for start in range(0, 50, cut):
                columns = zip(*rows[start : start + cut], strict=True)
                writer.add(pa.table(dict(zip(SOURCES.columns, map(list, columns), strict=True))))
        assert (writer.rows, writer.sums["cost_micro_usd"]) == (50, sum(range(50)))
        assert writer.sums["cost_usd"] == sum(range(50)) * 10**6
        written[cut] = [path.read_bytes() for path in paths]
    assert written[size] == written[50]


def test_the_manifest_has_the_hashes_the_sums_and_the_ledgers_sums(ledger: Ledger, tmp_path: Path) -> None:
    insert_events(ledger.client, made_up(5))
    export_principals(ledger.client, MARCH, tmp_path)
    manifest = json.loads((tmp_path / "manifest-2026-03.json").read_text())
    found = files(tmp_path)
    assert {name: file["sha256"] for name, file in manifest["files"].items()} == {
        name: digest for name, digest in found.items() if name.endswith((".csv", ".parquet"))
    }
    cost = sum(pico_of(row) for row in made_up(5) if row["billing_period"] == "2026-03")
    assert pico_of(manifest["ledger"]["cost"]) == cost
    assert manifest["ledger"]["cost"] == manifest["sheets"]["principals"]["cost"]
    assert manifest["ledger"]["cost"] == manifest["sheets"]["principal_sources"]["cost"]
    assert manifest["ledger"]["cost"]["cost_usd"] == exact(cost, 10**12)
    assert sum(pico_of(manifest["ledger"][name]) for name in SETTLEMENTS) == cost


def test_one_tenant_can_be_exported_but_not_into_a_folder_of_all(ledger: Ledger, tmp_path: Path) -> None:
    insert_events(ledger.client, [event(5), event(6, tenant="b")])
    export_principals(ledger.client, MARCH, tmp_path / "all")
    before = files(tmp_path / "all")
    with pytest.raises(UsageError, match="holds an export of all tenants, not of the tenant 'b'"):
        export_principals(ledger.client, Scope("2026-04", "b"), tmp_path / "all")
    assert files(tmp_path / "all") == before
    export_principals(ledger.client, Scope("2026-03", "b"), tmp_path / "b")
    (line,) = read_csv(tmp_path / "b" / "principals-2026-03.csv")
    assert (line["tenant"], pico_of(line)) == ("b", 6)
    with pytest.raises(UsageError, match="of the tenant 'b', not of all tenants"):
        export_principals(ledger.client, MARCH, tmp_path / "b")


def test_a_month_without_usage_is_headers_only(ledger: Ledger, tmp_path: Path) -> None:
    manifest = export_principals(ledger.client, Scope("2026-01"), tmp_path)
    assert manifest["sheets"]["principals"]["rows"] == 0
    assert read_csv(tmp_path / "principals-2026-01.csv") == []
    assert (tmp_path / "principals-2026-01.csv").read_text().startswith("tenant,principal,period,events,")
    assert pl.read_parquet(tmp_path / "principals-2026-01.parquet").height == 0


class Meddling:
    """A client whose ledger gets `rows` once the first sheet has been read."""

    def __init__(self, client: Client, rows: list[dict[str, Any]]) -> None:
        self.client = client
        self.rows = rows

    def query(self, *args: Any, **kwargs: Any) -> Any:
        return self.client.query(*args, **kwargs)

    @contextmanager
    def query_arrow_stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with self.client.query_arrow_stream(*args, **kwargs) as blocks:
            yield list(blocks)
        insert_events(self.client, self.rows)
        self.rows = []


@pytest.mark.parametrize("pico", [1, -1, 0])
def test_sheets_that_differ_from_the_ledger_are_not_published(
    pico: int, ledger: Ledger, tmp_path: Path
) -> None:
    """One pico-USD is enough, and so is one event that costs nothing."""
    insert_events(ledger.client, [event(5)])
    export_principals(ledger.client, MARCH, tmp_path)
    before = files(tmp_path)
    late = event(pico, idempotency_key="late")
    what = (
        f"cost is 5 pico-USD, but the ledger's rows say {5 + pico};" if pico else "events is 1, but .* say 2"
    )
    with pytest.raises(LedgerError, match=f"principals does not add up: {what}"):
        export_principals(Meddling(ledger.client, [late]), MARCH, tmp_path)
    assert files(tmp_path) == before


def test_a_failure_in_the_middle_leaves_what_was_there(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_events(ledger.client, [event(5)])
    export_principals(ledger.client, MARCH, tmp_path)
    before = files(tmp_path)
    insert_events(ledger.client, [event(5, principal="new")])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sheets.SheetWriter, "finish", full)
    with pytest.raises(MillraceError, match="no space left on device; what was there is as it was"):
        export_principals(ledger.client, MARCH, tmp_path)
    assert files(tmp_path) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_a_killed_export_left_is_cleared_away(ledger: Ledger, tmp_path: Path) -> None:
    left = tmp_path / ".2026-03.partial"
    left.mkdir()
    (left / "principals-2026-03.csv").write_text("half")
    (left / "other.csv").write_text("half")
    export_principals(ledger.client, MARCH, tmp_path)
    assert sorted(files(tmp_path)) == [
        "manifest-2026-03.json",
        VIEWS,
        "principal_sources-2026-03.csv",
        "principal_sources-2026-03.parquet",
        "principals-2026-03.csv",
        "principals-2026-03.parquet",
    ]


@pytest.mark.parametrize("period", ["2026-3", "2026-13", "2026-00", "March", "2026-03-01", " 2026-03", ""])
def test_a_period_is_a_month(period: str, ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a month as YYYY-MM"):
        export_principals(ledger.client, Scope(period), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_command_says_what_it_wrote(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    insert_events(ledger.client, [event(5), event(10**12, principal="bob")])
    wanted = ["export", "principals", "--period", "2026-03", "--out", str(tmp_path), "--ledger", ledger.url]
    assert run(wanted) == 0
    out = capsys.readouterr().out
    assert out.startswith("2026-03: 2 principals, 1.000000000005 USD, as in the ledger to the pico-USD\n")
    assert str(tmp_path / "principals-2026-03.parquet") in out


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        ({"--period": "2026-3"}, 2, "give a month as YYYY-MM"),
        ({"--out": "/dev/null/x"}, 1, "cannot be written to /dev/null/x: not a directory"),
        ({"--ledger": "chdb:///nowhere/at/all"}, 2, "there is no ledger in /nowhere/at/all"),
    ],
)
def test_a_mistake_is_one_sentence(
    change: dict[str, str], code: int, sentence: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"--period": "2026-03", "--out": "/dev/null/y", "--ledger": ledger.url} | change
    assert run(["export", "principals", *(part for option in options.items() for part in option)]) == code
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
