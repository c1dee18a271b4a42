"""`millrace sample`: made-up events to try the program on, and what must come of them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.sample import Expected, Sample, write_sample
from cli.clock import SystemClock
from pipeline.errors import MillraceError, UsageError

app = typer.Typer(help="Write made-up events and what must come of them.", add_completion=False)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@app.command()
def sample(  # noqa: PLR0913, PLR0917 - one argument for each flag
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to.")] = Path("sample"),
    events: Annotated[int, typer.Option(min=1, max=10**10, help="How many lines of events.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and end give the same bytes.")] = 1,
    tenants: Annotated[int, typer.Option(min=1, max=100_000, help="How many tenants.")] = 300,
    days: Annotated[int, typer.Option(min=1, max=3_650, help="How many days the events lie in.")] = 30,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="Where the days end, such as 2026-11-01T00:00:00Z.")
    ] = None,
    files: Annotated[int, typer.Option(min=1, max=500, help="Split the events into so many files.")] = 1,
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress the files of events.")] = False,
) -> None:
    """Write events.ndjson, catalog.toml, accounts.toml, and expected.json with what a run must find.

    One line in fifty is a retry; a few are conflicts, corrections, late, or no events at all.
    """
    wanted = Sample(events, seed, tenants, days, _end(end), files, gzip)
    with _shown(events) as progress:
        expected = _write(wanted, out, progress)
    typer.echo(_report(wanted, expected, out))


def _end(text: str | None) -> datetime:
    """Read the end of the sample; without one it is now, so that every day of it lies behind."""
    if text is None:
        return _EPOCH + timedelta(milliseconds=SystemClock().now_ms())
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        end = None
    if end is None or end.tzinfo is None or end < _EPOCH.replace(year=2011):
        expected = "a time from 2011 on with its offset, such as 2026-11-01T00:00:00Z"
        msg = f"--end must be {expected}, not {text!r}"
        raise UsageError(msg)
    return end.astimezone(UTC)


@contextmanager
def _shown(events: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr where that is a terminal."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("writing events", total=events)
        yield lambda lines: bar.advance(task, lines)


def _write(wanted: Sample, out: Path, progress: Callable[[int], None]) -> Expected:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if others := wanted.others_in(out):
            msg = f"{out} holds {others[0]} of another sample: remove it, or give another folder with --out"
            raise UsageError(msg)
        return write_sample(wanted, out, progress)
    except OSError as error:
        why = error.strerror or str(error)
        msg = f"the sample cannot be written to {out} ({why}): give a folder that this user may fill"
        raise MillraceError(msg) from error


def _report(wanted: Sample, expected: Expected, out: Path) -> str:
    paths = out / wanted.file_names()[0] if wanted.files == 1 else f"{out}/events-*"
    rejected = expected.rejects.total()
    return (
        f"{wanted.events:,} events in {out}: a run must accept {expected.accepted:,}, find "
        f"{expected.duplicates:,} duplicates and reject {rejected:,} (expected.json has the amounts)\n"
        f"try: millrace run {paths} --catalog {out}/catalog.toml --accounts {out}/accounts.toml"
    )
