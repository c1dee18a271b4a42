"""Spend decisions in the ledger, and the windows as they stand when a run starts."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from clickhouse_connect.driver.client import Client

from pipeline.accounts import Accounts
from pipeline.event import MICRO
from pipeline.ports import Clock, Decision
from pipeline.spend import DAY, MONTH, WindowKey, WindowState, is_limited, limit_of
from pipeline.zones import window_starts
from sinks.clickhouse import connect
from sinks.inserts import Retry, insert_block, sql
from sinks.ledger import Run
from sinks.native import Block, strings


def load_windows(client: Client, accounts: Accounts) -> WindowState:
    """The spend windows of all limited tenants, summed from the ledger's rollup, and what was last decided.

    To be called before anything of this run is written: it counts all rows that there are.
    """
    state = WindowState()
    if is_limited(accounts.defaults):
        rows = client.query(sql("all_window_sums")).result_rows
    else:
        tenants = [name for name, account in accounts.tenants.items() if is_limited(account)]
        rows = (
            client.query(sql("window_sums"), parameters={"tenants": tenants}).result_rows if tenants else []
        )
    sums: dict[WindowKey, int] = defaultdict(int)
    for tenant, quarter, micro, residual in rows:
        account = accounts.get(tenant)
        starts = window_starts(account.zone, int(quarter.timestamp()))
        for window, start_s in ((DAY, starts.day_s), (MONTH, starts.month_s)):
            if limit_of(account, window) is not None:
                sums[WindowKey(tenant, window, start_s)] += int(micro) * MICRO + int(residual)
    state.pico = dict(sums)
    for tenant, window, start_s, threshold in client.query(sql("last_decisions")).result_rows:
        state.crossed.setdefault(WindowKey(tenant, window, int(start_s)), set()).add(int(threshold))
    return state


@dataclass(slots=True)
class LedgerDecisions:
    """Writes decisions to `cap_decisions` (see `pipeline.ports.DecisionSink`); one thread, one client."""

    url: str
    run: Run
    worker: str
    clock: Clock
    retry: Retry
    after_start: bool = True
    """Whether other decisions of this run, those found at its start, come before these."""
    _client: Client | None = None
    _written: int = 0

    def write(self, decisions: list[Decision]) -> None:
        """See `DecisionSink`."""
        if not decisions:
            return
        if self._client is None:
            self._client = connect(self.url)
        client, block = self._client, self._block(decisions)
        token = f"{self.run.number}-{self.worker}-{self._written}-decisions"
        self.retry.until_done(
            "cap_decisions", lambda: insert_block(client, "cap_decisions_in", [block], token, self.run.number)
        )
        self._written += len(decisions)

    def _block(self, decisions: list[Decision]) -> bytes:
        block = Block(len(decisions))
        for name in ("tenant", "window", "state", "topic"):
            values = [getattr(d, name) for d in decisions]
            distinct = list(dict.fromkeys(values))
            codes = np.array([distinct.index(v) for v in values], np.int64)
            block.low_cardinality(name, strings(distinct), len(distinct), codes)
        block.data(
            "window_start", "DateTime('UTC')", np.array([d.window_start_s for d in decisions], np.uint32)
        )
        for name in ("limit_micro_usd", "current_micro_usd"):
            block.data(name, "Int64", np.array([getattr(d, name) for d in decisions], np.int64))
        block.data(
            "threshold_percent", "UInt32", np.array([d.threshold_percent for d in decisions], np.uint32)
        )
        block.repeated("decided_at", "DateTime64(3, 'UTC')", self.clock.now_ms(), "<i8")
        block.data("partition", "UInt32", np.array([d.partition for d in decisions], np.uint32))
        block.data("offset", "UInt64", np.array([d.offset for d in decisions], np.uint64))
        first = (self.run.number << 32) + (int(self.after_start) << 31) + self._written
        block.data("sequence", "UInt64", np.arange(first, first + len(decisions), dtype=np.uint64))
        block.repeated("run", "UInt32", self.run.number, "<u4")
        return block.bytes()
