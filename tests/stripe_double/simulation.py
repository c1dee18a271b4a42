"""Seeded histories of everything at once, checked against a model of one line: Stripe's sum is the ledger's.

Each step is drawn: usage, late usage, corrections, time, planning, sending by two pushers with every fault,
crashes between any two writes, wrong clocks, backups and restores, comparisons, a person who looks at what is
held. At every step Stripe never has more than the ledger ever had; in the end it has exactly the ledger's
units, or what is missing lies visibly in quarantine.

    PYTHONPATH=.:tests python -m stripe_double.simulation FIRST COUNT
"""

import random
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from billing.resolve import Decision, held_reports, resolve
from billing.restore import check_settled, lift, notice_restore
from billing.store import open_store
from pipeline.errors import ProviderError, UsageError
from pipeline.outbox import HOUR_S, Settled, State
from sinks.stripe import Sender
from sinks.stripe_fake import Rules
from sinks.stripe_fake_http import Fault
from sinks.stripe_push import SKEW_MAX_S, too_late
from stripe_double.stage import EVENT_NAME, NOON, UNIT, Stage

DAY = 24 * HOUR_S
FAULTS = [fault for fault in Fault if fault is not Fault.UNAUTHORIZED]
STEPS = 60


class Crash(BaseException):
    """The process dies here."""


class Violation(AssertionError):
    """A history in which usage was told twice or lost."""


class Hand:
    """One pusher that can be stopped between any two of its moves."""

    def __init__(self, simulation, number):
        self.simulation = simulation
        self.number = number
        self.restart()

    def restart(self):
        self.outbox = self.simulation.stage.outbox()
        self.to_send, self.settled = [], []

    def move(self):
        draw, stage = self.simulation.random, self.simulation.stage
        try:
            if self.to_send and self.simulation.stream and draw.random() < 0.6:
                self._stream()
            elif self.to_send and draw.random() < 0.6:
                attempt = self.to_send.pop(draw.randrange(len(self.to_send)))
                self.simulation.maybe_crash()
                outcome = too_late(attempt, stage.time()) or self.simulation.send(attempt)
                self.simulation.maybe_crash()
                self.settled.append(Settled(attempt, outcome))
                if outcome.server_time is not None and abs(outcome.server_time - stage.time()) > SKEW_MAX_S:
                    self.simulation.set_clock_right()
            else:
                settled, self.settled = self.settled, []
                self.to_send += self.outbox.exchange(settled, draw.randrange(4), stage.time())
        except Crash:
            self.restart()

    def _stream(self):
        """Send all that wait in one request."""
        stage, attempts = self.simulation.stage, self.to_send
        self.to_send = []
        late = [too_late(attempt, stage.time()) for attempt in attempts]
        self.simulation.maybe_crash()
        sent = self.simulation.stream.send([a for a, why in zip(attempts, late, strict=True) if why is None])
        self.simulation.maybe_crash()
        outcomes = [why or sent for why in late]
        self.settled += [
            Settled(attempt, outcome) for attempt, outcome in zip(attempts, outcomes, strict=True)
        ]


