"""Corrections held against what they take back: each is the exact negation of a row of the key that it voids."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.findings import Finding, Result
from pipeline.identity import key_hash, number_of
from sinks.doubles import Standing, standing
from sinks.inserts import sql, translated

_BATCH = 2_000


def check_corrections(streaming: Client, client: Client, seeds: tuple[int, int], sample: int) -> Result:
    """Hold about `sample` corrections, all of them when it is 0, against the rows of their keys."""
    count = int(client.query("SELECT countIf(voids != '') FROM ledger").result_rows[0][0])
    result = Result(of="corrections")
    corrections = _stream(streaming, {"one_of": max(count // sample, 1) if sample else 1})
    while batch := list(islice(corrections, _BATCH)):
        hashes = {number_of(key_hash(c.tenant, c.voids, seeds)) for c in batch}
        try:
            rows = client.query(sql("rows_of_hashes"), parameters={"hashes": sorted(hashes)}).result_rows
        except ClickHouseError as error:
            raise translated(error, "looking keys up") from error
        of_key: dict[tuple[str, str], list[Standing]] = {}
        for row in map(standing, rows):
            of_key.setdefault((row.tenant, row.idempotency_key), []).append(row)
        result.compared += len(batch)
        for correction in batch:
            its = of_key.get((correction.tenant, correction.voids), [])
            if not any(correction.takes_back(row) for row in its):
                result.add([_finding(correction, its)])
    return result


def _stream(client: Client, parameters: dict[str, Any]) -> Iterator[Standing]:
    try:
        with client.query_row_block_stream(sql("correction_rows"), parameters=parameters) as blocks:
            for block in blocks:
                yield from map(standing, block)
    except ClickHouseError as error:
        raise translated(error, "reading corrections") from error


def _finding(correction: Standing, rows: list[Standing]) -> Finding:
    amounts = " or ".join(f"{-row.row.pico_usd} pico-USD" for row in rows) or "a row of that key"
    return Finding(
        f"{correction.tenant} {correction.voids!r}, from {correction.place}",
        "a correction takes back something else than the row that it voids",
        amounts,
        f"{correction.row.pico_usd} pico-USD" if rows else "none",
        "see both with `millrace explain`, send the usage that is right under a new key, and report it",
    )
