"""A stage: the stand-in for Stripe, a control store and a ledger of totals, under one settable clock."""

import json
import random
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from sqlalchemy import select

from billing.meters import load_meters
from billing.outbox import SqlOutbox, Stamp
from billing.planning import Planning, books, plan_reports
from billing.reconcile import Reconciler
from billing.restore import FileMark, adopt
from billing.signatures import sign
from billing.store import open_store
from billing.tables import intents
from billing.webhooks import handle_stored, take
from pipeline.outbox import State, Usage
from sinks.stripe import API_VERSION, SDK_VERSION, Key, Sender, make_client
from sinks.stripe_events import StripeEvents
from sinks.stripe_fake import Account, Rules
from sinks.stripe_fake_http import Wire
from sinks.stripe_fake_server import InProcess
from sinks.stripe_push import Clock, Pace, Pusher
from sinks.stripe_read import StripeSummaries
from sinks.stripe_stream import StreamSender

HOUR = 3600
UNIT = 10**6
KEY = Key("sk_test_none")
STAMP = Stamp(API_VERSION, SDK_VERSION)
EVENT_NAME = "millrace_micro_usd"
SECRET = "whsec_test"
_owners = count()


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


NOON = at("2026-11-20T12:00")


@dataclass
class Time:
    now: int = NOON

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Inline(Executor):
    """Runs each call at once, so that a test is the same each time."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@dataclass
class Totals:
    """A ledger of one meter: tenant -> hour -> pico-USD."""

    hours: dict = field(default_factory=dict)

    def add(self, tenant, hour, micro_usd, pico=0):
        key = (tenant, hour)
        self.hours[key] = self.hours.get(key, 0) + micro_usd * UNIT + pico

    def totals(self, _measure, since, _hourly_from):
        return [Usage(tenant, hour, total) for (tenant, hour), total in self.hours.items() if hour >= since]

    def sums(self, _measure, since):
        tenants = {tenant for (tenant, hour) in self.hours if hour >= since}
        return {
            name: sum(t for (n, h), t in self.hours.items() if n == name and h >= since) for name in tenants
        }

    def of(self, tenant):
        return sum(total for (name, _), total in self.hours.items() if name == tenant)


@dataclass
class Stage:
    url: str
    folder: Path
    rules: Rules = field(default_factory=Rules)
    seed: int = 0

    def __post_init__(self):
        self.time = Time()
        self.random = random.Random(self.seed)
        self.ledger = Totals()
        self.declaration = load_meters(None)
        self.store = open_store(self.url)
        self.account = Account(self.time, self.rules)
        self.wire = Wire(self.account)
        self.customers = {}
        self.mark = FileMark(self.folder / "control.mark")
        self.meter = self.account.create_meter({"event_name": EVENT_NAME})

    def add_tenant(self, tenant):
        self.customers[tenant] = self.account.create("customer", "cus", {"name": tenant})["id"]
        return self.customers[tenant]

    def planning(self, running=False):
        return Planning(
            self.declaration, lambda tenant: self.customers.get(tenant, ""), STAMP, self.time(), running
        )

    def plan(self, running=False):
        return plan_reports(self.store, self.ledger, self.planning(running), write=True)

    def books(self):
        return books(self.store, self.ledger, self.planning())

    def client(self):
        return make_client(KEY, "http://double", InProcess(self.wire))

    def outbox(self, owner="", stamp=STAMP):
        name = owner or f"pusher-{next(_owners)}"
        grace = self.declaration.finalizes_after_s
        return SqlOutbox(self.store, name, stamp, grace, self.random.randrange, self.mark)

    def streamer(self):
        connect = lambda token: make_client(Key(token), "http://double", InProcess(self.wire))
        return StreamSender(self.client(), connect, self.time)

    def deliver(self, event):
        """Hand a webhook over as Stripe does."""
        body, moment = json.dumps(event).encode(), str(self.time())
        return take(self.store, body, f"t={moment},v1={sign(body, moment, SECRET)}", [SECRET], self.time())

    def handle_webhooks(self):
        return handle_stored(self.store, StripeEvents(self.client()), self.time())

    def pusher(self, outbox=None, send=None, **pace):
        pace = {"per_second_max": 1000, "patience_s": 0, **pace}
        send = send or Sender(self.client())
        clock = Clock(self.time, self.time.sleep)
        return Pusher(outbox or self.outbox(), send, Inline(), clock, Pace(**pace))

    def push(self, **pace):
        return self.pusher(**pace).run()

    def summaries(self):
        return StripeSummaries(self.client(), {EVENT_NAME: self.meter["id"]}, self.time)

    def reconcile(self, full=False, **more):
        return Reconciler(self.store, self.summaries(), self.time(), **more).run(full=full)

    def adopt(self):
        return adopt(self.store, self.summaries(), self.declaration, self.customers, self.time())

    def intents(self):
        with self.store.read() as connection:
            return connection.execute(select(intents).order_by(intents.c.id)).all()

    def states(self):
        return [State(row.state) for row in self.intents()]

    def at_stripe(self, tenant):
        """All that Stripe counts for a tenant, whatever shows in summaries yet."""
        return int(self.account.sum(EVENT_NAME, self.customers[tenant], 0, 2**40))

    def next_fault(self, *faults, method="POST"):
        """Let the next requests fail, one after the other; None lets one through."""
        left = list(faults)

        def fault_for(request):
            return left.pop(0) if left and request.method == method else None

        self.wire.fault_for = fault_for