class Simulation:
    faults = FAULTS

    def __init__(self, seed, folder, template=None):
        self.random = random.Random(seed)
        if template:
            shutil.copy(template, folder / "control.db")
        rules = Rules(
            summary_lag_s=self.random.choice([0, 60, 3 * HOUR_S]),
            finalizes_after_s=HOUR_S,
            unknown_customer_is_sync=self.random.random() < 0.5,
        )
        self.stage = Stage(f"sqlite:///{folder}/control.db", folder, rules, seed)
        self.folder = folder
        self.stripes_time = self.random.choice([NOON, NOON + 9 * DAY, NOON + 10 * DAY + 20 * HOUR_S])
        self.skew = 0
        self.stage.account.clock = lambda: self.stripes_time
        self._set_time()
        self.tenants = ["acme", "beta"]
        for tenant in self.tenants:
            self.stage.add_tenant(tenant)
        self.highest = dict.fromkeys(self.tenants, 0)
        self.faulty = True
        self.crash_rate = 0.0
        self.stage.wire.fault_for = self._fault
        self.send = Sender(self.stage.client())
        self.stream = self.stage.streamer() if self.random.random() < 0.25 else None
        self.deliveries = []
        self.hands = [Hand(self, number) for number in range(2)]
        self.trace = []
        self._crash_in_writes()

    def run(self):
        actions = [
            (self.use, 6), (self.plan, 5), (self.push, 14), (self.pass_time, 5), (self.reconcile, 3),
            (self.person, 1), (self.back_up, 1), (self.restore, 1), (self.jump, 1), (self.webhooks, 2),
        ]  # fmt: skip
        names, weights = zip(*actions, strict=True)
        for _ in range(STEPS):
            action = self.random.choices(names, weights)[0]
            self.trace.append((self.stripes_time - NOON, action.__name__))
            with suppress(Crash):
                action()
            self.check()
        self.settle()

    def use(self):
        hour = self.stage.time() // HOUR_S * HOUR_S - self.random.choice([0, 1, 1, 2, 30]) * HOUR_S
        amount = self.random.choice([self.random.randrange(1, 50), self.random.randrange(1, 10**6), -20])
        tenant = self.random.choice(self.tenants)
        self.stage.ledger.add(tenant, hour, amount, self.random.randrange(UNIT))
        self.highest[tenant] = max(self.highest[tenant], self.stage.ledger.of(tenant) // UNIT)

    def plan(self):
        if not notice_restore(self.stage.store, self.stage.mark, self.stage.time()):
            self.stage.plan(running=self.random.random() < 0.3)

    def push(self):
        for _ in range(self.random.randrange(1, 12)):
            self.random.choice(self.hands).move()

    def pass_time(self):
        self.advance(self.random.choice([1, 60, 400, HOUR_S, 5 * HOUR_S, DAY]))

    def advance(self, seconds):
        """Let time pass, and what was delayed at Stripe happen when it is due."""
        until = self.stripes_time + seconds
        while (due := self.stage.wire.next_zombie()) is not None and due <= until:
            self.stripes_time = max(due, self.stripes_time)
            self.stage.wire.raise_zombies()
        self.stripes_time = until
        self._set_time()

    def reconcile(self):
        with suppress(ProviderError):
            self.stage.reconcile(full=self.random.random() < 0.3)

    def webhooks(self):
        """Deliver some of what the double has to say, twice or late or not yet, and handle what is stored."""
        self.deliveries += self.stage.account.outgoing
        self.stage.account.outgoing.clear()
        for event in self.random.choices(
            self.deliveries, k=min(len(self.deliveries), self.random.randrange(4))
        ):
            self.stage.deliver(event)
        self.stage.handle_webhooks()

    def jump(self):
        """Let this host's clock be wrong, until something notices."""
        self.skew = self.random.choice([-2 * DAY, -HOUR_S, -100, 100, HOUR_S, 2 * DAY])
        self._set_time()

    def set_clock_right(self):
        self.skew = 0
        self._set_time()

    def back_up(self):
        with self.stage.store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self.stage.store.path, self.folder / "backup.db")

    def restore(self):
        if not (self.folder / "backup.db").exists() or self.random.random() < 0.5:
            return
        self.stage.store.close()
        for leftover in self.folder.glob("control.db*"):
            leftover.unlink()
        shutil.copy(self.folder / "backup.db", self.folder / "control.db")
        self.stage.store = open_store(self.stage.url)
        self._crash_in_writes()
        for hand in self.hands:
            hand.restart()
        notice_restore(self.stage.store, self.stage.mark, self.stage.time())

    def person(self):
        """Look at what is held as a person would: at the minute itself, a day after the last attempt."""
        self.set_clock_right()
        self._learn()
        now = self.stage.time()
        for held in held_reports(self.stage.store):
            if now < (held.standing.last_attempt_at or 0) + DAY + 3 * HOUR_S:
                continue
            middle = held.report.timestamp
            counted = int(self.stage.account.sum(EVENT_NAME, held.report.customer, middle - 30, middle + 30))
            decision = {held.report.value: Decision.DELIVERED, 0: Decision.ABSENT}.get(counted)
            if decision:
                resolve(self.stage.store, held.identifier, decision, who="person", why="looked", now=now)

    def check(self):
        for tenant in self.tenants:
            told = self.stage.at_stripe(tenant)
            if told > self.highest[tenant]:
                msg = f"{tenant}: Stripe has {told}, the ledger never had more than {self.highest[tenant]}"
                raise Violation(msg)

    def settle(self):
        """Let everything be well for a while; usage at the end covers what corrections took back."""
        self.faulty, self.crash_rate = False, 0.0
        self.set_clock_right()
        for hand in self.hands:
            hand.restart()
        for tenant in self.tenants:
            self.stage.ledger.add(tenant, self.stage.time() // HOUR_S * HOUR_S, 10**7)
            self.highest[tenant] = max(self.highest[tenant], self.stage.ledger.of(tenant) // UNIT)
        for _ in range(8):
            self.advance(13 * HOUR_S)
            self.person()
            self.plan()
            self.stage.push(patience_s=0)
            self.stage.time.now = self.stripes_time
            self.stage.reconcile(full=True)
            self.check()
        self._judge()

    def _judge(self):
        held = held_reports(self.stage.store)
        for tenant in self.tenants:
            told, owed = self.stage.at_stripe(tenant), self.stage.ledger.of(tenant) // UNIT
            in_doubt = sum(one.report.value for one in held if one.report.tenant == tenant)
            waiting = in_doubt or any(one.report.customer == self.stage.customers[tenant] for one in held)
            if told > owed or (told < owed and not waiting):
                states = [
                    (r.slot, r.state, r.value, r.detail) for r in self.stage.intents() if r.tenant == tenant
                ]
                msg = f"{tenant}: Stripe has {told}, the ledger {owed}; {states}"
                raise Violation(msg)

    def _learn(self):
        """Bring a restored store back as the documentation says."""
        if not notice_restore(self.stage.store, self.stage.mark, self.stage.time()):
            return
        with suppress(UsageError, ProviderError):
            check_settled(self.stage.mark, self.stage.time())
            self.stage.adopt()
            lift(self.stage.store, self.stage.mark, self.stage.reconcile(full=True), self.stage.time())

    def _set_time(self):
        self.stage.time.now = self.stripes_time + self.skew

    def _fault(self, request):
        rate = {"POST": 0.35, "GET": 0.04}.get(request.method, 0)
        if not self.faulty or self.random.random() > rate:
            return None
        self.stage.wire.zombie_delay_s = self.random.choice([1, 60, 5 * HOUR_S, 20 * HOUR_S])
        return self.random.choice(self.faults)

    def maybe_crash(self):
        if self.faulty and self.random.random() < 0.03:
            raise Crash

    def _crash_in_writes(self):
        """Die before or after a commit."""
        store, write = self.stage.store, self.stage.store.write

        @contextmanager
        def crashing():
            with write() as connection:
                yield connection
                self.maybe_crash()
            self.maybe_crash()

        store.write = crashing


def simulate(seed, template=None, simulation=Simulation):
    with tempfile.TemporaryDirectory(prefix="millrace-sim-") as folder:
        one = simulation(seed, Path(folder), template)
        try:
            one.run()
        except Violation as violation:
            msg = f"seed {seed}: {violation}"
            raise Violation(msg) from None
        finally:
            one.stage.store.close()
        return sum(row.state == State.QUARANTINED for row in one.stage.intents()) if one.stage.store else 0


def campaign(first, count, simulation=Simulation):
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    begun, quarantined = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="millrace-sim-") as folder:
        template = Path(folder) / "control.db"
        open_store(f"sqlite:///{template}").close()
        for seed in range(first, first + count):
            quarantined += simulate(seed, template, simulation)
            if (seed - first + 1) % 100 == 0:
                rate = (seed - first + 1) / (time.monotonic() - begun)
                sys.stdout.write(f"{seed - first + 1} histories, {rate:.1f} a second\n")
                sys.stdout.flush()
    sys.stdout.write(f"{count} histories from seed {first} on hold; {quarantined} reports in quarantine\n")


if __name__ == "__main__":
    campaign(int(sys.argv[1]), int(sys.argv[2]))
