"""The sample is what it says: the same for a seed, expected to the line and to the pico-USD."""

import gzip
import json
import tomllib
from collections import Counter
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from benchmarks import sample, sample_columns
from benchmarks.sample import Sample, write_sample
from benchmarks.sample_prices import round_half_even
from cli.main import run
from pipeline.accounts import load_accounts
from pipeline.catalog import load_catalog
from tests.model import Model

END = datetime(2026, 11, 1, tzinfo=UTC)
END_MS = 1_793_491_200_000


def made(folder, events=5_000, seed=1, tenants=50, days=10, **more):
    """Write a sample; returns what it expects of a run."""
    folder.mkdir(exist_ok=True)
    write_sample(Sample(events, seed, tenants, days, END, **more), folder, lambda _lines: None)
    return json.loads((folder / "expected.json").read_text())


def judged(folder, expected):
    """What the model makes of it, files in their order."""
    catalog, accounts = (
        tomllib.loads((folder / f"{name}.toml").read_text()) for name in ("catalog", "accounts")
    )
    judge = Model(catalog, accounts)
    for name in expected["files"]:
        data = (folder / name).read_bytes()
        text = gzip.decompress(data) if name.endswith(".gz") else data
        judge.feed_lines(text.split(b"\n"), name, END_MS)
    return judge


def amounts(sums):
    return {key[0]: pico for key, pico in sums.items() if pico}


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_expected_is_what_the_contract_makes_of_it(tmp_path, seed):
    expected = made(tmp_path, seed=seed)
    judge = judged(tmp_path, expected)
    assert {name: expected[name] for name in ("events", "accepted", "conflicts", "rejected")} == {
        name: judge.counts[name] for name in ("events", "accepted", "conflicts", "rejected")
    }
    assert expected["duplicates"] == judge.counts["duplicate"]
    assert expected["rejects"] == judge.rejects_by_reason()
    assert expected["pico_usd"] == sum(judge.sums("tenant").values())
    assert expected["pico_usd_by_tenant"] == amounts(judge.sums("tenant"))
    assert expected["pico_usd_by_settlement"] == amounts(judge.sums("settlement"))


