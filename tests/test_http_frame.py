"""The frame around every request: bodies and heads within limits, headers, problems, logs without secrets."""

import contextlib
import http.client
import json
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from http_stage import ACME_KEY, SERVICE, bearer, make_stage, opened_store, token, trial_router

from api.problems import PROBLEMS, Code, Problem, answer, problem_of
from pipeline.errors import LedgerAwayError, StoreError, UsageError

BODY_MAX = 1000


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with opened_store(tmp_path_factory.mktemp("control")) as store:
        yield make_stage(store, more=[trial_router()])


@pytest.fixture(scope="module")
def port(stage):
    with stage.served(head_timeout_s=1) as port:
        yield port


def talk(port: int, *pieces: bytes, pause_s: float = 0, patience_s: float = 10) -> bytes:
    """Send pieces as they are, and give all that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as line:
        for piece in pieces:
            line.sendall(piece)
            time.sleep(pause_s)
        heard = b""
        while more := line.recv(65536):
            heard += more
        return heard


def post_head(size: int | None, *more: str) -> bytes:
    length = "Transfer-Encoding: chunked" if size is None else f"Content-Length: {size}"
    return "\r\n".join(["POST /trial/echo HTTP/1.1", "Host: x", length, *more, "", ""]).encode()


def test_a_body_within_the_limit_arrives_whole(stage):
    client = stage.client()
    assert client.post("/trial/echo", content=b"x" * BODY_MAX).json() == {"size": BODY_MAX}
    assert client.post("/trial/echo", content=iter([b"x" * 600, b"y" * 400])).json() == {"size": BODY_MAX}
    assert client.post("/trial/echo").json() == {"size": 0}


def test_a_body_beyond_the_limit_is_refused_by_its_declared_length_without_being_read(port):
    begun = time.monotonic()
    heard = talk(port, post_head(100 * 1024 * 1024, "Expect: 100-continue"))
    assert heard.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in heard
    assert json.loads(heard.partition(b"\r\n\r\n")[2])["limit"] == BODY_MAX
    assert time.monotonic() - begun < 2


def test_a_client_that_sends_a_hundred_megabytes_all_the_same_gets_its_answer(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    pieces = (b"x" * (1 << 20) for _ in range(100))
    with contextlib.suppress(
        BrokenPipeError, ConnectionResetError
    ):  # closed while it sent: the answer is there
        connection.request("POST", "/trial/echo", body=pieces, headers={"Content-Length": str(100 << 20)})
    response = connection.getresponse()
    assert (response.status, response.headers["connection"]) == (413, "close")
    assert json.loads(response.read())["code"] == "body_too_large"
    connection.close()


def test_chunks_are_counted_as_they_come(port):
    chunk = b"190\r\n" + b"x" * 400 + b"\r\n"
    heard = talk(port, post_head(None), chunk, chunk, chunk, b"0\r\n\r\n")
    assert heard.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_dribbles_is_given_up(port):
    begun = time.monotonic()
    heard = talk(port, post_head(500), b"x", b"x", pause_s=0.1)
    assert heard.startswith(b"HTTP/1.1 408 ")
    assert json.loads(heard.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"
    assert time.monotonic() - begun < 5


def test_a_head_that_dribbles_is_given_up(port):
    heard = talk(port, b"GET /healthz HTTP/1.1\r\n", b"X-A: 1\r\n", b"X-B: 2\r\n", pause_s=0.1)
    assert heard.startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_says_nothing_is_closed(port):
    assert talk(port) == b""


def test_a_head_that_never_ends_is_given_up(port):
    heard = talk(port, b"GET /healthz HTTP/1.1\r\n", *[b"X-A: " + b"x" * 30_000 + b"\r\n"] * 3)
    assert heard.startswith(b"HTTP/1.1 431 ")


def test_a_second_request_on_a_connection_has_its_own_time(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok\n"
    line = connection.sock
    line.sendall(b"GET /healthz HTTP/1.1\r\n")
    assert line.recv(1000).startswith(b"HTTP/1.1 408 ")
    connection.close()


def test_others_are_served_while_slow_ones_hang(port):
    slow = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(50)]
    for line in slow:
        line.sendall(post_head(500))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    for line in slow:
        line.close()


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-123", True), ("x" * 129, False), ("with space", False), ("<script>", False), ("", False)],
)
def test_a_request_id_comes_back_if_it_is_one(stage, given, kept):
    response = stage.client().get("/trial/service", headers={"X-Request-Id": given})
    assert (response.headers["x-request-id"] == given) is kept
    assert response.json()["requestId"] == response.headers["x-request-id"] != ""


def test_every_answer_has_the_security_headers(stage):
    client = stage.client()
    for response in (
        client.get("/healthz"),
        client.get("/nothing"),
        client.post("/trial/echo", content=b"x" * 2000),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "server" not in response.headers
    assert client.get("/nothing").headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("GET", "/trial/service", 401, "unauthenticated"),
        ("GET", "/trial/fail", 422, "invalid_request"),
    ],
)
def test_what_goes_wrong_is_a_problem_with_a_code(stage, method, path, status, code):
    response = stage.client().request(method, path)
    assert response.headers["content-type"] == "application/problem+json"
    said = response.json()
    assert (response.status_code, said["status"], said["code"]) == (status, status, code)
    assert said["type"] == f"urn:millrace:problem:{code}"
    assert {"title", "detail", "requestId"} <= said.keys()


def test_what_nobody_foresaw_tells_nothing_but_its_request_id(stage):
    with structlog.testing.capture_logs() as logged:
        response = stage.client().get(
            "/trial/fail", params={"secret": "hunter2"}, headers={"X-Request-Id": "r-1"}
        )
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "hunter2" not in response.text
    assert response.headers["x-request-id"] == "r-1"
    assert ("request_failed", "r-1") in [(line["event"], line["request_id"]) for line in logged]


def test_no_credential_and_no_body_reach_the_log(stage):
    good = token(SERVICE)
    with structlog.testing.capture_logs() as logged:
        client = stage.with_settings(logs_requests=True).client()
        client.get("/trial/service", headers=bearer(good))
        client.get("/trial/tenant", headers=bearer(ACME_KEY))
        client.get("/trial/tenant", headers=bearer("mrk_wrong_5ecret"))
        client.get("/trial/service", headers=bearer("b4d.t0ken.x"), params={"api_key": "5ecret-query"})
        client.post("/trial/echo", content=b"5ecret-body", headers={"Cookie": "5ecret-cookie"})
    text = json.dumps(logged)
    assert [line["status"] for line in logged] == [200, 200, 401, 401, 200]
    assert [line["caller"] for line in logged][:2] == ["service:loa-finn", "key:acme-1"]
    for secret in (good, ACME_KEY, "mrk_wrong", "b4d.t0ken", "5ecret"):
        assert secret not in text


def test_requests_are_counted_by_route_and_not_by_path(stage):
    client = stage.client()
    client.get("/nothing/1")
    client.get("/nothing/2")
    client.get("/trial/service", headers=bearer(token(SERVICE)))
    text = client.get("/metrics").text
    assert 'millrace_http_requests_total{method="GET",route="/trial/service",status="200"}' in text
    assert 'route="(none)",status="404"' in text
    assert "/nothing" not in text


def test_health_is_told_with_what_is_wrong(stage):
    assert stage.client().get("/healthz").text == "ok\n"
    assert stage.client().get("/readyz").text == "ok\n"
    sick = replace(stage, services=replace(stage.services, sick=lambda: ["spool-0: 7 records wait"]))
    for path in ("/healthz", "/readyz"):
        response = sick.client().get(path)
        assert (response.status_code, response.text) == (503, "spool-0: 7 records wait\n")
    early = replace(stage, services=replace(stage.services, is_ready=lambda: False))
    assert (early.client().get("/healthz").status_code, early.client().get("/readyz").status_code) == (
        200,
        503,
    )


def test_every_code_is_in_the_reference_beside_its_status():
    rows = (Path(__file__).parent.parent / "docs/http.md").read_text().splitlines()
    for code, kind in PROBLEMS.items():
        row = next((row for row in rows if row.startswith("| ") and f"`{code}`" in row), "")
        assert row, code
        assert str(kind.status) in row.split("|")[1], code


def test_every_code_has_its_row_and_every_row_its_code():
    assert set(PROBLEMS) == set(Code)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            StoreError("the control store postgresql://user:***@host cannot be used: secret words"),
            "store_unavailable",
        ),
        (LedgerAwayError("the ledger at x does not answer"), "ledger_unavailable"),
        (UsageError("x"), "internal_error"),
        (ZeroDivisionError("x"), "internal_error"),
    ],
)
def test_an_error_of_the_domain_becomes_its_problem_without_its_words(error, code):
    problem = problem_of(error)
    assert problem.code == code
    assert str(error) not in answer(problem, "r").body.decode()


def test_a_problem_that_is_to_be_tried_again_says_when():
    assert answer(Problem(Code.STORE_UNAVAILABLE), "r").headers["retry-after"] == "1"
    assert answer(Problem(Code.LOG_UNAVAILABLE, retry_after_s=7), "r").headers["retry-after"] == "7"
    assert "retry-after" not in answer(Problem(Code.CAP_EXCEEDED), "r").headers
