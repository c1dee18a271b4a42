"""What the console works with: protocols that are handed in, so that it opens, reads and decides nothing by itself.

Who may see what is decided in one place, `Viewer`: an operator sees all, a tenant sees its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from billing.planner import Balance
from billing.reconcile import Finding
from billing.status import Status
from pipeline.accounts import Account
from pipeline.catalog import Catalog
from pipeline.outbox import Report, State
from queries.named import Client
from queries.reading import RawClient


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks: a tenant by its key, or an operator."""

    name: str
    """For the head of the page and the audit, such as `key:k1` or `admin:ops`."""
    tenant: str = ""
    """Whose figures may be seen; empty: an operator, who sees all."""
    may_replay: bool = False

    @property
    def is_operator(self) -> bool:
        """Whether all tenants may be seen."""
        return not self.tenant

    def may_see(self, tenant: str) -> bool:
        """Whether this tenant's figures may be seen."""
        return self.is_operator or tenant == self.tenant


class LedgerClient(Client, RawClient, Protocol):
    """A client of the ledger."""


class Clock(Protocol):
    """Wall-clock time; handed in so that tests own it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...


class AccountBook(Protocol):
    """Who the tenants are."""

    def get(self, tenant: str) -> Account:
        """Look a tenant up; one that is not declared has the defaults."""
        ...

    def named(self, search: str, limit: int) -> Sequence[str]:
        """Tenants whose display name holds a text in any case, at most so many."""
        ...


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation of a tenant that is open."""

    reservation_id: str
    method: str
    pool: str
    micro_usd: int
    made_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot of prepaid money of a tenant."""

    lot_id: str
    pool: str
    source: str
    minted_micro_usd: int
    left_micro_usd: int
    minted_at_ms: int
    expires_at_ms: int | None


class MoneyReader(Protocol):
    """Reads reservations and credits of tenants."""

    def holds(self, tenant: str, limit: int) -> Sequence[Hold]:
        """Give the open reservations, the newest first."""
        ...

    def lots(self, tenant: str, limit: int) -> Sequence[Lot]:
        """Give the lots that have credits left, in the order in which they are used."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """A report with its number in the outbox and where it stands."""

    intent_id: int
    report: Report
    state: State
    detail: str
    attempts: int
    last_attempt_at: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The last comparison with Stripe."""

    made_at: int
    windows: int
    differences: int
    findings: Sequence[Finding] = ()


class StripeReader(Protocol):
    """Reads the outbox."""

    def status(self) -> Status:
        """Count reports and units by where they stand."""
        ...

    def books(self) -> Sequence[Balance]:
        """Say of every tenant what the ledger owes that is in no report yet."""
        ...

    def reports(self, state: str, tenant: str, before: int, limit: int) -> Sequence[Told]:
        """Give reports, the newest first, with numbers below `before`."""
        ...

    def told(self, tenant: str, hours: Sequence[int]) -> Sequence[Told]:
        """Give a tenant's reports that owe their value to these hours (their starts, epoch seconds)."""
        ...

    def find(self, identifier: str) -> Told | None:
        """Find a report by its identifier."""
        ...

    def comparison(self) -> Comparison | None:
        """Give the last comparison with Stripe, or None where there was none yet."""
        ...


@dataclass(frozen=True, slots=True)
class InputHealth:
    """An input that is being read by this process."""

    name: str
    lag: int
    durable_at_ms: int | None = None
    """When something of it was last made durable, where that is known."""


@dataclass(frozen=True, slots=True)
class HealthView:
    """How the process that reads is."""

    complaints: Sequence[str]
    """Sentences about what is wrong; none: all is well."""
    inputs: Sequence[InputHealth] = ()


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of rejects that were handed in again."""

    handed_in: int
    refused: int
    """Still wrong as they stand: not handed in, or rejected again."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reject came from."""

    topic: str
    partition: int
    offset: int


class RejectsReplayer(Protocol):
    """Hands rejects in again, through the same pipeline."""

    def replay(self, places: Sequence[Place], who: str) -> Replayed:
        """Replay the rejects of these places; blocks until they have an outcome."""
        ...


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """All that the console works with; what is None is said to be missing on its page."""

    clients: Callable[[], LedgerClient]
    """A client of the ledger for the thread that asks; it only reads."""
    clock: Clock
    sign_in: Callable[[str], Viewer | None]
    """Who shows this API key or token; None where it is not good. Blocks."""
    draw_token: Callable[[], str]
    """A text that nobody can guess, anew each time."""
    accounts: AccountBook
    catalog: Callable[[], Catalog | None] = lambda: None
    health: Callable[[], HealthView] | None = None
    stripe: StripeReader | None = None
    money: MoneyReader | None = None
    rejects: RejectsReplayer | None = None
    links_sign_in: bool = False
    """Whether a link may carry the credential: only for a demonstration on this machine."""
    zones: Sequence[str] = ()
    """Zones to offer beside the viewer's, the tenant's and UTC."""
