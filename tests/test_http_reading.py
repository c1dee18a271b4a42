"""What a tenant reads: pools, history page by page, prices that are always there, usage of the ledger."""

from dataclasses import replace

import pytest
from http_stage import ACME_KEY, NOW_S, OTHER_KEY, SERVICE, bearer, make_stage, opened_store, token

from api.pricing import pricing_router
from billing.asks import Caller, Reserve, Settle
from billing.audit import By
from billing.credits import mint
from billing.store import open_store
from pipeline.catalog import load_catalog
from pipeline.errors import ConfigError, LedgerAwayError

SQL = "acme' OR 1=1; DROP TABLE tenants; --"


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    with opened_store(tmp_path_factory.mktemp("control")) as store:
        stage = make_stage(store, has_caps=True)
        caps, by = stage.services.caps, By("test", NOW_S * 1000)
        mint(store, "acme", 900, key="a", pool="main", by=by, random_hex=stage.services.random_hex)
        mint(store, "acme", 70, key="b", pool="spare", by=by, random_hex=stage.services.random_hex)
        mint(store, "other", 5, key="a", pool="main", by=by, random_hex=stage.services.random_hex)
        for number in range(12):
            caps.ask(Settle("acme", 10 + number, key=f"s-{number}"), Caller("test")).result(10)
        caps.ask(Reserve("acme", 33), Caller("test")).result(10)
        yield stage
        caps.close()


@pytest.fixture
def stage(standing):
    standing.ledger.answers.clear()
    standing.ledger.asked.clear()
    return standing


def get(stage, path, key=ACME_KEY, **params):
    return stage.client().get(f"/api/billing/{path}", headers=bearer(key), params=params)


def test_a_balance_is_the_tenants_pools_as_text(stage):
    said = get(stage, "balance").json()
    assert (said["tenant"], said["total"]) == ("acme", "970")
    assert [(pool["poolId"], pool["balance"], pool["available"]) for pool in said["pools"]] == [
        ("main", "900", "900"),
        ("spare", "70", "70"),
    ]
    assert get(stage, "balance", poolId="spare").json()["total"] == "70"
    assert get(stage, "balance", OTHER_KEY).json()["total"] == "5"


def test_history_is_newest_first_in_pages_that_join_without_a_gap(stage):
    whole = get(stage, "history", limit=100).json()
    numbers = [int(entry["id"]) for entry in whole["entries"]]
    assert numbers == sorted(numbers, reverse=True)
    assert whole["total"] == len(numbers) == 15
    assert whole["entries"][0]["entryType"] == "reserve"
    joined, cursor = [], None
    while True:
        page = get(stage, "history", limit=4, **({"cursor": cursor} if cursor else {})).json()
        joined += page["entries"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert joined == whole["entries"]
    assert get(stage, "history", limit=5, offset=5).json()["entries"] == whole["entries"][5:10]


def test_history_can_be_asked_for_one_type_and_pool(stage):
    assert {e["entryType"] for e in get(stage, "history", entryType="settle").json()["entries"]} == {"settle"}
    minted = get(stage, "history", poolId="spare", entryType="mint").json()
    assert [entry["amount"] for entry in minted["entries"]] == ["70"]


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 101},
        {"offset": -1},
        {"cursor": "x"},
        {"cursor": "1;2"},
        {"entryType": "theft"},
    ],
)
def test_history_refuses_what_is_out_of_bounds(stage, params):
    response = get(stage, "history", **params)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


def test_a_page_has_fifty_by_default(stage):
    assert get(stage, "history").json()["limit"] == 50


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("balance", {"tenant": SQL}),
        ("history", {"tenant": SQL}),
        ("usage", {"tenant": SQL}),
        ("balance", {"tenant": "acme", "poolId": "main' OR '1'='1"}),
        ("history", {"tenant": "acme", "poolId": "main' OR '1'='1"}),
    ],
)
def test_an_id_that_carries_sql_is_an_id_and_nothing_more(stage, path, params):
    response = get(stage, path, token(SERVICE), **params)
    assert response.status_code == 200
    assert response.json().get("total", 0) in {0, "0"}
    assert response.json().get("entries", []) == response.json().get("lines", []) == []
    assert get(stage, "balance").json()["total"] == "970"


def test_sql_reaches_the_ledger_as_a_bound_parameter(ledger, stage, monkeypatch):
    from cli.ledger_reader import LedgerReader

    real = replace(stage, services=replace(stage.services, ledger=LedgerReader(ledger.url)))
    for by in ("principal", "operation", "source", "day"):
        response = get(real, "usage", token(SERVICE), tenant=SQL, by=by)
        assert (response.status_code, response.json()["lines"]) == (200, [])


