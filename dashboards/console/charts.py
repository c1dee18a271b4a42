"""Charts: options for ECharts, which NiceGUI brings, with the same figures as a table beside each.

Amounts reach the drawing as whole micro-USD: the drawing alone scales them to dollars for its axis. What a person
reads, in a tooltip or in the table, is the exact text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from dashboards.console.markup import Markup, tag, together
from dashboards.console.parts import Column, table

_DOLLARS = "v => '$' + (v / 1e6).toLocaleString('en-US', {maximumFractionDigits: Math.abs(v) < 1e6 ? 6 : 2})"
_COUNT = "v => v.toLocaleString('en-US')"
_TOLD = (
    "ps => [ps[0].axisValueLabel, ...ps.filter(p => p.data && p.data.told)"
    ".map(p => p.seriesName + '  ' + p.data.told)].join('\\n')"
)


@dataclass(frozen=True, slots=True)
class Series:
    """One row of a chart: a name, its colour as a variable of the theme, a value and its exact text at each place."""

    name: str
    colour: str
    values: Sequence[int]
    told: Sequence[str]
    is_line: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn: labels along the axis, series above them, and lines across such as limits."""

    caption: str
    labels: Sequence[str]
    series: Sequence[Series]
    is_money: bool = True
    limits: Mapping[str, int] | None = None
    """Name -> value; in micro-USD for money."""
    marks: Sequence[tuple[int, str]] = ()
    """(place along the axis, what happened there)."""


def draw(chart: Chart | None = None, *, small: bool = False) -> ui.echart:
    """Put a chart where the page is being built; `redraw` gives it figures."""
    element = ui.echart(_options(chart) if chart else {"series": []}, renderer="svg")
    element.classes("chart small" if small else "chart")
    element.props["role"] = "img"
    element.props["aria-label"] = chart.caption if chart else "A chart that is being read"
    return element


def redraw(element: ui.echart, chart: Chart) -> None:
    """Show other figures in a chart."""
    options = _options(chart)
    if element.props["options"] != options:
        element.props["options"] = options
        element.props["aria-label"] = f"{chart.caption}. The same figures follow as a table."
        element.update()


def as_table(chart: Chart) -> Markup:
    """Give the chart's figures as a table that unfolds, places without any left out."""
    shown = [
        (label, *(one.told[place] or "0" for one in chart.series))
        for place, label in enumerate(chart.labels)
        if any(one.values[place] for one in chart.series)
    ]
    columns = [Column("From", "when"), *(Column(one.name, "num") for one in chart.series)]
    return tag(
        "details", tag("summary", "Show as a table"), table(chart.caption, columns, shown), class_="as-table"
    )


def legend(chart: Chart) -> Markup:
    """Name the colours."""
    entries = [
        tag("li", tag("i", style=f"background:var({one.colour})", aria_hidden="true"), one.name)
        for one in chart.series
    ]
    return tag("ul", entries, class_="legend")


def below(chart: Chart) -> Markup:
    """What belongs under every chart."""
    return together(legend(chart), as_table(chart))


def _options(chart: Chart) -> dict[str, Any]:
    text = {"color": "var(--muted)", "fontSize": 11, "fontFamily": "inherit"}
    formatter = _DOLLARS if chart.is_money else _COUNT
    tooltip = {
        "trigger": "axis",
        "renderMode": "richText",
        ":formatter": _TOLD,
        "backgroundColor": "var(--ink)",
        "borderWidth": 0,
        "textStyle": {"color": "var(--surface)", "fontSize": 12},
        "axisPointer": {"type": "line", "lineStyle": {"color": "var(--muted)"}},
        "confine": True,
    }
    drawn = [_series(one) for one in chart.series]
    if drawn:
        drawn[0] |= _across(chart)
    return {
        "animation": False,
        "grid": {"left": 4, "right": 12, "top": 14, "bottom": 8, "containLabel": True},
        "tooltip": tooltip,
        "xAxis": {
            "type": "category",
            "data": list(chart.labels),
            "axisLabel": {**text, "hideOverlap": True},
            "axisLine": {"lineStyle": {"color": "var(--line)"}},
            "axisTick": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "axisLabel": {**text, ":formatter": formatter},
            "splitNumber": 4,
            "splitLine": {"lineStyle": {"color": "var(--grid)"}},
            "max": _top(chart),
        },
        "series": drawn,
    }


def _series(one: Series) -> dict[str, Any]:
    data = [{"value": value, "told": told} for value, told in zip(one.values, one.told, strict=True)]
    colour = f"var({one.colour})"
    common = {"name": one.name, "data": data, "emphasis": {"disabled": True}, "itemStyle": {"color": colour}}
    if one.is_line:
        shape = {
            "showSymbol": False,
            "lineStyle": {"color": colour, "width": 2},
            "areaStyle": {"color": colour, "opacity": 0.12},
        }
        return {**common, **shape, "type": "line", "step": "end"}
    return {**common, "type": "bar", "stack": "all", "barCategoryGap": "22%", "barMaxWidth": 34}


def _across(chart: Chart) -> dict[str, Any]:
    """Lines across for limits, and upright ones where something happened."""
    label = {"color": "var(--muted)", "fontSize": 11, "textBorderWidth": 0}
    lines: list[dict[str, Any]] = [
        {
            "yAxis": value,
            "name": name,
            "lineStyle": {"color": "var(--bad)", "type": "dashed", "width": 1.5},
            "label": {**label, "formatter": "{b}", "position": "insideStartTop"},
        }
        for name, value in (chart.limits or {}).items()
    ]
    lines += [
        {
            "xAxis": place,
            "name": name,
            "lineStyle": {"color": "var(--warn)", "type": "solid", "width": 1},
            "label": {**label, "formatter": "{b}", "position": "end", "distance": 2},
        }
        for place, name in chart.marks
    ]
    return {"markLine": {"symbol": "none", "silent": True, "data": lines, "animation": False}}


def _top(chart: Chart) -> int | None:
    """Keep a limit in sight, unless it is so far above that nothing else would be."""
    highest = max([*(chart.limits or {}).values()], default=0)
    most = max((sum(values) for values in zip(*(one.values for one in chart.series), strict=True)), default=0)
    return highest * 11 // 10 if most < highest <= most * 4 else None
