"""What the web log formats share: one request of a log as a `traffic` event."""

import re
from dataclasses import dataclass

from pipeline.formats.envelope import TEXT_MAX, json_text, line_key, source_uri

MONTHS = {
    name: b"%02d" % (number + 1)
    for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
}
CLF_TIME = rb"(\d\d)/(%b)/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d\d):?(\d\d)" % b"|".join(MONTHS)
"""The time of a log line such as `17/May/2015:10:05:03 +0000`, in six groups."""

_CLF_TIME = re.compile(CLF_TIME)
_REQUEST = re.compile(r"([A-Za-z][A-Za-z_-]{0,31}) (\S.*) [A-Z]{1,16}/\d(?:\.\d)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Request:
    """A request line in its parts; one that is not `METHOD path PROTOCOL` has no method."""

    method: str
    endpoint: str
    query: str


def parse_request(text: str) -> Request:
    """Split a request line; the path without its query is the endpoint, odd text is the endpoint as it is."""
    match = _REQUEST.fullmatch(text)
    return split_target(match[1], match[2]) if match else Request("", text, "")


def split_target(method: str, target: str) -> Request:
    """Split the target of a request at its first `?`."""
    endpoint, _, query = target.partition("?")
    return Request(method, endpoint, query)


def clf_rfc3339(text: bytes) -> str | None:
    """Write a log's time as RFC 3339 with its own offset; None where it is none."""
    match = _CLF_TIME.fullmatch(text)
    return None if match is None else rfc3339_of_clf(match.groups()).decode()


def rfc3339_of_clf(groups: tuple[bytes, ...]) -> bytes:
    """Put the six groups of `CLF_TIME` in the order of RFC 3339."""
    day, month, year, time, hours, minutes = groups
    return b"%b-%b-%bT%b%b:%b" % (year, MONTHS[month], day, time, hours, minutes)


def canonical_digits(digits: bytes) -> bytes:
    """Write a run of digits as JSON wants it, without leading zeros."""
    return digits.lstrip(b"0") or b"0"


def tenant_member(tenant: str | None) -> bytes:
    """Write the member that names the tenant; nothing where there is none."""
    return b'"tenant":%b,' % json_text(tenant) if tenant else b""


def text_members(texts: tuple[tuple[bytes, str], ...]) -> bytes:
    """Write the members of `data` that have a text, each cut to what the contract allows.

    Cut, not refused: the bytes of a request are owed, however long its address was.
    """
    return b"".join(b',"%b":%b' % (name, json_text(text[:TEXT_MAX])) for name, text in texts if text)


def request_members(request: Request) -> tuple[tuple[bytes, str], ...]:
    """Name the parts of a request, short enough for `METHOD endpoint` to be an operation."""
    room = TEXT_MAX - len(request.method) - 1
    return (
        (b"method", request.method),
        (b"endpoint", request.endpoint[:room]),
        (b"query", request.query),
    )


def traffic_event(tenant: bytes, place: tuple[str, int, bytes], extra: bytes, data: bytes) -> bytes:
    """Put an event together.

    `tenant` is a whole member or empty, `place` the source name, the line's number and its bytes, `extra` are
    further attributes and `data` the members of `data`, each with a comma before it.
    """
    key = line_key(*place)
    return (
        b'{"specversion":"1.0","type":"traffic",%b"source":%b,"id":%b,"idempotencykey":%b%b,"data":{%b}}'
        % (tenant, source_uri(place[0]), key, key, extra, data[1:])
    )
