"""What the routes work with. The command line puts it together once; a route finds it with `services_of`.

Nothing here reads a clock, chance or the environment: all of that is handed in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import Request

from api.keys import RecentKeys
from api.limits import RateLimits
from api.tokens import TokenDoor
from billing.caps import Caps
from billing.store import Store
from pipeline.catalog import Catalog
from pipeline.ports import Clock, EventLog


class LedgerReader(Protocol):
    """Named queries of the ledger; safe to use from several threads."""

    def rows(self, query: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of a named query by column; raises `UsageError` and `LedgerError`."""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What an operator may set."""

    is_development: bool = False
    body_max: int = 64 * 1024
    """Bytes of a request's body where no path says otherwise."""
    body_max_by_path: Mapping[str, int] = field(default_factory=dict)
    """By the beginning of the path."""
    body_timeout_s: int = 10
    """A body that takes longer is refused."""
    logs_requests: bool = True
    version: str = "0"


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes work with."""

    store: Store
    caps: Caps
    clock: Clock
    monotonic_ns: Callable[[], int]
    """A clock that only goes forward."""
    random_hex: Callable[[int], str]
    """So many random bytes, as hexadecimal text."""
    keys: RecentKeys
    service_door: TokenDoor | None
    """None: no service token is good."""
    admin_door: TokenDoor | None
    limits: RateLimits
    catalog: Callable[[], Catalog]
    """The catalog in force; raises `ConfigError` or `OSError` where it cannot be read now."""
    ledger: LedgerReader | None = None
    """None: there is no ledger to ask."""
    log: EventLog | None = None
    """None: no events are taken."""
    settings: ApiSettings = ApiSettings()
    sick: Callable[[], Sequence[str]] = tuple
    """What is wrong with the process, a sentence each; nothing: it is well."""
    is_ready: Callable[[], bool] = lambda: True
    more_metrics: Sequence[Callable[[], bytes]] = ()
    """Metrics of other parts in Prometheus' text format."""


def found_services(request: Request) -> Services:
    """The services of the application that a request is for."""
    found: Services = request.app.state.services
    return found


async def services_of(request: Request) -> Services:
    """The same as a dependency; asynchronous, because FastAPI would send a plain function to another thread."""
    return found_services(request)
