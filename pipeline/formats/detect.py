"""Which format a file has, by its first lines."""

import re

from pipeline.errors import UsageError
from pipeline.event import Reject
from pipeline.formats.access_log import AccessLogFormat
from pipeline.formats.json_lines import split_object
from pipeline.formats.nginx_json import KNOWN_MEMBERS

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NAME = re.compile(rb'"([^"\\]{1,64})"\s*:')
_MEMBERS_NEEDED = 2
_CHOICES = "cloudevents, access-log, nginx-json, csv or json"


def detect_format(name: str, head: bytes, *, mapped: bool = False) -> str:
    """Name the format of a file by the first of its lines that shows one; `head` is the file's beginning.

    `mapped` says that a mapping was given: then lines that are no CloudEvents are `json` or `csv`. A file
    without lines is `cloudevents`: it has no events in any format. Raises `UsageError`, with the
    `--format` to give, where no line shows a format.
    """
    lines = [line for line in head.removeprefix(_BYTE_ORDER_MARK).split(b"\n") if line.strip()]
    if not lines:
        return "cloudevents"
    for line in lines:
        found = _format_of_object(line, mapped=mapped) if line.lstrip()[:1] == b"{" else _format_of_text(line)
        if found and not (mapped and found == "access-log"):
            return found
    if mapped:
        return "json" if lines[0].lstrip()[:1] == b"{" else "csv"
    msg = f"the format of {name} cannot be told from its first lines: {_advice(name, lines)}"
    raise UsageError(msg)


def _format_of_object(line: bytes, *, mapped: bool) -> str | None:
    members = split_object(line)
    names = (
        set(members)
        if not isinstance(members, Reject)
        else {m.decode("latin-1") for m in _NAME.findall(line)}
    )
    if "specversion" in names:
        return "cloudevents"
    if mapped or len(names & KNOWN_MEMBERS) < _MEMBERS_NEEDED:
        return None
    return "nginx-json"


def _format_of_text(line: bytes) -> str | None:
    event = AccessLogFormat.of(None).convert(line, "", 1)
    return None if isinstance(event, Reject) else "access-log"


def _advice(name: str, lines: list[bytes]) -> str:
    if name.endswith((".csv", ".csv.gz", ".csv.zst")):
        return "for CSV give --format csv and --mapping FILE"
    if lines[0].lstrip()[:1] == b"{":
        return (
            "its JSON has no specversion, so give --format json and --mapping FILE, or --format cloudevents"
        )
    return f"give --format with one of {_CHOICES} (csv and json with --mapping FILE)"
