"""Locked billing periods: usage that comes late for one is billed in the first open one, or refused.

A run goes by the locks that it found when it began, whatever happens to them meanwhile: so no decision hangs on
how fast a worker was. Billing periods are calendar months in UTC, counted here from January 1970.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.batch import Batch
from pipeline.columns import Int32s, Int64s
from pipeline.errors import UsageError
from pipeline.kernels.layout import KIND_TENANT

Bools = npt.NDArray[np.bool_]
_PERIOD = re.compile(r"(2[0-9]{3})-(0[1-9]|1[0-2])")
_MONTHS = 12
_FEW = 16
_NONE: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Locks:
    """Which periods are locked for everyone, which for single tenants, and whether late usage is refused."""

    everyone: frozenset[int] = _NONE
    tenants: Mapping[str, frozenset[int]] = field(default_factory=dict)
    refuse: bool = False

    def __bool__(self) -> bool:
        """Whether anything is locked."""
        return bool(self.everyone or self.tenants)

    def of(self, tenant: str) -> frozenset[int]:
        """The periods that are locked for a tenant."""
        return self.everyone | self.tenants.get(tenant, _NONE)

    def first_open(self, tenant: str, month: int) -> int:
        """The month itself, or the first after it that is not locked for the tenant."""
        locked = self.of(tenant)
        while month in locked:
            month += 1
        return month

    def billed_in(self, batch: Batch, rows: Int32s, months: Int64s) -> Int64s:
        """The month int64[len(rows)] that each row is billed in; `months` are those of `occurred_at`."""
        if not self or not len(rows):
            return months
        billed = _moved(self.everyone, months)
        candidates = np.isin(months, list(frozenset().union(*self.tenants.values())))
        if not candidates.any():
            return billed
        codes = batch.dictionary.codes[rows, KIND_TENANT]
        names = batch.dictionary.values(KIND_TENANT, batch.columns)
        for code in np.unique(codes[candidates]).tolist():
            if names[code] in self.tenants:
                own = codes == code
                billed[own] = _moved(self.of(names[code]), months[own])
        return billed

    def are_late(self, batch: Batch, rows: Int32s) -> Bools:
        """Whether each row's own month is locked, bool[len(rows)]; rows that are no events are never late."""
        months = months_of(batch.columns.times[rows])
        late: Bools = self.billed_in(batch, rows, months) != months
        late[batch.columns.verdicts[rows] != 0] = False
        return late


NO_LOCKS = Locks()


def months_of(times_ms: Int64s) -> Int64s:
    """The calendar months in UTC of moments in milliseconds."""
    if len(times_ms) > _FEW:
        first, last = months_of(np.array([times_ms.min(), times_ms.max()]))
        if first == last:
            return np.full(len(times_ms), first)
    return times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)


def month_of(time_ms: int) -> int:
    """The calendar month in UTC of a moment in milliseconds."""
    return int(months_of(np.array([time_ms], np.int64))[0])


def period_name(month: int) -> str:
    """The month as `YYYY-MM`."""
    return f"{1970 + month // _MONTHS:04}-{month % _MONTHS + 1:02}"


def read_period(text: str) -> int:
    """Read `YYYY-MM`; raises `UsageError` for anything else."""
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise UsageError(f"the period {text!r} is not a month: give it as 2026-11")
    return (int(found[1]) - 1970) * _MONTHS + int(found[2]) - 1


def _moved(locked: frozenset[int], months: Int64s) -> Int64s:
    """Each month, or the first open one after it."""
    if not locked:
        return months.copy()
    first, targets = _targets(locked)
    places = np.clip(months - first, 0, len(targets) - 1)
    inside = (months >= first) & (months < first + len(targets))
    return np.where(inside, targets[places], months)


@cache
def _targets(locked: frozenset[int]) -> tuple[int, Int64s]:
    """For each month from the first locked to the last: the first open one from there on."""
    first, last = min(locked), max(locked)
    targets: Int64s = np.empty(last - first + 1, np.int64)
    open_month = last + 1
    for month in range(last, first - 1, -1):
        open_month = open_month if month in locked else month
        targets[month - first] = open_month
    return first, targets
