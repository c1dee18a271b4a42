"""What ClickHouse says when it refuses a statement, as one sentence and with the right exit code."""

import re

from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.errors import LedgerError, MillraceError, UsageError

OUR_FAULT = frozenset(
    {
        "CANNOT_ALLOCATE_MEMORY",
        "CANNOT_SCHEDULE_TASK",
        "CHECKSUM_DOESNT_MATCH",
        "CORRUPTED_DATA",
        "LOGICAL_ERROR",
        "MEMORY_LIMIT_EXCEEDED",
        "NETWORK_ERROR",
        "NOT_ENOUGH_SPACE",
        "SOCKET_TIMEOUT",
        "TIMEOUT_EXCEEDED",
        "TOO_MANY_SIMULTANEOUS_QUERIES",
    }
)
"""The ledger failed; every other error that has a name says that the statement is wrong."""

ADVICE = {
    "READONLY": "millrace query only reads; it changes nothing, reads no files and takes no settings",
    "UNKNOWN_QUERY_PARAMETER": "give its value with --param name=value",
    "UNKNOWN_TABLE": "the tables are ledger, usage_by_quarter, rejected_events and cap_decisions",
}
_DECORATION = re.compile(
    r"Code: \d+\. |DB::Exception: |^default: "
    r"|\.? ?\((?:version [^)]*|READONLY|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\)"
)
_SCOPE = re.compile(r"[.:]? In scope ")
"""The analyser repeats the whole statement behind these words."""
_LONGEST = 400


def refusal(error: ClickHouseError, what: str) -> MillraceError:
    """Say why `what` failed: a `UsageError` where the statement is wrong, else a `LedgerError`."""
    name = getattr(error, "name", None) or ""
    reason = _reason(str(error))
    advice = f": {ADVICE[name]}" if name in ADVICE else ""
    sentence = f"{what} was refused by the ledger: {reason}{advice}"
    return LedgerError(sentence) if not name or name in OUR_FAULT else UsageError(sentence)


def _reason(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else "no reason was given"
    line = _SCOPE.split(_DECORATION.sub("", line))[0].strip(". :")[:_LONGEST]
    return line[:1].lower() + line[1:]
