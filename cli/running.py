"""What all runs have in common, whatever they read."""

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.telling import say
from pipeline.accounts import Accounts
from pipeline.batch import Formats, Preparer
from pipeline.catalog import Catalog
from pipeline.decode import Decoder
from pipeline.errors import UsageError
from pipeline.flow import RunState
from pipeline.kernels.jit import IS_COMPILED, WHY_NOT, load_compiled
from pipeline.rating import Rater
from pipeline.run_state import REJECTS_IN_A_ROW
from pipeline.strict import Rules
from sinks.ledger import HOT_KEYS_MAX, Run


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is told to do."""

    paths: list[str]
    ledger: str
    format_name: str = "auto"
    mapping: Path | None = None
    source: str | None = None
    tenant: str | None = None
    catalog: Path | None = None
    accounts: Path | None = None
    workers: int = 2
    reject_budget: float = 0.2  # a share, not money
    refuse_unknown_tenants: bool = False
    unattributed_tenant: str | None = None
    dedupe_horizon_hours: int = 24
    block_rows: int = 250_000
    fast: bool = True
    chunk_bytes: int = 8 << 20
    hot_keys_max: int = HOT_KEYS_MAX
    refuse_late: bool = False
    rejects_in_a_row: int = REJECTS_IN_A_ROW
    control: str | None = None
    """The control store that has accounts, too."""

    @property
    def is_fast(self) -> bool:
        """Whether the scanner is used: where it is wanted, and compiled."""
        return self.fast and IS_COMPILED


def named_ledger(ledger: str | None) -> str:
    """The URL of the ledger; raises `UsageError` when there is none."""
    if not ledger:
        msg = "no ledger is named: give --ledger chdb:///absolute/folder or http(s)://user:password@host:8123/database"
        raise UsageError(msg)
    return ledger


def load_kernels() -> None:
    """Begin to load what is compiled, beside the opening of the ledger: it takes half a second.

    Where nothing can be compiled, says so.
    """
    if IS_COMPILED:
        threading.Thread(target=load_compiled, daemon=True).start()
    else:
        say(
            f"numba cannot be loaded ({WHY_NOT}): every line goes to the strict decoder, and the "
            "same ledger takes more than a hundred times as long"
        )


def is_known_tenant(options: RunOptions, accounts: Accounts) -> Callable[[str], bool] | None:
    """Tells which tenants are known, where others are refused; None where they are not."""
    if not options.refuse_unknown_tenants:
        return None
    return lambda tenant: tenant == options.unattributed_tenant or accounts.declared(tenant)


def make_preparer(  # noqa: PLR0913, PLR0917 - a part of the composition
    options: RunOptions, catalog: Catalog, accounts: Accounts, formats: Formats, run_: Run, lanes: int
) -> Preparer:
    """What one worker turns bytes into prepared batches with."""
    rater = Rater(catalog, is_known_tenant(options, accounts))
    decoder = Decoder(Rules(options.unattributed_tenant), options.is_fast)
    return Preparer(decoder, rater, formats, run_.seeds, lanes)


@contextmanager
def stopping(state: RunState) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the input; what was read is made durable before the end."""

    def stop(_signal: int, _frame: object) -> None:
        state.stop.set()

    before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Keep the collector from walking what lives as long as the run, what little is garbage by then with it."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def summary_of(state: RunState, seconds: float) -> dict[str, Any]:  # a duration, not money
    """The summary of the contract, of what this process has made durable."""
    total = state.total
    return {
        "events": total.events,
        "accepted": total.accepted,
        "duplicates": total.duplicates,
        "conflicts": total.conflicts,
        "rejected": total.rejected,
        "replayed": total.replayed,
        "cost_micro_usd": state.pico_usd // 1_000_000,
        "residual_pico_usd": state.pico_usd % 1_000_000,
        "seconds": round(seconds, 3),
    }


def describe(summary: dict[str, Any]) -> str:
    """The summary for a reader."""
    micro = summary["cost_micro_usd"]
    sign, size = ("-" if micro < 0 else ""), abs(micro)
    dollars = f"{sign}{size // 1_000_000:,}.{size % 1_000_000:06d}"
    rate = int(summary["events"] / summary["seconds"]) if summary["seconds"] else 0
    return "\n".join([
        f"{summary['events']:,} events in {summary['seconds']:.1f} s ({rate:,} a second)",
        f"  accepted   {summary['accepted']:>12,}",
        f"  duplicates {summary['duplicates']:>12,}",
        f"  rejected   {summary['rejected']:>12,}  ({summary['conflicts']:,} of them conflicts)",
        f"  replayed   {summary['replayed']:>12,}",
        f"  cost       {dollars} USD and {summary['residual_pico_usd']:,} pico-USD",
    ])  # fmt: skip
