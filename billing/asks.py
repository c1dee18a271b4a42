"""What services ask of the caps, and what they are told: frozen values, amounts in whole micro-USD.

A service asks before it spends (`Authorize`), holds money while it works (`Reserve`), gives it back (`Release`) or
settles what the work really cost (`Finalize`, or `Settle` without a reservation). Each is one atomic decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

AMOUNT_MICRO_MAX = 10**15
"""The contract's largest quantity: a settlement is one, at 1 micro-USD for each unit."""


class Mode(StrEnum):
    """What becomes of a request that would exceed a cap."""

    SHADOW = "shadow"
    """It goes through; what would have been refused is recorded."""
    SOFT = "soft"
    """It goes through, and says so in its answer and as an alert."""
    LIVE = "live"
    """It is refused."""


class Method(StrEnum):
    """Who recovers a settled cost, as the catalog has it."""

    METERED = "metered"
    CREDIT = "credit"
    """Paid from the tenant's credit lots."""


class Status(StrEnum):
    """What came of a request: closed, and each reads as a sentence."""

    ALLOWED = "allowed"
    RESERVED = "reserved"
    RELEASED = "released"
    SETTLED = "settled"
    CAP_EXCEEDED = "cap_exceeded"
    CREDITS_EXHAUSTED = "credits_exhausted"
    """Credits were to pay, and the pool has not enough that is free."""
    AMOUNT_ABOVE_POLICY = "amount_above_policy"
    """More than one reservation may hold."""
    EXPIRY_ABOVE_POLICY = "expiry_above_policy"
    RESERVATION_UNKNOWN = "reservation_unknown"
    RESERVATION_FINALIZED = "reservation_finalized"
    """It was finalised before, with another amount, or it is to be released."""
    RESERVATION_RELEASED = "reservation_released"
    RESERVATION_EXPIRED = "reservation_expired"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    """The key was used with another body."""
    REQUEST_IN_PROGRESS = "request_in_progress"
    """Another process works on the same key right now."""


OKS = frozenset({Status.ALLOWED, Status.RESERVED, Status.RELEASED, Status.SETTLED})


@dataclass(frozen=True, slots=True)
class Once:
    """What makes a repeated request the same request. `billing.once.fingerprint_of` makes the fingerprint."""

    scope: str
    """Who asks for what, such as `authorize:acme`: keys of different scopes never meet."""
    key: str
    """1 to 255 characters of the client's choice."""
    fingerprint: str
    """Of the body."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, for the audit and the records of refusals."""

    name: str = ""
    """Such as `key:k_1` or `service:loa-finn`; the audit keeps a keyed hash of it."""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What the money is spent for; goes into the usage event of the settlement."""

    principal: str = ""
    operation: str = ""
    """The work that is paid for; the event's own operation is `settlement`."""
    action: str = ""
    type: str = ""
    """project, workspace, admin or other; empty: no context."""
    name: str = ""
    display: str = ""
    trigger: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Authorize:
    """May the tenant spend so much now? Holds nothing."""

    tenant: str
    amount_micro: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """Hold an amount until it is settled, given back, or expires."""

    tenant: str
    amount_micro: int
    expires_in_s: int | None = None
    """None: the policy's."""
    method: Method = Method.METERED
    pool: str = "default"
    """The credit pool that pays, for `Method.CREDIT`."""
    context: Context = Context()


@dataclass(frozen=True, slots=True)
class Release:
    """Give a reservation back. Releasing twice is answered as the first time."""

    reservation_id: str
    tenant: str | None = None
    """Who may: a reservation of another tenant is unknown. None: whoever asks may."""


@dataclass(frozen=True, slots=True)
class Finalize:
    """Settle a reservation with what the work really cost; idempotent by reservation and amount."""

    reservation_id: str
    actual_micro: int
    facilitator_tx: str = ""
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Settle:
    """Authorize and settle in one step, without a reservation."""

    tenant: str
    amount_micro: int
    method: Method = Method.METERED
    pool: str = "default"
    context: Context = Context()
    facilitator_tx: str = ""
    key: str = ""
    """The idempotency key of the settlement; `billing.once.settlement_key` derives one where the client has none."""


Ask = Authorize | Reserve | Release | Finalize | Settle


@dataclass(frozen=True, slots=True)
class WindowFigures:
    """One window of a tenant at the moment of a decision, before what was asked for; all in micro-USD."""

    window: str
    """`day` or `month`, of the tenant's time zone."""
    start_s: int
    end_s: int
    limit_micro: int | None
    """None: no limit."""
    ledger_micro: int
    """What the pipeline has counted, rounded up to a whole micro-USD."""
    pending_micro: int
    """Settled, but not yet in `ledger_micro`."""
    held_micro: int
    """In open reservations."""

    @property
    def current_micro(self) -> int:
        """All that counts against the limit."""
        return self.ledger_micro + self.pending_micro + self.held_micro

    @property
    def remaining_micro(self) -> int | None:
        """What may still be spent, never negative; None where there is no limit."""
        return None if self.limit_micro is None else max(0, self.limit_micro - self.current_micro)


@dataclass(frozen=True, slots=True)
class Spend:
    """Both windows of a tenant."""

    day: WindowFigures
    month: WindowFigures
    as_of_ms: int | None
    """Events that were durable in the ledger at this moment are in `ledger_micro`; None: never read."""

    @property
    def tightest(self) -> WindowFigures:
        """The window with the least left; the day's where both are equal or none has a limit."""
        day, month = self.day.remaining_micro, self.month.remaining_micro
        return self.month if month is not None and (day is None or month < day) else self.day


@dataclass(frozen=True, slots=True)
class Exceeded:
    """The cap that what was asked for exceeds: the day's where both are."""

    window: str
    limit_micro: int
    current_micro: int
    projected_micro: int


@dataclass(frozen=True, slots=True)
class ReservationView:
    """A reservation as its holder sees it."""

    id: str
    amount_micro: int
    state: str
    """open, finalized, released or expired."""
    expires_at_ms: int
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class SettlementView:
    """A settlement. `finalized = reserved - released + overrun`, always; without a reservation, reserved is it."""

    id: str
    """Deterministic: of the reservation, or of tenant and key."""
    reservation_id: str
    idempotency_key: str
    finalized_micro: int
    """What it really cost: in the ledger once the pipeline has caught up."""
    released_micro: int
    overrun_micro: int
    """Beyond the reservation; a ledger row of its own, with the action `overrun`."""
    finalized_at_ms: int
    credit_micro: int = 0
    """Of it, paid from credit lots."""
    shortfall_micro: int = 0
    """What credits were to pay and could not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one request; a repeated request gets it again, with `is_replay` set."""

    status: Status
    tenant: str = ""
    mode: Mode = Mode.LIVE
    amount_micro: int = 0
    """What was asked for."""
    spend: Spend | None = None
    """The figures of the decision; None where nothing was to be decided."""
    exceeded: Exceeded | None = None
    """Also set where mode shadow or soft let it through."""
    reservation: ReservationView | None = None
    settlement: SettlementView | None = None
    detail: str = ""
    decided_at_ms: int = 0
    is_replay: bool = False

    @property
    def is_ok(self) -> bool:
        """Whether what was asked for was done."""
        return self.status in OKS
