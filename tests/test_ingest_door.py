"""`POST /api/v1/events`: 204 when every event is durable, each refused one named, no false word without a log."""

import json
from concurrent.futures import Future
from dataclasses import replace

import pytest
from http_stage import ACME_KEY, BLIND_KEY, KEYS, SERVICE, bearer, make_stage, opened_store, token
from openmeter import Client
from openmeter.models import Event

from api.ingest import PATH, ingest_router
from api.ingest_metrics import IngestMetrics
from api.keys import KnownKey
from pipeline.catalog import default_catalog
from pipeline.decode import Decoder
from pipeline.errors import LogAwayError
from pipeline.formats.typed import load_types
from pipeline.intake import Intake, Judge
from pipeline.rating import Rater
from pipeline.spool_format import segments_in
from pipeline.strict import Rules
from sinks.spool import Spool, SpoolLimits

JSON, ONE, BATCH = "application/json", "application/cloudevents+json", "application/cloudevents-batch+json"
SUBJECT_KEY = "mrk_subject_0123"
TYPES = """
[types."api-calls"]
type = "compute"
[types."api-calls".data]
operation = { template = "{data.method} {data.path}" }
units = { column = "data.duration_ms" }
"""


class FailingLog:
    """A log that says no, at once or later, or never anything."""

    def __init__(self, mode):
        self.mode = mode

    def append(self, lines, arrived_at_ms, keys=()):
        done = Future()
        if self.mode == "at once":
            raise LogAwayError("away", 7)
        if self.mode == "later":
            done.set_exception(LogAwayError("away", 7))
        return done


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool", 1, SpoolLimits(room_bytes=0))
    yield spool
    spool.close()


@pytest.fixture
def stage(tmp_path, spool, monkeypatch):
    monkeypatch.setitem(KEYS, SUBJECT_KEY, KnownKey("s-1", "acme", frozenset({"ingest"}), True))
    (tmp_path / "types.toml").write_text(TYPES)
    judge = Judge(Decoder(Rules()), Rater(default_catalog()))
    with opened_store(tmp_path) as store:
        made = make_stage(store)
        router = ingest_router(
            Intake(judge, load_types(tmp_path / "types.toml")), IngestMetrics(), made.services.monotonic_ns
        )
        made = replace(made, services=replace(made.services, log=spool), routers=[router])
        yield made.with_settings(body_max=100_000)


def event(**more):
    return {
        "specversion": "1.0", "id": "1", "source": "s", "type": "compute", "data": {"operation": "ask"}, **more,
    }  # fmt: skip


