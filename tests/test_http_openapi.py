"""The OpenAPI document: complete, true, and with examples that run."""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
import schemathesis
from http_stage import ACME_KEY, ADMIN, SERVICE, bearer, make_stage, opened_store, token
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.admin import router as admin_router
from api.billing import router as caps_router
from api.ingest import ingest_router
from api.ingest_metrics import IngestMetrics
from api.internal import router as internal_router
from api.limits import Limit
from api.webhooks import PATH as STRIPE_PATH
from api.webhooks import stripe_router
from billing.webhooks import Receipt
from cli.running import RunOptions
from cli.serving_flow import make_intake

CREDENTIALS = {"tenantKey": ACME_KEY, "serviceToken": token(SERVICE), "adminToken": token(ADMIN)}
METHODS = ("get", "put", "post", "patch", "delete")
NUMBERS = itertools.count(1)
OFTEN = dict.fromkeys(Limit, "1000000/minute")


class Taken:
    """A log that has whatever it is given."""

    def append(self, lines: Sequence[bytes], arrived_at_ms: int, keys: Sequence[str] = ()) -> Future[None]:
        done: Future[None] = Future()
        done.set_result(None)
        return done


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Everything that the service can serve."""
    with opened_store(tmp_path_factory.mktemp("control")) as store:
        more = [
            caps_router, internal_router, admin_router,
            ingest_router(make_intake(RunOptions([], "")), IngestMetrics(), time.monotonic_ns),
            stripe_router(lambda body, signature: Receipt(200, "stored")),
        ]  # fmt: skip
        stage = make_stage(store, more=more, rates=OFTEN, has_caps=True)
        stage = stage.with_settings(body_max=1 << 20)
        yield replace(stage, services=replace(stage.services, log=Taken()))
        stage.services.caps.close()


@pytest.fixture(scope="module")
def document(stage) -> dict[str, Any]:
    return stage.client().get("/openapi.json").json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def example_of(described: dict[str, Any]) -> Any:
    """The first example of a parameter, wherever the document has it."""
    schema = described.get("schema", {})
    for found in (described.get("example"), schema.get("example"), *schema.get("examples", [])):
        if found is not None:
            return found
    return schema.get("default")


def test_the_document_is_openapi_3_1_with_unique_names(document):
    assert document["openapi"].startswith("3.1")
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names)) > 0
    assert all(
        operation.get("summary") and operation.get("description") for *_, operation in operations(document)
    )


def test_every_operation_names_its_statuses_headers_and_doors(document):
    for path, method, operation in operations(document):
        answers = operation["responses"]
        assert "500" in answers, path
        assert all("X-Request-Id" in answer["headers"] for answer in answers.values()), path
        if operation.get("security"):
            assert {"401", "403", "429"} <= answers.keys(), path
            assert "WWW-Authenticate" in answers["401"]["headers"]
            assert "RateLimit-Remaining" in answers["429"]["headers"]
            assert "Retry-After" in answers["429"]["headers"]
        if method in {"post", "put", "patch"}:
            assert {"400", "408", "413"} <= answers.keys()
        for status, answer in answers.items():
            if status >= "400" and "application/problem+json" in answer.get("content", {}):
                codes = answer["content"]["application/problem+json"]["examples"]
                assert all(example["value"]["status"] == int(status) for example in codes.values()), path


def test_only_what_is_public_by_purpose_has_no_door(document):
    public = {path for path, _, operation in operations(document) if not operation.get("security")}
    assert public == {"/healthz", "/readyz", "/metrics", "/api/billing/pricing", STRIPE_PATH}


def test_every_example_runs(document, stage):
    """Each operation is called with the document's own examples, by each credential that it names."""
    ran = 0
    for path, method, operation in operations(document):
        for door in [next(iter(door)) for door in operation.get("security", [])] or [None]:
            ran += run_examples(stage, document, (path, method, operation), door)
    assert ran >= len(list(operations(document)))


