"""A stage for the HTTP service: an application on a clock that stands still, with keys and secrets that are known."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, cast

import jwt
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.testclient import TestClient

from api.app import create_app
from api.doors import Caller, admin_token, service_token, tenant_key, tenant_or_service
from api.keys import KnownKey, RecentKeys
from api.limits import DEFAULT_RATES, Limit, RateLimits, count, parse_rate
from api.pricing import pricing_router
from api.reading import router as reading_router
from api.services import ApiSettings, Services
from api.tokens import Secret, TokenDoor
from billing.caps import Caps
from billing.store import Store, open_store
from cli.http_server import HttpSettings, listening
from pipeline.catalog import default_catalog

NOW_S = 1_795_000_000
SERVICE = TokenDoor(Secret("s" * 16 + "0123456789abcdef"), "loa-finn", "arrakis-internal")
ADMIN = TokenDoor(Secret("a" * 16 + "0123456789abcdef"), "millrace", "millrace-admin")
ACME_KEY, OTHER_KEY, BLIND_KEY = "mrk_acme_0123", "mrk_other_0123", "mrk_blind_0123"
KEYS = {
    ACME_KEY: KnownKey("acme-1", "acme", frozenset({"ingest", "authorize", "reserve", "settle", "read"})),
    OTHER_KEY: KnownKey("other-1", "other", frozenset({"read"})),
    BLIND_KEY: KnownKey("blind-1", "acme", frozenset()),
}


@dataclass(slots=True)
class StandingClock:
    """A clock that moves when it is told to."""

    ms: int = NOW_S * 1000

    def now_ms(self) -> int:
        return self.ms


@dataclass
class Rows:
    """A ledger that gives the rows it was told, and keeps what was asked."""

    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def rows(self, query: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        self.asked.append((query, dict(params)))
        return self.answers.get(query, [])


def token(door: TokenDoor, *, leave_out: Sequence[str] = (), algorithm: str = "HS256", **claims: Any) -> str:
    """A token that the door takes but for what is said otherwise."""
    said: dict[str, Any] = {"iss": door.issuer, "aud": door.audience, "sub": "loa-finn", "exp": NOW_S + 60}
    said = {name: value for name, value in (said | claims).items() if name not in leave_out}
    return jwt.encode(said, "" if algorithm == "none" else door.secret.text, algorithm=algorithm)


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


@dataclass
class Stage:
    """An application and what it is made of."""

    services: Services
    clock: StandingClock
    ledger: Rows
    routers: Sequence[APIRouter]

    @cached_property
    def app(self) -> FastAPI:
        return create_app(self.services, self.routers)

    def client(self) -> TestClient:
        return TestClient(self.app, raise_server_exceptions=False)

    def with_settings(self, **changes: Any) -> "Stage":
        settings = replace(self.services.settings, **changes)
        return replace(self, services=replace(self.services, settings=settings))

    @contextmanager
    def served(self, head_timeout_s: int = 10) -> Iterator[int]:
        """A real server on a free port."""
        with listening(self.app, HttpSettings("127.0.0.1", 0, head_timeout_s, grace_s=5)) as port:
            yield port


def make_stage(
    store: Store,
    *,
    more: Sequence[APIRouter] = (),
    rates: Mapping[Limit, str] | None = None,
    has_caps: bool = False,
) -> Stage:
    """Set the stage; with caps, it is to be closed."""
    clock, ledger = StandingClock(), Rows()
    numbers = itertools.count(1)
    random_hex = lambda size: f"{next(numbers):0{2 * size}x}"
    services = Services(
        store=store,
        caps=Caps(store, clock, random_hex) if has_caps else cast("Any", None),
        clock=clock,
        monotonic_ns=time.monotonic_ns,
        random_hex=random_hex,
        keys=RecentKeys(lambda secret, _now_ms: KEYS.get(secret)),
        service_door=SERVICE,
        admin_door=ADMIN,
        limits=RateLimits(
            clock, {limit: parse_rate(rate) for limit, rate in (DEFAULT_RATES | (rates or {})).items()}
        ),
        catalog=default_catalog,
        ledger=ledger,
        settings=ApiSettings(body_max=1000, body_timeout_s=1, logs_requests=False),
    )
    return Stage(services, clock, ledger, [reading_router, pricing_router(), *more])


@contextmanager
def opened_store(folder: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{folder}/control.db")
    yield store
    store.close()


def trial_router() -> APIRouter:
    """A route behind each door, one that echoes, and one that fails."""
    router = APIRouter()
    doors: dict[str, Callable[..., Any]] = {
        "tenant": tenant_key, "service": service_token, "admin": admin_token, "either": tenant_or_service,
    }  # fmt: skip

    def behind(door: Callable[..., Any]) -> Callable[..., Any]:
        def route(caller: Caller = Depends(door), tenant: str | None = None) -> dict[str, str]:
            is_either = door is tenant_or_service
            meant = caller.tenant_or_refuse(tenant) if is_either or door is tenant_key else ""
            return {"caller": caller.name, "tenant": meant}

        return route

    for name, door in doors.items():
        router.add_api_route(f"/trial/{name}", behind(door), methods=["GET"])

    @router.post("/trial/echo")
    async def echo(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    @router.post("/trial/finalize")
    async def finalize(request: Request, caller: Annotated[Caller, Depends(service_token)]) -> dict[str, str]:
        count(request, Limit.FINALIZE, caller.service)
        return {}

    @router.get("/trial/fail")
    def fail(secret: str) -> None:
        raise RuntimeError(secret)

    return router
