"""The runbook: a section for each alert, and every command of it runs."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from sinks.stripe_fake import Account
from sinks.stripe_fake_http import Wire
from sinks.stripe_fake_server import FakeServer

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "runbook.md").read_text()
RULES = YAML(typ="safe").load((ROOT / "dashboards/prometheus/rules/millrace.yml").read_text())
ALERTS = sorted({rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule})
PROCEDURES = (
    "upgrade and migration", "shadow to soft to live", "ledger or broker lost", "recovery folder lost",
    "a stripe outage", "a double credit", "a wrong price in production", "export and erasure", "keys and secrets",
    "a broken lot invariant", "webhooks missed", "settlement calls that fail", "dropped and rebuilt",
)  # fmt: skip
SERVERS = ("millrace analysts serve", "millrace run --brokers")
"""They serve until they are stopped: tests/test_analysts_cli.py runs them."""
WITH_FINDINGS = {
    "millrace stripe reconcile --restored": (
        1,
        2,
    ),  # the last report is not a day old: it says when to try again
    "millrace stripe webhooks replay --failed": (2,),  # none has failed here
    "millrace stripe close 2026-10": (1,),
    "millrace stripe loop --once": (1,),
}
"""What may exit otherwise on this stage, since something is due on it; never with an error of the program."""
PREPARED = (
    "millrace tenants load accounts.toml",
    "millrace run events.ndjson",
    "millrace stripe setup --create-customers --yes",
    "millrace credits mint acme 25 --key order-17",
    "millrace credits mint acme 25 --key order-17-again --format json",
)
DOUBLE_LOT = "lot_4f1d0a7c2b9e85d36a0c1e24"
"""The lot that the runbook takes back: here the last one that was minted."""
DRIVER = """
import json, os, shlex, sys, tempfile
from cli.main import run
for line in sys.stdin:
    kept, files = [os.dup(1), os.dup(2)], [tempfile.TemporaryFile(), tempfile.TemporaryFile()]
    for number, file in enumerate(files, 1):
        os.dup2(file.fileno(), number)
    try:
        code = run(shlex.split(line)[1:])
    except SystemExit as left:
        code = left.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    for number, descriptor in enumerate(kept, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    said = [os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace") for file in files]
    print(json.dumps({"code": code, "out": said[0], "err": said[1]}), flush=True)
"""
"""One process for all commands: an embedded ledger has one, and starting it for each would take minutes."""
NOON = "2026-11-10T12:00:00Z"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def section(heading: str) -> str:
    return TEXT.split(f"\n### {heading}\n")[1].split("\n### ")[0]


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in dict.fromkeys(lines) if line.startswith("millrace ")]


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_has_a_section_that_says_how_to_look_what_to_do_and_when_it_is_over(name):
    text = section(name)
    assert len(re.findall(r"^```sh$", text, re.MULTILINE)) == 1
    assert "**Do.**" in text
    assert "**Over**" in text


def test_there_is_no_section_for_an_alert_that_is_not_there():
    alerts = TEXT.split("\n## Alerts\n")[1].split("\n## Procedures\n")[0]
    assert sorted(re.findall(r"^### (\w+)$", alerts, re.MULTILINE)) == ALERTS


@pytest.mark.parametrize("name", PROCEDURES)
def test_each_procedure_is_there(name):
    assert re.search(rf"^### .*{name}", TEXT, re.MULTILINE | re.IGNORECASE)


def events():
    whole = {"specversion": "1.0", "source": "/svc", "type": "compute", "tenant": "acme", "subject": "ann"}
    asked = {**whole, "time": NOON, "data": {"operation": "ask", "units": 2}}
    lines = [{**asked, "id": f"e{n}", "idempotencykey": f"ask-{n}"} for n in range(9)]
    return "\n".join(json.dumps(line) for line in [*lines, {**asked, "id": "r", "type": "nothing"}]) + "\n"


def catalog(price):
    part = f'{{ source = "c", basis = "per-call", micro_usd = "{price}" }}'
    return f'version = "2026-11"\n[operations.ask]\ncomponents = [{part}]\n'


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A folder with a filled ledger, a control store, and a stand-in for Stripe; gives what runs a command there."""
    folder = tmp_path_factory.mktemp("runbook")
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "catalog.toml").write_text(catalog(50))
    (folder / "mended.toml").write_text(catalog(70).replace("2026-11", "2026-11-mended"))
    (folder / "accounts.toml").write_text('[tenants.acme]\ntime_zone = "Europe/Berlin"\n')
    (folder / "events.ndjson").write_text(events())
    account = Account(lambda: int(time.time()))
    with FakeServer(Wire(account)) as stripe:
        bare = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MILLRACE_", "STRIPE_", "BILLING_"))
        }
        variables = {
            **bare, "MILLRACE_LEDGER": f"chdb://{folder}/ledger", "MILLRACE_STATE": str(folder / "state"),
            "MILLRACE_ACCOUNTS": "accounts.toml", "MILLRACE_CATALOG": "catalog.toml",
            "STRIPE_SECRET_KEY": "sk_test_double", "MILLRACE_STRIPE_URL": stripe.url, "PYTHONPATH": str(ROOT),
        }  # fmt: skip

        with subprocess.Popen(
            [sys.executable, "-c", DRIVER], cwd=folder, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        ) as process:  # fmt: skip
            lots = []

            def run(line):
                assert process.stdin is not None
                assert process.stdout is not None
                line = line.replace(DOUBLE_LOT, *lots) if lots else line
                process.stdin.write(f"{line}\n")
                process.stdin.flush()
                return Done(**json.loads(process.stdout.readline()))

            for line in PREPARED:
                done = run(line)
                assert done.code == 0, done.err
            lots.append(json.loads(done.out)[0]["lot"])
            yield run
            process.kill()


