"""The input of the benchmark: clean events as `millrace sample` makes them, as dense in time as under load.

Clean means that a loader which neither validates nor judges can read it: every line is an event, none is a
conflict or a correction. One line in fifty is a retry, which only those notice who count once.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sample_accounts import accounts_toml
from benchmarks.sample_columns import CHUNK, DAY_MS, HOUR_MS, Chunk, Role, Source
from benchmarks.sample_lines import lines, tenant_names
from benchmarks.sample_prices import Rows, catalog_toml, pico_usd, settlements

VERSION = 1
"""Counts up when the same plan gives other bytes."""
TENANTS = 300
_END_MS = 1_761_912_000_000  # 2025-10-31T12:00:00Z
_LATE_PER_THOUSAND = 20
_COUNTED = ("metered", "credit")
_EVENTS = "events.ndjson"


@dataclass(frozen=True, slots=True)
class InputPlan:
    """What to make. The same values give the same bytes. There is an event for each millisecond."""

    events: int
    seed: int = 1
    has_retries: bool = True
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come of the input, in pico-USD: of the keys, each counted once, and of the lines as they are."""

    lines: int
    keys: int
    bytes: int
    pico_usd_of_keys: int
    pico_usd_of_lines: int


@dataclass(frozen=True, slots=True)
class Input:
    """Where the input lies and what must come of it."""

    folder: Path
    plan: InputPlan
    expected: Expected
    events: Path
    """The file of the lines, or a folder of such files."""

    @property
    def catalog(self) -> Path:
        """The prices."""
        return self.folder / "catalog.toml"

    @property
    def accounts(self) -> Path:
        """The limits, some of which are crossed."""
        return self.folder / "accounts.toml"


def make_input(folder: Path, plan: InputPlan, progress: Callable[[int], None]) -> Input:
    """Make the input, or take the one that is there when it was made by the same plan.

    `progress` is told the number of lines written since it was last told. Raises OSError as the system does.
    """
    found = _found(folder, plan)
    if found is not None:
        return Input(folder, plan, found, folder / _EVENTS)
    folder.mkdir(parents=True, exist_ok=True)
    _manifest(folder).unlink(missing_ok=True)
    tenants = tenant_names(TENANTS)
    spent = np.zeros(TENANTS, np.int64)
    count = {"lines": 0, "keys": 0, "bytes": 0, "pico_usd_of_keys": 0, "pico_usd_of_lines": 0}
    with (folder / _EVENTS).open("wb") as file:
        for chunk in _chunks(plan):
            text = b"\n".join(lines(chunk, tenants)) + b"\n"
            file.write(text)
            _add(count, spent, chunk, len(text))
            progress(len(chunk.rows))
    (folder / "catalog.toml").write_text(catalog_toml(), encoding="utf-8")
    days = max(1, plan.events // DAY_MS)
    (folder / "accounts.toml").write_text(accounts_toml(tenants, spent.tolist(), days), encoding="utf-8")
    expected = Expected(**count)
    _manifest(folder).write_text(json.dumps({"plan": asdict(plan), "expected": asdict(expected)}), "utf-8")
    return Input(folder, plan, expected, folder / _EVENTS)


def repeated(once: Input, times: int) -> Input:
    """The same lines so many times over, as files of one folder: more lines, but the same keys."""
    folder = once.folder / f"times-{times}"
    folder.mkdir(exist_ok=True)
    for number in range(times):
        link = folder / f"{number:04d}.ndjson"
        if not link.exists():
            os.link(once.events, link)
    e = once.expected
    expected = replace(
        e, lines=e.lines * times, bytes=e.bytes * times, pico_usd_of_lines=e.pico_usd_of_lines * times
    )
    return Input(once.folder, once.plan, expected, folder)


def _manifest(folder: Path) -> Path:
    return folder / "input.json"


def _found(folder: Path, plan: InputPlan) -> Expected | None:
    try:
        manifest = json.loads(_manifest(folder).read_text("utf-8"))
        expected = Expected(**manifest["expected"])
        size = (folder / _EVENTS).stat().st_size
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return expected if manifest["plan"] == asdict(plan) and size == expected.bytes else None


def _chunks(plan: InputPlan) -> Iterator[Chunk]:
    """Draw as `millrace sample` does, and keep the lines that everyone can read."""
    source = Source(2 * plan.events + CHUNK, plan.seed, TENANTS, _END_MS - DAY_MS, 1)
    random = np.random.default_rng([plan.seed, 0x62656E63])
    kept = (Role.FRESH, Role.DUPLICATE) if plan.has_retries else (Role.FRESH,)
    done = drawn = 0
    while done < plan.events:
        chunk = source.chunk(drawn)
        drawn += len(chunk.rows)
        chosen = np.flatnonzero(np.isin(chunk.roles, kept))[: plan.events - done]
        rows = chunk.rows[chosen]
        rows["time_ms"] = _times(random, _END_MS - plan.events + done, len(rows))
        done += len(rows)
        yield Chunk(rows, chunk.roles[chosen], {})


def _times(random: np.random.Generator, first_ms: int, count: int) -> Any:
    """One after the other, a few of them hours late."""
    times = first_ms + np.arange(count)
    late = np.flatnonzero(random.integers(1000, size=count) < _LATE_PER_THOUSAND)
    times[late] -= random.integers(6 * HOUR_MS, size=len(late))
    return times


def _add(count: dict[str, int], spent: Any, chunk: Chunk, size: int) -> None:
    fresh = chunk.roles == Role.FRESH
    amounts = pico_usd(chunk.rows)
    count["lines"] += len(chunk.rows)
    count["keys"] += int(np.count_nonzero(fresh))
    count["bytes"] += size
    count["pico_usd_of_keys"] += int(amounts[fresh].sum())
    count["pico_usd_of_lines"] += int(amounts.sum())
    _add_spent(spent, chunk.rows[fresh], amounts[fresh])


def _add_spent(spent: Any, rows: Rows, amounts: Any) -> None:
    counted = np.isin(settlements(rows), _COUNTED)
    np.add.at(spent, rows["tenant"][counted], amounts[counted])
