"""`millrace measure`: what is sent is valid, what is told is what was counted, a cap does close."""

import json
import subprocess
import sys
from typing import Any

from typer.testing import CliRunner

from benchmarks.ingest import body_of
from benchmarks.overshoot import accounts_of
from benchmarks.service import PRICES, quantiles
from cli.measure import app
from pipeline.accounts import load_accounts
from pipeline.catalog import default_catalog, load_catalog
from pipeline.decode import Decoder
from pipeline.event import EventType
from pipeline.intake import Intake, Judge, Sender
from pipeline.rating import Rater
from pipeline.strict import Rules

NOW = 1_795_000_000_000


def test_the_load_is_of_valid_events_each_with_its_own_id() -> None:
    judge = Judge(Decoder(Rules()), Rater(default_catalog()))
    bodies = [body_of(100).replace(b"NNNNNNNN", b"%08d" % number) for number in range(2)]
    taken = [Intake(judge).take(body, Sender("load"), NOW) for body in bodies]
    assert [one.refused for one in taken] == [[], []]
    lines = [line for one in taken for line in one.lines]
    assert len({json.loads(line)["id"] for line in lines}) == 200


def test_one_event_of_the_prices_goes_over_the_limit_of_each_that_is_tried(tmp_path) -> None:
    (tmp_path / "accounts.toml").write_text(accounts_of(["a", "b"]))
    (tmp_path / "prices.toml").write_text(PRICES)
    limits = [load_accounts(tmp_path / "accounts.toml").get(name).daily_limit_micro_usd for name in "ab"]
    entry = load_catalog(tmp_path / "prices.toml").entry(0, EventType.COMPUTE, "ask")
    assert limits == [500, 500]
    assert entry.components[0].price_e6 == 1_000 * 1_000_000


def test_quantiles_are_of_the_values_in_order() -> None:
    found = quantiles([n / 1000 for n in range(100, 0, -1)])
    assert found == {"p50_ms": 51.0, "p99_ms": 100.0, "max_ms": 100.0}
    assert quantiles([])["p50_ms"] == 0


def test_a_service_takes_all_that_is_told_and_a_cap_closes(tmp_path) -> None:
    told = CliRunner().invoke(
        app, ["ingest", "--seconds", "1", "--batch", "100", "--out", str(tmp_path / "a")]
    )
    figures = json.loads(told.stdout)
    assert figures["events"] == figures["taken_by_the_service"] > 0
    assert figures["refused_requests"] == 0
    told = CliRunner().invoke(
        app, ["overshoot", "--rates", "0", "--trials", "1", "--out", str(tmp_path / "b")]
    )
    found = json.loads(told.stdout)["rates"][0]
    assert 0 < found["produced_to_refused"]["max_ms"] < 60_000


TOTALS = """
import json, sys
from sinks.clickhouse import connect
client = connect(sys.argv[1])
print(json.dumps([str(value) for value in client.query(
    "SELECT count(), uniq(tenant), sum(toInt128(cost_micro_usd) * 1000000 + residual_pico_usd),"
    " sum(arraySum(part -> toInt128(part), breakdown_pico_usd)) FROM ledger"
).result_rows[0]]))
"""


def said(*command: str) -> Any:
    """What a process of its own says, as JSON: a process has one embedded ledger."""
    return json.loads(subprocess.run([sys.executable, *command], capture_output=True, check=True).stdout)


def test_what_the_console_reads_is_measured_on_a_ledger_as_large_as_asked(tmp_path) -> None:
    asked = ["console", "--rows", "20000", "--tenants", "100", "--only", "overview", "--out", str(tmp_path)]
    reads = said("-c", "from cli.main import main; main()", "measure", *asked)["reads"]
    assert {"figures: month by day", "top tenants: month", "caps: who is next"} <= {
        one["read"] for one in reads
    }
    assert all(one["page"] == "Overview" and one["questions"] >= 1 for one in reads)
    rows, tenants, cost, parts = said("-c", TOTALS, f"chdb://{tmp_path}/ledger")
    assert (rows, tenants) == ("20000", "100")
    assert cost == parts
