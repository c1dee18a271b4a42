"""What the routes work with. The command line puts it together once; a route finds it with `services_of`.

Nothing here reads a clock, chance or the environment: all of that is handed in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import Request

from api.limits import RateLimits
from api.tokens import TokenDoor
from api.writer import GroupWriter
from billing.store import Store
from pipeline.catalog import Catalog
from pipeline.ports import Clock


@dataclass(frozen=True, slots=True)
class KnownKey:
    """An API key that is good now."""

    key_id: str
    tenant: str
    scopes: frozenset[str]
    tenant_from_subject: bool = False
    """Whether events that it sends without a tenant belong to their subject instead."""


class Keys(Protocol):
    """Where API keys are looked up; safe to use from several threads."""

    def find(self, secret: str, now_ms: int) -> KnownKey | None:
        """The key with this secret, unless it is revoked or expired; raises `StoreError`."""


@dataclass(frozen=True, slots=True)
class WindowSpend:
    """What the pipeline has counted in one window of a tenant."""

    start_s: int
    cost_micro_usd: int
    residual_pico_usd: int


@dataclass(frozen=True, slots=True)
class Spend:
    """A tenant's current day and month, as of one moment of the ledger."""

    day: WindowSpend
    month: WindowSpend
    as_of_ms: int
    """What was durable at this moment is in the sums."""
    settled: frozenset[str]
    """Of the idempotency keys that were asked for, those whose rows are in the sums."""


class SpendReader(Protocol):
    """The pipeline's windows; safe to use from several threads."""

    def spend(self, tenant: str, day_start_s: int, month_start_s: int, keys: Sequence[str]) -> Spend:
        """The sums of both windows, and which of the keys they hold, all of one moment; raises `LedgerError`."""


class LedgerReader(Protocol):
    """Named queries of the ledger; safe to use from several threads."""

    def rows(self, query: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of a named query by column; raises `UsageError` and `LedgerError`."""


class EventLog(Protocol):
    """Where events become durable before anyone is told so; safe to use from several threads.

    Delivery: `append` returns when all events are durable, and raises when that is not known of any of them.
    """

    def append(self, events: Sequence[bytes]) -> None:
        """Take events, each a CloudEvent in one line of JSON without a line feed; raises `SourceAwayError`."""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What an operator may set."""

    is_development: bool = False
    body_max: int = 64 * 1024
    """Bytes of a request's body where no route says otherwise."""
    body_max_by_path: Mapping[str, int] = field(default_factory=dict)
    """By the beginning of the path."""
    body_timeout_s: int = 10
    """A body that takes longer is refused."""
    version: str = "0"


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes work with."""

    store: Store
    writer: GroupWriter
    clock: Clock
    random_hex: Callable[[int], str]
    """So many random bytes, as hexadecimal text."""
    keys: Keys
    service_door: TokenDoor | None
    """None: no service token is good."""
    admin_door: TokenDoor | None
    limits: RateLimits
    catalog: Callable[[], Catalog]
    """The catalog in force; raises `ConfigError` or `OSError` where it cannot be read now."""
    spend: SpendReader | None = None
    ledger: LedgerReader | None = None
    log: EventLog | None = None
    settings: ApiSettings = ApiSettings()
    sick: Callable[[], Sequence[str]] = tuple
    """What is wrong with the process, a sentence each; nothing: it is well."""
    is_ready: Callable[[], bool] = lambda: True
    more_metrics: Sequence[Callable[[], bytes]] = ()
    """Metrics of other parts in Prometheus' text format."""


def services_of(request: Request) -> Services:
    """The services of the application that a request is for; also good as a dependency."""
    found: Services = request.app.state.services
    return found
