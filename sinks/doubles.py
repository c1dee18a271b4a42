"""Keys that stand in the ledger more than once: finding them, and taking back all but the first row.

A retry with a fresh time that comes after the dedupe horizon is counted again. What stands too much is taken back
by a correction row of its own kind, a reversal: it names the key in `voids`, negates exactly one row, and has a
hash made of that row's place, by which it is known again. So a reversal is written once, however often and however
far a reconciliation gets, and a correction by a user of the same key stays possible.

Parallelism: one reconciliation at a time, held by its run number. Delivery: each block under a token and behind the
fence of runs; what was already written is read back before anything is.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.chunk import Origin
from pipeline.identity import Words, number_of, reversal_hash, void_hash, words_of
from pipeline.ports import Clock, Correction
from sinks.blocks import VoidedRow, correction_rows
from sinks.inserts import Retry, insert_block, sql, translated
from sinks.ledger import Run

TOPIC = "@reconcile"
"""The place of reversals: the run as the partition, counted through as the offset."""
SOURCE = "millrace/reconcile"
KEYS_A_PASS = 4_000_000
"""So many keys are counted at a time: 300 MB."""
_PREFIXES = 1 << 16
_BATCH = 400
_COLUMNS_OF_A_VOIDED_ROW = 23


@dataclass(frozen=True, slots=True)
class Standing:
    """A row of the ledger, with what a reversal needs of it."""

    row: VoidedRow
    tenant: str
    idempotency_key: str
    voids: str
    topic: str
    partition: int
    offset: int
    run: int
    fingerprint: int

    @property
    def claims(self) -> tuple[int, str, str, str]:
        """What may stand once: a key, or the voiding of a key."""
        kind, key = ("voids", self.voids) if self.voids else ("key", self.idempotency_key)
        return self.row.key_hash, self.tenant, kind, key

    @property
    def place(self) -> str:
        """Where the row came from."""
        return f"{self.topic}/{self.partition}/{self.offset} (run {self.run})"

    def takes_back(self, other: "Standing") -> bool:
        """Whether this is the exact negation of another row."""
        mine, its = self.row, other.row
        names = ("request_bytes", "response_bytes", "delta_bytes", "base_units", "weighted_units", "pico_usd")
        return (
            all(getattr(mine, name) == -getattr(its, name) for name in names)
            and mine.settlement == its.settlement
            and mine.breakdown_pico_usd == [-part for part in its.breakdown_pico_usd]
        )


@dataclass(frozen=True, slots=True)
class Extra:
    """A row that stands too much, and the hash of what takes it back."""

    row: Standing
    reversal: Words
    is_reversed: bool


@dataclass(frozen=True, slots=True)
class Double:
    """A key that stands more than once."""

    tenant: str
    kind: str
    """key, or voids: a key that was voided twice."""
    key: str
    rows: tuple[Standing, ...]
    extras: tuple[Extra, ...]
    trouble: str = ""
    """Why it cannot be mended; empty where it can."""

    @property
    def to_reverse(self) -> list[Extra]:
        """What is still to be taken back."""
        return [] if self.trouble else [extra for extra in self.extras if not extra.is_reversed]


def seeds_of(client: Client) -> Words:
    """What the ledger's hashes are keyed with; zeros where no run has begun yet, and so no hash is."""
    found = client.query("SELECT value FROM meta WHERE name = 'seed'").result_rows
    text = str(found[0][0]) if found else "0" * 32
    return int(text[:16], 16), int(text[16:], 16)


