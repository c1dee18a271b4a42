"""`millrace query`: exact in every format, read-only, one sentence where it fails."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from conftest import Ledger
from ledger_rows import NOON, event, insert_events

from cli.main import run

AWKWARD = "a\"b\\c\n\x1b[2J,日本\t'x"
BIG = "123456789012345.123456"


@pytest.fixture(autouse=True)
def _here(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LEDGER", ledger.url)


@pytest.fixture
def rows(ledger: Ledger) -> None:
    row = event(-5, tenant=AWKWARD, base_units=Decimal(BIG), usage={"gpt": Decimal("0.100001")})
    insert_events(ledger.client, [row | {"cost_micro_usd": 2**62 + 1}])


SQL = "SELECT tenant, cost_micro_usd, base_units, usage, occurred_at, verified, NULL AS none FROM ledger"


@pytest.mark.usefixtures("rows")
def test_json_is_an_array_of_objects_with_exact_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["query", SQL, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_float=Decimal)
    assert found == [
        {
            "tenant": AWKWARD,
            "cost_micro_usd": 2**62 + 1,
            "base_units": Decimal(BIG),
            "usage": {"gpt": Decimal("0.100001")},
            "occurred_at": f"{NOON:%Y-%m-%d %H:%M:%S}.000",
            "verified": False,
            "none": None,
        }
    ]


@pytest.mark.usefixtures("rows")
def test_csv_has_a_header_and_exact_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["query", SQL, "--format", "csv"]) == 0
    header, row = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
    assert header == ["tenant", "cost_micro_usd", "base_units", "usage", "occurred_at", "verified", "none"]
    assert row[:3] == [AWKWARD, str(2**62 + 1), BIG]


@pytest.mark.usefixtures("rows")
def test_a_table_shows_numbers_whole_and_nothing_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["query", SQL]) == 0
    out = capsys.readouterr().out
    assert str(2**62 + 1) in out
    assert BIG in out
    assert "\x1b" not in out
    assert "\\x1b[2J" in out
    assert out.endswith("\n1 row\n")


@pytest.mark.usefixtures("rows")
def test_parquet_keeps_types_and_is_written_whole(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture
) -> None:
    out = tmp_path / "a.parquet"
    sql = SQL.replace(", NULL AS none", "")
    assert run(["query", sql, "--format", "parquet", "--out", str(out)]) == 0
    assert capsysbinary.readouterr().out == b""
    frame = pl.read_parquet(out)
    assert frame["base_units"][0] == Decimal(BIG)
    assert frame["cost_micro_usd"][0] == 2**62 + 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    assert run(["query", sql, "--format", "parquet"]) == 0
    assert capsysbinary.readouterr().out == out.read_bytes()


@pytest.mark.parametrize("count", [0, 1, 2, 200_000])
def test_json_of_any_length_is_whole(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    sql = f"SELECT number, 'a\\nb' AS t FROM numbers({count}) ORDER BY number"
    assert run(["query", sql, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["number"] for row in found] == list(range(count))


EVERY_KIND = [
    "SELECT 1 AS a WHERE 0",
    "/* a comment */ (SELECT 1 AS a)",
    "WITH 1 AS a SELECT a",
    "FROM numbers(2) SELECT number",
    "SHOW TABLES LIKE 'none'",
    "EXPLAIN SELECT 1",
    "DESCRIBE ledger",
    "EXISTS TABLE ledger",
]


@pytest.mark.parametrize("sql", EVERY_KIND)
@pytest.mark.parametrize("form", ["json", "csv", "table", "parquet"])
def test_every_reading_statement_has_every_format(
    sql: str, form: str, capsysbinary: pytest.CaptureFixture
) -> None:
    assert run(["query", sql, "--format", form]) == 0
    assert capsysbinary.readouterr().out


def test_a_named_query_takes_its_parameters(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    insert_events(ledger.client, [event(7), event(8, tenant="o'hara")])
    assert run(["query", "spend-by-tenant", "--param", "tenant=o'hara", "--format", "json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["tenant"], line["residual_pico_usd"]) == ("o'hara", 8)


def test_a_statement_takes_parameters_and_percent_signs(capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT {a:String} AS a WHERE 'x%y' LIKE '%'"
    assert run(["query", sql, "--param", "a=100%=x'", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"a": "100%=x'"}]


def test_the_list_names_every_query(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["query", "--list"]) == 0
    out = capsys.readouterr().out
    assert "spend_by_day\n    What each calendar day" in out
    assert "--param zone=...  where the days begin" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "nothing is asked"),
        (["spend_by_tenat"], "did you mean spend_by_tenant"),
        (["DROP TABLE ledger"], "starts with DROP"),
        (["SELECT * FROM nix"], "the tables are ledger"),
        (["SELECT {a:String}"], "give its value with --param"),
        (["SELECT 1", "--param", "a=1"], "names no {a:Type}"),
        (["SELECT 1", "--param", "a"], "takes NAME=VALUE"),
        (["spend_by_day", "--param", "zone=Nix"], "cannot load time zone Nix"),
        (["SELECT 1", "--ledger", "chdb:///nowhere/at/all"], "there is no ledger in /nowhere/at/all"),
        (["SELECT 1", "--ledger", "nix"], "not understood"),
        (["SELECT 1", "--ledger", ""], "no ledger is named"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    sql = "SELECT throwIf(number = 100000) FROM numbers(200000)"
    assert run(["query", sql, "--format", "json", "--out", str(out)]) == 2
    assert list(tmp_path.iterdir()) == []
    assert run(["query", "SELECT 1", "--out", str(tmp_path / "no" / "a.json")]) == 1
