"""The finance export: one billing period's principals and their cost sources, as CSV and Parquet.

The same ledger gives the same bytes: rows in a fixed order, no moment of writing anywhere. Files appear only
when all of them are whole and their sums equal the ledger's to the pico-USD; the manifest, which holds their
hashes, comes last.

The ledger is asked for one slice of the principals after the other (`queries.slices`), and while it works on the
next one, a thread beside writes the one before: so memory holds two slices, however many principals there are.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from pipeline.errors import MillraceError, UsageError
from queries.named import Client, named_queries
from queries.refusals import refusal
from queries.sheets import PRINCIPALS, SOURCES, Sheet, SheetWriter, sheet_writer
from queries.slices import Slice, slices
from queries.totals import Totals, hold, of_ledger, of_sheet

VIEWS = "millrace.duckdb.sql"
FORMAT = 1
"""The form of the manifest and of the sheets; it changes when a column does."""
_PERIOD = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_ASKED = {
    "max_threads": 1,
    "max_bytes_before_external_group_by": 1 << 28,
    "max_bytes_before_external_sort": 1 << 28,
    "output_format_arrow_low_cardinality_as_dictionary": 0,
    "output_format_arrow_compression_method": "none",
}
"""How the ledger answers for a slice. A second thread would sum into a table of its own and both would be merged:
half as much work again where a ledger has a dozen parts. What is spilled to disk is a slice beyond all measure."""


class StreamingClient(Client, Protocol):
    """The part of a clickhouse-connect client that an export needs."""

    def query_arrow_stream(
        self, query: str, parameters: dict[str, Any], settings: dict[str, Any], *, use_strings: bool
    ) -> AbstractContextManager[Iterable[pa.RecordBatch]]:
        """Run SQL and give its rows in Arrow's columns."""
        ...


@dataclass(frozen=True, slots=True)
class Scope:
    """What is exported: a billing period, of one tenant or, where that is empty, of all."""

    period: str
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A sheet whose files are whole."""

    rows: int
    totals: Totals
    files: Mapping[str, Future[dict[str, Any]]]
    """By name: size and hash, which are there once the file is durable."""


def export_principals(client: StreamingClient, scope: Scope, folder: Path) -> dict[str, Any]:
    """Write the export into a folder, beside those of other periods, and return its manifest.

    Raises `UsageError` for a period that is none and for a folder whose exports are of another tenant,
    `LedgerError` where the sheets and the ledger differ, `MillraceError` where the disk says no. In all these
    cases the folder holds what it held.
    """
    if not _PERIOD.fullmatch(scope.period):
        msg = f"the period {scope.period!r} is not understood: give a month as YYYY-MM"
        raise UsageError(msg)
    with (
        _disk(folder),
        _partial(folder, scope.period) as partial,
        ThreadPoolExecutor(1, "millrace-export-seal") as sealing,
    ):
        _refuse_other_scopes(folder, scope)
        cut = slices(client, scope.period, scope.tenant)
        sheets = {
            sheet.name: _write(sheet, scope.period, _read(client, sheet, scope, cut), partial, sealing)
            for sheet in (PRINCIPALS, SOURCES)
        }
        ledger = of_ledger(client, scope.period, scope.tenant)
        for name, sheet in sheets.items():
            hold(name, sheet.totals, ledger)
        views = (resources.files("queries") / VIEWS).read_text(encoding="utf-8")
        (partial / VIEWS).write_text(views, encoding="utf-8")
        manifest = _manifest(scope, sheets, ledger)
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (partial / f"manifest-{scope.period}.json").write_text(text, encoding="utf-8")
        _publish(partial, folder, [*manifest["files"], VIEWS, f"manifest-{scope.period}.json"])
    return manifest


def _read(client: StreamingClient, sheet: Sheet, scope: Scope, cut: Iterable[Slice]) -> Iterator[pa.Table]:
    """Give the lines of a sheet in their order, a slice at a time."""
    query = named_queries()[sheet.query]
    for part in cut:
        given = query.bind({"period": scope.period, "tenant": scope.tenant} | part.given())
        bound: dict[str, Any] = dict(given)
        try:
            with client.query_arrow_stream(
                query.sql, parameters=bound, settings=_ASKED, use_strings=True
            ) as batches:
                answer = list(batches)
        except ClickHouseError as error:
            raise refusal(error, f"the query {query.name}") from error
        if answer:
            yield pa.Table.from_batches(answer)


def _write(
    sheet: Sheet,
    period: str,
    answers: Iterable[pa.Table],
    folder: Path,
    sealing: ThreadPoolExecutor,
) -> Written:
    text, parquet = (folder / f"{sheet.name}-{period}.{ending}" for ending in ("csv", "parquet"))
    with sheet_writer(sheet, text, parquet) as writer:
        _add_beside(writer, answers)
    files = {path.name: sealing.submit(_seal, path) for path in (text, parquet)}
    return Written(writer.rows, of_sheet(sheet, writer.sums), files)


def _add_beside(writer: SheetWriter, answers: Iterable[pa.Table]) -> None:
    """Write each answer while the next one is fetched; nothing is being written any more when this returns."""
    with ThreadPoolExecutor(1, "millrace-export-write") as beside:
        adding: Future[None] | None = None
        for answer in answers:
            if adding:
                adding.result()
            adding = beside.submit(writer.add, answer)
        if adding:
            adding.result()


def _seal(path: Path) -> dict[str, Any]:
    """Make a file durable, and tell its size and hash."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _manifest(scope: Scope, sheets: Mapping[str, Written], ledger: Totals) -> dict[str, Any]:
    files = {name: file for sheet in sheets.values() for name, file in sheet.files.items()}
    return {
        "format": FORMAT,
        "period": scope.period,
        "tenant": scope.tenant or None,
        "files": {name: files[name].result() for name in sorted(files)},
        "sheets": {name: {"rows": sheet.rows, **sheet.totals.shown()} for name, sheet in sheets.items()},
        "ledger": ledger.shown(),
    }


def _refuse_other_scopes(folder: Path, scope: Scope) -> None:
    """Refuse a folder with exports of other tenants: the views add up what lies in one folder."""
    for path in sorted(folder.glob("manifest-*.json")):
        tenant = _tenant_of(path)
        if tenant != scope.tenant:
            held, wanted = (
                f"of the tenant {name!r}" if name else "of all tenants" for name in (tenant, scope.tenant)
            )
            msg = f"{folder} holds an export {held}, not {wanted}: give another folder to --out"
            raise UsageError(msg)


def _tenant_of(manifest: Path) -> str:
    try:
        return json.loads(manifest.read_text(encoding="utf-8"))["tenant"] or ""
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{manifest} is not the manifest of an export: remove it, or give another folder to --out"
        raise UsageError(msg) from error


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        msg = f"the export cannot be written to {folder}: {why}; what was there is as it was"
        raise MillraceError(msg) from error


@contextmanager
def _partial(folder: Path, period: str) -> Iterator[Path]:
    """Give a folder for what is not whole yet; one that a killed export left is emptied first."""
    partial = folder / f".{period}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, folder: Path, names: Iterable[str]) -> None:
    """Move the files to their place, each whole and durable, in this order."""
    names = list(names)
    for name in names:
        with (partial / name).open("rb") as file:
            os.fsync(file.fileno())
    for name in names:
        (partial / name).replace(folder / name)
