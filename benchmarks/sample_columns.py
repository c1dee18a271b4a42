"""The sample's events as rows of numbers, chunk by chunk: who, what, when, how much, and which go wrong.

Everything is drawn as integers, so that a seed gives the same bytes on every machine.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.sample_prices import (
    COMPUTE,
    HEALTH,
    OPERATIONS,
    RENDER,
    STORAGE,
    TRAFFIC,
    WEBHOOK,
    Int64s,
    Rows,
)

CHUNK = 1 << 16
"""Rows that are made at a time; part of what a seed means."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

EVENT = np.dtype(
    [
        ("number", np.int64), ("time_ms", np.int64), ("key", np.uint64), ("tenant", np.int32),
        ("type", np.int8), ("operation", np.int8), ("principal", np.int16), ("action", np.int8),
        ("context", np.int8), ("trigger", np.int8), ("region", np.int8), ("host", np.int8),
        ("method", np.int8), ("endpoint", np.int16), ("status", np.int16), ("request_bytes", np.int64),
        ("response_bytes", np.int64), ("delta_bytes", np.int64), ("units_micro", np.int64),
        ("tokens", np.int64), ("seconds_micro", np.int64), ("names_key", np.bool_), ("voided", np.bool_),
    ]
)  # fmt: skip
"""One event. `number` counts the lines; `key` is unique; what the operation does not report is 0."""

METHODS = ("GET", "GET", "GET", "POST", "PUT", "DELETE")
ENDPOINTS = ("/health", *(
    f"/v1/{noun}{tail}"
    for noun in ("items", "projects", "workspaces", "users", "files", "search", "models", "runs")
    for tail in ("", "/list", "/{id}", "/{id}/export", "/{id}/members")
))  # fmt: skip
STATUSES = (200, 200, 200, 201, 204, 304, 404, 500)
PRINCIPALS = 60
SERVICES = 8
"""The last of a tenant's principals are services."""
NO_PRINCIPAL = -1
ACTIONS = ("", "export", "share", "import", "search")
CONTEXTS = 61
TRIGGERS = ("", "scheduled", "queue-consumed", "webhook-received", "callback-completed")
REGIONS = ("eu-west-1", "us-east-1", "ap-south-1")
HOSTS = 16

_TEMPLATED = np.array([bool(o.key_template) for o in OPERATIONS])
_TOKENS = np.array([bool(o.tokens_of) for o in OPERATIONS])
_SECONDS = np.array([bool(o.seconds_of) for o in OPERATIONS])
_POOL = 20_000
_NEAR = 5_000
_FAR = range(3)
"""Of ten corrections, those that void something of long ago."""
_HOURS = (2, 1, 1, 1, 1, 2, 3, 5, 8, 10, 10, 9, 8, 9, 10, 10, 9, 8, 7, 6, 5, 4, 3, 2)
"""How busy each hour of the day is."""
_TYPES = ((TRAFFIC, 600), (COMPUTE, 200), (STORAGE, 100), (WEBHOOK, 100))


class Role(IntEnum):
    """What becomes of a line."""

    FRESH = 0
    DUPLICATE = 1
    CONFLICT = 2
    CORRECTION = 3
    SECOND_CORRECTION = 4
    STRAY_CORRECTION = 5
    FAULTY = 6


