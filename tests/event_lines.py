"""Lines of events for tests of the strict decoder, and what it says to them."""

import msgspec

from pipeline.event import Event, Reject
from pipeline.strict import Rules, decode_event

NOW_MS = 1_793_600_000_000  # 2026-11-02T06:13:20Z
NOW = "2026-11-02T06:13:20Z"
STRICT = Rules()
LENIENT = Rules(unattributed_tenant="@unattributed")
ABSENT = object()
MINIMAL = {
    "traffic": {},
    "compute": {"operation": "ask"},
    "storage": {"delta_bytes": 1},
    "webhook": {},
    "correction": {"voids": "k"},
}


def number(text):
    """A number exactly as it shall be written."""
    return msgspec.Raw(text.encode())


def event(kind="compute", members=None, **attributes):
    """An event as an object; `members` of its data come on top of what the type requires."""
    whole = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/svc",
        "type": kind,
        "tenant": "acme",
        "time": NOW,
        "data": {**MINIMAL[kind], **(members or {})},
        **attributes,
    }
    return {name: value for name, value in whole.items() if value is not ABSENT}


def line(value):
    return msgspec.json.encode(value)


def judge(value, rules=STRICT):
    return decode_event(value if isinstance(value, bytes) else line(value), NOW_MS, rules)


def accepted(value, rules=STRICT):
    outcome = judge(value, rules)
    assert isinstance(outcome, Event), outcome
    return outcome


def refused(value, rules=STRICT):
    outcome = judge(value, rules)
    assert isinstance(outcome, Reject), outcome
    return outcome.reason
