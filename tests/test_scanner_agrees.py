"""The fast scanner and the strict decoder read the same from any bytes."""

import ctypes
import mmap
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batch import Batch, Preparer
from pipeline.catalog import Catalog, load_catalog
from pipeline.chunk import Chunk, Origin, new_buffer
from pipeline.columns import Columns
from pipeline.decode import Decoder
from pipeline.event import EventType
from pipeline.kernels.gather import gather_texts, text_rooms
from pipeline.kernels.layout import PAD, PREFIX, SLOW, STRING_FIELDS
from pipeline.kernels.text import split_lines
from pipeline.rating import Rater
from pipeline.strict import Rules
from tests.lines import (
    ATTRIBUTES,
    DATA,
    KINDS,
    NOW_MS,
    SMALLEST,
    UNKNOWN,
    USUAL,
    VALUES,
    LineMaker,
    event_of,
    written,
)

ROOT = Path(__file__).parent.parent
SECONDS = 15
PROT_NONE = 0
CATALOG = """
[kinds.traffic]
components = [{ source = "egress", basis = "per-mb", micro_usd = "90", quantity = "bytes" }]
[kinds.storage]
components = [{ source = "disk", basis = "per-mb", micro_usd = "0.5", quantity = "stored_bytes" }]
[operations.ask]
weight = 10
components = [
  { source = "compute", basis = "per-call", micro_usd = "50" },
  { source = "openai", basis = "per-1k-tokens", micro_usd = "2000" },
]
[operations."by.payload"]
components = []
idempotency_key = "{$event.id}:{$event.body#/ref}"
"""


class NoFormats:
    def of(self, _chunk):
        return None


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    path = tmp_path_factory.mktemp("catalog") / "catalog.toml"
    path.write_text(CATALOG)
    return load_catalog(path)


def chunk_of(lines: list[bytes], between: bytes = b"\n", spare: int = 0, filler: int = 0) -> Chunk:
    """Records in one buffer, the last one at its end but for `spare`; behind it stands the filler."""
    sizes = np.array([len(line) for line in lines], np.int64)
    starts = PREFIX + np.cumsum(sizes + len(between)) - sizes - len(between)
    joined = between.join(lines)
    buffer = new_buffer(len(joined), spare)
    buffer[PREFIX:-64] = filler
    buffer[PREFIX : PREFIX + len(joined)] = np.frombuffer(joined, np.uint8)
    numbers = np.arange(1, len(lines) + 1)
    arrivals = np.full(len(lines), NOW_MS, np.int64)
    return Chunk(
        "files",
        0,
        Origin("f", 0),
        buffer,
        PREFIX + len(joined),
        starts,
        starts + sizes,
        numbers,
        arrivals,
        len(lines) + 1,
    )


def prepare(catalog: Catalog, chunk: Chunk, *, fast: bool, rules: Rules = Rules()) -> Batch:
    return Preparer(Decoder(rules, fast), Rater(catalog), NoFormats(), (7, 11), 3).prepare(chunk)


def texts(batch: Batch, rows: np.ndarray, field: int) -> bytes:
    c = batch.columns
    fields, begins = np.array([field], np.int32), np.empty(2, np.int64)
    text_rooms(c.length, fields, rows, begins)
    out, ends = np.empty(int(begins[-1]), np.uint8), begins[:-1].copy()
    gather_texts(batch.chunk.buffer, c.at, c.length, fields, rows, out, ends)
    return out[: ends[0]].tobytes()


COLUMNS = (
    "types",
    "times",
    "contexts",
    "triggers",
    "verified",
    "status",
    "quantities",
    "units",
    "usage_count",
)
IDENTITY = ("hashes", "prints", "slots")
RATES = ("entries", "versions", "weighted", "pico")


