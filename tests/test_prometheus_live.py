"""A real Prometheus scrapes the running program: every PromQL panel shows something, every rule knows its metrics."""

import json
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from math import isnan
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from dashboards.grafana.board import PromQl
from dashboards.grafana.boards import BOARDS
from sinks.stripe_fake import Account
from sinks.stripe_fake_http import Wire
from sinks.stripe_fake_server import FakeServer
from tests.grafana_macros import promql
from tests.serve_process import CODE, Service, free_port

ROOT = Path(__file__).parent.parent
RULES = ROOT / "dashboards" / "prometheus" / "rules" / "millrace.yml"
SCRAPE_S = 1
WAIT_S = 90
PANELS = [
    pytest.param(panel.kind, query.text, id=f"{board.uid}: {panel.title} {number}")
    for board in BOARDS
    for panel in board.panels
    for number, query in enumerate(panel.queries)
    if isinstance(query, PromQl)
]
EVERY_EXPR = [
    (rule.get("alert") or rule["record"], rule["expr"])
    for group in YAML(typ="safe").load(RULES.read_text())["groups"]
    for rule in group["rules"]
]
METRICS = {name for _, expr in EVERY_EXPR for name in re.findall(r"\bmillrace_\w+|\bup\b", expr)}
NOT_HERE = {"millrace_tenant_volume_percent", "millrace_unpriced_events"}
"""Shown only while there is something to tell: `tests/test_ledger_metrics.py` has them."""


class Prometheus:
    """A server in a folder of its own that scrapes one target."""

    def __init__(self, folder, target):
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("no prometheus: install the package prometheus, or put the program on the path")
        self.url = f"http://127.0.0.1:{free_port()}"
        config = {
            "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "millrace", "static_configs": [{"targets": [target]}]}],
        }
        file = folder / "prometheus.yml"
        with file.open("w") as text:
            YAML(typ="safe").dump(config, text)
        where = [f"--config.file={file}", f"--storage.tsdb.path={folder}/tsdb"]
        listen = f"--web.listen-address={self.url.removeprefix('http://')}"
        with (folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen([program, *where, listen], stdout=log, stderr=log)

    def ask(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        address = f"{self.url}/api/v1/{path}?{query}"
        with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310 - of this machine
            told = json.load(answer)
        assert told["status"] == "success"
        return told["data"]

    def values(self, text, *, is_range):
        """All values that a panel with this query would show."""
        text, now = promql(text, SCRAPE_S), time.time()
        if not is_range:
            return [float(row["value"][1]) for row in self.ask("query", query=text)["result"]]
        rows = self.ask("query_range", query=text, start=now - 60, end=now, step=SCRAPE_S)["result"]
        return [float(value) for row in rows for _, value in row["values"]]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def event(number):
    moment = time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(time.time() - 7200))
    return {
        "specversion": "1.0", "id": f"e{number}", "source": "load", "type": "compute", "time": moment,
        "data": {"operation": "ask"},
    }  # fmt: skip


def keep_busy(service, key, stop):
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": ""}
    for number in range(10_000):
        batch = [event(n) for n in range(number * 5, number * 5 + 6)]  # the last one comes again
        service.ask("POST", "/api/v1/events", batch, **headers)
        headers["Idempotency-Key"] = f"k{number}"
        service.ask("POST", "/api/billing/authorize", {"tenant": "acme", "estimatedMicro": "1"}, **headers)
        if stop.wait(0.3):
            return


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    accounts = folder / "accounts.toml"
    accounts.write_text("[tenants.acme]\n")
    account = Account(lambda: int(time.time()))
    stop = threading.Event()
    with FakeServer(Wire(account)) as stripe, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRIPE_SECRET_KEY", "sk_test_double")
        patch.setenv("MILLRACE_STRIPE_URL", stripe.url)
        patch.setenv("BILLING_INTERNAL_JWT_SECRET", secrets.token_hex(32))
        given = ["--accounts", str(accounts)]
        setup = ["stripe", "setup", "--create-customers", "--yes", "--state", str(folder), *given]
        subprocess.run([sys.executable, "-c", CODE, *setup], check=True, capture_output=True, timeout=120)
        service = Service(folder, ("--stripe", *given))
        key = service.make_key("acme")
        service.start()
        server = Prometheus(folder, f"127.0.0.1:{service.port}")
        busy = threading.Thread(target=keep_busy, args=(service, key, stop), daemon=True)
        busy.start()
        try:
            wait_until_scraped(server)
            yield server
        finally:
            stop.set()
            busy.join(30)
            server.stop()
            service.kill()


def wait_until_scraped(server):
    """Wait until what takes longest has been seen twice: commits, a turn of each loop, a look at the ledger."""
    wanted = ("millrace_commits_total > 3", "millrace_stripe_reconciled_timestamp_seconds > 0",
              "millrace_ledger_watch_timestamp_seconds > 0", "count_over_time(up[30s]) > 8")  # fmt: skip
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            missing = [text for text in wanted if not server.ask("query", query=text)["result"]]
        except OSError:
            missing = ["an answer of Prometheus"]
        if not missing:
            return
        time.sleep(0.5)
    raise TimeoutError(f"not seen in {WAIT_S} s: {missing}")


@pytest.mark.parametrize(("kind", "text"), PANELS)
def test_a_panel_of_prometheus_shows_something(prometheus, kind, text):
    values = prometheus.values(text, is_range=kind != "stat")
    assert [value for value in values if not isnan(value)], f"the panel is empty: {text}"


def test_every_metric_of_the_rules_is_there(prometheus):
    there = set(prometheus.ask("label/__name__/values"))
    assert METRICS - there == NOT_HERE


def test_nothing_is_wrong_with_a_program_that_runs(prometheus):
    """Each rule is asked as it stands; recorded series come with the groups' own interval."""
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(EVERY_EXPR) > 40
    wrong = {name for name, expr in EVERY_EXPR if prometheus.ask("query", query=expr)["result"]}
    assert {name for name in wrong if ":" not in name} <= {"LedgerDisk"}, "the disk here may be full, no more"


def test_a_query_that_shows_nothing_would_be_seen(prometheus):
    assert prometheus.values("sum(millrace_no_such_metric)", is_range=True) == []