_ROLES = (
    (Role.FRESH, 97_050),
    (Role.DUPLICATE, 2_000),
    (Role.CONFLICT, 200),
    (Role.CORRECTION, 400),
    (Role.SECOND_CORRECTION, 30),
    (Role.STRAY_CORRECTION, 20),
    (Role.FAULTY, 300),
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines in a row: `rows` of EVENT, the Role of each, and for corrections the event that they void."""

    rows: Rows
    roles: npt.NDArray[np.int8]
    voided: dict[int, Any]


class Source:
    """Draws the chunks of a sample one after the other; each depends on those before."""

    def __init__(self, events: int, seed: int, tenants: int, start_ms: int, days: int) -> None:
        self._events, self._start_ms = events, start_ms
        self._random = np.random.default_rng(seed)
        self._key_start = np.uint64(self._random.integers(1 << 62))
        self._tenants = np.cumsum(10**12 // np.arange(1, tenants + 1, dtype=np.int64))
        hours = (start_ms // HOUR_MS + np.arange(days * 24)) % 24
        self._hour_weights = np.array(_HOURS, np.int64)[hours]
        self._hour_ends = np.cumsum(self._hour_weights * HOUR_MS)
        self._pool = np.zeros(0, EVENT)

    def chunk(self, first: int) -> Chunk:
        """Make the lines from `first` on, at most CHUNK."""
        n = min(CHUNK, self._events - first)
        rows = np.zeros(n, EVENT)
        rows["number"] = np.arange(first, first + n)
        rows["key"] = _scrambled(rows["number"].astype(np.uint64) + self._key_start)
        self._who_and_when(rows, first)
        self._what(rows)
        self._how_much(rows)
        roles = self._choose(_ROLES, n).astype(np.int8)
        roles[:1] = Role.FRESH
        self._repeat(rows, roles)
        _make_plain(rows, roles == Role.FAULTY)
        voided = self._void(rows, roles)
        self._remember(rows[roles == Role.FRESH])
        return Chunk(rows, roles, voided)

    def _choose(self, weighted: tuple[tuple[int, int], ...], n: int) -> Int64s:
        values, weights = np.array(weighted, np.int64).T
        ends = np.cumsum(weights)
        drawn = np.searchsorted(ends, self._random.integers(ends[-1], size=n), side="right")
        chosen: Int64s = values[drawn]
        return chosen

    def _rarely(self, n: int, per_thousand: int) -> npt.NDArray[np.bool_]:
        return self._random.integers(1000, size=n) < per_thousand

    def _size(self, n: int, fewest_bits: int, most_bits: int) -> Int64s:
        """Draw sizes with a long tail: their numbers of bits lie evenly about the middle."""
        bits = self._random.integers(fewest_bits, most_bits + 1, size=(2, n)).sum(axis=0) // 2
        least: Int64s = np.left_shift(np.int64(1), bits)
        return least + self._random.integers(1 << 62, size=n) % least

    def _who_and_when(self, rows: Rows, first: int) -> None:
        n, draw = len(rows), self._random.integers
        rows["tenant"] = np.searchsorted(self._tenants, draw(self._tenants[-1], size=n), side="right")
        rows["principal"] = np.minimum(draw(PRINCIPALS, size=n), draw(PRINCIPALS, size=n))
        rows["principal"][self._rarely(n, 20)] = NO_PRINCIPAL
        rows["region"] = rows["tenant"] % len(REGIONS)
        rows["host"] = draw(HOSTS, size=n)
        whole = int(self._hour_ends[-1])
        low, high = whole * first // self._events, whole * (first + n) // self._events
        busy = low + np.sort(draw(max(high - low, 1), size=n))
        hour = np.searchsorted(self._hour_ends, busy, side="right")
        rows["time_ms"] = self._start_ms + (hour + 1) * HOUR_MS - 1
        rows["time_ms"] -= (self._hour_ends[hour] - 1 - busy) // self._hour_weights[hour]
        late = np.flatnonzero(self._rarely(n, 20))
        rows["time_ms"][late] -= draw(HOUR_MS, 3 * DAY_MS, size=len(late))

    def _what(self, rows: Rows) -> None:
        n, draw = len(rows), self._random.integers
        rows["type"] = self._choose(_TYPES, n)
        for kind in (TRAFFIC, COMPUTE, STORAGE, WEBHOOK):
            at = np.flatnonzero(rows["type"] == kind)
            weighted = tuple((i, o.share) for i, o in enumerate(OPERATIONS) if o.type == kind)
            rows["operation"][at] = self._choose(weighted, len(at))
        rows["method"] = draw(len(METHODS), size=n)
        rows["endpoint"] = np.minimum(draw(len(ENDPOINTS), size=n), draw(len(ENDPOINTS), size=n))
        is_health = (rows["type"] == TRAFFIC) & (rows["endpoint"] == 0)
        rows["method"][is_health] = 0
        rows["operation"][is_health] = HEALTH
        rows["status"] = np.array(STATUSES)[draw(len(STATUSES), size=n)]
        rows["action"] = draw(1, len(ACTIONS), size=n) * self._rarely(n, 60)
        in_context = np.where(rows["type"] == COMPUTE, self._rarely(n, 400), self._rarely(n, 20))
        rows["context"] = draw(1, CONTEXTS, size=n) * in_context
        rows["trigger"] = draw(1, len(TRIGGERS), size=n) * ((rows["type"] != TRAFFIC) & self._rarely(n, 80))
        rows["names_key"] = ~(_TEMPLATED[rows["operation"]] | self._rarely(n, 10))

    def _how_much(self, rows: Rows) -> None:
        n, kind = len(rows), rows["type"]
        rows["request_bytes"] = self._size(n, 6, 11) * (kind == TRAFFIC)
        rows["response_bytes"] = self._size(n, 8, 22) * (kind == TRAFFIC)
        signs = np.where(self._rarely(n, 200), -1, 1)
        rows["delta_bytes"] = self._size(n, 8, 26) * signs * (kind == STORAGE)
        halves = self._random.integers(2, 60, size=n) * 500_000
        units = np.where(self._rarely(n, 100), halves, halves // 10**6 * 10**6)
        rows["units_micro"] = units * (kind == COMPUTE)
        rows["tokens"] = self._size(n, 5, 13) * _TOKENS[rows["operation"]]
        rows["seconds_micro"] = self._size(n, 17, 27) * _SECONDS[rows["operation"]]

    def _repeat(self, rows: Rows, roles: npt.NDArray[np.int8]) -> None:
        """Turn rows into retries of earlier events, or into others that claim their key."""
        at = np.flatnonzero((roles == Role.DUPLICATE) | (roles == Role.CONFLICT))
        originals = self._earlier(rows, roles, at)
        for name in EVENT.names or ():
            if name not in {"time_ms", "number"}:
                rows[name][at] = originals[name]
        by_id = ~originals["names_key"] & ~_TEMPLATED[originals["operation"]]
        rows["number"][at] = np.where(by_id, originals["number"], rows["number"][at])
        conflicts = roles == Role.CONFLICT
        for kind, column, more in (
            (TRAFFIC, "response_bytes", 1), (COMPUTE, "units_micro", 10**6), (STORAGE, "delta_bytes", 1),
        ):  # fmt: skip
            rows[column] += more * (conflicts & (rows["type"] == kind))
        other = conflicts & (rows["type"] == WEBHOOK)
        rows["action"] = np.where(other, (rows["action"] + 1) % len(ACTIONS), rows["action"])

    def _earlier(self, rows: Rows, roles: npt.NDArray[np.int8], at: Int64s) -> Rows:
        """Find a fresh event before each position: mostly of the last few thousand, some of long ago."""
        fresh = np.flatnonzero(roles == Role.FRESH)
        before = np.searchsorted(fresh, at)
        back = self._random.integers(1 << 62, size=len(at)) % np.minimum(before, _NEAR)
        found: Rows = rows[fresh[before - 1 - back]]
        if len(self._pool):
            far = np.flatnonzero(self._rarely(len(at), 300))
            found[far] = self._pool[self._random.integers(len(self._pool), size=len(far))]
        return found

    def _void(self, rows: Rows, roles: npt.NDArray[np.int8]) -> dict[int, Any]:
        """Choose what each correction voids: an event before it that stands, or one that is voided already.

        A second correction that finds nothing to repeat becomes a fresh event.
        """
        voided: dict[int, Any] = {}
        first: list[int] = []
        fresh = np.flatnonzero(roles == Role.FRESH)
        corrections = (roles >= Role.CORRECTION) & (roles <= Role.STRAY_CORRECTION)
        for position in np.flatnonzero(corrections).tolist():
            draw = int(self._random.integers(1 << 62))
            if roles[position] == Role.SECOND_CORRECTION:
                if first:
                    voided[position] = voided[first[draw % len(first)]]
                else:
                    roles[position] = Role.FRESH
                continue
            elders, target = self._elder(rows, fresh, position, draw)
            voided[position] = elders[target].copy()
            if roles[position] == Role.CORRECTION:
                roles[position] = Role.SECOND_CORRECTION if elders["voided"][target] else Role.CORRECTION
                elders["voided"][target] = True
                first.append(position)
        return voided

    def _elder(self, rows: Rows, fresh: Int64s, position: int, draw: int) -> tuple[Rows, int]:
        """Find a fresh event before a position: in these rows, or at times in those that are remembered."""
        if len(self._pool) and draw % 10 in _FAR:
            return self._pool, draw // 10 % len(self._pool)
        return rows, int(fresh[draw // 10 % int(np.searchsorted(fresh, position))])

    def _remember(self, fresh: Rows) -> None:
        together = np.concatenate((self._pool, fresh))
        kept = self._random.permutation(len(together))[:_POOL]
        self._pool = together[np.sort(kept)]


def _make_plain(rows: Rows, at: npt.NDArray[np.bool_]) -> None:
    """Let faulty lines begin as good ones of one operation, so that their fault is the only one."""
    plain = {"type": COMPUTE, "operation": RENDER, "names_key": True, "units_micro": 10**6, "tokens": 0}
    for name, value in plain.items():
        rows[name][at] = value
    rows["seconds_micro"][at] = 10**6


def _scrambled(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finish: different numbers give different results that look like noise."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
