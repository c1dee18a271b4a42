"""Lines that must be rejected, one kind for each reason that a line can have by itself."""

from collections.abc import Callable
from dataclasses import dataclass

_TIME = b'"time":"'


@dataclass(frozen=True, slots=True)
class Fault:
    """How a good line is spoilt, and the reason that the contract gives for it."""

    reason: str
    spoil: Callable[[bytes], bytes]


def fault_number(line_number: int) -> int:
    """Which of FAULTS a faulty line has."""
    return line_number % len(FAULTS)


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda line: line.replace(old, new, 1)


def _at_end_of_data(members: bytes) -> Callable[[bytes], bytes]:
    """Of duplicate members the last counts, so what is added wins."""
    return lambda line: line[:-2] + members + b"}}"


def _timed(time: bytes) -> Callable[[bytes], bytes]:
    def spoil(line: bytes) -> bytes:
        start = line.index(_TIME) + len(_TIME)
        return line[:start] + time + line[line.index(b'"', start) :]

    return spoil


FAULTS = (
    Fault("unreadable", lambda line: line[: len(line) // 2]),
    Fault("unreadable", lambda line: b"\xff\xfe" + line),
    Fault("unreadable", _at_end_of_data(b',"load":NaN')),
    Fault("not_an_object", lambda line: b"[" + line + b"]"),
    Fault("missing_attribute", _replaced(b'"specversion":"1.0",', b"")),
    Fault("missing_attribute", _replaced(b'"tenant":', b'"account":')),
    Fault("invalid_attribute", _replaced(b'"specversion":"1.0"', b'"specversion":"0.3"')),
    Fault("invalid_attribute", _timed(b"yesterday")),
    Fault("unknown_type", _replaced(b'"type":"compute"', b'"type":"computation"')),
    Fault("invalid_data", _at_end_of_data(b',"units":"12"')),
    Fault("invalid_data", _at_end_of_data(b',"usage":{"gpu":-1}')),
    Fault("time_in_future", _timed(b"2999-12-31T23:59:59.999Z")),
    Fault("quantity_out_of_range", _at_end_of_data(b',"units":1000000000000001')),
    Fault("amount_out_of_range", _at_end_of_data(b',"usage":{"gpu":1000000000000000}')),
)
