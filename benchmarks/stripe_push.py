"""Pushes reports over many customers against the stand-in for Stripe and says how fast, with how much memory.

    millrace stripe bench --reports 100000 --customers 1000

Everything is real but the other side: planner, SQLite outbox with an fsync for each commit, the SDK. The stand-in
lives in the same process, so its work counts, too.
"""

import random
import resource
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from billing.meters import load_meters
from billing.outbox import SqlOutbox, Stamp
from billing.planning import Planning, plan_reports
from billing.reconcile import Reconciler
from billing.restore import FileMark
from billing.store import open_store
from pipeline.outbox import HOUR_S, Attempt, Measure, Outcome, Usage
from sinks.stripe import API_VERSION, SDK_VERSION, Key, Sender, make_client
from sinks.stripe_fake import Account
from sinks.stripe_fake_http import Wire
from sinks.stripe_fake_server import InProcess
from sinks.stripe_push import Clock, Pace, Pusher
from sinks.stripe_read import StripeSummaries

EVENT_NAME = "millrace_micro_usd"
UNIT = 10**6


class Totals:
    """A ledger in which every customer owes something in each of so many hours."""

    def __init__(self, customers: int, hours: int, first: int) -> None:
        self._tenants = [f"tenant-{number}" for number in range(customers)]
        self._hours = [first + number * HOUR_S for number in range(hours)]

    def totals(self, _measure: Measure, _since: int, _hourly_from: int) -> list[Usage]:
        """Give seven units for every tenant and hour."""
        return [Usage(tenant, hour, 7 * UNIT) for hour in self._hours for tenant in self._tenants]


class Turns:
    """Sends, and notes how far apart the fastest and the slowest lane ever were."""

    def __init__(self, sender: Sender, lanes: int) -> None:
        self._sender, self._lanes = sender, lanes
        self.sent: Counter[str] = Counter()
        self.apart_max = 0

    def __call__(self, attempt: Attempt) -> Outcome:
        """Send one."""
        outcome = self._sender(attempt)
        self.sent[attempt.report.customer] += 1
        if sum(self.sent.values()) % 1000 == 0:
            slowest = min(self.sent.values()) if len(self.sent) == self._lanes else 0
            self.apart_max = max(self.apart_max, max(self.sent.values()) - slowest)
        return outcome


def measure(reports: int, customers: int, in_flight: int, folder: Path) -> dict[str, object]:
    """Plan, push and verify so many reports; return the figures."""
    now = int(time.time())
    hours = reports // customers
    first = now // HOUR_S * HOUR_S - hours * HOUR_S
    account = Account(lambda: int(time.time()))
    meter = account.create_meter({"event_name": EVENT_NAME})
    ids = {f"tenant-{n}": str(account.create("customer", "cus", {})["id"]) for n in range(customers)}
    wire = Wire(account)
    wire.calls = _Nothing()
    client = make_client(Key("sk_test_bench"), "http://double", InProcess(wire))
    store = open_store(f"sqlite:///{folder}/control.db")
    stamp = Stamp(API_VERSION, SDK_VERSION)
    planning = Planning(load_meters(None), lambda tenant: ids[tenant], stamp, now)
    ledger = Totals(customers, hours, first)
    figures: dict[str, object] = {"reports": reports, "customers": customers, "in_flight": in_flight}
    begun = time.monotonic()
    planned = len(plan_reports(store, ledger, planning, write=True).reports)
    figures["planned"], figures["plan_s"] = planned, round(time.monotonic() - begun, 1)
    begun = time.monotonic()
    again = len(plan_reports(store, ledger, planning, write=True).reports)
    figures["planned_again"], figures["plan_again_s"] = again, round(time.monotonic() - begun, 1)
    outbox = SqlOutbox(store, "bench", stamp, HOUR_S, random.randrange, FileMark(folder / "mark"))
    turns = Turns(Sender(client), customers)
    begun = time.monotonic()
    with ThreadPoolExecutor(in_flight) as executor:
        clock = Clock(lambda: int(time.time()), time.sleep)
        tally = Pusher(outbox, turns, executor, clock, Pace(in_flight, 10**6, 0)).run()
    seconds = time.monotonic() - begun
    figures |= {
        "results": {result.value: count for result, count in tally.results.items()},
        "push_s": round(seconds, 1),
        "a_second": round(planned / seconds),
        "lanes_apart_max": turns.apart_max,
        "store_mb": round((folder / "control.db").stat().st_size / 2**20),
        "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    some = Reconciler(
        store,
        StripeSummaries(client, {EVENT_NAME: str(meter["id"])}, lambda: int(time.time())),
        now,
        reads_max=2,
    ).run()
    figures |= {"compared_hours": some.windows, "difference": some.difference}
    store.close()
    return figures


class _Nothing(list):  # type: ignore[type-arg]
    """Keeps no calls: they would be the memory that is measured."""

    def append(self, _call: object) -> None:
        """Forget it."""
