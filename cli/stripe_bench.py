"""`millrace stripe bench`: how fast reports go out, against the stand-in in this process."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.stripe_push import measure


def bench(
    reports: Annotated[int, typer.Option(min=1, help="How many reports.")] = 100_000,
    customers: Annotated[int, typer.Option(min=1, help="Over how many customers.")] = 1_000,
    in_flight: Annotated[int, typer.Option(min=1, max=64, help="Most requests at a time.")] = 32,
) -> None:
    """Plan, push and verify made-up reports against the stand-in; prints the figures as JSON."""
    with tempfile.TemporaryDirectory(prefix="millrace-stripe-") as folder:
        typer.echo(json.dumps(measure(reports, customers, in_flight, Path(folder)), indent=2))
