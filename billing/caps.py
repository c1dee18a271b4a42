"""Caps that hold: the one door to authorize, reserve, release, finalize and settle. No HTTP here.

    caps = Caps(store, clock, random_hex, Policy(), reader)
    outcome = caps.ask(Reserve("acme", 250_000), caller, once).result()

Each ask is one atomic decision in one transaction of the control store, together with its stored answer: there is
no moment at which a killed process leaves one without the other. Asks that wait together share a transaction.

Unit of parallelism: one writer thread for each process; on PostgreSQL any number of processes, which meet at the
tenant's row. Delivery: an outcome is given when it is durable (an authorization, which moves no money, when it
survives the process).
"""

from collections.abc import Callable
from concurrent.futures import Future

from billing.asks import Ask, Caller, Once, Outcome
from billing.policy import Policy
from billing.store import Store
from billing.windows import SpendReader
from pipeline.ports import Clock


class Caps:
    """The caps of all tenants; safe to use from several threads."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        random_hex: Callable[[int], str],
        policy: Policy | None = None,
        reader: SpendReader | None = None,
    ) -> None:
        raise NotImplementedError

    def ask(self, ask: Ask, caller: Caller | None = None, once: Once | None = None) -> Future[Outcome]:
        """Queue an ask; the future holds its outcome when it is durable.

        The future raises `StoreError` where the control store, `LedgerError` where the ledger of a tenant that was
        never read before cannot be used; then nothing was done.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Finish what is queued and stop."""
        raise NotImplementedError
