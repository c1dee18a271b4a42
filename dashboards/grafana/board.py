"""What a dashboard is to us: panels with queries, as small frozen values without Grafana's details."""

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Literal

Kind = Literal["stat", "series", "bars", "table"]


@dataclass(frozen=True, slots=True)
class Sql:
    """A query of the ledger: a file of `dashboards/grafana/sql`."""

    name: str

    @property
    def text(self) -> str:
        """The SQL, with the macros of Grafana's ClickHouse data source."""
        return _sql(self.name)


@dataclass(frozen=True, slots=True)
class PromQl:
    """A query of Prometheus; `legend` names its series from their labels."""

    text: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A panel. `unit` is one of Grafana's; `red_from` colours a number that should stay below it."""

    title: str
    kind: Kind
    queries: tuple[Sql | PromQl, ...]
    text: str = ""
    unit: str = "short"
    width: int = 12
    height: int = 8
    decimals: int | None = None
    red_from: int | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the reader chooses: tenants (several, or all) or one account."""

    name: str
    label: str
    several: bool


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard: rows of panels under headings, in the order in which they are read."""

    uid: str
    title: str
    text: str
    rows: tuple[tuple[str, tuple[Shown, ...]], ...]
    chosen: tuple[Chosen, ...] = field(default_factory=tuple)
    since: str = "now-24h"

    @property
    def panels(self) -> tuple[Shown, ...]:
        """All panels."""
        return tuple(panel for _, panels in self.rows for panel in panels)


TENANT = Chosen("tenant", "Tenants", several=True)
ACCOUNT = Chosen("account", "Account", several=False)
USD = "currencyUSD"


@cache
def _sql(name: str) -> str:
    return (resources.files("dashboards.grafana") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
