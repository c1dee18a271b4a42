"""How often a door opens: so many requests in a window, for each service, admin or tenant."""

from dataclasses import dataclass
from enum import StrEnum


class Door(StrEnum):
    """What is counted by itself."""

    FINALIZE = "finalize"
    ADMIN = "admin"
    INGEST = "ingest"
    AUTHORIZE = "authorize"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds."""

    requests: int
    seconds: int = 60


class RateLimits:
    """Counts requests by door and caller."""
