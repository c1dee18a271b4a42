"""A tenant's principals, for admins: who causes its cost, by names that people know."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from api.admin_door import PAGE_MAX, Admin, TenantPath, by_of, done
from api.billing import Offered
from api.models import Model, Moment, moment
from api.problems import Code, responses
from billing.principals import Principal, declare, list_principals, remove

PrincipalPath = Annotated[
    str, Path(min_length=1, max_length=255, description="The subject of its events.", examples=["ann"])
]


class PrincipalBody(Model):
    """Who causes cost."""

    display_name: str = Field(default="", max_length=255, examples=["Ann Lee"])
    kind: str = Field(default="", pattern="^(|user|service|key|other)$", examples=["user"])


class PrincipalView(Model):
    """A principal that was declared."""

    tenant: str
    principal: str
    display_name: str
    kind: str
    created_at: Moment
    removed_at: Moment | None


class Principals(Model):
    """A page of principals by name."""

    principals: list[PrincipalView]
    next_after: str | None = Field(description="Give it as `after` for the next page.", examples=[None])


def show_principals(
    services: Offered,
    caller: Admin,
    tenant: TenantPath,
    after: Annotated[str, Query(max_length=255, description="Those behind this name.")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> Principals:
    """List the principals that were declared."""
    del caller
    found = list_principals(services.store, tenant, after=after, limit=limit)
    more = found[-1].principal if len(found) == limit else None
    return Principals(principals=[_principal(one) for one in found], next_after=more)


def put_principal(
    services: Offered, caller: Admin, tenant: TenantPath, principal: PrincipalPath, body: PrincipalBody
) -> PrincipalView:
    """Declare a principal, or change one."""
    by = by_of(services, caller)
    return _principal(
        done(
            lambda: declare(
                services.store, tenant, principal, display_name=body.display_name, kind=body.kind, by=by
            )
        )
    )


def remove_principal(
    services: Offered, caller: Admin, tenant: TenantPath, principal: PrincipalPath
) -> PrincipalView:
    """Take a principal off the list; what it has cost stays."""
    by = by_of(services, caller)
    return _principal(done(lambda: remove(services.store, tenant, principal, by)))


def _principal(one: Principal) -> PrincipalView:
    return PrincipalView(
        tenant=one.tenant,
        principal=one.principal,
        display_name=one.display_name,
        kind=one.kind,
        created_at=moment(one.created_at_ms),
        removed_at=None if one.removed_at_ms is None else moment(one.removed_at_ms),
    )


def add_principals(router: APIRouter) -> None:
    """Put the routes on the router of admins."""
    many = "/api/admin/tenants/{tenant}/principals"
    one = f"{many}/{{principal}}"
    router.add_api_route(many, show_principals, methods=["GET"], summary="A tenant's principals by name")
    router.add_api_route(one, put_principal, methods=["PUT"], summary="Declare a principal")
    router.add_api_route(
        one, remove_principal, methods=["DELETE"], summary="Take a principal off the list",
        responses=responses(Code.NOT_FOUND),
    )  # fmt: skip