def test_it_holds_what_real_input_holds(tmp_path):
    judge = judged(tmp_path, made(tmp_path, tenants=200, days=30))
    assert 0.015 < judge.counts["duplicate"] / judge.counts["events"] < 0.025
    assert {r.type for r in judge.rows} == {"traffic", "compute", "storage", "webhook", "correction"}
    assert {r.settlement for r in judge.rows} == {"metered", "credit", "rate-limited", "free"}
    assert {r.pricing for r in judge.rows} == {"priced", "free", "unpriced"}
    assert any(r.principal == "@unattributed" for r in judge.rows)
    sizes = [count for _, count in Counter(r.tenant for r in judge.rows).most_common()]
    assert sizes[0] > 20 * sizes[len(sizes) // 2]
    assert any(c.state == "crossed" for c in judge.spend.crossings)
    times = [r.at_ms for r in judge.rows if r.type != "correction"]
    assert max(times) < END_MS
    assert sum(later < earlier for earlier, later in pairwise(times)) > 20


def test_it_holds_lines_for_every_reason_that_a_line_can_have_by_itself(tmp_path):
    assert set(made(tmp_path, events=40_000)["rejects"]) == {
        "unreadable", "not_an_object", "missing_attribute", "invalid_attribute", "unknown_type",
        "invalid_data", "time_in_future", "quantity_out_of_range", "amount_out_of_range",
        "idempotency_conflict", "voids_unknown",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        made(tmp_path / folder, events=2_000)
    made(tmp_path / "c", events=2_000, seed=2)
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert files == ["accounts.toml", "catalog.toml", "events.ndjson", "expected.json"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a/events.ndjson").read_bytes() != (tmp_path / "c/events.ndjson").read_bytes()


def test_files_and_compression_split_the_same_lines(tmp_path):
    one, many = (
        made(tmp_path / "one", events=70_000),
        made(tmp_path / "many", events=70_000, files=3, is_compressed=True),
    )
    parts = [gzip.decompress((tmp_path / "many" / name).read_bytes()) for name in many["files"]]
    assert b"".join(parts) == (tmp_path / "one/events.ndjson").read_bytes()
    sizes = [part.count(b"\n") for part in parts]
    assert (sum(sizes), max(sizes) - min(sizes)) == (70_000, 1)
    assert {**one, "files": []} == {**many, "files": []}


def test_repeats_reach_back_beyond_what_is_made_at_a_time(tmp_path, monkeypatch):
    for module in (sample, sample_columns):
        monkeypatch.setattr(module, "CHUNK", 700)
    expected = made(tmp_path, tenants=20)
    judge = judged(tmp_path, expected)
    assert expected["rejects"] == judge.rejects_by_reason()
    assert expected["pico_usd_by_tenant"] == amounts(judge.sums("tenant"))
    lines = {row.key: row.origin[2] for row in judge.rows}
    reach = [row.origin[2] - lines[row.voids] for row in judge.rows if row.voids]
    assert max(reach) > 700


@pytest.mark.parametrize("seed", range(4))
def test_repeats_of_repeats_are_expected_too(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(sample_columns, "_ROLES", tuple((role, 1) for role in sample_columns.Role))
    for module in (sample, sample_columns):
        monkeypatch.setattr(module, "CHUNK", 61)
    expected = made(tmp_path, events=800, seed=seed, tenants=3)
    judge = judged(tmp_path, expected)
    assert expected["duplicates"] == judge.counts["duplicate"]
    assert expected["rejects"] == judge.rejects_by_reason()
    assert expected["pico_usd_by_tenant"] == amounts(judge.sums("tenant"))


@pytest.mark.parametrize("events", [1, 2, 7, 100])
def test_small_samples_are_whole(tmp_path, events):
    expected = made(tmp_path, events=events, tenants=1, days=1)
    judge = judged(tmp_path, expected)
    assert judge.counts["accepted"] == expected["accepted"] > 0
    assert sum(judge.sums("tenant").values()) == expected["pico_usd"]


def test_the_program_takes_its_catalog_and_accounts(tmp_path):
    made(tmp_path, events=500)
    assert len(load_catalog(tmp_path / "catalog.toml").versions) == 1
    accounts = load_accounts(tmp_path / "accounts.toml").tenants
    assert len(accounts) == 50
    assert len({account.time_zone for account in accounts.values()}) > 5
    assert sum(account.stripe_customer.startswith("cus_") for account in accounts.values()) > 40
    assert sum(account.daily_limit_micro_usd is not None for account in accounts.values()) == 30


@pytest.mark.parametrize(
    ("quantity", "price", "expected"),
    [
        (1, Fraction(1, 2), 0),
        (3, Fraction(1, 2), 2),
        (-1, Fraction(1, 2), 0),
        (-3, Fraction(1, 2), -2),
        (7, Fraction(1, 3), 2),
        (8, Fraction(1, 3), 3),
        (10**15, Fraction(10**6 + 1, 10**6), 10**15 + 10**9),
        (10**18, Fraction(9 * 10**6 + 1, 10**6), 9 * 10**18 + 10**12),
    ],
)
def test_amounts_are_rounded_half_to_even_also_where_a_product_leaves_64_bits(quantity, price, expected):
    assert round_half_even(np.array([quantity, 0]), price).tolist() == [expected, 0]


def test_the_command_writes_a_sample_and_says_what_to_try(tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert run(["sample", "--events", "300", "--end", "2026-11-01T01:00:00+01:00", "--out", str(out)]) == 0
    expected = json.loads((out / "expected.json").read_text())
    assert (expected["events"], expected["end"]) == (300, "2026-11-01T00:00:00+00:00")
    said = capsys.readouterr().out
    assert f"millrace run {out}/events.ndjson --catalog {out}/catalog.toml" in said


def test_without_an_end_the_days_end_now(tmp_path):
    assert run(["sample", "--events", "10", "--out", str(tmp_path)]) == 0
    end = datetime.fromisoformat(json.loads((tmp_path / "expected.json").read_text())["end"])
    assert abs((datetime.now(UTC) - end).total_seconds()) < 60


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--end", "yesterday"], 2, "--end must be a time from 2011 on with its offset"),
        (["--end", "2026-11-01T00:00:00"], 2, "--end must be a time from 2011 on with its offset"),
        (["--events", "0"], 2, "greater than or equal to 1"),
        (["--files", "3"], 2, "holds events.ndjson of another sample: remove it"),
        (["--out", "{out}/events.ndjson"], 1, "cannot be written to"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, capsys, arguments, code, sentence):
    (tmp_path / "events.ndjson").write_text("")
    given = [argument.replace("{out}", str(tmp_path)) for argument in arguments]
    assert run(["sample", "--events", "10", "--out", str(tmp_path), *given]) == code
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_sample_that_was_cut_short_has_no_expectation(tmp_path):
    made(tmp_path, events=10)

    def full(_lines):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_sample(Sample(10, 1, 1, 1, END), tmp_path, full)
    assert not (tmp_path / "expected.json").exists()