def views(batch: Batch, rows: np.ndarray) -> Iterator[tuple[str, object]]:
    """All that a batch says, part by part; what stands in rejected rows means nothing."""
    c = batch.columns
    yield "verdicts", c.verdicts.tolist()
    yield "details", c.details
    for holder, names in ((c, COLUMNS), (batch, IDENTITY), (batch.rates, RATES)):
        for name in names:
            yield name, getattr(holder, name)[rows].tobytes()
    for field, name in enumerate(STRING_FIELDS):
        yield name, texts(batch, rows, field)
    yield "lanes", [batch.rows_of(lane).tolist() for lane in range(3)]
    yield "usage", [dict(c.usage(row)) for row in rows[c.usage_count[rows] > 0].tolist()]
    corrections = rows[c.types[rows] == EventType.CORRECTION]
    yield "targets", batch.targets[corrections].tobytes()


def difference(fast: Batch, strict: Batch) -> str:
    """The first part in which two batches differ, or nothing."""
    rows = np.flatnonzero(strict.columns.verdicts == 0).astype(np.int32)
    pairs = zip(views(fast, rows), views(strict, rows), strict=True)
    return next((name for (name, one), (_, other) in pairs if one != other), "")


def assert_agree(catalog: Catalog, lines: list[bytes], between: bytes = b"\n", **more) -> None:
    fast = prepare(catalog, chunk_of(lines, between, **more), fast=True)
    strict = prepare(catalog, chunk_of(lines, between, **more), fast=False)
    what = difference(fast, strict)
    if what:
        for line in lines:
            one, other = (prepare(catalog, chunk_of([line]), fast=way) for way in (True, False))
            assert not difference(one, other), (difference(one, other), line)
    assert not what, f"they differ in {what}, but only side by side"


def test_both_read_the_same_from_any_line(catalog):
    until, seed = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        maker = LineMaker(seed)
        assert_agree(catalog, [maker.any_line() for _ in range(2_000)])
        seed += 1


@given(st.lists(st.binary(max_size=60), max_size=5), st.sampled_from([b"\n", b""]))
@settings(max_examples=300, deadline=None)
def test_both_read_the_same_from_any_bytes(catalog, lines, between):
    assert_agree(catalog, lines, between)


@pytest.mark.parametrize("kind", [*KINDS, b"correction"])
def test_both_read_the_same_whatever_value_a_member_has(catalog, kind):
    lines = []
    for name, value in [(n, v) for n in (*ATTRIBUTES, *UNKNOWN) for v in (*VALUES, *USUAL.get(n, ()))]:
        lines.append(written([*(m for m in event_of(kind) if m[0] != name), (name, value)]))
    for name, value in [(n, v) for n in (*DATA, *UNKNOWN) for v in (*VALUES, *USUAL.get(n, ()))]:
        data = [*(m for m in SMALLEST[kind] if m[0] != name), (name, value)]
        lines.append(written([*event_of(kind)[:-1], (b"data", written(data))]))
    assert_agree(catalog, lines)


@pytest.mark.parametrize("kind", KINDS)
def test_both_read_the_same_from_a_line_that_is_cut_or_changed_at_any_byte(catalog, kind):
    line = written([*event_of(kind), (b"x", b'[1,{"a":"\\n\xc3\xa9"},true,-0.5]')])
    cuts = [line[:at] for at in range(len(line))] + [line[at:] for at in range(len(line))]
    without = [line[:at] + line[at + 1 :] for at in range(len(line))]
    swapped = b'\0\t\n\r "\\,:{}[]0195-+.eEntfu/\x1f\x7f\x80\xc2\xed\xff'
    changed = [line[:at] + bytes([c]) + line[at + 1 :] for at in range(len(line)) for c in swapped]
    put_in = [line[:at] + bytes([c]) + line[at:] for at in range(len(line)) for c in b'\n "\\,{0']
    assert_agree(catalog, cuts + without + changed + put_in)


