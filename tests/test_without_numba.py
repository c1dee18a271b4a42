"""Where numba cannot be loaded, everything holds: the same tests pass, and the ledger is the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile import hostile_accounts, hostile_catalogs, hostile_stream

ROOT = Path(__file__).parent.parent
A_NUMBER_OVERFLOWS = "error::RuntimeWarning"
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": A_NUMBER_OVERFLOWS}


def output(command, *arguments):
    line = [sys.executable, *command, *map(str, arguments)]
    done = subprocess.run(line, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return done.stdout, done.stderr


WITHOUT_NUMBA = ("-m", "tests.without_numba")


@pytest.mark.parametrize(
    "tests",
    [
        ("test_kernels_hashing.py",),
        ("test_kernels_text.py",),
        ("test_keys.py", "-k", "crowd"),
        ("test_template_keys.py",),
        ("test_rating_agrees.py", "-k", "any_quantity or ways"),
        ("test_spend_windows.py",),
        ("test_kafka_memory.py", "-k", "not again_and_again"),
        ("test_end_to_end.py", "-k", "2-2-50"),
    ],
    ids=lambda tests: tests[0].removesuffix(".py"),
)
def test_the_same_tests_hold(tests):
    name, *chosen = tests
    output(WITHOUT_NUMBA, "pytest", "-q", "-p", "no:cacheprovider", f"tests/{name}", *chosen)


def test_keys_and_fingerprints_are_the_same_in_both_ways(tmp_path):
    (tmp_path / "catalog").mkdir()
    for number, text in enumerate(hostile_catalogs()):
        (tmp_path / f"catalog/{number}.toml").write_text(text)
    (tmp_path / "accounts.toml").write_text(hostile_accounts())
    lines = hostile_stream(31, 1_200)
    (tmp_path / "half.ndjson").write_bytes(b"\n".join(lines[:600]))
    (tmp_path / "all.ndjson").write_bytes(b"\n".join(lines))

    def run(way, file, ledger):
        summary, told = output(
            way, "run", tmp_path / file, "--ledger", f"chdb://{tmp_path}/{ledger}", "--json", "--reject-budget", "1",
            "--catalog", tmp_path / "catalog", "--accounts", tmp_path / "accounts.toml",
        )  # fmt: skip
        return {**json.loads(summary), "seconds": None}, told

    with_numba = ("-c", "from cli.main import main; main()")
    half, told = run((*WITHOUT_NUMBA, "millrace"), "half.ndjson", "mixed")
    assert "numba cannot be loaded" in told
    assert "strict decoder" in told
    whole, told = run(with_numba, "all.ndjson", "mixed")
    assert "numba" not in told

    assert half == run(with_numba, "half.ndjson", "compiled")[0]
    assert whole == run(with_numba, "all.ndjson", "compiled")[0]
    assert min(half["accepted"], whole["accepted"], whole["conflicts"]) > 0


@pytest.mark.parametrize(
    ("hidden", "wanted", "is_fast"), [("", True, True), ("", False, False), ("numba", True, False)]
)
def test_the_scanner_is_used_where_it_is_wanted_and_compiled(hidden, wanted, is_fast):
    code = (
        f"import sys; sys.modules[{hidden!r}] = None; from cli.running import RunOptions; "
        f"print(RunOptions([], '', fast={wanted}).is_fast)"
    )
    assert output(("-c", code))[0] == f"{is_fast}\n"
