"""Grafana's dashboards: the committed JSON is what the code gives, and every SQL panel shows something true."""

import json
import re
import time
from decimal import Decimal
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from dashboards.grafana.board import Sql
from dashboards.grafana.boards import BOARDS
from dashboards.grafana.build import to_json
from tests.grafana_macros import ALL, View
from tests.ledger_rows import event, insert_decisions, insert_events, insert_rejects

FOLDER = Path(__file__).parent.parent / "dashboards" / "grafana"
DAY_S = 86_400
AWKWARD = 'O\'Brien & "Söhne"'
QUERIES = sorted({q.name for b in BOARDS for p in b.panels for q in p.queries if isinstance(q, Sql)})
ROLLUP = [name for name in [*QUERIES, "tenants"] if "from the rollup" in Sql(name).text.splitlines()[0]]
every_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
every_query = pytest.mark.parametrize("name", [*QUERIES, "tenants"])


def view(*tenants: str, account: str = "acme") -> View:
    now = int(time.time())
    return View(now - DAY_S, now, 900, {"tenant": tenants or (ALL,), "account": (account,)})


@pytest.fixture
def filled(ledger):
    """A ledger of some hours: two tenants, each kind of row, rejects, decisions and what runs wrote down."""
    now, client = time.time(), ledger.client

    def at(hours):
        return {"occurred_at": _moment(now - hours * 3600), "ingested_at": _moment(now - hours * 3600)}

    parts = {"breakdown_sources": ["openai", "compute"], "breakdown_pico_usd": [2_000_000, 500_001]}
    insert_events(client, [event(2_500_001, **at(h), **parts, action="export") for h in range(1, 6)])
    insert_events(client, [event(9_000_000_000_001, tenant=AWKWARD, operation="x'; DROP", **at(2), **parts)])
    insert_events(client, [event(700, settlement="credit", **at(3)), event(400, settlement="free", **at(3))])
    insert_events(client, [event(0, pricing="unpriced", operation="unknown", **at(1))])
    moment = {"rejected_at": _moment(now - 600)}
    insert_rejects(client, [{**moment}, {**moment, "reason": "billing_period_locked"}])
    window = {"decided_at": _moment(now - 600), "window_start": _moment(now - now % DAY_S)}
    insert_decisions(client, [{**window}, {**window, "threshold_percent": 80, "tenant": AWKWARD}])
    client.command(f"INSERT INTO runs VALUES (1, {now - 900:.3f}, 't')")
    client.command(f"INSERT INTO progress VALUES (1, 0, 1, 't', 0, 0, 10, 9, 2, 1, 2, 0, {now - 600:.3f})")
    return ledger


def _moment(seconds):
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(seconds), UTC)


def ask(ledger, name, seen):
    answer = ledger.client.query(seen.sql(Sql(name).text))
    return [dict(zip(answer.column_names, row, strict=True)) for row in answer.result_rows]


@every_board
def test_the_json_is_what_the_code_gives(board):
    file = FOLDER / "json" / f"{board.uid}.json"
    assert file.read_text() == to_json(board), "run python -m dashboards.grafana, and commit what it writes"


def test_no_dashboard_is_left_over():
    assert {f.stem for f in (FOLDER / "json").iterdir()} == {board.uid for board in BOARDS}
    assert {f.stem for f in (FOLDER / "sql").iterdir()} == {*QUERIES, "tenants"}


@every_board
def test_a_dashboard_has_what_grafana_needs(board):
    made = json.loads(to_json(board))
    panels = [p for p in made["panels"] if p["type"] != "row"]
    assert [p["title"] for p in panels] == [p.title for p in board.panels]
    assert len({p["id"] for p in made["panels"]}) == len(made["panels"])
    for panel in panels:
        assert panel["targets"], panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
    variables = {v["name"] for v in made["templating"]["list"]} if made.get("templating") else set()
    used = set(re.findall(r"\$\{?(?!__)(\w+)", json.dumps(made["panels"])))
    assert used == variables, "a variable that is not declared, or not used"


