"""What an operator decides about reservations and stored answers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The bounds of what services may ask for."""

    reservation_micro_max: int = 1_000_000_000
    """A wrong estimate must not fill a cap: one reservation holds at most so much."""
    reservation_s: int = 300
    """How long a reservation holds where the asker does not say."""
    reservation_s_max: int = 3_600
    answers_kept_s: int = 86_400
    """How long a repeated idempotency key finds the first answer. A settlement is found by its key for ever."""
    caller_key: bytes = b""
    """The key of the keyed hash of callers in the audit."""
