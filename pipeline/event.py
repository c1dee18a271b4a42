"""One event after validation, and the closed lists that its members come from (contract, sections 1 to 3)."""

from dataclasses import dataclass
from enum import IntEnum

UNATTRIBUTED = "@unattributed"
MICRO = 1_000_000


class EventType(IntEnum):
    """The types of usage, in the order of their codes in columns."""

    TRAFFIC = 0
    COMPUTE = 1
    STORAGE = 2
    WEBHOOK = 3
    CORRECTION = 4


class Trigger(IntEnum):
    """What set the operation off; `SYNCHRONOUS` unless the event says otherwise."""

    SYNCHRONOUS = 0
    WEBHOOK_RECEIVED = 1
    SCHEDULED = 2
    QUEUE_CONSUMED = 3
    CALLBACK_COMPLETED = 4


class ContextType(IntEnum):
    """Where in the front end the user was; `NONE` where the event does not say."""

    NONE = 0
    PROJECT = 1
    WORKSPACE = 2
    ADMIN = 3
    OTHER = 4


TYPE_NAMES = ("traffic", "compute", "storage", "webhook", "correction")
TRIGGER_NAMES = ("synchronous", "webhook-received", "scheduled", "queue-consumed", "callback-completed")
CONTEXT_NAMES = ("", "project", "workspace", "admin", "other")


class Reason(IntEnum):
    """Why an input was rejected, in the order in which the reasons are checked: the first that applies wins."""

    NONE = 0
    UNREADABLE = 1
    NOT_AN_OBJECT = 2
    MISSING_ATTRIBUTE = 3
    INVALID_ATTRIBUTE = 4
    UNKNOWN_TYPE = 5
    INVALID_DATA = 6
    TIME_IN_FUTURE = 7
    QUANTITY_OUT_OF_RANGE = 8
    AMOUNT_OUT_OF_RANGE = 9
    UNKNOWN_TENANT = 10
    IDEMPOTENCY_CONFLICT = 11
    VOIDS_UNKNOWN = 12
    BILLING_PERIOD_LOCKED = 13

    @property
    def code(self) -> str:
        """The reason as it stands in `rejected_events.reason`."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Reject:
    """An input that cannot be accepted: one reason and one sentence."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Event:
    """A valid event with all defaults applied, except a default idempotency key.

    Text is never None: absent is the empty string. Quantities in units and usage are integers scaled by
    10^6 (`units_micro`), exact up to the contract's 10^15; bytes are plain integers.
    """

    type: EventType
    tenant: str
    principal: str
    event_id: str
    source: str
    idempotency_key: str | None
    """The explicit key, or None: then the catalog's template, else `source` + space + `id`."""
    occurred_at_ms: int
    operation: str
    """Effective: for traffic without one, `METHOD endpoint` (what is there of the two)."""
    action: str = ""
    context_type: ContextType = ContextType.NONE
    context_name: str = ""
    context_display: str = ""
    trigger: Trigger = Trigger.SYNCHRONOUS
    method: str = ""
    endpoint: str = ""
    status: int = 0
    object: str = ""
    provider: str = ""
    verified: bool = False
    attributes: str = ""
    """JSON text of the members that have no column, or empty."""
    request_bytes: int = 0
    response_bytes: int = 0
    delta_bytes: int = 0
    units_micro: int = 0
    """Compute only (default 1 unit = 10^6); 0 for the other types."""
    usage_micro: tuple[tuple[str, int], ...] = ()
    voids: str = ""
    """Corrections only: the idempotency key of the event that is voided."""
