"""What the commands of `millrace stripe` and its loops do with an open desk: plan, push, compare."""

import os
import secrets
import socket
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

import stripe as sdk

from billing.outbox import SqlOutbox
from billing.planner import Plan
from billing.planning import customers_of, plan_reports
from billing.reconcile import Reconciler, Reconciliation
from billing.restore import adopt, check_settled, lift, notice_restore
from cli.reading import opened
from cli.stripe_desk import STAMP, Desk, now
from pipeline.outbox import OPEN_FOR_PROOF, Attempt, Outcome, State, Summaries
from sinks.stripe import Key, Sender, make_client
from sinks.stripe_push import Clock, Pace, Pusher, Tally
from sinks.stripe_stream import StreamSender
from sinks.stripe_usage import LedgerUsage


def owner_name() -> str:
    """Name this process for leases: no two are the same."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}:{secrets.token_hex(4)}"


def sender_of(client: sdk.StripeClient, url: str, *, stream: bool) -> Callable[[Attempt], Outcome]:
    """Choose the way that reports are sent: one by one, or many in a request of the stream."""
    if not stream:
        return Sender(client)
    return StreamSender(client, lambda token: make_client(Key(token), url), now)


def plan(desk: Desk, ledger: str | None, *, running: bool, write: bool) -> Plan:
    """Plan what the ledger owes; without a ledger nothing."""
    if ledger is None:
        return Plan((), ())
    with opened(ledger) as client:
        return plan_reports(desk.store, LedgerUsage(client), desk.planning(running=running), write=write)


def push_due(
    desk: Desk,
    send: Callable[[Attempt], Outcome],
    pace: Pace,
    stopped: Callable[[], bool] = lambda: False,
) -> Tally:
    """Send what is due."""
    grace = desk.declaration.finalizes_after_s
    outbox = SqlOutbox(desk.store, owner_name(), STAMP, grace, secrets.randbelow, desk.mark)
    with ThreadPoolExecutor(pace.in_flight_max, thread_name_prefix="stripe") as executor:
        return Pusher(outbox, send, executor, Clock(now, time.sleep), pace).run(stopped)


def compare(  # noqa: PLR0913 - what the flags say
    desk: Desk,
    summaries: Summaries,
    *,
    full: bool,
    restored: bool = False,
    reads_max: int,
    states: Collection[State] = OPEN_FOR_PROOF,
) -> Reconciliation:
    """Compare with Stripe's sums; a restored store first learns from them what it forgot."""
    read_only = notice_restore(desk.store, desk.mark, desk.now, declared=restored)
    if read_only:
        check_settled(desk.mark, desk.now)
        mapping = customers_of(
            desk.store, {t: one.stripe_customer for t, one in desk.accounts.tenants.items()}
        )
        adopt(desk.store, summaries, desk.declaration, mapping, desk.now)
    most = summaries.reads + reads_max
    comparison = Reconciler(desk.store, summaries, desk.now, reads_max=most, states=states)
    result = comparison.run(full=full or read_only)
    if read_only:
        lift(desk.store, desk.mark, result, desk.now)
    return result
