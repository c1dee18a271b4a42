"""Spend over time: which stretch is looked at, in which steps, and what is drawn of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Query

from dashboards.console.charts import Chart, Series
from dashboards.console.desk import Ledger
from dashboards.console.text import Zone, aware, grouped, iso, usd
from pipeline.catalog import Settlement
from pipeline.zones import window_starts

QUARTER_S, HOUR_S, DAY_S = 900, 3600, 86_400
RANGES = (
    ("3h", "3 hours"),
    ("today", "Today"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("month", "Month"),
    ("90d", "90 days"),
)
_LENGTHS = {
    "1h": (HOUR_S, QUARTER_S),
    "3h": (3 * HOUR_S, QUARTER_S),
    "24h": (DAY_S, HOUR_S),
    "7d": (7 * DAY_S, 6 * HOUR_S),
    "90d": (90 * DAY_S, DAY_S),
}
Span = Annotated[str, Query(alias="range")]
"""The name of a stretch in an address."""
COLOURS = {one.value: f"--{one.value}" for one in Settlement}


@dataclass(frozen=True, slots=True)
class Stretch:
    """From a quarter hour to a quarter hour, in steps; a step of a day is a day of the zone."""

    name: str
    from_s: int
    to_s: int
    step_s: int
    zone: Zone

    @property
    def between(self) -> dict[str, str]:
        """The parameters `from_` and `to` of queries."""
        return {"from_": iso(self.from_s), "to": iso(self.to_s)}

    def places(self) -> list[int]:
        """Where each step begins, epoch seconds."""
        if self.step_s < DAY_S:
            first = self.from_s - self.from_s % self.step_s
            return list(range(first, self.to_s, self.step_s))
        found = [window_starts(self.zone.info, self.from_s).day_s]
        while (following := window_starts(self.zone.info, found[-1] + 3 * DAY_S // 2).day_s) < self.to_s:
            found.append(following)
        return found

    def labels(self) -> list[str]:
        """What stands below each step."""
        return [
            self.zone.short(place) if self.step_s < DAY_S else self.zone.day(place)[:-5]
            for place in self.places()
        ]


def stretch(name: str, now_s: int, zone: Zone) -> Stretch:
    """Give the stretch of a name; an unknown name is today.

    It ends with the running quarter hour, or with the running hour where its steps are hours and more: so the first
    bar is whole, and whole hours are read from their sums.
    """
    unit = HOUR_S if _LENGTHS.get(name, (0, 0))[1] >= HOUR_S else QUARTER_S
    end = now_s - now_s % unit + unit
    starts = window_starts(zone.info, now_s)
    if name == "month":
        return Stretch(name, starts.month_s, end, DAY_S, zone)
    if name in _LENGTHS:
        length, step = _LENGTHS[name]
        first = window_starts(zone.info, end - length).day_s if step >= DAY_S else end - length
        return Stretch(name, first, end, step, zone)
    return Stretch("today", starts.day_s, end, HOUR_S, zone)


def read_spend(ledger: Ledger, over: Stretch, tenant: str) -> list[dict[str, Any]]:
    """Read the spend of each step by settlement."""
    return ledger.rows("console_spend", **over.between, tenant=tenant, step=over.step_s, zone=over.zone.name)


def spend_chart(over: Stretch, rows: Sequence[Mapping[str, Any]], caption: str) -> Chart:
    """Draw spend as bars by settlement."""
    places = {place: number for number, place in enumerate(over.places())}
    amounts = {name: [0] * len(places) for name in COLOURS}
    for row in rows:
        place = places.get(seconds_of(row["bucket"]))
        if place is not None:
            amounts[row["settlement"]][place] += row["pico_usd"]
    used = [name for name, values in amounts.items() if any(values)] or ["metered"]
    series = [
        Series(
            name,
            COLOURS[name],
            [_micro(v) for v in amounts[name]],
            [usd(v) if v else "" for v in amounts[name]],
        )
        for name in used
    ]
    return Chart(caption, over.labels(), series)


def running_chart(over: Stretch, rows: Sequence[Mapping[str, Any]], caption: str, limit: int | None) -> Chart:
    """Draw how the spend that counts in caps has grown, with the limit (micro-USD) as a line."""
    places = over.places()
    steps = dict.fromkeys(places, 0)
    for row in rows:
        if row["settlement"] in {"metered", "credit"} and seconds_of(row["bucket"]) in steps:
            steps[seconds_of(row["bucket"])] += row["pico_usd"]
    sums, total = [], 0
    for place in places:
        total += steps[place]
        sums.append(total)
    series = [
        Series("spent so far", "--metered", [_micro(v) for v in sums], [usd(v) for v in sums], is_line=True)
    ]
    limits = {} if limit is None else {f"limit {usd(limit * 10**6)}": limit}
    return Chart(caption, over.labels(), series, limits=limits)


def counts_chart(
    over: Stretch, names: Mapping[str, str], rows: Sequence[Mapping[str, Any]], caption: str
) -> Chart:
    """Draw counts as bars; `names` are columns with their colours."""
    places = {place: number for number, place in enumerate(over.places())}
    counts = {name: [0] * len(places) for name in names}
    for row in rows:
        place = places.get(seconds_of(row["bucket"]))
        for name in names:
            if place is not None:
                counts[name][place] += int(row[name])
    used = [name for name in names if any(counts[name])] or list(names)[:1]
    series = [Series(n, names[n], counts[n], [grouped(v) if v else "" for v in counts[n]]) for n in used]
    return Chart(caption, over.labels(), series, is_money=False)


def seconds_of(moment: Any) -> int:
    """The epoch seconds of a moment that a query gave."""
    return (aware(moment) - _EPOCH) // timedelta(seconds=1)


_EPOCH = aware(0)


def _micro(pico: int) -> int:
    """Micro-USD for the drawing."""
    return pico // 10**6
