"""What Grafana and its ClickHouse data source put in the place of macros and variables, as they do it.

From the data source's `pkg/macros`, and Grafana's `singlequote` format.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ALL = "$__all"


@dataclass(frozen=True)
class View:
    """What the reader looks at: a range in seconds since 1970, the width of a point, the chosen values."""

    since: int
    until: int
    interval_s: int
    chosen: Mapping[str, tuple[str, ...]]

    def sql(self, text: str) -> str:
        """The SQL that reaches ClickHouse."""
        text = _conditional(text, self.chosen)
        text = re.sub(r"\$\{(\w+):singlequote\}", lambda m: _quoted(self.chosen[m[1]]), text)
        for name, macro in self._macros().items():
            text = re.sub(rf"\$__{name}\(([^()]*)\)", lambda m, macro=macro: macro(m[1].strip()), text)
        text = re.sub(r"\$__fromTime_ms\b", f"fromUnixTimestamp64Milli({self.since * 1000})", text)
        text = re.sub(r"\$__toTime_ms\b", f"fromUnixTimestamp64Milli({self.until * 1000})", text)
        text = re.sub(r"\$__fromTime\b", f"toDateTime({self.since})", text)
        text = re.sub(r"\$__toTime\b", f"toDateTime({self.until})", text)
        assert "$" not in text, f"a macro that nobody substitutes: {text}"
        return text

    def _macros(self) -> dict[str, Callable[[str], str]]:
        since, until = f"toDateTime({self.since})", f"toDateTime({self.until})"
        since_ms, until_ms = (f"fromUnixTimestamp64Milli({t * 1000})" for t in (self.since, self.until))
        return {
            "timeFilter": lambda c: f"{c} >= {since} AND {c} <= {until}",
            "timeFilter_ms": lambda c: f"{c} >= {since_ms} AND {c} <= {until_ms}",
            "timeInterval": lambda c: (
                f"toStartOfInterval(toDateTime({c}), INTERVAL {self.interval_s} second)"
            ),
        }


def promql(text: str, interval_s: int) -> str:
    """The query that reaches Prometheus."""
    text = text.replace("$__rate_interval", f"{4 * interval_s}s").replace("$__interval", f"{interval_s}s")
    assert "$" not in text, f"a macro that nobody substitutes: {text}"
    return text


def _quoted(values: tuple[str, ...]) -> str:
    return ",".join("'" + value.replace("'", "\\'") + "'" for value in values)


def _conditional(text: str, chosen: Mapping[str, tuple[str, ...]]) -> str:
    while (start := text.find("$__conditionalAll(")) >= 0:
        depth, end = 0, start + len("$__conditionalAll")
        while True:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
            if depth == 0:
                break
        inside = text[start + len("$__conditionalAll(") : end - 1]
        condition, _, variable = inside.rpartition(",")
        is_all = chosen[variable.strip().removeprefix("$")] == (ALL,)
        text = text[:start] + ("1=1" if is_all else condition) + text[end:]
    return text
