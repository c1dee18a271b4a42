"""The OpenAPI document: what FastAPI finds in the routes, and what holds for all of them.

Who may come in, which problems that brings, the headers of every answer: all follow from the doors that a route
depends on, so no route has to say them again.
"""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api.doors import DOORS
from api.examples import add_examples
from api.problems import PROBLEM_SCHEMA, Code, responses

DESCRIPTION = (
    "Caps that hold: services ask before they spend, hold money while they work, and settle what it cost. "
    "Amounts are integer micro-USD as text; moments are RFC 3339 in UTC. "
    "What goes wrong is `application/problem+json` with a stable `code`."
)
SCHEMES: dict[str, Any] = {
    "tenantKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key of a tenant, `mrk_...`. It sees its own tenant only.",
    },
    "serviceToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "HS256 with the service secret; `iss`, `aud`, `sub` and `exp` are required.",
    },
    "adminToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "HS256 with the admin secret; `iss`, `aud`, `sub` and `exp` are required.",
    },
}
_EVERY_HEADER: dict[str, Any] = {
    "X-Request-Id": {
        "description": "The id that the request brought, or one made for it.",
        "schema": {"type": "string"},
    }
}
_RATE_HEADERS: dict[str, Any] = {
    name: {"description": what, "schema": {"type": kind}}
    for name, kind, what in (
        ("RateLimit-Limit", "integer", "Requests in a window."),
        ("RateLimit-Remaining", "integer", "Requests that are left."),
        ("RateLimit-Reset", "integer", "Seconds until the window ends."),
        ("RateLimit-Policy", "string", "The limit and its window in seconds, such as `200;w=60`."),
    )
}
_CHALLENGE = {"WWW-Authenticate": {"description": "Which scheme is expected.", "schema": {"type": "string"}}}


def describe(app: FastAPI) -> None:
    """Make the application give its document, made once, when it is asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = SCHEMES
    schemas = components.setdefault("schemas", {})
    schemas["Problem"] = PROBLEM_SCHEMA
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete(document["paths"][route.path_format][method.lower()], route)
    add_examples(document)
    return document


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    operation["operationId"] = route.name
    answers: dict[str, Any] = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422", {})):
        del answers["422"]
    doors = [DOORS[call] for call in _calls(route.dependant) if call in DOORS]
    schemes = [scheme for door in doors for scheme in door]
    if schemes:
        operation["security"] = [{scheme: []} for scheme in dict.fromkeys(schemes)]
    for status, answer in responses(*_codes(route, bool(schemes))).items():
        _merge(answers, str(status), answer)
    for status, answer in answers.items():
        headers = answer.setdefault("headers", {})
        headers.update(_EVERY_HEADER)
        if schemes and status not in {"401", "403", "408", "413"}:
            headers.update({name: header for name, header in _RATE_HEADERS.items() if name not in headers})
        if status == "401":
            headers.update(_CHALLENGE)


def _codes(route: APIRoute, has_door: bool) -> Iterator[Code]:
    """The problems that come with what a route is made of."""
    if has_door:
        yield from (Code.UNAUTHENTICATED, Code.WRONG_DOOR, Code.FORBIDDEN_TENANT, Code.RATE_LIMITED)
        yield from (Code.MISSING_SCOPE, Code.STORE_UNAVAILABLE)
    parts = (route.dependant.path_params, route.dependant.query_params, route.dependant.header_params)
    if route.body_field is not None or any(parts):
        yield Code.INVALID_REQUEST
    if not (route.methods or set()) <= {"GET", "HEAD"}:
        yield from (Code.MALFORMED_REQUEST, Code.REQUEST_TIMEOUT, Code.BODY_TOO_LARGE)
    yield Code.INTERNAL_ERROR


def _merge(answers: dict[str, Any], status: str, answer: dict[str, Any]) -> None:
    """Put an answer beside what the route itself says of the status."""
    there = answers.get(status)
    if there is None:
        answers[status] = answer
        return
    if answer["description"] not in there["description"]:
        there["description"] = f"{there['description']} {answer['description']}".strip()
    for media_type, content in answer["content"].items():
        mine = there.setdefault("content", {}).setdefault(media_type, content)
        mine.setdefault("examples", {}).update(content["examples"])
    for name, header in answer["headers"].items():
        there.setdefault("headers", {}).setdefault(name, header)


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    for inner in dependant.dependencies:
        if inner.call is not None:
            yield inner.call
        yield from _calls(inner)
