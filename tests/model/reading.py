"""A parsed line to an event, or the reason for which it is refused (contract, sections 1 and 3)."""

import datetime as dt
import re
from dataclasses import dataclass, field
from fractions import Fraction

from .json_text import Number, exact, parse

UNATTRIBUTED = "@unattributed"
TYPES = ("traffic", "compute", "storage", "webhook", "correction")
TRIGGERS = ("synchronous", "webhook-received", "scheduled", "queue-consumed", "callback-completed")
CONTEXTS = ("project", "workspace", "admin", "other")
TEXTS = {
    "traffic": ("method", "endpoint"),
    "compute": (),
    "storage": ("object",),
    "webhook": ("provider",),
    "correction": ("reason",),
}
QUANTITY_MAX = 10**15
TIME_MIN_MS = 946_684_800_000
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?([Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


class RefusedError(Exception):
    """The event is not accepted; its one argument is the reason."""


@dataclass
class Event:
    type: str
    tenant: str
    principal: str
    event_id: str
    source: str
    key: str | None
    at_ms: int
    operation: str
    action: str
    request_bytes: Fraction = Fraction(0)
    response_bytes: Fraction = Fraction(0)
    delta_bytes: Fraction = Fraction(0)
    units: Fraction = Fraction(0)
    usage: dict = field(default_factory=dict)
    payload: object = None
    voids: str = ""

    def content(self):
        """What two events with the same key must have in common to be the same."""
        usage = frozenset((name, quantity) for name, quantity in self.usage.items() if quantity)
        quantities = (self.request_bytes, self.response_bytes, self.delta_bytes, self.units)
        return (self.type, self.principal, self.operation, self.action, quantities, usage)


def read(line, arrival_ms, unattributed_tenant):
    """The event in a line; raises RefusedError with the first reason that applies, up to time_in_future."""
    try:
        value = parse(line)
    except ValueError as error:
        refuse("unreadable", error)
    refuse_if(type(value) is not dict, "not_an_object")
    required = ["specversion", "id", "source", "type", "data"] + ["tenant"] * (unattributed_tenant is None)
    refuse_if(any(name not in value for name in required), "missing_attribute")
    at_ms = _attributes(value, arrival_ms)
    refuse_if(value["type"] not in TYPES, "unknown_type")
    event = _event(value, at_ms, unattributed_tenant)
    refuse_if(at_ms > arrival_ms + 5 * 60 * 1000, "time_in_future")
    return event


def refuse(reason, cause=None):
    raise RefusedError(reason) from cause


def refuse_if(wrong, reason):
    if wrong:
        refuse(reason)


def _attributes(value, arrival_ms):
    wrong = (
        not _is_text(value["specversion"], 3, 3)
        or value["specversion"] != "1.0"
        or not _is_text(value["id"], 1, 256)
        or not _is_text(value["source"], 1, 255)
        or any(character.isspace() for character in value["source"])
        or type(value["type"]) is not str
        or not _is_text(value.get("tenant", "-"), 1, 128)
        or not _is_text(value.get("subject", ""), 0, 1024)
        or not _is_text(value.get("idempotencykey", "-"), 1, 512)
    )
    refuse_if(wrong, "invalid_attribute")
    return _milliseconds(value["time"]) if "time" in value else arrival_ms


def _is_text(value, shortest, longest):
    return type(value) is str and shortest <= len(value) <= longest


def _milliseconds(text):
    match = _TIME.fullmatch(text) if type(text) is str else None
    refuse_if(match is None, "invalid_attribute")
    year, month, day, hour, minute, second = (int(match[n]) for n in range(1, 7))
    offset_hour, offset_minute = int(match[10] or 0), int(match[11] or 0)
    wrong = max(hour, offset_hour) > 23 or max(minute, second, offset_minute) > 59
    try:
        days = dt.date(year, month, day).toordinal() - dt.date(1970, 1, 1).toordinal()
    except ValueError as error:
        refuse("invalid_attribute", error)
    offset = (offset_hour * 60 + offset_minute) * (-1 if match[9] == "-" else 1)
    minutes = (days * 24 + hour) * 60 + minute - offset
    at_ms = (minutes * 60 + second) * 1000 + int(((match[7] or "") + "000")[:3])
    refuse_if(wrong or at_ms < TIME_MIN_MS, "invalid_attribute")
    return at_ms


def _event(value, at_ms, unattributed_tenant):
    data = value["data"]
    refuse_if(type(data) is not dict, "invalid_data")
    _check_data(data, value["type"])
    event = Event(
        type=value["type"],
        tenant=value.get("tenant", unattributed_tenant),
        principal=value.get("subject") or UNATTRIBUTED,
        event_id=value["id"],
        source=value["source"],
        key=value.get("idempotencykey"),
        at_ms=at_ms,
        operation=data.get("operation", ""),
        action=data.get("action", ""),
        usage={name: _quantity(number) for name, number in data.get("usage", {}).items()},
        payload=data.get("event"),
    )
    _BY_TYPE[event.type](event, data)
    return event


def _check_data(data, kind):
    context = data.get("context", {})
    refuse_if(type(context) is not dict, "invalid_data")
    texts = [data.get(name, "") for name in ("operation", "action", *TEXTS[kind])]
    texts += [context.get("name", ""), context.get("display", "")]
    wrong = (
        any(not _is_text(text, 0, 1024) for text in texts)
        or context.get("type", "other") not in CONTEXTS
        or data.get("trigger", "synchronous") not in TRIGGERS
        or type(data.get("usage", {})) is not dict
        or any(not _is_text(name, 1, 1024) for name in data.get("usage", {}))
    )
    refuse_if(wrong, "invalid_data")


def _traffic(event, data):
    parts = (data.get("method", ""), data.get("endpoint", ""))
    event.operation = event.operation or " ".join(part for part in parts if part)
    event.request_bytes = _quantity(data.get("request_bytes", Number("0")), fraction=0)
    event.response_bytes = _quantity(data.get("response_bytes", Number("0")), fraction=0)
    status = _quantity(data.get("status", Number("0")), signed=True, fraction=0)
    refuse_if(not -(2**63) <= status < 2**63, "invalid_data")


def _compute(event, data):
    refuse_if(not event.operation, "invalid_data")
    event.units = _quantity(data.get("units", Number("1")))


def _storage(event, data):
    refuse_if("delta_bytes" not in data, "invalid_data")
    event.delta_bytes = _quantity(data["delta_bytes"], signed=True, fraction=0)


def _webhook(_event, data):
    refuse_if(type(data.get("verified", False)) is not bool, "invalid_data")


def _correction(event, data):
    refuse_if(not _is_text(data.get("voids"), 1, 512), "invalid_data")
    event.voids = data["voids"]


_BY_TYPE = dict(zip(TYPES, (_traffic, _compute, _storage, _webhook, _correction), strict=True))


def _quantity(number, *, signed=False, fraction=6):
    refuse_if(type(number) is not Number, "invalid_data")
    value, digits = exact(number)
    refuse_if(digits > fraction or (value < 0 and not signed), "invalid_data")
    return value


def is_out_of_range(event):
    """Whether a quantity of the event is beyond 10^15; asked after everything in `read`."""
    quantities = (event.request_bytes, event.response_bytes, event.delta_bytes, event.units)
    return any(abs(quantity) > QUANTITY_MAX for quantity in (*quantities, *event.usage.values()))
