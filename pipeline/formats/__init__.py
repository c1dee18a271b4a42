"""Input formats: the lines of logs become CloudEvents lines, which the one decoder then takes.

`make_format` gives the format for a name, `detect_format` the name for `auto`, `load_mapping` the mapping
that `csv` and `json` need. A format never raises on a line: what does not parse is a `Reject`.
"""

from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.event import Reject
from pipeline.formats.access_log import AccessLogFormat
from pipeline.formats.detect import detect_format
from pipeline.formats.envelope import Format
from pipeline.formats.mapping import Mapping, load_mapping
from pipeline.formats.nginx_json import NginxJsonFormat
from pipeline.formats.tabular import CsvFormat, JsonFormat

__all__ = ["FORMAT_NAMES", "Format", "Mapping", "detect_format", "load_mapping", "make_format"]

FORMAT_NAMES = ("cloudevents", "access-log", "nginx-json", "csv", "json")
"""The names that `make_format` takes; `auto` is what `detect_format` is for."""


@dataclass(frozen=True, slots=True)
class CloudEventsFormat:
    """Lines that are events already."""

    header_lines: int = 0

    def with_header(self, header: bytes) -> Format:  # noqa: ARG002 - no header to bind to
        """Return the format itself: there is no header."""
        return self

    def convert(self, line: bytes, source_name: str, line_number: int) -> bytes | Reject:  # noqa: ARG002 - as declared
        """Pass the line on as it is."""
        return line


def make_format(name: str, mapping: Mapping | None, tenant: str | None) -> Format:
    """Make the format of a name; `tenant` is who pays for lines that name none.

    Raises `UsageError` for an unknown name, for `csv` and `json` without a mapping, and for a mapping that
    the format has no use for.
    """
    if name not in FORMAT_NAMES:
        msg = f"unknown format {name!r}: expected auto, {', '.join(FORMAT_NAMES)}"
        raise UsageError(msg)
    if name in {"csv", "json"}:
        return _mapped(name, mapping, tenant)
    if mapping is not None:
        advice = "leave --mapping out or give --format csv or json"
        msg = f"--format {name} takes no mapping, got {mapping.path}: {advice}"
        raise UsageError(msg)
    if name == "access-log":
        return AccessLogFormat.of(tenant)
    return NginxJsonFormat.of(tenant) if name == "nginx-json" else CloudEventsFormat()


def _mapped(name: str, mapping: Mapping | None, tenant: str | None) -> Format:
    if mapping is None:
        msg = f"--format {name} needs --mapping FILE, which says what each column is: see examples/"
        raise UsageError(msg)
    return CsvFormat(mapping, tenant) if name == "csv" else JsonFormat.of(mapping, tenant)
