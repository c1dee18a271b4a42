"""From our dashboards to Grafana's JSON, by Grafana's own SDK."""

import json
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common as shared
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog import builder as cog
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

from dashboards.grafana.board import Board, Chosen, PromQl, Shown, Sql

LEDGER = dashboard.DataSourceRef("grafana-clickhouse-datasource", "millrace-ledger")
METRICS = dashboard.DataSourceRef("prometheus", "millrace-metrics")
_PLUGIN_VERSION = "4.0.0"
_KINDS: dict[str, Any] = {
    "stat": stat.Panel,
    "series": timeseries.Panel,
    "bars": timeseries.Panel,
    "table": table.Panel,
}
_TABLE, _SERIES = 1, 0
"""How the ClickHouse data source numbers its formats."""


@dataclass
class _LedgerQuery(variants.Dataquery):
    """A query of Grafana's ClickHouse data source, which the SDK has no builder for."""

    sql: str
    ref_id: str
    is_series: bool

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref_id,
            "datasource": LEDGER,
            "editorType": "sql",
            "queryType": "timeseries" if self.is_series else "table",
            "format": _SERIES if self.is_series else _TABLE,
            "pluginVersion": _PLUGIN_VERSION,
            "rawSql": self.sql,
        }


@dataclass
class _LedgerQueryBuilder(cog.Builder[variants.Dataquery]):
    query: _LedgerQuery

    def build(self) -> variants.Dataquery:
        return self.query


def to_json(board: Board) -> str:
    """Give the dashboard as Grafana provisions it; the same board gives the same text."""
    made = (
        build.Dashboard(board.title)
        .uid(board.uid)
        .description(board.text)
        .tags(["millrace"])
        .time(board.since, "now")
        .timezone("browser")
        .refresh("1m")
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    )
    for chosen in board.chosen:
        made = made.with_variable(_variable(chosen))
    number = 0
    for heading, panels in board.rows:
        number += 1
        made = made.with_row(build.Row(heading).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(_panel(panel).id(number))
    text = json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n"


def _variable(chosen: Chosen) -> build.QueryVariable:
    made = (
        build.QueryVariable(chosen.name)
        .label(chosen.label)
        .datasource(LEDGER)
        .query(Sql("tenants").text)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.DISABLED)
    )
    if not chosen.several:
        return made
    everyone = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return made.multi(True).include_all(True).current(everyone)


def _panel(shown: Shown) -> Any:
    made: Any = _KINDS[shown.kind]()
    made = made.title(shown.title).description(shown.text).span(shown.width).height(shown.height)
    made = made.datasource(LEDGER if isinstance(shown.queries[0], Sql) else METRICS)
    for number, query in enumerate(shown.queries):
        made = made.with_target(_target(query, chr(ord("A") + number), shown))
    if shown.kind == "table":
        return _with_columns(made)
    made = made.unit(shown.unit)
    if shown.decimals is not None:
        made = made.decimals(shown.decimals)
    if shown.kind == "stat":
        return _coloured(made, shown)
    if shown.kind == "bars":
        stacked = shared.StackingConfig().mode(common.StackingMode.NORMAL)
        made = made.draw_style(common.GraphDrawStyle.BARS).fill_opacity(80).stacking(stacked)
    legend = shared.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
    return made.legend(legend.display_mode(common.LegendDisplayMode.LIST))


def _target(query: Sql | PromQl, ref: str, shown: Shown) -> cog.Builder[variants.Dataquery]:
    if isinstance(query, Sql):
        return _LedgerQueryBuilder(_LedgerQuery(query.text, ref, shown.kind in {"series", "bars"}))
    made = prometheus.Dataquery().expr(query.text).ref_id(ref).datasource(METRICS)
    made = made.instant() if shown.kind == "stat" else made.range()
    return made.legend_format(query.legend) if query.legend else made


def _coloured(made: stat.Panel, shown: Shown) -> stat.Panel:
    steps = [dashboard.Threshold(None, "green")]
    if shown.red_from is not None:
        steps.append(dashboard.Threshold(shown.red_from, "red"))
    bounds = build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
    last = shared.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)
    return made.thresholds(bounds).reduce_options(last)


def _with_columns(made: table.Panel) -> table.Panel:
    """Give amounts their digits and bytes their unit, by the name of the column."""
    for pattern, unit, decimals in (("/usd|USD/", "currencyUSD", 6), ("/^bytes$/", "bytes", 1)):
        made = made.override_by_regexp(
            pattern,
            [dashboard.DynamicConfigValue("unit", unit), dashboard.DynamicConfigValue("decimals", decimals)],
        )
    return made
