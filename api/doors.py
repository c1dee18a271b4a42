"""Who may come in: dependencies that name the caller, or refuse.

401 `unauthenticated`: who is asking is not proven. 403: it is proven, and it is not for them.

| door | opens to |
|---|---|
| `tenant_key` | a tenant's API key |
| `service_token` | a JWT with the service secret, issuer and audience |
| `admin_token` | a JWT with the admin secret, issuer and audience |
| `tenant_or_service` | either of the first two; a service names the tenant, a key has its own |
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from api.keys import KnownKey
from api.problems import Code, Problem, request_id_of
from api.services import Services, found_services
from api.tokens import TokenDoor, Verdict

KEY_PREFIX = "mrk_"
"""How API keys begin, and no JWT."""
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="millrace"'}


class CallerKind(StrEnum):
    """What sort of credential was shown."""

    TENANT = "tenant"
    SERVICE = "service"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, proven."""

    kind: CallerKind
    tenant: str
    """The key's tenant; empty for services and admins."""
    key_id: str
    service: str
    """The token's subject; empty for keys."""
    scopes: frozenset[str]
    request_id: str
    tenant_from_subject: bool = False

    @property
    def name(self) -> str:
        """For the audit: `key:<id>`, `service:<subject>` or `admin:<subject>`."""
        return f"key:{self.key_id}" if self.kind is CallerKind.TENANT else f"{self.kind}:{self.service}"

    def tenant_or_refuse(self, asked: str | None) -> str:
        """The tenant that a request is about: a key's own, or the one that a service names."""
        if self.kind is CallerKind.TENANT:
            if asked is not None and asked != self.tenant:
                raise Problem(
                    Code.FORBIDDEN_TENANT, "an API key sees its own tenant only: leave `tenant` out"
                )
            return self.tenant
        if not asked:
            raise Problem(Code.INVALID_REQUEST, "a service names the tenant that it asks for: give `tenant`")
        return asked

    def need(self, scope: str) -> None:
        """Raise `missing_scope` unless the key has the scope; service and admin tokens need none."""
        if self.kind is CallerKind.TENANT and scope not in self.scopes:
            raise Problem(
                Code.MISSING_SCOPE, f"the key {self.key_id} lacks the scope {scope}", members={"scope": scope}
            )


async def tenant_key(request: Request) -> Caller:
    """Let API keys in."""
    return _only(request, await _caller(request), CallerKind.TENANT)


async def service_token(request: Request) -> Caller:
    """Let services in."""
    return _only(request, await _caller(request), CallerKind.SERVICE)


async def admin_token(request: Request) -> Caller:
    """Let admins in."""
    return _only(request, await _caller(request), CallerKind.ADMIN)


async def tenant_or_service(request: Request) -> Caller:
    """Let API keys and services in."""
    return _only(request, await _caller(request), CallerKind.TENANT, CallerKind.SERVICE)


def _only(request: Request, caller: Caller, *kinds: CallerKind) -> Caller:
    request.scope["millrace.caller"] = caller.name
    if caller.kind not in kinds:
        raise Problem(
            Code.WRONG_DOOR, f"this door is for {' and '.join(kinds)} credentials, not for {caller.kind}"
        )
    return caller


async def _caller(request: Request) -> Caller:
    services = found_services(request)
    _refuse_repeated(request)
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise Problem(
            Code.UNAUTHENTICATED, "give Authorization: Bearer followed by a key or token", headers=CHALLENGE
        )
    if credential.startswith(KEY_PREFIX):
        key = await _find_key(services, credential)
        if key is None:
            raise Problem(
                Code.UNAUTHENTICATED, "the API key is unknown, revoked or expired", headers=CHALLENGE
            )
        return Caller(
            CallerKind.TENANT,
            key.tenant,
            key.key_id,
            "",
            key.scopes,
            request_id_of(request),
            key.tenant_from_subject,
        )
    return _caller_of_token(services, credential, request_id_of(request))


def _refuse_repeated(request: Request) -> None:
    """A parameter that is given twice is a mistake, or an attempt to be understood in two ways."""
    if request.scope["query_string"]:
        names = [name for name, _ in request.query_params.multi_items()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise Problem(Code.INVALID_REQUEST, f"the parameter {twice!r} is given more than once")


async def _find_key(services: Services, secret: str) -> KnownKey | None:
    now_ms = services.clock.now_ms()
    return services.keys.recall(secret, now_ms) or await run_in_threadpool(services.keys.find, secret, now_ms)


def _caller_of_token(services: Services, token: str, request_id: str) -> Caller:
    now_s = services.clock.now_ms() // 1000
    why = Verdict.FOREIGN
    doors: tuple[tuple[CallerKind, TokenDoor | None], ...] = (
        (CallerKind.SERVICE, services.service_door), (CallerKind.ADMIN, services.admin_door),
    )  # fmt: skip
    for kind, door in doors:
        verdict, claims = door.judge(token, now_s) if door else (Verdict.FOREIGN, None)
        if claims is not None:
            return Caller(kind, "", "", claims.subject, claims.scopes, request_id)
        why = verdict if verdict is not Verdict.FOREIGN else why
    raise Problem(Code.UNAUTHENTICATED, f"the token is not good: {why}", headers=CHALLENGE)


DOORS: Mapping[Callable[..., Any], tuple[str, ...]] = {
    tenant_key: ("tenantKey",),
    service_token: ("serviceToken",),
    admin_token: ("adminToken",),
    tenant_or_service: ("tenantKey", "serviceToken"),
}
"""The doors with the credentials that open them, as the OpenAPI document names them."""
