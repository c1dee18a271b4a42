"""Spend windows: the running spend of each limited tenant by calendar day and month, and cap crossings.

Only what is durable arrives here, so a decision never speaks of money that a crash could take back. Events are
applied in the order of their stream, whatever the number of lanes that delivered them.

    lane 0 -- Delivered(below=7, deltas) --+
    lane 1 -- Delivered(below=5, deltas) --+--> all sequences below 5, in order --> windows --> decisions
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.accounts import Account, Accounts
from pipeline.batch import Share
from pipeline.chunk import Origin
from pipeline.columns import Int32s, Int64s
from pipeline.event import MICRO
from pipeline.kernels.layout import KIND_TENANT
from pipeline.kernels.spend import QUARTER_MS, pick_spend, sum_by_quarter
from pipeline.ports import Decision, Voided
from pipeline.zones import window_starts

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

COUNTED_SETTLEMENTS = frozenset({"metered", "credit"})
DAY, MONTH = "day", "month"
_INT64_SPAN = 1 << 63


@dataclass(frozen=True, slots=True)
class Sums:
    """What pairs of tenant and quarter hour gain and lose, in no order; a pair may stand there more than once.

    codes int32[p], the tenants; quarters int64[p]; gained int64[p] >= 0 and lost int64[p] <= 0 in pico-USD.
    """

    codes: Int32s
    quarters: Int64s
    gained: Int64s
    lost: Int64s

    @classmethod
    def of(cls, codes: Int32s, quarters: Int64s, pico: Int64s) -> "Sums":
        """The sums of amounts."""
        n = len(codes)
        table = np.full(1 << max(int(n).bit_length(), 3), -1, np.int32)
        of, *numbers = (
            np.empty(n, np.int32),
            np.empty(n, np.int64),
            np.empty(n, np.int64),
            np.empty(n, np.int64),
        )
        pairs = int(sum_by_quarter(codes, quarters, pico, table, of, *numbers))
        return cls(of[:pairs].copy(), *[part[:pairs].copy() for part in numbers])


@dataclass(frozen=True, slots=True)
class Deltas:
    """Spend of limited tenants in one sequence of a stream, an element for each event, in order.

    tenant_codes int32[n] into `tenants`; quarters int64[n], the start of the quarter hour in epoch seconds;
    pico int64[n]; offsets int64[n]. `sums` are those of all events.
    """

    stream: str
    sequence: int
    origin: Origin
    tenants: list[str]
    tenant_codes: Int32s
    quarters: Int64s
    pico: Int64s
    offsets: Int64s
    sums: Sums


def deltas_of(  # noqa: PLR0913, PLR0917 - the columns of Deltas
    stream: str, sequence: int, origin: Origin, tenants: list[str], codes: Int32s, quarters: Int64s,
    pico: Int64s, offsets: Int64s,
) -> Deltas:  # fmt: skip
    """Deltas with their sums."""
    sums = Sums.of(codes, quarters, pico)
    return Deltas(stream, sequence, origin, tenants, codes, quarters, pico, offsets, sums)


def is_limited(account: Account) -> bool:
    """Whether an account has a limit to watch."""
    return account.daily_limit_micro_usd is not None or account.monthly_limit_micro_usd is not None


class SpendFilter:
    """Picks what the windows need out of accepted rows: limited tenants, settlements that count."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._limited: dict[str, bool] = {}
        self._anyone = is_limited(accounts.defaults) or any(map(is_limited, accounts.tenants.values()))

    def of_rows(self, share: Share, rows: Int32s) -> list[Deltas]:
        """The deltas of accepted rows of a share; none where no one has a limit."""
        if not self._anyone:
            return []
        batch = share.batch
        names = batch.dictionary.values(KIND_TENANT, batch.columns)
        limited = np.array([self._is_limited(name) for name in names] or [False])
        counts = np.array([e.settlement in COUNTED_SETTLEMENTS for e in batch.rater.entries] or [False])
        n, c, rates = len(rows), batch.columns, batch.rates
        codes, *numbers = (
            np.empty(n, np.int32),
            np.empty(n, np.int64),
            np.empty(n, np.int64),
            np.empty(n, np.int64),
        )
        kept = pick_spend(
            rows, batch.dictionary.codes, KIND_TENANT, limited, rates.entries, counts, rates.pico, c.times,
            batch.chunk.offsets, codes, *numbers,
        )  # fmt: skip
        if not kept:
            return []
        parts = [part[:kept] for part in numbers]
        return [deltas_of(share.stream, share.sequence, batch.chunk.origin, names, codes[:kept], *parts)]

    def of_corrections(self, voided: Iterable[Voided]) -> list[Deltas]:
        """The deltas of corrections, as they were written."""
        return [
            deltas_of(
                c.stream, c.sequence, c.origin, [c.tenant], np.zeros(1, np.int32),
                np.array([v.occurred_at_ms // QUARTER_MS * (QUARTER_MS // 1000)], np.int64),
                np.array([v.pico_usd], np.int64), np.array([c.offset], np.int64),
            )
            for v in voided
            for c in [v.correction]
            if v.settlement in COUNTED_SETTLEMENTS and v.pico_usd and self._is_limited(c.tenant)
        ]  # fmt: skip

    def _is_limited(self, tenant: str) -> bool:
        known = self._limited.get(tenant)
        if known is None:
            known = self._limited[tenant] = is_limited(self._accounts.get(tenant))
        return known


@dataclass(frozen=True, slots=True)
class WindowKey:
    """One window of one tenant: `day` or `month`, from its first instant (epoch seconds)."""

    tenant: str
    window: str
    start_s: int


@dataclass(slots=True)
class WindowState:
    """What is known when a run starts: sums from the ledger, thresholds whose last decision is `crossed`."""

    pico: dict[WindowKey, int] = field(default_factory=dict)
    crossed: dict[WindowKey, set[int]] = field(default_factory=dict)


def limit_of(account: Account, window: str) -> int | None:
    """The limit of a window in micro-USD."""
    return account.daily_limit_micro_usd if window == DAY else account.monthly_limit_micro_usd


def is_reached(pico: int, limit_micro: int, threshold_percent: int) -> bool:
    """Whether spend has come to a share of the limit, exactly; spending nothing reaches no limit, not even 0."""
    return pico > 0 and pico * 100 >= limit_micro * MICRO * threshold_percent


def least_reaching(limit_micro: int, threshold_percent: int) -> int:
    """The least spend in pico-USD that comes to a share of the limit; see `is_reached`."""
    return max(1, limit_micro * (MICRO // 100) * threshold_percent)


def owner_of(tenant: str, lanes: int) -> int:
    """The spend lane that keeps a tenant's windows."""
    return zlib.crc32(tenant.encode()) % lanes


class _Numbers(dict[str, int]):
    """A number for each tenant of one spend lane, in the order they came; -1 for those of others."""

    def __init__(self, lane: int, lanes: int, accounts: Accounts) -> None:
        super().__init__()
        self.names: list[str] = []
        self.zones: list[ZoneInfo] = []
        self.zone_of: list[int] = []
        """For each tenant the place of its zone in `zones`."""
        self._lane, self._lanes, self._accounts = lane, lanes, accounts

    def __missing__(self, tenant: str) -> int:
        if owner_of(tenant, self._lanes) != self._lane:
            self[tenant] = -1
            return -1
        zone = self._accounts.get(tenant).zone
        if zone not in self.zones:
            self.zones.append(zone)
        self.zone_of.append(self.zones.index(zone))
        self.names.append(tenant)
        self[tenant] = len(self.names) - 1
        return self[tenant]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Spend of one spend lane's tenants, an element for each event; `codes` are the tenants' numbers."""

    codes: Int64s
    sequences: Int64s
    offsets: Int64s
    quarters: Int64s
    pico: Int64s


class SpendWindows:
    """The windows of one spend lane's tenants.

    Guarantee: each crossing of a threshold, up or back, in the order of the events gives exactly one decision.
    """

    def __init__(self, lane: int, lanes: int, accounts: Accounts, start: WindowState) -> None:
        self._lane, self._lanes, self._accounts = lane, lanes, accounts
        self._pico = {k: v for k, v in start.pico.items() if owner_of(k.tenant, lanes) == lane}
        self._crossed = {k: set(v) for k, v in start.crossed.items() if owner_of(k.tenant, lanes) == lane}
        self._below: dict[str, dict[int, int]] = defaultdict(dict)
        self._waiting: dict[str, list[Deltas]] = defaultdict(list)
        self._numbers = _Numbers(lane, lanes, accounts)

    def state(self) -> WindowState:
        """The windows as they stand now."""
        return WindowState(dict(self._pico), {key: set(crossed) for key, crossed in self._crossed.items()})

    def settle(self) -> list[Decision]:
        """The decisions that are due without any event: what the run before could not write, or a new limit."""
        decisions = []
        for key in {*self._pico, *self._crossed}:
            decisions += self._decide(key, self._pico.get(key, 0), Origin("", 0), 0)
        return decisions

    def take(self, lane: int, below: Mapping[str, int], deltas: Iterable[Deltas]) -> list[Decision]:
        """Take what a lane has delivered; returns the decisions that are now certain."""
        for delta in deltas:
            self._waiting[delta.stream].append(delta)
        decisions: list[Decision] = []
        for stream, sequence in below.items():
            self._below[stream][lane] = sequence
            if len(self._below[stream]) == self._lanes:
                decisions += self._advance(stream, min(self._below[stream].values()))
        return decisions

    def _advance(self, stream: str, below: int) -> list[Decision]:
        waiting = self._waiting[stream]
        ready = [d for d in waiting if d.sequence < below]
        if not ready:
            return []
        self._waiting[stream] = [d for d in waiting if d.sequence >= below]
        return self._apply(ready)

    def _apply(self, deltas: list[Deltas]) -> list[Decision]:
        """Add what is ready to the windows.

        The order of the events matters only where a sum may pass a threshold on the way; all else is one addition.
        """
        codes_of = [np.array([self._numbers[t] for t in d.tenants], np.int32) for d in deltas]
        changes = self._changes(deltas, codes_of)
        turning = {key for key, (gained, lost) in changes.items() if self._may_turn(key, gained, lost)}
        for key in changes.keys() - turning:
            self._pico[key] = self._pico.get(key, 0) + sum(changes[key])
        return self._add_in_order(deltas, codes_of, turning) if turning else []

    def _changes(self, deltas: list[Deltas], codes_of: list[Int32s]) -> dict[WindowKey, tuple[int, int]]:
        """What each limited window of this lane's tenants gains and loses."""
        codes = np.concatenate([own[d.sums.codes] for d, own in zip(deltas, codes_of, strict=True)])
        quarters, gained, lost = (
            np.concatenate([getattr(d.sums, name) for d in deltas]) for name in ("quarters", "gained", "lost")
        )
        keep = codes >= 0
        codes, quarters = codes[keep], quarters[keep]
        amounts = np.concatenate((gained[keep], lost[keep]))
        sums = Sums.of(np.concatenate((codes, codes)), np.concatenate((quarters, quarters)), amounts)
        changes: dict[WindowKey, tuple[int, int]] = {}
        for code, quarter, more, less in zip(
            *(part.tolist() for part in (sums.codes, sums.quarters, sums.gained, sums.lost)), strict=True
        ):
            for key in self._windows_of(code, quarter):
                before = changes.get(key, (0, 0))
                changes[key] = before[0] + more, before[1] + less
        return changes

    def _windows_of(self, code: int, quarter: int) -> list[WindowKey]:
        """The windows with a limit that a quarter hour of a tenant belongs to."""
        tenant = self._numbers.names[code]
        account = self._accounts.get(tenant)
        starts = zip((DAY, MONTH), window_starts(account.zone, quarter), strict=True)
        return [WindowKey(tenant, w, start) for w, start in starts if limit_of(account, w) is not None]

    def _may_turn(self, key: WindowKey, gained: int, lost: int) -> bool:
        """Whether some order of what is gained and lost passes a threshold on the way."""
        account, before = self._accounts.get(key.tenant), self._pico.get(key, 0)
        limit, crossed = limit_of(account, key.window), self._crossed.get(key, set())
        return any(
            before + lost < least if threshold in crossed else before + gained >= least
            for threshold in account.thresholds_percent
            for least in [least_reaching(limit, threshold)]  # type: ignore[arg-type]
        )

    def _add_in_order(
        self, deltas: list[Deltas], codes_of: list[Int32s], turning: set[WindowKey]
    ) -> list[Decision]:
        tenants = {key.tenant for key in turning}
        chosen = np.array([name in tenants for name in self._numbers.names])
        rows = _chosen(deltas, codes_of, chosen)
        origins = {d.sequence: d.origin for d in deltas}
        distinct = np.unique(rows.quarters)
        instants = distinct.tolist()
        starts = np.array([[window_starts(z, q) for q in instants] for z in self._numbers.zones], np.int64)
        zone_of = np.array(self._numbers.zone_of)[rows.codes]
        quarter_of = np.searchsorted(distinct, rows.quarters)
        decisions: list[Decision] = []
        for column, window in enumerate((DAY, MONTH)):
            decisions += self._add(window, rows, starts[zone_of, quarter_of, column], origins, turning)
        return decisions

    def _add(
        self,
        window: str,
        rows: "_Rows",
        starts: Int64s,
        origins: dict[int, Origin],
        turning: set[WindowKey],
    ) -> list[Decision]:
        """Add rows to those of their windows of one kind that may turn; `starts` is where each row's begins."""
        distinct = np.unique(starts)
        group = rows.codes * len(distinct) + np.searchsorted(distinct, starts)
        order = _in_order(group, rows.sequences, rows.offsets)
        group = group[order]
        edges = np.flatnonzero(np.diff(group, prepend=-1)).tolist()
        decisions: list[Decision] = []
        for begin, end in zip(edges, [*edges[1:], len(group)], strict=True):
            tenant, start = divmod(int(group[begin]), len(distinct))
            key = WindowKey(self._numbers.names[tenant], window, int(distinct[start]))
            if key not in turning:
                continue
            part = order[begin:end]
            sums = _running_sums(self._pico.get(key, 0), rows.pico[part])
            self._pico[key] = int(sums[-1])
            for turn in self._turning_points(key, sums):
                row = part[turn]
                origin, offset = origins[int(rows.sequences[row])], int(rows.offsets[row])
                decisions += self._decide(key, int(sums[turn]), origin, offset)
        return decisions

    def _turning_points(self, key: WindowKey, sums: npt.NDArray[Any]) -> list[int]:
        """The rows, in order, whose running sum is the first on the other side of some threshold."""
        account = self._accounts.get(key.tenant)
        limit, crossed = limit_of(account, key.window), self._crossed.get(key, set())
        turns: set[int] = set()
        lowest, highest = int(sums.min()), int(sums.max())
        for threshold in account.thresholds_percent if limit is not None else ():
            least = least_reaching(limit, threshold)  # type: ignore[arg-type]
            if (lowest >= least) == (highest >= least) == (threshold in crossed):
                continue
            reached = sums >= least
            turns.update(np.flatnonzero(np.diff(reached, prepend=threshold in crossed)).tolist())
        return sorted(turns)

    def _decide(self, key: WindowKey, pico: int, origin: Origin, offset: int) -> list[Decision]:
        account = self._accounts.get(key.tenant)
        limit = limit_of(account, key.window)
        crossed = self._crossed.setdefault(key, set())
        decisions = []
        for threshold in account.thresholds_percent if limit is not None else ():
            reached = is_reached(pico, limit, threshold)  # type: ignore[arg-type]
            if reached == (threshold in crossed):
                continue
            (crossed.add if reached else crossed.discard)(threshold)
            decisions.append(
                Decision(
                    key.tenant, key.window, key.start_s, limit, pico // MICRO, threshold,  # type: ignore[arg-type]
                    "crossed" if reached else "cleared", origin.topic, origin.partition, offset,
                )
            )  # fmt: skip
        return decisions


def _chosen(deltas: list[Deltas], codes_of: list[Int32s], chosen: npt.NDArray[np.bool_]) -> _Rows:
    """The rows of the chosen tenants, with their numbers."""
    parts = []
    for d, own in zip(deltas, codes_of, strict=True):
        codes = own[d.tenant_codes].astype(np.int64)
        keep = np.flatnonzero((codes >= 0) & chosen[codes])
        sequence = np.full(len(keep), d.sequence, np.int64)
        parts.append((codes[keep], sequence, d.offsets[keep], d.quarters[keep], d.pico[keep]))
    return _Rows(*map(np.concatenate, zip(*parts, strict=True)))


def _in_order(group: Int64s, sequences: Int64s, offsets: Int64s) -> Int64s:
    """The rows by group, and in a group in the order of the stream; one number for all three sorts fastest."""
    first_sequence, first_offset = int(sequences.min()), int(offsets.min())
    runs, span = int(sequences.max()) - first_sequence + 1, int(offsets.max()) - first_offset + 1
    if (int(group.max()) + 1) * runs * span >= _INT64_SPAN:
        return np.lexsort((offsets, sequences, group))
    return np.argsort((group * runs + (sequences - first_sequence)) * span + (offsets - first_offset))


def _running_sums(before: int, pico: Int64s) -> npt.NDArray[Any]:
    """The running sums of at least one amount on top of `before`, exact: beyond 64 bits where they must be."""
    largest = max(abs(int(pico.min())), abs(int(pico.max())))
    if abs(before) + largest * len(pico) < _INT64_SPAN:
        return before + np.cumsum(pico)
    return np.array(list(accumulate(pico.tolist(), initial=before))[1:], object)


def exact_sum(pico: Int64s) -> int:
    """The sum of amounts, beyond 64 bits where it must be."""
    return int(np.sum(pico >> np.int64(32))) * (1 << 32) + int(np.sum(pico & np.int64(0xFFFFFFFF)))
