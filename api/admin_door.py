"""The door of admins: so many times a minute, and with sentences where they ask for what cannot be."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Path, Request

from api.doors import Caller, admin_token
from api.limits import Limit, count
from api.problems import Code, Problem
from api.services import Services
from billing.accounts import ExistsError, UnknownError
from billing.audit import By
from billing.credits import KeyConflictError
from pipeline.errors import UsageError

T = TypeVar("T")
PAGE_MAX = 1_000


async def admin(request: Request, caller: Annotated[Caller, Depends(admin_token)]) -> Caller:
    """Let admins in, so many times a minute."""
    count(request, Limit.ADMIN, caller.service)
    return caller


Admin = Annotated[Caller, Depends(admin)]
TenantPath = Annotated[str, Path(min_length=1, max_length=128, description="Who pays.", examples=["acme"])]


def by_of(services: Services, caller: Caller) -> By:
    """Who changes something, for the audit."""
    return By(caller.name, services.clock.now_ms(), caller.request_id)


def done(work: Callable[[], T]) -> T:
    """Do it, and translate what a caller did wrong."""
    try:
        return work()
    except KeyConflictError as error:
        raise Problem(Code.IDEMPOTENCY_CONFLICT, str(error)) from error
    except ExistsError as error:
        raise Problem(Code.ALREADY_EXISTS, str(error)) from error
    except UnknownError as error:
        raise Problem(Code.NOT_FOUND, str(error)) from error
    except UsageError as error:
        raise Problem(Code.INVALID_REQUEST, str(error)) from error
