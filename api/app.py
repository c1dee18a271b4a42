"""The application: the frame around all routes, and how errors become answers."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from api.problems import Code, Problem, answer, problem_of, request_id_of
from api.services import Services

Mount = Callable[[FastAPI], None]
"""Puts something of its own on the application, such as the console."""
_BY_STATUS = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED, 400: Code.MALFORMED_REQUEST}


def create_app(services: Services, routers: Sequence[APIRouter], mounts: Sequence[Mount] = ()) -> FastAPI:
    """Make the application of these routers; `mounts` are called in order, after all routes are there."""
    app = FastAPI(title="Millrace", version=services.settings.version)
    app.state.services = services
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(Exception, _failed)
    for kind in (Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _failed)
    for mount in mounts:
        mount(app)
    return app


async def _failed(request: Request, error: Exception) -> Response:
    return answer(_as_problem(error), request_id_of(request))


def _as_problem(error: Exception) -> Problem:
    if isinstance(error, RequestValidationError):
        errors = [{"at": list(one["loc"]), "why": one["msg"]} for one in error.errors()]
        return Problem(Code.INVALID_REQUEST, members={"errors": errors})
    if isinstance(error, HTTPException):
        return Problem(_BY_STATUS.get(error.status_code, Code.INTERNAL_ERROR), headers=error.headers)
    return problem_of(error)
