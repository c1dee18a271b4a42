"""`--stripe`: the loops of `millrace stripe loop` beside another command, in its process.

An embedded ledger has one process at a time, so what reports its usage has to live beside what writes it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path


@contextmanager
def stripe_beside(
    wanted: bool, ledger: str, state: Path | None, control: str | None, accounts: Path | None
) -> Iterator[list[Callable[[], bytes]]]:
    """Report to Stripe beside the body where `wanted`, and once more when it is done; gives the metrics of that.

    Raises `UsageError` before the body begins where the key, the meters or the control store are not ready.
    """
    if not wanted:
        yield []
        return
    loops = import_module("cli.stripe_loops")  # the SDK takes its time: only who wants it waits for it
    with loops.beside(ledger, state, control, accounts) as metrics:
        yield [metrics]
