"""The README's section for operators, gone through as it stands: only the ports and the names of folders are others."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka.broker import NoBrokerError, free_port, jars

ROOT = Path(__file__).parent.parent
PORTS = ("9092", "8123", "8081", "8082", "7001", "7002")
SAYS = """
trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT
set -e
"""


def section():
    return (ROOT / "README.md").read_text().split("\n## Operating it\n")[1].split("\n## ")[0]


@pytest.fixture
def script(tmp_path):
    """The section's lines as one script, and a folder that looks like the project's."""
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", section(), re.MULTILINE | re.DOTALL))
    for port in PORTS:
        assert port in text
        text = re.sub(rf"\b{port}\b", str(free_port()), text)
    bin_ = tmp_path / ".venv" / "bin"
    bin_.mkdir(parents=True)
    code = "import sys; from cli.main import run; sys.exit(run(sys.argv[1:]))"
    for name, arguments in (("python", '"$@"'), ("millrace", f"-c '{code}' \"$@\"")):
        (bin_ / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}\n')
        (bin_ / name).chmod(0o755)
    return SAYS + text


def test_the_section_for_operators_does_what_it_says(script, tmp_path):
    try:
        jars()
    except NoBrokerError as error:
        pytest.skip(f"no Kafka to try the README's section with: {error}")
    bare = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env={**bare, "PYTHONPATH": str(ROOT)}, stdout=out, stderr=out,
            timeout=400, check=False,
        )  # fmt: skip
    said = (tmp_path / "out").read_text()
    assert done.returncode == 0, said[-4000:]
    expected = json.loads((tmp_path / "build" / "operate" / "expected.json").read_text())
    assert said.count(f"{expected['events']} records sent to usage") == 2
    assert "millrace_lag{" in said
    assert "idempotency_conflict" in said
    assert "another process of the cluster has gone" in said
