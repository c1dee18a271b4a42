"""`millrace run --stripe`: usage goes into an embedded ledger and to Stripe in one process."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sinks.stripe_fake import Account
from sinks.stripe_fake_http import Wire
from sinks.stripe_fake_server import FakeServer

ROOT = Path(__file__).parent.parent
HOUR = 3600


def millrace(folder, *arguments, code=0, **variables):
    """Run the program in a process of its own: an embedded ledger belongs to one."""
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "accounts.toml").write_text("[tenants.acme]\n")
    (tmp_path / "meters.toml").write_text('[meters.calls]\nsums = "calls"\n')
    moment = time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(time.time() - 2 * HOUR))
    event = {
        "specversion": "1.0",
        "source": "/svc",
        "type": "compute",
        "tenant": "acme",
        "time": moment,
        "data": {"operation": "ask"},
    }
    lines = [json.dumps({**event, "id": f"e{number}"}) for number in range(40)]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_what_a_run_writes_is_told_and_the_books_close(folder):
    account = Account(lambda: int(time.time()))
    with FakeServer(Wire(account)) as server:
        key = {"STRIPE_SECRET_KEY": "sk_test_double", "MILLRACE_STRIPE_URL": server.url}
        own = {
            "MILLRACE_STATE": str(folder / "state"),
            "MILLRACE_ACCOUNTS": str(folder / "accounts.toml"),
            "MILLRACE_METERS": str(folder / "meters.toml"),
        }
        ledger = f"chdb://{folder}/ledger"
        millrace(folder, "stripe", "setup", "--create-customers", "--yes", **key, **own)
        millrace(folder, "run", "events.jsonl", "--ledger", ledger, "--stripe", **key, **own)
        said = millrace(folder, "stripe", "reconcile", "--ledger", ledger, "--format", "json", **key, **own)
    (customer,) = account.of_kind("customer")
    (book,) = json.loads(said)["books"]
    assert account.sum("millrace_calls", customer["id"], 0, 2**40) == 40
    assert (book["ledger"], book["verified"], book["on_the_way"], book["owed"]) == ("40", "40", "0", "0")


def test_without_a_key_the_run_does_not_begin(folder):
    ledger = f"chdb://{folder}/ledger"
    said = millrace(folder, "run", "events.jsonl", "--ledger", ledger, "--stripe", code=2)
    assert "set STRIPE_SECRET_KEY, or leave --stripe out" in said
    assert not (folder / "ledger").exists()


def test_the_control_store_that_a_flag_names_has_the_tenants_and_the_outbox(folder):
    """`--control` means the same to the run, to what reports beside it, and to `millrace stripe`."""
    account = Account(lambda: int(time.time()))
    control = ["--control", f"sqlite:///{folder}/elsewhere.db"]
    with FakeServer(Wire(account)) as server:
        key = {"STRIPE_SECRET_KEY": "sk_test_double", "MILLRACE_STRIPE_URL": server.url}
        key["MILLRACE_METERS"] = str(folder / "meters.toml")
        ledger = ["--ledger", f"chdb://{folder}/ledger"]
        millrace(folder, "tenants", "add", "acme", *control)
        millrace(folder, "stripe", "setup", "--create-customers", "--yes", *control, **key)
        millrace(folder, "run", "events.jsonl", *ledger, *control, "--stripe", **key)
        said = millrace(folder, "stripe", "reconcile", *ledger, *control, "--format", "json", **key)
    (book,) = json.loads(said)["books"]
    assert (book["tenant"], book["ledger"], book["owed"]) == ("acme", "40", "0")
    (customer,) = account.of_kind("customer")
    assert account.sum("millrace_calls", customer["id"], 0, 2**40) == 40
    assert not (folder / ".millrace" / "control.db").exists()
