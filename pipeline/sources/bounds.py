"""What a broker has of a partition, held against where the ledger is."""

from dataclasses import dataclass

from pipeline.chunk import Origin
from pipeline.errors import MillraceError


@dataclass(frozen=True, slots=True)
class Bounds:
    """What there is of a partition: the offsets from `low` up to, not with, `high`."""

    origin: Origin
    low: int
    high: int
    keeper: str = "the broker"
    """Who has it."""


def check_start(bounds: Bounds, position: int) -> None:
    """Raise `MillraceError` when the broker does not have what comes next."""
    name = f"{bounds.origin.topic}/{bounds.origin.partition}"
    if position < bounds.low:
        msg = (
            f"records {position} to {bounds.low - 1} of {name} are gone: the ledger is at {position} and "
            f"{bounds.keeper} keeps from {bounds.low} on; bring them back, or give them up with --accept-gap"
        )
        raise MillraceError(msg)
    if position > bounds.high:
        msg = (
            f"{name} ends at {bounds.high} but the ledger has it up to {position}: {bounds.keeper} has another one of "
            "the same name, or lost records; name the right one, or give it a new name"
        )
        raise MillraceError(msg)