def test_a_name_that_stands_at_both_levels_is_kept_the_same(catalog):
    values = (b"1", b"null", b'{"a":1}')
    lines = [
        written([*event_of(b"webhook")[:-1], (b"data", written(SMALLEST[b"webhook"] + inner)), *outer])
        for name in (*UNKNOWN, b"note")
        for inner in ([], *([(name, value)] for value in values))
        for outer in ([], *([(name, value)] for value in values), [(b"ce_" + name, b"7"), (name, b"8")])
    ]
    assert_agree(catalog, lines)


@pytest.mark.parametrize("between", [b"", b"\r\n", b"}", b'"', b" ", b"\0", b","])
def test_what_stands_between_records_is_not_read(catalog, between):
    maker = LineMaker(7)
    lines = [maker.any_line() for _ in range(500)]
    for filler in b'\0"1 {}\\':
        assert_agree(catalog, lines[:50], between, filler=filler)
    assert_agree(catalog, lines, between)


def test_both_read_the_same_when_events_may_lack_a_tenant(catalog):
    maker, rules = LineMaker(8), Rules("@unattributed")
    lines = [maker.any_line() for _ in range(2_000)]
    lines += [written([m for m in event_of(b"traffic") if m[0] != b"tenant"])]
    fast, strict = (prepare(catalog, chunk_of(lines), fast=way, rules=rules) for way in (True, False))
    assert not difference(fast, strict)
    assert fast.columns.verdicts[-1] == 0


def test_the_scanner_itself_takes_what_clients_usually_send():
    maker = LineMaker(9)
    columns = Columns.empty(chunk_of([maker.canonical() for _ in range(5_000)], spare=1 << 20))

    Decoder(Rules())._scan(columns)

    assert np.count_nonzero(columns.verdicts == SLOW) == 0


def test_a_difference_would_be_seen(catalog):
    lines = [written(event_of(b"compute"))]
    for name in ("verdicts", *COLUMNS, *IDENTITY, *RATES, "at", "length"):
        fast, strict = (prepare(catalog, chunk_of(lines), fast=way) for way in (True, False))
        holder = fast if name in IDENTITY else fast.rates if name in RATES else fast.columns
        changed = getattr(holder, name)
        changed -= changed.dtype.type(1)
        assert difference(fast, strict), name


def beside_guards(size: int, *, at_end: bool) -> np.ndarray:
    """Bytes that end right before (or begin right behind) a page that may not be touched."""
    page = mmap.PAGESIZE
    whole = mmap.mmap(-1, (size // page + 3) * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(whole))
    for guard in (address, address + len(whole) - page):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(guard), page, PROT_NONE) == 0
    start = len(whole) - page - size if at_end else page
    return np.frombuffer(whole, np.uint8, size, start)


def read_beside_guards(seed: int) -> None:
    """Scan, seal and split chunks whose buffers have forbidden pages right before and behind them."""
    folder = Path(tempfile.mkdtemp())
    (folder / "catalog.toml").write_text(CATALOG)
    catalog, maker = load_catalog(folder / "catalog.toml"), LineMaker(seed)
    lines = [*(maker.any_line() for _ in range(600)), *(maker.canonical()[:at] for at in range(200))]
    for number, line in enumerate(lines):
        chunk = chunk_of([line, lines[number - 1]] if number % 3 else [line])
        guarded = beside_guards(chunk.used + PAD, at_end=number % 2 == 0)
        guarded[: chunk.used] = chunk.buffer[: chunk.used]
        guarded[chunk.used :] = 0
        chunk.buffer = guarded
        starts, ends = np.empty(99, np.int64), np.empty(99, np.int64)
        split_lines(guarded, PREFIX, chunk.used, starts, ends)
        prepare(catalog, chunk, fast=True)


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_read_outside_the_buffer(seed):
    script = (
        f"from tests.test_scanner_agrees import read_beside_guards; read_beside_guards({seed}); print('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_the_guards_would_be_hit():
    script = (
        "from tests.test_scanner_agrees import beside_guards; import ctypes; "
        "ctypes.string_at(beside_guards(100, at_end=True).ctypes.data, 101)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGSEGV
