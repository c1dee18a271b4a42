"""Other people's real files through the whole way: the exact figures that must come out (their README has them)."""

import os
from pathlib import Path

import pytest

from cli.run import run_files
from cli.running import RunOptions

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("MILLRACE_TEST_DATA") or ROOT.parent / "shared" / "data")

CASES = [
    (
        "access.log",
        "access-log",
        None,
        (10_000, 9_999, 1),
        247_255_425_450,
        ("response_bytes", 2_747_282_505),
    ),
    (
        "llm-tokens.csv",
        "csv",
        "llm-tokens",
        (8_819, 8_819, 0),
        37_595_324_000_000,
        ("usage['context']", 18_059_974),
    ),
    (
        "functions.csv",
        "csv",
        "functions",
        (199, 199, 0),
        176_645_767_220,
        ("usage['duration'] * 100", 1_059_917),
    ),
    ("wiki-edits.ndjson.gz", "json", "wiki-edits", (39_244, 39_244, 0), 0, ("delta_bytes", 8_991_275)),
    ("file-changes.ndjson.gz", "json", "file-changes", (6_713, 6_709, 4), 0, ("delta_bytes", 27_739_724)),
]


@pytest.mark.parametrize(("name", "form", "mapping", "counts", "pico", "quantity"), CASES)
def test_a_real_file_comes_out_to_the_pico_usd(ledger, name, form, mapping, counts, pico, quantity):
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not there: name its folder in MILLRACE_TEST_DATA")
    summary = run_files(
        RunOptions(
            [str(DATA / name)],
            ledger.url,
            format_name=form,
            tenant="real",
            mapping=ROOT / "examples" / f"{mapping}.toml" if mapping else None,
            catalog=DATA / "catalog.toml",
        )
    )
    assert (summary["events"], summary["accepted"], summary["rejected"]) == counts
    assert (summary["cost_micro_usd"], summary["residual_pico_usd"]) == divmod(pico, 10**6)
    total = ledger.client.query(
        f"SELECT sum(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd), sum({quantity[0]}) FROM ledger"
    ).result_rows[0]
    assert (int(total[0]), int(total[1])) == (pico, quantity[1])