@every_query
def test_a_panel_of_the_ledger_shows_something_and_exactly(filled, name):
    rows = ask(filled, name, view())
    assert rows, f"{name} shows nothing"
    assert any(value not in {None, ""} for row in rows for value in row.values())
    assert not any(isinstance(value, float) for row in rows for value in row.values()), "a binary float"
    bare = re.sub(r"--.*", "", Sql(name).text)
    assert "/" not in bare.replace("$", ""), "a division makes a binary float"
    assert "float" not in bare.lower()


@every_query
def test_a_panel_of_an_empty_ledger_is_no_error(ledger, name):
    assert len(ask(ledger, name, view())) <= 1


@pytest.mark.parametrize("name", [name for name in QUERIES if "conditionalAll" in Sql(name).text])
def test_a_panel_shows_only_the_tenants_that_are_chosen(filled, name):
    one = ask(filled, name, view(AWKWARD))
    assert one != ask(filled, name, view())
    assert one == ask(filled, name, view(AWKWARD, "nobody"))
    assert not any("acme" in row.values() for row in one)


def test_an_awkward_account_is_found_and_breaks_out_of_nothing(filled):
    rows = ask(filled, "account_principals", view(account=AWKWARD))
    assert [(row["principal"], row["usd"]) for row in rows] == [("ann", Decimal("9.000000000001"))]


@every_board
def test_a_chart_over_time_begins_with_the_time(filled, board):
    for panel in board.panels:
        for query in panel.queries:
            if isinstance(query, Sql) and panel.kind in {"series", "bars"}:
                answer = filled.client.query(view().sql(query.text))
                assert answer.column_names[0] == "time"
                assert answer.column_types[0].name.startswith("DateTime")


@pytest.mark.parametrize("name", ROLLUP)
def test_what_says_so_reads_the_rollup(filled, name):
    plan = filled.client.query(f"EXPLAIN indexes = 0 {view().sql(Sql(name).text)}").result_rows
    reads = [row[0].strip() for row in plan if "ReadFrom" in row[0]]
    assert reads
    assert all("by_quarter" in read for read in reads), reads


def test_the_figures_are_the_ledgers(filled):
    spend = 5 * 2_500_001 + 9_000_000_000_001 + 700
    (totals,) = ask(filled, "spend_totals", view())
    assert totals["in this range"] == Decimal(spend).scaleb(-12)
    tenants = ask(filled, "spend_top_tenants", view())
    assert [row["tenant"] for row in tenants] == [AWKWARD, "acme"]
    assert tenants[0]["usd"] == Decimal("9.000000000001")
    assert tenants[0]["micro_usd"] == 9_000_000
    over_time = ask(filled, "spend_over_time", view())
    assert sum(row["usd"] for row in over_time if row["settlement"] != "free") == Decimal(spend).scaleb(-12)
    (books,) = ask(filled, "ledger_conservation", view())
    assert set(books.values()) == {0}
    sources = {row["source"]: row["usd"] for row in ask(filled, "account_sources", view())}
    assert sources == {"openai": Decimal("0.00001"), "compute": Decimal("0.000002501105")}


def test_the_data_sources_are_those_that_the_dashboards_name():
    told = YAML(typ="safe").load((FOLDER / "provisioning/datasources/millrace.yml").read_text())
    sources = {source["uid"]: source["type"] for source in told["datasources"]}
    named = set()
    for board in BOARDS:
        text = json.loads(to_json(board))
        named |= {
            (t["datasource"]["uid"], t["datasource"]["type"])
            for p in text["panels"]
            for t in p.get("targets", [])
        }
    assert named == set(sources.items())
    assert told["apiVersion"] == 1
    for source in told["datasources"]:
        assert source["editable"] is False
        secrets = source.get("secureJsonData", {})
        assert all(re.fullmatch(r"\$[A-Z_]+", value) for value in secrets.values())


def test_the_dashboards_are_provisioned_from_their_folder():
    told = YAML(typ="safe").load((FOLDER / "provisioning/dashboards/millrace.yml").read_text())
    (provider,) = told["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
    assert provider["options"]["path"] == "/var/lib/millrace-dashboards"
