"""The way that requests for the quick routes take: past FastAPI, with the same answers as through it."""

import asyncio
from concurrent.futures import Future

import pytest
from fastapi.testclient import TestClient
from http_stage import ACME_KEY, BLIND_KEY, SERVICE, bearer, make_stage, opened_store, token

from api.billing import router as caps_router
from api.internal import router as internal_router
from billing.accounts import Change, add
from billing.asks import Authorize, Caller
from billing.audit import By
from billing.book import Piece
from pipeline.errors import StoreError

KEY = bearer(ACME_KEY)
QUICK = (
    "/api/billing/authorize",
    "/api/billing/reservations",
    "/api/billing/settlements",
    "/api/internal/billing/finalize",
)
VARIES = {"x-request-id", "ratelimit-remaining", "x-payment-deduped", "content-length"}


@pytest.fixture
def stage(tmp_path):
    with opened_store(tmp_path) as store:
        add(store, "acme", Change(daily_limit="0.001"), By("test", 0))
        stage = make_stage(store, more=[caps_router, internal_router], has_caps=True)
        yield stage
        stage.services.caps.close()


def test_all_that_is_asked_often_goes_past_fastapi(stage):
    assert sorted(stage.app.frame._direct) == sorted(("POST", path) for path in QUICK)


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        (QUICK[0], KEY, b'{"estimatedMicro": "400"}'),
        (QUICK[0], KEY, b'{"estimatedMicro": "4000"}'),
        (QUICK[0], KEY | {"Idempotency-Key": "k"}, b'{"estimatedMicro": 4}'),
        (QUICK[0], KEY | {"Idempotency-Key": " "}, b'{"estimatedMicro": 4}'),
        (QUICK[0], KEY, b'{"estimatedMicro": 4, "more": 1}'),
        (QUICK[0], KEY, b'{"estimatedMicro": '),
        (QUICK[0], KEY, b""),
        (QUICK[0], KEY | {"Content-Type": "text/plain"}, b'{"estimatedMicro": 4}'),
        (QUICK[0], {}, b'{"estimatedMicro": 4}'),
        (QUICK[0], bearer(BLIND_KEY), b'{"estimatedMicro": 4}'),
        (QUICK[0] + "?a=1&a=2", KEY, b'{"estimatedMicro": 4}'),
        (QUICK[1], KEY, b'{"amountMicro": 4, "expiresInS": 100000}'),
        (QUICK[2], KEY, b'{"amountMicro": "4"}'),
        (QUICK[3], bearer(token(SERVICE)), b'{"reservationId": "none", "actualCostMicro": "4"}'),
        (QUICK[3], KEY, b'{"reservationId": "none", "actualCostMicro": "4"}'),
    ],
)
def test_an_answer_is_the_same_as_through_fastapi(stage, path, headers, body):
    frame = stage.app.frame
    given = {"Content-Type": "application/json"} | headers
    found = []
    for direct in (frame._direct, {}):
        frame._direct = direct
        found.append(stage.client().post(path, content=body, headers=given))
    quick, usual = found
    assert quick.status_code == usual.status_code
    as_json = [{k: v for k, v in one.json().items() if k != "requestId"} for one in found]
    assert as_json[0] == as_json[1]
    as_headers = [{k: v for k, v in one.headers.items() if k not in VARIES} for one in found]
    assert as_headers[0] == as_headers[1]


def test_another_method_is_told_so_and_the_route_is_counted(stage):
    client = stage.client()
    assert client.get(QUICK[0]).json()["code"] == "method_not_allowed"
    client.post(QUICK[0], json={"estimatedMicro": 4}, headers=KEY)
    counted = 'millrace_http_requests_total{method="POST",route="/api/billing/authorize",status="200"} 1.0'
    assert counted in client.get("/metrics").text


def test_what_nobody_foresaw_is_a_problem_that_tells_nothing(stage, monkeypatch):
    def put(_piece, _tell):
        raise RuntimeError("secret")

    monkeypatch.setattr(stage.services.caps, "put", put)
    answer = TestClient(stage.app, raise_server_exceptions=False).post(
        QUICK[0], json={"estimatedMicro": 4}, headers=KEY
    )
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


def test_who_asked_and_is_gone_takes_no_other_along(stage):
    """The loop of a request may be closed, or its future cancelled, before the outcome comes."""
    caps = stage.services.caps
    loop = asyncio.new_event_loop()
    loop.close()
    gone: Future = Future()
    gone.cancel()
    piece = Piece(Authorize("acme", 1), Caller(), None)
    caps.put(piece, lambda outcome, error: loop.call_soon_threadsafe(print, outcome, error))
    caps.put(piece, lambda outcome, _error: gone.set_result(outcome))
    assert caps.ask(Authorize("acme", 1)).result(9).is_ok
    caps.close()
    told = []
    caps.put(piece, lambda outcome, error: told.append((outcome, error)))
    assert told[0][0] is None
    assert isinstance(told[0][1], StoreError)
