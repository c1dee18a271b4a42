r"""Access logs of Apache and nginx, common and combined, as `traffic` events.

    83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a.png?x=1 HTTP/1.1" 200 203023 "referer" "user agent"

- `subject` is the client's address; `response_bytes` the size, with `-` as 0; `time` keeps its offset.
- `endpoint` is the path without its query string; `query`, `referer`, `user_agent`, and where there are any
  `remote_user`, `ident`, `host` (the `name:port` that some formats put first) and `extra` (complete fields
  behind the user agent, as nginx's own `main` format has one) are further members of `data`.
- A request that is not `METHOD path PROTOCOL` (`-`, the bytes of a TLS handshake) still cost its bytes: it
  has no method, and the text as it is for an endpoint.
- `\"`, `\\`, `\n` and `\xNN` are undone as the servers write them; what is then no UTF-8 stays escaped.
- A line that ends before its last quote is `unreadable`. Texts are cut at the contract's 1 024 characters.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from pipeline.event import Reject
from pipeline.formats.envelope import Format, line_key, source_uri, unreadable, without_break
from pipeline.formats.traffic import (
    CLF_TIME,
    MONTHS,
    canonical_digits,
    parse_request,
    request_members,
    rfc3339_of_clf,
    tenant_member,
    text_members,
    traffic_event,
)

_PLAIN_MAX = 1024
_PLAIN = re.compile(
    rb"([0-9A-Za-z:][0-9A-Za-z.:_-]*) - ([!#-\[\]-~]+) \[%b\] "
    rb'"([A-Z]{1,31}) ([!#->@-\[\]-~]+)(?:\?([!#-\[\]-~]*))? HTTP/\d(?:\.\d)?" '
    rb'([1-9]\d\d) (0|[1-9]\d{0,15}|-)(?: "([ !#-\[\]-~]*)" "([ !#-\[\]-~]*)")?' % CLF_TIME
).fullmatch
"""Nearly every line: short, printable ASCII without escapes, so that its texts are JSON as they stand."""

_QUOTED = rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
_USER = rb'((?:[^"\\]|\\.)*?)'
_ANY = re.compile(
    rb"(?:([\w.-]+:\d{1,5}) (?=\S*[.:]))?(\S+) (\S+) %b \[%b\] %b (\d{3}) (\d+|-)"
    rb'(?: %b %b((?: (?:"[^"\\]*(?:\\.[^"\\]*)*"|[^\s"]+))*))?'
    % (_USER, CLF_TIME, _QUOTED, _QUOTED, _QUOTED),
    re.DOTALL,
).fullmatch

_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_ESCAPED = {
    b'"': b'"',
    b"\\": b"\\",
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b"b": b"\b",
    b"v": b"\v",
    b"f": b"\f",
}

_NOT_A_LINE = unreadable(
    'the line is no whole access log line: expected address ident user [day/Mon/year:time zone] "request" '
    'status bytes, and behind it nothing or "referer" "user agent"'
)


@dataclass(frozen=True, slots=True)
class AccessLogFormat:
    """Lines of an access log; `tenant` is the member that names the tenant, or empty."""

    tenant: bytes
    header_lines: ClassVar[int] = 0

    @classmethod
    def of(cls, tenant: str | None) -> "AccessLogFormat":
        """Make the format for the one tenant whose log it is."""
        return cls(tenant_member(tenant))

    def with_header(self, header: bytes) -> Format:  # noqa: ARG002 - no header to bind to
        """Return the format itself: an access log has no header."""
        return self

    def convert(self, line: bytes, source_name: str, line_number: int) -> bytes | Reject:
        """Make an event of a line."""
        line = without_break(line)
        found = _PLAIN(line) if len(line) <= _PLAIN_MAX else None
        if found is None:
            return self._convert_any(line, source_name, line_number)
        (
            address, user, day, month, year, time, hours, minutes,
            method, endpoint, query, status, size, referer, agent,
        ) = found.groups()  # fmt: skip
        key = line_key(source_name, line_number, line)
        return (
            b'{"specversion":"1.0","type":"traffic",%b"source":%b,"id":%b,"idempotencykey":%b,"subject":"%b",'
            b'"time":"%b-%b-%bT%b%b:%b","data":{"method":"%b","endpoint":"%b","status":%b,"response_bytes":%b%b%b%b%b}}'
            % (
                self.tenant, source_uri(source_name), key, key, address,
                year, MONTHS[month], day, time, hours, minutes,
                method, endpoint, status, b"0" if size == b"-" else size,
                b',"query":"%b"' % query if query else b"",
                b',"referer":"%b"' % referer if referer and referer != b"-" else b"",
                b',"user_agent":"%b"' % agent if agent and agent != b"-" else b"",
                b',"remote_user":"%b"' % user if user != b"-" else b"",
            )
        )  # fmt: skip

    def _convert_any(self, line: bytes, source_name: str, line_number: int) -> bytes | Reject:
        found = _ANY(line)
        if found is None:
            return _NOT_A_LINE
        host, address, ident, user = (_field(text) for text in found.groups()[:4])
        request, status, size, referer, agent, more = found.groups()[10:]
        data = text_members(
            (
                *request_members(parse_request(_text(request))),
                (b"referer", _field(referer)),
                (b"user_agent", _field(agent)),
                (b"remote_user", user),
                (b"ident", ident),
                (b"host", host),
                (b"extra", _text((more or b"").strip())),
            )
        )
        numbers = b',"status":%b,"response_bytes":%b' % (
            canonical_digits(status),
            canonical_digits(size.replace(b"-", b"0")),
        )
        time = b',"time":"%b"' % rfc3339_of_clf(found.groups()[4:10])
        extra = text_members(((b"subject", address),)) + time
        return traffic_event(self.tenant, (source_name, line_number, line), extra, data + numbers)


def _field(raw: bytes | None) -> str:
    """Read a field; one that the server had nothing for is `-` or missing."""
    return "" if raw is None or raw == b"-" else _text(raw)


def _text(raw: bytes) -> str:
    """Undo the server's escapes; bytes that are no UTF-8 stay escaped."""
    if b"\\" in raw:
        raw = _ESCAPE.sub(_unescaped, raw)
    return raw.decode("utf-8", "backslashreplace")


def _unescaped(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    if len(escaped) > 1:
        return bytes.fromhex(escaped[1:].decode())
    return _ESCAPED.get(escaped, match[0])