class Doubles:
    """Finds what stands twice; bounded in memory, whatever the size of the ledger.

    One client streams rows while the other looks up what was taken back; one thread.
    """

    def __init__(self, streaming: Client, client: Client, keys_a_pass: int = KEYS_A_PASS) -> None:
        self._streaming, self._client, self._keys_a_pass = streaming, client, keys_a_pass
        self._seeds = seeds_of(client)
        self.rows = int(client.query("SELECT count() FROM ledger").result_rows[0][0])

    def find(self) -> Iterator[list[Double]]:
        """All keys that stand more than once, also those that were mended, some at a time."""
        passes = min(-(-self.rows // self._keys_a_pass) or 1, _PREFIXES)
        for number in range(passes):
            first, last = number * _PREFIXES // passes, (number + 1) * _PREFIXES // passes - 1
            claims = self._claims(first, last)
            while batch := list(islice(claims, _BATCH)):
                yield self._judged(batch)

    def _claims(self, first: int, last: int) -> Iterator[list[Standing]]:
        """The rows of each key of a range that stands more than once, the first that was accepted first."""
        rows = self._stream({"first": first, "last": last})
        for _, of_hash in groupby(rows, key=lambda row: row.row.key_hash):
            of_claim: dict[tuple[int, str, str, str], list[Standing]] = {}
            for row in of_hash:
                of_claim.setdefault(row.claims, []).append(row)
            yield from (claim for claim in of_claim.values() if len(claim) > 1)

    def _stream(self, parameters: dict[str, Any]) -> Iterator[Standing]:
        try:
            with self._streaming.query_row_block_stream(sql("doubled_rows"), parameters=parameters) as blocks:
                for block in blocks:
                    yield from map(standing, block)
        except ClickHouseError as error:
            raise translated(error, "looking for keys that stand twice") from error

    def _judged(self, claims: list[list[Standing]]) -> list[Double]:
        extras = [self._extras(rows) for rows in claims]
        voids = [void_hash(rows[0].tenant, rows[0].claims[3], self._seeds) for rows in claims]
        wanted = {number_of(words) for some in extras for _, words in some} | set(map(number_of, voids))
        known: dict[int, list[Standing]] = {}
        for row in self._rows_of(sorted(wanted)):
            known.setdefault(row.row.key_hash, []).append(row)
        return [
            _double(rows, some, known, known.get(number_of(void), []))
            for rows, some, void in zip(claims, extras, voids, strict=True)
        ]

    def _extras(self, rows: list[Standing]) -> list[tuple[Standing, Words]]:
        """Each row with the hash of what would take it back; rows of one place are counted through."""
        seen: Counter[tuple[str | int, ...]] = Counter()
        found = []
        for row in rows:
            key_hash, tenant, kind, key = row.claims
            place = (kind, key, row.topic, row.partition, row.offset, row.run)
            words = reversal_hash(tenant, (*place, seen[place]), words_of(key_hash), self._seeds)
            seen[place] += 1
            found.append((row, words))
        return found

    def _rows_of(self, hashes: list[int]) -> Iterator[Standing]:
        for start in range(0, len(hashes), 2_000):
            parameters = {"hashes": hashes[start : start + 2_000]}
            try:
                found = self._client.query(sql("rows_of_hashes"), parameters=parameters).result_rows
            except ClickHouseError as error:
                raise translated(error, "looking keys up") from error
            yield from map(standing, found)


def standing(columns: Sequence[Any]) -> Standing:
    """A row of the queries that give all the columns a reversal needs."""
    cut = _COLUMNS_OF_A_VOIDED_ROW
    return Standing(VoidedRow(*columns[:cut]), *columns[cut:])


def _double(
    rows: list[Standing], hashed: list[tuple[Standing, Words]], known: dict[int, list[Standing]],
    corrections: list[Standing],
) -> Double:  # fmt: skip
    """Say which row stands: the first, or the one that a correction has taken back already."""
    _, tenant, kind, key = rows[0].claims
    stays, trouble = 0, ""
    if kind == "key" and corrections:
        matching = [place for place, row in enumerate(rows) if corrections[0].takes_back(row)]
        trouble = "" if matching else f"the correction {corrections[0].place} takes none of its rows back"
        stays = matching[0] if matching else 0
    extras = [
        Extra(row, words, bool(known.get(number_of(words))))
        for place, (row, words) in enumerate(hashed)
        if place != stays
    ]
    return Double(tenant, kind, key, tuple(rows), tuple(extras), trouble)


class Reversals:
    """Writes reversals under a run's number."""

    def __init__(self, client: Client, run: Run, clock: Clock, retry: Retry) -> None:
        self._client, self._run, self._clock, self._retry = client, run, clock, retry
        self._blocks = 0
        self.written = 0

    def write(self, extras: Iterable[Extra]) -> None:
        """Take rows back; durable when it returns.

        Raises `LedgerFencedError` when a newer run has taken over.
        """
        pairs = [(self._reversal(extra, n), extra.row.row) for n, extra in enumerate(extras, self.written)]
        if not pairs:
            return
        block = correction_rows(pairs, self._run.number, self._run.locks)
        token = f"{self._run.number}-reconcile-{self._blocks}"
        self._retry.until_done(
            "ledger", lambda: insert_block(self._client, "ledger_in", [block], token, self._run.number)
        )
        self._blocks += 1
        self.written += len(pairs)

    def _reversal(self, extra: Extra, number: int) -> Correction:
        row, now = extra.row, self._clock.now_ms()
        key_hash, tenant, kind, key = row.claims
        name = f"reversal:{number_of(extra.reversal):032x}"
        return Correction(
            tenant, key, name, name, SOURCE, "synchronous", _attributes(row, kind), now, now, extra.reversal,
            words_of(key_hash), "", 0, Origin(TOPIC, self._run.number), number,
        )  # fmt: skip


def _attributes(row: Standing, kind: str) -> str:
    place = {"topic": row.topic, "partition": row.partition, "offset": row.offset, "run": row.run}
    return json.dumps({"reason": "its key stood twice", "kind": kind, "reverses": place}, ensure_ascii=False)
