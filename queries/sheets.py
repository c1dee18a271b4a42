"""One sheet of an export: its columns and how it becomes CSV and Parquet, the same bytes every time.

Rows come in blocks of any size and leave in row groups of a fixed one, so that the cut of the blocks, which
the ledger chooses, leaves no trace. Memory holds one row group, however long the sheet is.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

ROWS_OF_A_GROUP = 65_536
USD, QUANTITY, COUNT, TEXT, MOMENT = (
    pl.Decimal(38, 12),
    pl.Decimal(38, 6),
    pl.Int64(),
    pl.String(),
    pl.Datetime("ms"),
)
SETTLEMENTS = ("metered", "credit", "rate-limited", "free")
SCALES: dict[pl.DataType, int] = {COUNT: 1, QUANTITY: 10**6, USD: 10**12}
_MILLISECONDS = "_ms"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A named sheet: the query that yields it and the types of its columns, in order.

    A moment comes from the query as `<name>_ms`, milliseconds since 1970, and is written as `<name>_at`: in
    Parquet a timestamp without a zone, which is UTC (with one, DuckDB for Python would need another package).
    """

    name: str
    query: str
    columns: Mapping[str, pl.DataType]
    counts_rows_once: bool
    """Whether each row of the ledger is in exactly one line, so that counts and quantities add up too."""

    @property
    def written(self) -> Mapping[str, pl.DataType]:
        """The columns as they stand in the files."""
        return {
            name.removesuffix(_MILLISECONDS) + "_at" if name.endswith(_MILLISECONDS) else name: kind
            for name, kind in self.columns.items()
        }

    def frame(self, batch: pa.RecordBatch | pa.Table) -> pl.DataFrame:
        """Make a frame of Arrow columns as the query gives them; exact, or an exception."""
        frame = pl.from_arrow(batch)
        if not isinstance(frame, pl.DataFrame):
            raise TypeError(frame)
        return frame.select(
            _cast(name, kind).alias(written)
            for (name, kind), written in zip(self.columns.items(), self.written, strict=True)
        )

    def empty(self) -> pl.DataFrame:
        """A frame without rows."""
        return pl.DataFrame(schema=dict(self.written))


def _cast(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    return column.cast(pl.Int64()).cast(kind) if kind == MOMENT else column.cast(kind)


PRINCIPALS = Sheet(
    "principals",
    "principals_of_month",
    MappingProxyType(
        {"tenant": TEXT, "principal": TEXT, "period": TEXT}
        | dict.fromkeys(("events", "corrections", "unpriced", "cost_micro_usd", "residual_pico_usd"), COUNT)
        | {"cost_usd": USD}
        | {
            f"{settlement.replace('-', '_')}_{column}": COUNT
            for settlement in SETTLEMENTS
            for column in ("cost_micro_usd", "residual_pico_usd")
        }
        | dict.fromkeys(("request_bytes", "response_bytes", "delta_bytes"), COUNT)
        | dict.fromkeys(("base_units", "weighted_units"), QUANTITY)
        | dict.fromkeys(("first_occurred_ms", "last_occurred_ms"), MOMENT)
    ),
    counts_rows_once=True,
)
SOURCES = Sheet(
    "principal_sources",
    "principal_sources_of_month",
    MappingProxyType(
        {"tenant": TEXT, "principal": TEXT, "period": TEXT, "cost_source": TEXT}
        | dict.fromkeys(("events", "cost_micro_usd", "residual_pico_usd"), COUNT)
        | {"cost_usd": USD}
    ),
    counts_rows_once=False,
)


@dataclass(slots=True)
class SheetWriter:
    """Writes one sheet to an open CSV file and an open Parquet file.

    `rows` and `sums` tell what was written: sums by column, those of decimals scaled by 10^6 or, for USD, by
    10^12 to integers.
    """

    sheet: Sheet
    text: IO[bytes]
    parquet: pq.ParquetWriter
    rows: int = 0
    sums: dict[str, int] = field(default_factory=dict)
    _held: list[pl.DataFrame] = field(default_factory=list, init=False)

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Take rows in; write the row groups that are full."""
        self._held.append(self.sheet.frame(batch))
        if sum(map(len, self._held)) < ROWS_OF_A_GROUP:
            return
        frame = pl.concat(self._held)
        whole = len(frame) - len(frame) % ROWS_OF_A_GROUP
        for start in range(0, whole, ROWS_OF_A_GROUP):
            self._write(frame.slice(start, ROWS_OF_A_GROUP))
        self._held = [frame.slice(whole)]

    def finish(self) -> None:
        """Write what is left."""
        rest = pl.concat(self._held) if self._held else self.sheet.empty()
        if len(rest) or not self.rows:
            self._write(rest)

    def _write(self, frame: pl.DataFrame) -> None:
        frame = frame.rechunk()  # where pages of Parquet end depends on where pieces of a column do
        frame.write_csv(self.text, include_header=not self.rows, datetime_format="%Y-%m-%dT%H:%M:%S%.3fZ")
        self.parquet.write_table(frame.to_arrow().cast(arrow_schema(self.sheet)))
        self.rows += len(frame)
        for name, kind in self.sheet.written.items():
            if kind in SCALES:
                self.sums[name] = self.sums.get(name, 0) + _total(frame[name], SCALES[kind])


def _total(column: pl.Series, scale: int) -> int:
    """Sum a column without rounding: Python's decimals keep 28 digits unless told otherwise."""
    exact = column.cast(pl.Int128) if column.dtype == COUNT else column
    return int(Fraction(exact.sum()) * scale)


def arrow_schema(sheet: Sheet) -> pa.Schema:
    """Give the columns of the Parquet file."""
    kinds = {
        USD: pa.decimal128(38, 12),
        QUANTITY: pa.decimal128(38, 6),
        COUNT: pa.int64(),
        TEXT: pa.string(),
        MOMENT: pa.timestamp("ms"),
    }
    return pa.schema([pa.field(name, kinds[kind], nullable=False) for name, kind in sheet.written.items()])


@contextmanager
def sheet_writer(sheet: Sheet, text: Path, parquet: Path) -> Iterator[SheetWriter]:
    """Open both files of a sheet, and close them, the last rows written, where nothing went wrong."""
    with (
        text.open("wb") as file,
        pq.ParquetWriter(
            parquet, arrow_schema(sheet), compression="zstd", compression_level=3, version="2.6"
        ) as writer,
    ):
        opened = SheetWriter(sheet, file, writer)
        yield opened
        opened.finish()
