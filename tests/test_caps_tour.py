"""docs/caps-tour.md, line by line as it stands there, by a real shell against a real service."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serve_process import free_port

ROOT = Path(__file__).parent.parent
TOUR = (ROOT / "docs/caps-tour.md").read_text()
PROGRAM = f'#!/bin/sh\nexec {sys.executable} -c "from cli.main import main; main()" "$@"\n'
MISSING = "the tour needs curl and openssl: install them"


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("openssl"), reason=MISSING)
def test_the_tour_goes_to_a_402_and_back(tmp_path: Path) -> None:
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "millrace").write_text(PROGRAM)
    (programs / "millrace").chmod(0o755)
    blocks = re.findall(r"^```sh\n(.*?)^```$", TOUR, re.MULTILINE | re.DOTALL)
    script = "set -euo pipefail\ntrap 'kill %1 2>/dev/null || true' EXIT\n"
    script += "".join(f"printf '\\n=== {number}\\n'\n{block}\n" for number, block in enumerate(blocks))
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MILLRACE_", "BILLING_"))
    }
    run = subprocess.run(
        ["timeout", "-k", "5", "150", "bash", "-c", script], cwd=tmp_path,
        env={**kept, "PORT": str(free_port()), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    log = tmp_path / "build/caps-tour/log"
    assert run.returncode == 0, (
        f"{run.stderr}\n{run.stdout[-2000:]}\n{log.read_text() if log.exists() else ''}"
    )
    said = re.split(r"^=== \d+\n", run.stdout, flags=re.MULTILINE)[1:]
    assert len(said) == len(blocks)
    for number, expected in {
        1: ['"catalogVersion":"tour"', '"microUsd":"400"'],
        3: ["HTTP/1.1 200 OK", "x-spend-limit: 1000", "x-spend-remaining: 1000", "x-spend-current: 0"],
        5: ['"status":402', '"limit":"1000","current":"600","projected":"1100"'],
        6: ['"finalizedMicro":"450","releasedMicro":"150","overrunMicro":"0"', '"code":"wrong_door"'],
        7: ["HTTP/1.1 204", '"current":"850","projected":"1100"'],
        8: ["200"],
        9: ["200"],
        10: ['"entryType":"settle"', '"key":"ann"', "payment_settled"],
        11: ["settlement", "ask", "0.0004", "0.00045"],
    }.items():
        for text in expected:
            assert text in said[number], f"block {number}: {said[number]}"
    assert len(set(re.findall(r"res_[0-9a-f]+", said[4]))) == 1
