"""What is told to a billing provider: what a meter sums, the frozen reports, and the outbox as a protocol.

The planner turns usage into reports; the outbox (billing) keeps each with its state; the pusher (sinks) sends
them. They meet here. Moments are whole seconds since 1970 in UTC. Quantities are integers scaled by 10^6:
micro-USD become pico-USD, usage becomes millionths.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

HOUR_S = 3600
SLOTS = 60
"""Minutes of an hour: each report has its own, so that the provider's sum of one minute proves it."""
VALUE_MAX = 10**15 - 1
"""Stripe takes at most 15 digits."""


class Sums(StrEnum):
    """What a meter sums; the last stands for `usage.<source>`."""

    COST = "cost"
    CALLS = "calls"
    UNITS = "units"
    BASE_UNITS = "base_units"
    BYTES = "bytes"
    REQUEST_BYTES = "request_bytes"
    RESPONSE_BYTES = "response_bytes"
    STORED_BYTES = "stored_bytes"
    USAGE = "usage"


@dataclass(frozen=True, slots=True)
class Measure:
    """What to sum over the ledger's metered rows: cost, or one quantity, of some operations and sources."""

    sums: Sums
    usage_source: str = ""
    """The source whose use is summed, for `Sums.USAGE` only."""
    operations: tuple[str, ...] = ()
    """Empty: of all operations."""
    sources: tuple[str, ...] = ()
    """Cost only; empty: of all cost sources."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The exact total of one tenant in one window: an hour, or a whole month where hours no longer matter."""

    tenant: str
    window_start: int
    total: int
    """Pico-USD for cost, millionths for quantities; negative where corrections outweigh use."""


class UsageReader(Protocol):
    """Reads totals of metered rows from the ledger."""

    def totals(self, measure: Measure, since: int, hourly_from: int) -> Sequence[Usage]:
        """Return the totals from `since` on: by month before `hourly_from`, by hour from there on."""
        ...


class State(StrEnum):
    """Where a report stands; see docs/stripe.md for the ways between them."""

    PLANNED = "planned"
    SENDING = "sending"
    ACCEPTED = "accepted"
    VERIFIED = "verified"
    DEFERRED = "deferred"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    ASYNC_REJECTED = "async_rejected"
    FROZEN = "frozen"
    ABSENT = "absent"
    QUARANTINED = "quarantined"
    CARRIED = "carried"


UNCOUNTED = frozenset({State.ABSENT, State.CARRIED})
"""Proven not to be with the provider: the planner plans their amount again."""
OPEN_FOR_PROOF = frozenset({State.ACCEPTED, State.UNKNOWN, State.FROZEN})
HOLDING = frozenset({State.REJECTED, State.ASYNC_REJECTED, State.QUARANTINED})
"""States that hold their lane until someone has looked: what follows would most likely fare the same."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One customer's meter: at most one call is in flight in a lane."""

    customer: str
    event_name: str


@dataclass(frozen=True, slots=True)
class Report:
    """What is told, frozen: the same identifier never stands for another value."""

    namespace: str
    tenant: str
    customer: str
    event_name: str
    window_start: int
    slot: int
    value: int
    """Whole units, 1 to `VALUE_MAX`."""
    origin_start: int
    """The window that owes the value; earlier than `window_start` where it came too late for its own."""

    @property
    def lane(self) -> Lane:
        """The lane that the report is sent in."""
        return Lane(self.customer, self.event_name)

    @property
    def timestamp(self) -> int:
        """The middle of the report's own minute."""
        return self.window_start + 60 * self.slot + 30

    @property
    def identifier(self) -> str:
        """The same for the same slot, whoever plans it; 44 characters (Stripe takes 100)."""
        parts = [self.namespace, self.event_name, self.customer, self.window_start, self.slot]
        text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
        return "mt1." + hashlib.sha256(text.encode()).hexdigest()[:40]


class Result(StrEnum):
    """What one attempt is known to have done."""

    APPLIED = "applied"
    """2xx: received."""
    DUPLICATE = "duplicate"
    """Refused, since an event of this identifier is already there."""
    NOT_APPLIED = "not_applied"
    """Surely without effect, and worth another try: 429, no connection, a key that is not accepted."""
    UNKNOWN = "unknown"
    """Perhaps applied: a timeout, a reset, a cut body, 5xx, 409, anything else."""
    REPLAYED_FAILURE = "replayed_failure"
    """A stored failure under this idempotency key: the next attempt needs a new key."""
    KEY_MISMATCH = "key_mismatch"
    """The idempotency key was used with other parameters."""
    REFUSED = "refused"
    """Definitely refused as it is: another try says the same."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt's result and what the provider said."""

    result: Result
    detail: str = ""
    http_status: int = 0
    request_id: str = ""
    retry_after_s: int = 0
    server_time: int | None = None
    """The provider's clock, where it said."""
    pauses_all: bool = False
    """Too much in all, not from this lane alone: nothing else for a while."""
    halts_all: bool = False
    """The key or the account is at fault: someone has to mend it before anything is sent."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A report that is to be sent now; its beginning is already durable."""

    attempt_id: int
    intent_id: int
    number: int
    fence: int
    idempotency_key: str
    identifier: str
    report: Report
    send_before: int
    """A sender that comes to it later, since its host slept, must not send it any more."""


@dataclass(frozen=True, slots=True)
class Settled:
    """An attempt with its outcome."""

    attempt: Attempt
    outcome: Outcome


class Summaries(Protocol):
    """Reads what the provider counts; every read costs of an allowance."""

    reads: int

    def hours(self, lane: Lane, start: int, end: int) -> Mapping[int, int]:
        """Return the whole units of each hour in [start, end) that has any."""
        ...

    def span(self, lane: Lane, start: int, end: int) -> int:
        """Return the whole units of the minutes in [start, end)."""
        ...


class Outbox(Protocol):
    """The pusher's side of the outbox."""

    def exchange(self, settled: Sequence[Settled], free: int, now: int) -> Sequence[Attempt]:
        """Write outcomes and take up to `free` attempts, at most one for each lane, in one transaction."""
        ...

    def next_due(self, now: int) -> int | None:
        """Say when the next report may be sent: up to `now` means at once, None that none is left."""
        ...

    def release(self) -> None:
        """Give back all lanes."""
        ...
