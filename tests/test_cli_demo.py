"""`millrace demo`, the way that `make run` goes: what it shows is true, and it takes no other folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own: a process opens one embedded ledger."""
    program = [sys.executable, "-c", "from cli.main import main; main()", "demo", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    return subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_made_up_events_come_out_as_foretold_and_are_shown_in_full(tmp_path: Path) -> None:
    shown = demo("--out", str(tmp_path / "demo"), "--events", "5000")
    complaints = [line for line in shown.stderr.splitlines() if "events durable after" not in line]
    assert (shown.returncode, complaints) == (0, [])
    assert "All of it is as the sample foretells, to the pico-USD." in shown.stdout
    for part in (
        "a second)",
        "Rejects by reason",
        "Top tenants",
        "Caps crossed",
        "Stripe would get",
        "Try next:",
    ):
        assert part in shown.stdout
    assert (
        len(re.findall(r"^  \S+ (?:query|export|stripe) .*--ledger chdb://", shown.stdout, re.MULTILINE)) == 3
    )


@pytest.mark.parametrize("name", ["notes.txt", "events"])
def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    refused = demo("--out", str(tmp_path))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        f"millrace: {tmp_path} holds other things than a demonstration: give another folder with --out\n"
    )
    assert (tmp_path / name).exists()