def send(stage, body, credential=ACME_KEY, kind=JSON, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return stage.client().post(
        PATH, content=content, headers={"Content-Type": kind, **bearer(credential), **headers}
    )


def stored(spool):
    text = b"".join(segment.path.read_bytes() for segment in segments_in(spool.folder))
    return [json.loads(line) for line in text.splitlines() if not line.startswith(b"#")]


@pytest.mark.parametrize(
    ("kind", "body"), [(ONE, event()), (BATCH, [event()]), (JSON, event()), (JSON, [event()])]
)
def test_an_event_or_a_batch_is_taken_in_each_of_its_types(stage, spool, kind, body):
    answer = send(stage, body, kind=f"{kind}; charset=utf-8")
    assert (answer.status_code, answer.content) == (204, b"")
    assert stored(spool) == [event(tenant="acme")]


def test_each_refused_event_is_named_and_all_others_are_durable_before_the_answer(stage, spool):
    answer = send(
        stage, [event(id="a"), event(id="b", tenant="evil"), 5, event(id="c"), event(id="d", type="x")]
    )
    told = answer.json()
    assert answer.status_code == 422
    assert (told["code"], told["accepted"]) == ("invalid_events", 2)
    assert [(one["index"], one["id"], one["reason"]) for one in told["refused"]] == [
        (1, "b", "tenant_not_yours"), (2, "", "not_an_object"), (4, "d", "unknown_type"),
    ]  # fmt: skip
    assert all(one["detail"] for one in told["refused"])
    assert [one["id"] for one in stored(spool)] == ["a", "c"]


def test_a_service_names_tenants_and_a_key_may_take_them_from_the_subject(stage, spool):
    assert send(stage, [event(tenant="a"), event(tenant="b")], token(SERVICE)).status_code == 204
    assert send(stage, event(), token(SERVICE)).json()["refused"][0]["reason"] == "missing_attribute"
    assert send(stage, event(subject="amy"), SUBJECT_KEY).status_code == 204
    assert [one["tenant"] for one in stored(spool)] == ["a", "b", "amy"]


@pytest.mark.parametrize(
    ("body", "kind", "credential", "headers", "status", "code"),
    [
        (event(), "text/plain", ACME_KEY, {}, 415, "unsupported_media_type"),
        (event(), JSON, ACME_KEY, {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        (event(), JSON, BLIND_KEY, {}, 403, "missing_scope"),
        (event(), JSON, "mrk_unknown", {}, 401, "unauthenticated"),
        (b'[{"id":"1"', JSON, ACME_KEY, {}, 400, "malformed_request"),
        (b"[" + b"1," * 10_000 + b"1]", JSON, ACME_KEY, {}, 413, "body_too_large"),
        (b" " * 100_001, JSON, ACME_KEY, {}, 413, "body_too_large"),
    ],
)
def test_what_is_no_batch_of_events_stores_nothing(
    stage, spool, body, kind, credential, headers, status, code
):
    answer = send(stage, body, credential, kind, **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert stored(spool) == []


@pytest.mark.parametrize("mode", ["at once", "later"])
def test_a_log_that_is_away_is_429_and_says_when_to_come_again(stage, mode):
    stage = replace(stage, services=replace(stage.services, log=FailingLog(mode)))
    answer = send(stage, event())
    assert (answer.status_code, answer.json()["code"]) == (429, "log_unavailable")
    assert answer.headers["retry-after"] == "7"


def test_a_log_that_says_nothing_is_429_after_a_while_and_never_204(stage, monkeypatch):
    monkeypatch.setattr("api.ingest._WAIT_S", 0.2)
    stage = replace(stage, services=replace(stage.services, log=FailingLog("never")))
    answer = send(stage, event())
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


def test_a_process_without_a_log_takes_nothing(stage):
    answer = send(replace(stage, services=replace(stage.services, log=None)), event())
    assert answer.status_code == 429


def test_a_full_disk_is_429(stage, tmp_path):
    full = Spool(tmp_path / "full", 1, SpoolLimits(room_bytes=1 << 60))
    answer = send(replace(stage, services=replace(stage.services, log=full)), event())
    assert (answer.status_code, answer.json()["code"]) == (429, "log_unavailable")
    assert stored(full) == []
    full.close()


def test_the_door_shows_what_it_took_and_refused(tmp_path, spool):
    metrics = IngestMetrics(spool.waiting_bytes)
    metrics.appended(3, 0.02)
    metrics.refused(["invalid_data", "invalid_data", "unreadable"])
    text = metrics.text().decode()
    assert "millrace_ingest_events_total 3.0" in text
    assert 'millrace_ingest_refused_total{reason="invalid_data"} 2.0' in text
    assert "millrace_ingest_waiting_bytes 0.0" in text


def test_the_published_client_of_openmeter_sends_unchanged(stage, spool):
    """Its models, its types, its data: one event, a list, and the same as plain JSON."""
    usages = [
        Event(
            id=f"n{n}", source="service-0", type="api-calls", subject="customer-1", specversion="1.0",
            data={"duration_ms": "123", "method": "GET", "path": "/hello", "note": "ünï"},
        )
        for n in range(3)
    ]  # fmt: skip
    with stage.served() as port:
        client = Client(endpoint=f"http://127.0.0.1:{port}", token=SUBJECT_KEY)
        client.events.ingest_event(usages[0])
        client.events.ingest_events(usages)
        client.events.ingest_events_json(usages[1])
        client.close()
    found = stored(spool)
    assert [one["id"] for one in found] == ["n0", "n0", "n1", "n2", "n1"]
    assert {(one["tenant"], one["subject"], one["type"]) for one in found} == {
        ("customer-1", "customer-1", "compute")
    }
    assert found[0]["data"] == {"operation": "GET /hello", "units": 123}


def test_the_document_of_the_door_is_complete(stage):
    route = stage.client().get("/openapi.json").json()["paths"][PATH]["post"]
    assert {"204", "400", "401", "403", "408", "413", "415", "422", "429", "500", "503"} <= set(
        route["responses"]
    )
    assert set(route["requestBody"]["content"]) == {ONE, BATCH, JSON}
    assert "Retry-After" in route["responses"]["429"]["headers"]
