"""A seeded sample: usage events as real ones come, their prices, their accounts, and what must come of them.

What must come of them is worked out while they are made, apart from the pipeline, so that a run can be held
against it.
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.sample_accounts import accounts_toml
from benchmarks.sample_columns import CHUNK, DAY_MS, Chunk, Role, Source
from benchmarks.sample_faults import FAULTS, fault_number
from benchmarks.sample_lines import lines, tenant_names
from benchmarks.sample_prices import catalog_toml, pico_usd, settlements

COUNTED = ("metered", "credit")
"""The settlements that count towards limits."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_REASONS = {Role.CONFLICT: "idempotency_conflict", Role.STRAY_CORRECTION: "voids_unknown"}


@dataclass(frozen=True, slots=True)
class Sample:
    """What to make. The same values give the same bytes.

    `end` bounds the times, whole milliseconds with an offset: no event of a line that is accepted lies behind
    it, so a run whose clock is not before `end` finds what is expected.
    """

    events: int
    seed: int
    tenants: int
    days: int
    end: datetime
    files: int = 1
    is_compressed: bool = False

    def file_names(self) -> list[str]:
        """Name the files of events, in the order in which they are to be read."""
        ending = ".ndjson.gz" if self.is_compressed else ".ndjson"
        if self.files == 1:
            return [f"events{ending}"]
        width = len(str(self.files))
        return [f"events-{number:0{width}d}{ending}" for number in range(1, self.files + 1)]

    def others_in(self, folder: Path) -> list[str]:
        """Name files of events in a folder that are not of this sample: they would be read with it."""
        own = self.file_names()
        return sorted(file.name for file in folder.glob("events*.ndjson*") if file.name not in own)


@dataclass(slots=True)
class Expected:
    """What a run over the whole sample must find. Amounts are in pico-USD, one of each tenant by rank."""

    tenants: int
    accepted: int = 0
    duplicates: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    settled: dict[str, list[int]] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> None:
        """Count what must become of the chunk's lines."""
        roles = Counter(chunk.roles.tolist())
        self.accepted += roles[Role.FRESH] + roles[Role.CORRECTION]
        self.duplicates += roles[Role.DUPLICATE] + roles[Role.SECOND_CORRECTION]
        for role, reason in _REASONS.items():
            self.rejects[reason] += roles[role]
        faulty = chunk.rows["number"][chunk.roles == Role.FAULTY]
        self.rejects.update(FAULTS[fault_number(number)].reason for number in faulty.tolist())
        self._add_amounts(chunk.rows[chunk.roles == Role.FRESH], 1)
        for position, row in chunk.voided.items():
            if chunk.roles[position] == Role.CORRECTION:
                self._add_amounts(row.reshape(1), -1)

    def _add_amounts(self, rows: Any, sign: int) -> None:
        amounts, methods = pico_usd(rows), settlements(rows)
        for method in np.unique(methods).tolist():
            sums = np.zeros(self.tenants, np.int64)
            at = methods == method
            np.add.at(sums, rows["tenant"][at], amounts[at])
            before = self.settled.get(method, [0] * self.tenants)
            self.settled[method] = [a + sign * b for a, b in zip(before, sums.tolist(), strict=True)]

    def spent(self, methods: Iterable[str]) -> list[int]:
        """Add up what each tenant's events of these settlements cost."""
        columns = [self.settled[method] for method in methods if method in self.settled]
        return [sum(amounts) for amounts in zip([0] * self.tenants, *columns, strict=True)]


def write_sample(sample: Sample, folder: Path, progress: Callable[[int], None]) -> Expected:
    """Write events, `catalog.toml`, `accounts.toml` and at last `expected.json`; returns what is expected.

    The folder must be there. `progress` is told the number of lines written since it was last told. Raises
    OSError as the system does; a sample without `expected.json` is not whole.
    """
    (folder / "expected.json").unlink(missing_ok=True)
    tenants = tenant_names(sample.tenants)
    expected = Expected(sample.tenants)
    with ExitStack() as stack:
        files = [stack.enter_context(_writer(folder / name)) for name in sample.file_names()]
        for chunk in _chunks(sample):
            _write(sample, files, int(chunk.rows["number"][0]), lines(chunk, tenants))
            expected.add(chunk)
            progress(len(chunk.rows))
    accounts = accounts_toml(tenants, expected.spent(COUNTED), sample.days)
    (folder / "catalog.toml").write_text(catalog_toml(), encoding="utf-8")
    (folder / "accounts.toml").write_text(accounts, encoding="utf-8")
    summary = json.dumps(_summary(sample, expected, tenants), indent=2)
    (folder / "expected.json").write_text(summary + "\n", encoding="utf-8")
    return expected


def _chunks(sample: Sample) -> Iterator[Chunk]:
    end_ms = (sample.end - _EPOCH) // timedelta(milliseconds=1)
    start_ms = end_ms - sample.days * DAY_MS
    source = Source(sample.events, sample.seed, sample.tenants, start_ms, sample.days)
    return (source.chunk(first) for first in range(0, sample.events, CHUNK))


def _writer(path: Path) -> IO[bytes]:
    if path.suffix != ".gz":
        return path.open("wb")
    return gzip.GzipFile(path, "wb", compresslevel=3, mtime=0)  # type: ignore[return-value]


def _write(sample: Sample, files: list[IO[bytes]], first: int, written: list[bytes]) -> None:
    """Put each line into its file: the files are equal parts of the whole, in order."""
    for number, file in enumerate(files):
        low, high = (sample.events * n // sample.files - first for n in (number, number + 1))
        part = written[max(low, 0) : max(high, 0)]
        if part:
            file.write(b"\n".join(part) + b"\n")


def _summary(sample: Sample, expected: Expected, tenants: list[str]) -> dict[str, Any]:
    by_tenant = expected.spent(expected.settled)
    return {
        "seed": sample.seed,
        "end": sample.end.isoformat(),
        "files": sample.file_names(),
        "events": sample.events,
        "accepted": expected.accepted,
        "duplicates": expected.duplicates,
        "conflicts": expected.rejects["idempotency_conflict"],
        "rejected": expected.rejects.total(),
        "rejects": {reason: count for reason, count in sorted(expected.rejects.items()) if count},
        "pico_usd": sum(by_tenant),
        "pico_usd_by_settlement": {name: sum(column) for name, column in sorted(expected.settled.items())},
        "pico_usd_by_tenant": {
            name: amount for name, amount in zip(tenants, by_tenant, strict=True) if amount
        },
    }
