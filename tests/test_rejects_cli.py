"""`millrace rejects list`: every reject with its bytes, shown so that no terminal obeys them."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import Ledger
from ledger_rows import NOON, insert_rejects

from cli.main import run

HOSTILE = b'\xff\x00\x1b[2J\xe2\x80\xae"\\\r\n'


@pytest.fixture(autouse=True)
def _rejects(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LEDGER", ledger.url)
    insert_rejects(
        ledger.client,
        [
            {"raw": HOSTILE, "offset": 2},
            {"raw": '{"a": "日本"}'.encode(), "offset": 1, "reason": "invalid_data"},
            {"raw": b"x" * 500, "topic": "other", "rejected_at": NOON + timedelta(hours=1)},
        ],
    )


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert run(["rejects", "list", "--format", "json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_has_the_bytes_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    other, second, third = listed(capsys)
    assert (other["topic"], other["raw"]) == ("other", "x" * 500)
    assert (second["reason"], second["offset"], second["partition"]) == ("invalid_data", 1, 0)
    assert (second["raw"], second["raw_base64"]) == ('{"a": "日本"}', "")
    assert base64.b64decode(third["raw_base64"]) == HOSTILE
    assert third["raw"].startswith("\ufffd\x00\x1b[2J")


def test_a_table_shows_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rejects", "list"]) == 0
    out = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in out)
    assert "\\x1b[2J\\x202e" in out
    assert "x" * 119 + "…" in out
    assert out.endswith("3 rows\n")


@pytest.mark.parametrize(
    ("arguments", "offsets"),
    [
        (["--reason", "invalid_data"], [1]),
        (["--topic", "t"], [1, 2]),
        (["--topic", "t", "--limit", "1"], [1]),
        (["--since", "2026-03-10T13:30:00+01:00"], [0]),
        (["--reason", "unknown_type"], []),
    ],
)
def test_filters_hold(arguments: list[str], offsets: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert [line["offset"] for line in listed(capsys, *arguments)] == offsets


def test_parquet_and_csv_go_to_a_file(tmp_path: Path) -> None:
    for form in ("csv", "parquet"):
        out = tmp_path / f"rejects.{form}"
        assert run(["rejects", "list", "--format", form, "--out", str(out)]) == 0
        assert out.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--reason", "unreadible"], "it is one of unreadable, not_an_object"),
        (["--since", "yesterday"], "cannot read DateTime"),
        (["--limit", "-1"], "--limit"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rejects", "list", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1