def test_usage_is_what_the_ledger_says_exactly(stage):
    stage.ledger.answers["spend_by_operation"] = [
        {
            "operation": "ask",
            "events": 3,
            "cost_micro_usd": 2**62,
            "residual_pico_usd": 450_000,
            "cost_usd": "x",
        },
        {"operation": "GET /", "events": 1, "cost_micro_usd": 0, "residual_pico_usd": 1, "cost_usd": "x"},
    ]
    said = get(stage, "usage", by="operation", **{"from": "2026-11-01T00:00:00+01:00"}).json()
    assert said["lines"][0] == {"key": "ask", "events": 3, "cost": str(2**62), "residualPicoUsd": "450000"}
    assert (said["from"], said["to"], said["isComplete"]) == ("2026-10-31T23:00:00.000Z", None, True)
    assert stage.ledger.asked == [
        ("spend_by_operation", {"tenant": "acme", "from": "2026-10-31T23:00:00.000Z"})
    ]
    assert get(stage, "usage", by="operation", limit=1).json()["isComplete"] is False


def test_days_are_asked_for_whole(stage):
    get(stage, "usage", by="day", **{"from": "2026-11-01T12:00:00Z", "to": "2026-11-03T00:00:00Z"})
    assert stage.ledger.asked == [
        ("spend_by_day", {"tenant": "acme", "zone": "UTC", "from": "2026-11-01", "to": "2026-11-03"})
    ]


@pytest.mark.parametrize(
    "moment", ["yesterday", "2026-11-01", "2026-11-01T00:00:00", "1999-01-01T00:00:00Z", ""]
)
def test_a_moment_has_its_offset(stage, moment):
    assert get(stage, "usage", **{"from": moment}).status_code == 422


def test_a_ledger_that_is_away_or_was_never_named_is_told(stage):
    class Away:
        def rows(self, query, params):
            raise LedgerAwayError("the ledger at http://secret-host:8123 does not answer")

    for reader in (Away(), None):
        away = replace(stage, services=replace(stage.services, ledger=reader))
        response = get(away, "usage")
        assert (response.status_code, response.json()["code"]) == (503, "ledger_unavailable")
        assert "secret-host" not in response.text


PRICES = """
version = "v7"
effective_from = 2026-01-01T00:00:00Z
[kinds.traffic]
components = [{ source = "egress", basis = "per-mb", micro_usd = "90", quantity = "bytes" }]
[operations.ask]
components = [
  { source = "compute", basis = "per-call", micro_usd = "50" },
  { source = "openai", basis = "per-1k-tokens", micro_usd = "16.666" },
]
settlement = { method = "credit", credits = 10 }
"""


def with_prices(stage, **changes):
    """A stage of its own, whose pricing has read nothing yet."""
    return replace(stage, services=replace(stage.services, **changes), routers=[pricing_router()])


def test_pricing_is_public_and_of_the_catalog_in_force(stage, tmp_path):
    (tmp_path / "prices.toml").write_text(PRICES)
    priced = with_prices(stage, catalog=lambda: load_catalog(tmp_path / "prices.toml"))
    said = priced.client().get("/api/billing/pricing").json()
    assert (said["catalogVersion"], said["effectiveFrom"]) == ("v7", "2026-01-01T00:00:00.000Z")
    assert (said["pools"], said["mode"], said["pricesFrom"]) == (
        ["default", "main", "spare"],
        "live",
        "current",
    )
    ask = next(price for price in said["prices"] if price["operation"] == "ask")
    assert (ask["type"], ask["settlement"], ask["credits"]) == (None, "credit", "10")
    assert ask["rates"][1] == {
        "source": "openai", "basis": "per-1k-tokens", "quantity": "usage.openai", "microUsd": "16.666",
    }  # fmt: skip
    traffic = next(price for price in said["prices"] if price["operation"] is None)
    assert (traffic["type"], traffic["rates"][0]["quantity"]) == ("traffic", "bytes")


def test_pricing_answers_from_its_last_copy_when_stores_go_away(stage, tmp_path):
    (tmp_path / "prices.toml").write_text(PRICES)
    store = open_store(f"sqlite:///{tmp_path}/own/control.db")
    client = with_prices(stage, store=store, catalog=lambda: load_catalog(tmp_path / "prices.toml")).client()
    before = client.get("/api/billing/pricing").json()
    (tmp_path / "prices.toml").unlink()
    store.close()
    for file in (tmp_path / "own").iterdir():
        file.unlink()
    (tmp_path / "own").rmdir()
    after = client.get("/api/billing/pricing").json()
    assert (after.pop("pricesFrom"), after.pop("accountsFrom")) == ("last_copy", "last_copy")
    assert after == {
        name: value for name, value in before.items() if not name.endswith("From") or name == "effectiveFrom"
    }


def test_pricing_answers_when_there_has_never_been_a_store(stage):
    def wrong():
        raise ConfigError("prices.toml:1: no")

    store = open_store("postgresql://nobody:nothing@127.0.0.1:1/none", may_be_away=True)
    client = with_prices(stage, store=store, catalog=wrong).client()
    said = client.get("/api/billing/pricing").json()
    assert (said["pricesFrom"], said["accountsFrom"]) == ("defaults", "defaults")
    assert (said["catalogVersion"], said["pools"], said["mode"]) == ("default", ["default"], "live")
    store.close()