def prepared(stage, path: str, operation: dict[str, Any], body: Any) -> tuple[dict[str, dict[str, Any]], Any]:
    """The examples of the parameters and the body, with a reservation and a key that are there in their places."""
    params: dict[str, dict[str, Any]] = {"query": {}, "path": {}, "header": {}}
    for parameter in operation.get("parameters", []):
        value = example_of(parameter)
        if value is not None:
            params[parameter["in"]][parameter["name"]] = value
    if "reservation_id" in path or "reservationId" in (body or {}):
        asked = {"tenant": "acme", "amountMicro": "5"}
        made = stage.client().post("/api/billing/reservations", json=asked, headers=bearer(ACME_KEY)).json()
        params["path"]["reservation_id"] = made["reservationId"]
        body = {**body, "reservationId": made["reservationId"]} if body else body
    if "key_id" in path:
        made = stage.client().post(
            "/api/admin/tenants/acme/keys", json={"name": "x"}, headers=bearer(CREDENTIALS["adminToken"])
        )
        params["path"]["key_id"] = made.json()["keyId"]
    if "Idempotency-Key" in params["header"]:
        params["header"]["Idempotency-Key"] = f"{next(NUMBERS)}"
    return params, body


def run_examples(stage, document, found, door) -> int:
    path, method, operation = found
    ran = 0
    for kind, example in bodies(operation):
        params, body = prepared(stage, path, operation, example)
        headers = (
            params["header"]
            | (bearer(CREDENTIALS[door]) if door else {})
            | ({"Content-Type": kind} if kind else {})
        )
        response = stage.client().request(
            method.upper(),
            path.format(**params["path"]),
            params=params["query"],
            headers={name: str(value) for name, value in headers.items()},
            content=None if body is None else json.dumps(body),
        )
        assert 200 <= response.status_code < 300, (
            f"{method} {path} by {door}: {response.status_code} {response.text}"
        )
        hold_to_document(document, operation, response)
        ran += 1
    return ran


def bodies(operation: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each example of a body with its media type; one of nothing where no body is taken."""
    if "requestBody" not in operation:
        yield "", None
        return
    for kind, content in operation["requestBody"]["content"].items():
        for example in content["examples"].values():
            yield kind, example["value"]


def hold_to_document(document: dict[str, Any], operation: dict[str, Any], response: Any) -> None:
    """The answer is one that the document tells: its status, its type, its members, its headers."""
    answer = operation["responses"][str(response.status_code)]
    kind = response.headers.get("content-type", "").partition(";")[0]
    if response.content:
        content = answer["content"][kind]
        if "json" in kind:
            schema = {**content["schema"], "components": document["components"]}
            jsonschema.validate(response.json(), schema, cls=jsonschema.Draft202012Validator)
    for name, header in answer["headers"].items():
        if header.get("required"):
            assert name.lower() in response.headers


def test_a_wrong_example_would_be_seen(document):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {"tenant": "acme", "total": 1, "pools": []},
            {"$ref": "#/components/schemas/Balance", "components": document["components"]},
        )


def test_nothing_that_can_be_said_gets_an_answer_that_the_document_does_not_tell(stage):
    """Schemathesis, seeded and bounded: made-up requests to every operation, with a credential of each door.

    What has the right form may still be no time zone or no moment, so a refusal of it is no finding.
    """
    schema = schemathesis.openapi.from_asgi("/openapi.json", stage.app)
    tried = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in {"/metrics", STRIPE_PATH}:  # no JSON; and whatever is signed is stored
            continue
        doors = [next(iter(door)) for door in operation.definition.raw.get("security", [])] or [None]
        for door in doors:
            tried += attempts(operation, bearer(CREDENTIALS[door]) if door else {}, GenerationMode.POSITIVE)
        headers = bearer(CREDENTIALS[doors[0]]) if doors[0] else {}
        tried += attempts(operation, headers, GenerationMode.NEGATIVE)
    assert len(tried) > 50


def attempts(operation: Any, headers: dict[str, str], mode: GenerationMode) -> list[str]:
    tried: list[str] = []

    @settings(
        max_examples=5, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(mode))
    def attempt(case: Any) -> None:
        tried.append(f"{operation.label} {mode}")
        if mode is GenerationMode.POSITIVE and "tenant" in operation.query:
            case.query = {**(case.query or {}), "tenant": "acme"}  # the one that the credential may ask for
        case.call_and_validate(headers=headers, excluded_checks=[positive_data_acceptance])

    try:
        attempt()
    except Unsatisfiable:
        tried.append(f"{operation.label}: nothing can be wrong")
    return tried