def test_every_command_of_the_runbook_runs(stage):
    """In their order, in one folder, as somebody would who walks through all of it."""
    wrong = []
    for line in commands():
        if line.startswith(SERVERS):
            continue
        done = stage(line)
        allowed = {0, *WITH_FINDINGS.get(line, ())}
        if done.code not in allowed or "Traceback" in done.err or "should not happen" in done.err:
            wrong.append(f"{line}: {done.code}: {done.out[-300:]} {done.err[-400:]}")
    assert not wrong, "\n".join(wrong)
    left = json.loads(stage("millrace credits list acme --format json").out)
    assert [lot["left_usd"] for lot in left] == ["25"], "of two lots of one order one is left"
    spent = stage("millrace query spend_by_operation --format json")
    (row,) = [one for one in json.loads(spent.out) if one["operation"] == "ask"]
    assert row["cost_micro_usd"] == 9 * 70, "the wrong price was corrected and rated again"


def test_erasing_persons_keeps_the_sums(ledger, monkeypatch):
    from tests.ledger_rows import event, insert_events, insert_rejects

    insert_events(
        ledger.client,
        [event(5_000_000, principal="ann", context_name="her project"), event(7, tenant="other")],
    )
    insert_rejects(ledger.client, [{"raw": b'{"tenant":"acme","subject":"ann"}'}])
    before = ledger.client.query(
        "SELECT tenant, sum(cost_micro_usd) FROM usage_by_quarter GROUP BY 1 ORDER BY 1"
    ).result_rows
    (code,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    exec(code.replace("chdb:///absolute/folder", ledger.url), {})  # noqa: S102 - the runbook's own lines
    found = ledger.client.query(
        "SELECT tenant, principal, context_name FROM ledger ORDER BY tenant"
    ).result_rows
    assert found == [("acme", "@erased", ""), ("other", "ann", "")]
    assert ledger.client.query("SELECT raw FROM rejected_events").result_rows == [("",)]
    assert (
        ledger.client.query(
            "SELECT tenant, sum(cost_micro_usd) FROM usage_by_quarter GROUP BY 1 ORDER BY 1"
        ).result_rows
        == before
    )
