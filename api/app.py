"""The application: the frame around all routes, and how errors become answers."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from api.frame import Frame
from api.health import health_router
from api.metrics import HttpMetrics
from api.openapi import DESCRIPTION, describe
from api.problems import Code, Problem, answer, problem_of, request_id_of
from api.quick import direct
from api.services import Services
from pipeline.errors import MillraceError

Mount = Callable[[FastAPI], None]
"""Puts something of its own on the application, such as the console."""
_BY_STATUS = {400: Code.MALFORMED_REQUEST, 404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}
_ERRORS = (Problem, MillraceError, RequestValidationError, HTTPException)
ERRORS_MAX = 20


class App(FastAPI):
    """An application with its frame around all of it, the layers among them that FastAPI puts around middleware."""

    frame: Frame | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through the frame."""
        await (self.frame or self.unframed)(scope, receive, send)

    async def unframed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to what is within the frame."""
        await super().__call__(scope, receive, send)


def create_app(services: Services, routers: Sequence[APIRouter], mounts: Sequence[Mount] = ()) -> FastAPI:
    """Make the application of these routers; `mounts` are called in order, after all routes are there.

    The OpenAPI document is at `/openapi.json`, and nothing that it does not tell is served but the mounts.
    """
    metrics = HttpMetrics()
    app = App(
        title="Millrace",
        version=services.settings.version,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.state.services = services
    for router in (*routers, health_router(metrics)):
        app.router.routes.extend(
            router.routes
        )  # as they are: nothing is added to them, and matching stays flat
    for kind in _ERRORS:
        app.add_exception_handler(kind, _failed)
    app.add_exception_handler(Exception, _failed)
    describe(app)
    for mount in mounts:
        mount(app)
    app.frame = Frame(
        app.unframed,
        settings=services.settings,
        random_hex=services.random_hex,
        monotonic_ns=services.monotonic_ns,
        note=metrics.note,
        direct=direct(app, _ERRORS, _failed),
    )
    return app


async def _failed(request: Request, error: Exception) -> Response:
    return answer(_as_problem(error), request_id_of(request))


def _as_problem(error: Exception) -> Problem:
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return Problem(_BY_STATUS.get(error.status_code, Code.INTERNAL_ERROR), headers=error.headers)
    return problem_of(error)


def _invalid(error: RequestValidationError) -> Problem:
    """Say where and why, never what was given: that may be a secret."""
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return Problem(
            Code.MALFORMED_REQUEST, f"the body is not JSON: {found[0].get('ctx', {}).get('error', '')}"
        )
    errors = [
        {"at": ".".join(str(part) for part in one["loc"]), "why": one["msg"]} for one in found[:ERRORS_MAX]
    ]
    return Problem(Code.INVALID_REQUEST, members={"errors": errors})
