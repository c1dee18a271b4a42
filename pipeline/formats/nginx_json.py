r"""Access logs that nginx writes as JSON objects, as `traffic` events.

Every site names its members itself; the names known here are nginx's own variables and those of its widely
copied examples. Of several names for one thing the first that is there counts:

    subject         remote_addr, remote_ip, client_ip, client
    time            time_iso8601, msec, time_local, @timestamp, timestamp, time
    method, endpoint, query
                    request; or request_method, method and request_uri, uri and args, query_string
    status          status, response
    response_bytes  body_bytes_sent, bytes_sent, bytes; `-` is 0
    request_bytes   request_length
    referer         http_referer, referer, referrer
    user_agent      http_user_agent, user_agent, agent
    remote_user     remote_user
    host            http_host, host

Numbers may be strings. `-`, null and the empty string are absent. A line that does not say how many bytes
were sent is `invalid_data`: unknown is not zero. The `\xNN` of a log without `escape=json` is undone.
"""

import re
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import ClassVar

from msgspec.json import encode

from pipeline.event import Reason, Reject
from pipeline.formats.envelope import Format, shown, without_break
from pipeline.formats.json_lines import Members, member, number_of, split_object, text_of
from pipeline.formats.times import TimeReader, iso_rfc3339, unix_rfc3339
from pipeline.formats.traffic import (
    Request,
    canonical_digits,
    clf_rfc3339,
    parse_request,
    request_members,
    split_target,
    tenant_member,
    text_members,
    traffic_event,
)

KNOWN_MEMBERS = frozenset(
    (
        "remote_addr", "remote_ip", "time_iso8601", "msec", "time_local",
        "request", "request_method", "request_uri", "request_length",
        "body_bytes_sent", "bytes_sent", "http_referer", "http_user_agent",
    )
)  # fmt: skip
"""Members by which a line shows that it is such a log."""

_TIMES = ("time_iso8601", "msec", "time_local", "@timestamp", "timestamp", "time")
_SIZES = ("body_bytes_sent", "bytes_sent", "bytes")
_DASH = b'"-"'
_HEX_RUN = re.compile(rb"(?:\\x[0-9A-Fa-f]{2})+")
_DIGITS = re.compile(rb"[0-9]+").fullmatch


@dataclass(frozen=True, slots=True)
class NginxJsonFormat:
    """Lines of a JSON access log; `tenant` is the member that names the tenant, or empty."""

    tenant: bytes
    header_lines: ClassVar[int] = 0

    @classmethod
    def of(cls, tenant: str | None) -> "NginxJsonFormat":
        """Make the format for the one tenant whose log it is."""
        return cls(tenant_member(tenant))

    def with_header(self, header: bytes) -> Format:  # noqa: ARG002 - no header to bind to
        """Return the format itself: the log has no header."""
        return self

    def convert(self, line: bytes, source_name: str, line_number: int) -> bytes | Reject:
        """Make an event of a line."""
        line = without_break(line)
        members = _members(line)
        if isinstance(members, Reject):
            return members
        try:
            return self._event(members, (source_name, line_number, line))
        except ValueError as error:
            return Reject(Reason.UNREADABLE, f"the line has a text that cannot be read: {error}")

    def _event(self, members: Members, place: tuple[str, int, bytes]) -> bytes | Reject:
        time = _time(members)
        if isinstance(time, Reject):
            return time
        numbers = _numbers(members)
        if isinstance(numbers, Reject):
            return numbers
        texts = (
            *request_members(_request(members)),
            (b"referer", _text(members, "http_referer", "referer", "referrer")),
            (b"user_agent", _text(members, "http_user_agent", "user_agent", "agent")),
            (b"remote_user", _text(members, "remote_user")),
            (b"host", _text(members, "http_host", "host")),
        )
        subject = (b"subject", _text(members, "remote_addr", "remote_ip", "client_ip", "client"))
        extra = text_members((subject, (b"time", time)))
        return traffic_event(self.tenant, place, extra, text_members(texts) + numbers)


def _members(line: bytes) -> Members | Reject:
    """Take the line apart; one with nginx's default escapes is no JSON until they are undone."""
    members = split_object(line)
    if isinstance(members, Reject) and b"\\x" in line:
        again = split_object(_HEX_RUN.sub(_json_escaped, line))
        return members if isinstance(again, Reject) else again
    return members


def _json_escaped(match: re.Match[bytes]) -> bytes:
    raw = bytes.fromhex(match[0].decode().replace("\\x", ""))
    return encode(raw.decode("utf-8", "backslashreplace"))[1:-1]


def _first(members: Members, names: tuple[str, ...]) -> bytes | None:
    for name in names:
        value = member(members, name)
        if value is not None:
            return value
    return None


def _text(members: Members, *names: str) -> str:
    value = _first(members, names)
    return "" if value is None or value == _DASH else text_of(value)


def _request(members: Members) -> Request:
    line = _first(members, ("request",))
    if line is not None:
        return parse_request(text_of(line))
    request = split_target(_text(members, "request_method", "method"), _text(members, "request_uri", "uri"))
    return request if request.query else Request(request.method, request.endpoint, _arguments(members))


def _arguments(members: Members) -> str:
    return _text(members, "args", "query_string")


_READERS: tuple[TimeReader, ...] = (
    partial(iso_rfc3339, UTC),
    lambda text: clf_rfc3339(text.encode()),
    unix_rfc3339,
)


def _time(members: Members) -> str | Reject:
    """Read the time by its own form; empty where the line names none."""
    text = _text(members, *_TIMES)
    for reader in _READERS if text else ():
        time = reader(text)
        if time is not None:
            return time
    return Reject(Reason.INVALID_ATTRIBUTE, _no_time(text)) if text else ""


def _no_time(text: str) -> str:
    expected = "ISO 8601, seconds since 1970 or day/Mon/year:time zone"
    return f"the time of the line is {shown(text)}: expected {expected}"


def _numbers(members: Members) -> bytes | Reject:
    size = _first(members, _SIZES)
    if size is None:
        return Reject(
            Reason.INVALID_DATA,
            f"the line does not say how many bytes were sent: expected {' or '.join(_SIZES)}",
        )
    numbers = b',"response_bytes":' + _number(size)
    status, length = _first(members, ("status", "response")), _first(members, ("request_length",))
    if length is not None:
        numbers = b',"request_bytes":%b%b' % (_number(length), numbers)
    if status is not None and status != _DASH:
        numbers = b',"status":%b%b' % (_number(status), numbers)
    return numbers


def _number(value: bytes) -> bytes:
    """Read a number that may be a string, `-` or, as nginx writes a status of zero, `000`."""
    if value == _DASH:
        return b"0"
    inner = value.strip(b'"')
    return canonical_digits(inner) if _DIGITS(inner) else number_of(value)
