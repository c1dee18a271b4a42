"""Routes that are asked a thousand times a second: what FastAPI does for them is done here by hand, once.

A route of this class looks and is documented as any other. Where its parameters are only the request, the services,
a door, a JSON body and the idempotency key, its handler is put together when the route is made, and does not go
through FastAPI's resolver at each request. Where its path has no parameters either, the frame hands requests to it
directly: what lies between, middleware and the search for the route, does nothing for it. 80 microseconds of a core
for authorize instead of 240. Any other route is FastAPI's.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from inspect import signature
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends, Header
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from api.doors import DOORS, Caller
from api.problems import Code, Problem
from api.services import found_services, services_of

JSON = ("application/json", "application/json; charset=utf-8")
Door = Callable[[Request], Awaitable[Caller]]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Failed = Callable[[Request, Exception], Awaitable[Response]]


@dataclass(slots=True)
class _Plan:
    """The names of the parameters by what they take."""

    request: str = ""
    services: str = ""
    caller: str = ""
    body: str = ""
    key: str = ""
    door: Door | None = None
    model: type[BaseModel] | None = None


class QuickRoute(APIRoute):
    """See the module."""

    def get_route_handler(self) -> Handler:
        """Give the handler that was put together, or FastAPI's."""
        return self.quick_handler() or super().get_route_handler()

    def quick_handler(self) -> Handler | None:
        """Give the handler that was put together; None where the route has a parameter of another sort."""
        plan = _plan_of(self.endpoint)
        if plan is None or plan.door is None or plan.model is None:
            return None
        return _handler(self.endpoint, plan, plan.door, plan.model)


def direct(
    app: FastAPI, errors: tuple[type[Exception], ...], failed: Failed
) -> Mapping[tuple[str, str], ASGIApp]:
    """Give the quick routes without parameters in their path, by method and path, ready to be asked.

    What they raise of `errors` is answered by `failed`, as it is where FastAPI asks them.
    """
    found: dict[tuple[str, str], ASGIApp] = {}
    for route in app.router.routes:
        handler = (
            route.quick_handler() if isinstance(route, QuickRoute) and not route.param_convertors else None
        )
        if handler is not None and isinstance(route, QuickRoute):
            served = _served(app, route, handler, errors, failed)
            found |= {(method, route.path): served for method in route.methods or ()}
    return found


def _served(
    app: FastAPI, route: QuickRoute, handler: Handler, errors: tuple[type[Exception], ...], failed: Failed
) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"], scope["route"] = app, route
        request = Request(scope, receive)
        try:
            response = await handler(request)
        except errors as error:
            response = await failed(request, error)
        await response(scope, receive, send)

    return serve


class QuickAnswer(Response):
    """JSON with headers whose names are written again and again."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write the body."""
        return msgspec.json.encode(content)

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Write the head."""
        raw = [(header_name(name), value.encode("latin-1")) for name, value in (headers or {}).items()]
        raw.append((b"content-length", b"%d" % len(self.body)))
        raw.append((b"content-type", b"application/json"))
        self.raw_headers = raw


@lru_cache(maxsize=256)
def header_name(name: str) -> bytes:
    """Write the name of a header of ours as it is sent."""
    return name.lower().encode("latin-1")


def _handler(endpoint: Callable[..., Any], plan: _Plan, door: Door, model: type[BaseModel]) -> Handler:
    validate = model.__pydantic_validator__.validate_json

    async def handle(request: Request) -> Response:
        given: dict[str, Any] = {plan.caller: await door(request)}
        if request.headers.get("content-type", "").lower() not in JSON:
            _need_json(request)
        try:
            given[plan.body] = validate(await request.body())
        except ValidationError as error:
            raise _as_fastapi_says(error) from None
        if plan.request:
            given[plan.request] = request
        if plan.services:
            given[plan.services] = found_services(request)
        if plan.key:
            given[plan.key] = request.headers.get("idempotency-key")
        response: Response = await endpoint(**given)
        return response

    return handle


def _need_json(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Problem(Code.INVALID_REQUEST, "the body is JSON, with Content-Type: application/json")


def _as_fastapi_says(error: ValidationError) -> RequestValidationError:
    found = error.errors(include_url=False, include_input=False)
    return RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found])


def _plan_of(endpoint: Callable[..., Any]) -> _Plan | None:
    """Sort the parameters; None where one is of another sort."""
    plan, hints = _Plan(), get_type_hints(endpoint, include_extras=True)
    for name in signature(endpoint).parameters:
        if not _sort(plan, name, hints[name]):
            return None
    return plan


def _sort(plan: _Plan, name: str, hint: Any) -> bool:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    depends = next((mark.dependency for mark in marks if isinstance(mark, Depends)), None)
    if hint is Request:
        plan.request = name
    elif depends is services_of:
        plan.services = name
    elif depends in DOORS:
        plan.caller, plan.door = name, depends
    elif isinstance(hint, type) and issubclass(hint, BaseModel):
        plan.body, plan.model = name, hint
    elif any(isinstance(mark, Header) and mark.alias == "Idempotency-Key" for mark in marks):
        plan.key = name
    else:
        return False
    return True
