"""The HTTP route of webhooks, and what is shown to Prometheus."""

import asyncio
import json

import pytest
import structlog
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select
from stripe_double.stage import HOUR, NOON
from test_stripe_webhooks import SECRET, signed

from api.webhooks import PATH, make_app
from billing.tables import provider_events
from billing.webhooks import BODY_MAX
from cli import stripe_webhooks
from cli.stripe_metrics import StripeMetrics
from cli.stripe_webhooks import read_secrets, taker
from pipeline.errors import StoreError, UsageError
from sinks.stripe_fake_http import Fault

pytest_plugins = ["stripe_double.fixtures"]
EVENT = {"id": "evt_1", "type": "invoice.created", "created": NOON, "api_version": "2020-01-01"}


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.fixture
def client(stage, monkeypatch):
    monkeypatch.setattr(stripe_webhooks, "now", stage.time)
    metrics = StripeMetrics(stage.store, stage.time)
    with TestClient(make_app(taker(stage.store, [SECRET]), metrics.text)) as client:
        yield client


def stored(stage):
    with stage.store.read() as connection:
        return connection.execute(select(func.count()).select_from(provider_events)).scalar_one()


def post(client, body, header, **more):
    return client.post(PATH, content=body, headers={"stripe-signature": header, **more})


def test_a_signed_event_is_in_the_store_when_it_is_acknowledged(client, stage):
    body, header = signed(EVENT, NOON)
    answer = post(client, body, header)
    assert (answer.status_code, answer.json(), stored(stage)) == (200, {"detail": "stored"}, 1)
    again = post(client, *signed(EVENT, NOON + 1))
    assert (again.status_code, again.json(), stored(stage)) == (200, {"detail": "known already"}, 1)


@pytest.mark.parametrize(
    ("body", "header", "more", "status"),
    [
        (b"", "", {}, 400),
        (b"{}", "", {}, 400),
        (b"{}", f"t={NOON},v1=00", {}, 400),
        (signed(EVENT, NOON)[0] + b" ", signed(EVENT, NOON)[1], {}, 400),
        (*signed(EVENT, NOON + 301), {}, 400),
        (*signed(EVENT, NOON - 301), {}, 400),
        (*signed(EVENT, NOON, "whsec_other"), {}, 400),
        (*signed([1], NOON), {}, 400),
        (*signed(EVENT, NOON), {"content-encoding": "gzip"}, 400),
        (b"x" * (BODY_MAX + 1), "", {}, 413),
    ],
)
def test_nothing_else_is_stored(client, stage, body, header, more, status):
    assert post(client, body, header, **more).status_code == status
    assert stored(stage) == 0


def test_a_body_without_an_end_is_read_up_to_the_limit_and_no_further():
    taken, sent = [], []

    async def receive():
        taken.append(65536)
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": [], "query_string": b""}
    asyncio.run(make_app(lambda _body, _signature: None)(scope, receive, send))
    assert sent[0]["status"] == 413
    assert BODY_MAX < sum(taken) <= BODY_MAX + 65536


def test_a_store_that_cannot_be_used_is_not_an_acknowledgement():
    def take(_body, _signature):
        raise StoreError("the disk is full")

    with TestClient(make_app(take)) as client:
        answer = post(client, b"{}", "")
    assert (answer.status_code, "disk" in answer.text) == (503, False)


def test_there_is_nothing_but_the_routes_that_are_named(client):
    assert client.get(PATH).status_code == 405
    assert {path: client.get(path).status_code for path in ("/", "/docs", "/openapi.json", "/healthz")} == {
        "/": 404,
        "/docs": 404,
        "/openapi.json": 404,
        "/healthz": 200,
    }


@pytest.mark.parametrize("text", ["", "sk_test_1", "whsec_a,nonsense"])
def test_without_a_signing_secret_nothing_is_served(monkeypatch, text):
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", text)
    with pytest.raises(UsageError, match="STRIPE_WEBHOOK_SECRET must hold"):
        read_secrets()


def test_two_secrets_hold_while_they_are_rolled(monkeypatch):
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", "whsec_a, whsec_b")
    assert read_secrets() == ["whsec_a", "whsec_b"]


def shown(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_metrics_tell_what_is_unknown_since_when_and_the_difference(client, stage):
    before = shown(client)
    assert before["millrace_stripe_reports", "unknown"] == 0
    assert before["millrace_stripe_ledger_lag_seconds",] == -1
    stage.add_tenant("acme")
    stage.ledger.add("acme", NOON - 3 * HOUR, 7)
    stage.plan()
    stage.next_fault(Fault.DROP_AFTER)
    stage.push()
    stage.time.now += 100
    told = shown(client)
    assert told["millrace_stripe_reports", "unknown"] == 1
    assert told["millrace_stripe_units", "unknown"] == 7
    assert told["millrace_stripe_oldest_unresolved_age_seconds",] == 100
    assert told["millrace_stripe_ledger_lag_seconds",] == 2 * HOUR + 100
    stage.reconcile()
    stage.account.events[0].value += 5
    stage.reconcile(full=True)
    after = shown(client)
    assert after["millrace_stripe_reports", "verified"] == 1
    assert after["millrace_stripe_difference_units",] == 5
    assert after["millrace_stripe_oldest_unresolved_age_seconds",] == 0


def test_metrics_tell_when_the_account_speaks_another_version(client, stage):
    assert shown(client)["millrace_stripe_api_version_drift",] == 0
    post(client, *signed(EVENT, NOON))
    assert shown(client)["millrace_stripe_api_version_drift",] == 1
    same = {**EVENT, "id": "evt_2", "api_version": "2026-10-28.endive"}
    stage.time.now += 1
    post(client, *signed(same, NOON + 1))
    assert shown(client)["millrace_stripe_api_version_drift",] == 0
    assert shown(client)["millrace_stripe_events_waiting",] == 2


def test_every_metric_says_what_it_means(client):
    lines = client.get("/metrics").text.splitlines()
    named = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    helped = {line.split()[2] for line in lines if line.startswith("# HELP") and len(line.split()) > 5}
    assert named == helped
    assert len(named) >= 12


def test_the_body_of_an_event_is_not_logged(client):
    seen = []
    structlog.configure(
        processors=[lambda _l, _n, event: seen.append(event) or (_ for _ in ()).throw(structlog.DropEvent)]
    )
    body, header = signed({**EVENT, "data": "secret-name"}, NOON)
    post(client, body, header)
    assert "secret-name" not in json.dumps(seen)
    assert seen[0]["event_id"] == "evt_1"
