"""What every converted line shares: the protocol of a format, the key of a line, and text as JSON.

The key of a line is `name:number:hash`: its source name, its physical line number from 1, and the first 16
hex digits of BLAKE2b-128 over its bytes without the line break. The same file fed twice has the same keys, a
line that changed has a new one, and so has a rotated log under the same name.
"""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Protocol
from urllib.parse import quote

from msgspec.json import encode

from pipeline.event import Reason, Reject

TEXT_MAX = 1024
"""The most characters that the contract allows a text of `data`."""

_URI_SAFE = "/:?#[]@!$&'()*+,;=~%"
_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_NAME_MAX = 200
_SOURCE_MAX = 255
_SHOWN_MAX = 80


class Format(Protocol):
    """Turns the lines of one kind of file into CloudEvents lines; values only, safe to share by threads."""

    @property
    def header_lines(self) -> int:
        """Physical lines at the top of a file that are no events."""

    def with_header(self, header: bytes) -> "Format":
        """Bind the format to one file's header; called once per file where `header_lines` > 0.

        Raises `ConfigError` when the header has not what the mapping asks for.
        """

    def convert(self, line: bytes, source_name: str, line_number: int) -> bytes | Reject:
        """Make an event of a line without its LF; whatever the bytes, it never raises."""


def unreadable(detail: str) -> Reject:
    """Reject a line that does not parse."""
    return Reject(Reason.UNREADABLE, detail)


def without_break(line: bytes) -> bytes:
    """Take off the CR that is left of a CRLF line break."""
    return line.removesuffix(b"\r")


def json_text(text: str) -> bytes:
    """Write text as a JSON string; what UTF-8 cannot hold stands escaped in it."""
    try:
        return encode(text)
    except UnicodeEncodeError:
        return encode(_storable(text))


def shown(text: str) -> str:
    """Write a value for a sentence, not at length."""
    return repr(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}...")


def line_key(source_name: str, line_number: int, line: bytes) -> bytes:
    """Write the key of a line as a JSON string; `line` is without its line break."""
    digest = blake2b(line, digest_size=16).hexdigest()[:16]
    return b'%b:%d:%b"' % (_key_head(source_name), line_number, digest.encode())


@lru_cache(maxsize=256)
def source_uri(source_name: str) -> bytes:
    """Write a source name as a JSON string that is a URI reference of 1 to 255 characters."""
    uri = _LONE_PERCENT.sub("%25", quote(_storable(source_name), safe=_URI_SAFE))
    return json_text(_shortened(uri, _SOURCE_MAX) or "-")


@lru_cache(maxsize=256)
def _key_head(source_name: str) -> bytes:
    return json_text(_shortened(_storable(source_name), _NAME_MAX))[:-1]


def _storable(name: str) -> str:
    """Escape what UTF-8 cannot hold: a file's name may be any bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _shortened(text: str, longest: int) -> str:
    """Keep a text that fits; of a longer one keep the beginning and a hash of the whole."""
    if len(text) <= longest:
        return text
    digest = blake2b(text.encode(), digest_size=16).hexdigest()
    return f"{text[: longest - len(digest) - 1]}~{digest}"
