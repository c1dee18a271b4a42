"""Seeded histories of the loops: two processes that take turns and die, over a month's end and its close.

The same faults, clocks, backups and restores as in `simulation`, but nobody plans or pushes by hand: the loops of
`millrace stripe loop` do, each under its lease, by single reports or through the stream. After the month someone
closes it as the documentation says. What an invoice bills is never more than the ledger ever had, and an invoice
that the close made final bills exactly what was told in its month.

    PYTHONPATH=.:tests python -m stripe_double.by_itself FIRST COUNT
"""

import random
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from billing.binding import remember_meter
from billing.close import period_of, positions
from billing.loops import Scheduler, standings
from billing.meters import hold_meaning
from billing.planning import Planning, plan_reports
from billing.webhook_types import note_invoice
from cli import stripe_loops, stripe_work
from cli.stripe_close import Closing
from cli.stripe_desk import Desk
from cli.stripe_loops import LoopSettings, make_loops
from pipeline.accounts import Accounts
from pipeline.errors import ProviderError, StoreError
from pipeline.outbox import HOUR_S
from sinks.stripe_invoices import StripeInvoices
from sinks.stripe_push import Pace
from stripe_double.simulation import DAY, Crash, Simulation, Violation, campaign
from stripe_double.stage import EVENT_NAME, STAMP, at

MONTH_END = at("2026-12-01T00:00")
MINUTES = (1, 1, 1, 2, 5, 10, 30, 60, 5 * 60, 24 * 60)


@dataclass
class Chance:
    """What `secrets` gives, by the seed."""

    random: random.Random
    drawn: int = 0

    def randbelow(self, limit):
        return self.random.randrange(limit)

    def token_hex(self, _size):
        self.drawn += 1
        return f"{self.drawn:08x}"


class Process:
    """One process of the loops; after a crash its successor comes with another name."""

    def __init__(self, simulation):
        self.simulation = simulation
        self.restart()

    def restart(self):
        stage = self.simulation.stage
        self.scheduler = Scheduler(stage.store, stripe_work.owner_name(), stage.time)

    def turn(self):
        loop = self.simulation.random.choice(self.simulation.loops())
        try:
            made = self.scheduler.turn(loop)
        except Crash:
            self.restart()
            return
        if made and made.failed and "clock" in made.detail:
            self.simulation.set_clock_right()


class ByItself(Simulation):
    """Histories without hands."""

    def __init__(self, seed, folder, template=None):
        super().__init__(seed, folder, template)
        self.stripes_time = MONTH_END - self.random.choice([2 * DAY, 5 * HOUR_S, HOUR_S])
        self._set_time()
        self.faulty = False
        self._set_up()
        self.faulty = True
        price = self.stage.account.create("price", "price", {"recurring": {"meter": self.stage.meter["id"]}})
        months = {"current_period_start": at("2026-11-01T00:00"), "current_period_end": MONTH_END}
        for customer in self.stage.customers.values():
            self.stage.account.subscribe({"customer": customer, "prices": [price["id"]], **months})
        self.processes = [Process(self) for _ in range(2)]
        self.closed = set()

    def run(self):
        actions = [
            (self.use, 6), (self.turns, 24), (self.pass_minutes, 8), (self.person, 1), (self.back_up, 1),
            (self.restore, 1), (self.jump, 1), (self.webhooks, 2), (self.close, 2),
        ]  # fmt: skip
        names, weights = zip(*actions, strict=True)
        with loops_under(self):
            for _ in range(60):
                action = self.random.choices(names, weights)[0]
                self.trace.append((self.stripes_time - MONTH_END, action.__name__))
                with suppress(Crash):
                    action()
                self.check()
            self.settle()

    def turns(self):
        for _ in range(self.random.randrange(1, 8)):
            self.random.choice(self.processes).turn()

    def pass_minutes(self):
        self.advance(60 * self.random.choice(MINUTES))

    def restore(self):
        super().restore()
        self._set_up()
        for process in self.processes:
            process.restart()

    def _set_up(self):
        """What `millrace stripe setup` leaves; a backup from before it is set up again."""
        hold_meaning(self.stage.store, self.stage.declaration)
        remember_meter(self.stage.store, EVENT_NAME, {"meter_id": self.stage.meter["id"]})

    def desk(self):
        stage = self.stage
        client = stage.client()
        return Desk(stage.store, stage.mark, stage.declaration, Accounts(), client, stage.time())

    def loops(self):
        desk = self.desk()
        send = self.stream_one if self.stream else self.send
        return make_loops(desk, desk.client, LoopSettings(None, Pace(1, 1000, 0), send))

    def stream_one(self, attempt):
        self.maybe_crash()
        outcome = self.stream.send([attempt])
        self.maybe_crash()
        return outcome

    def close(self):
        """Close November as `millrace stripe close 2026-11 --finalize` does, once it has ended."""
        if self.skew or self.stage.time() < MONTH_END:
            return
        with suppress(ProviderError, StoreError):
            self._close()

    def _close(self):
        period = period_of("2026-11", self.stage.declaration.finalizes_after_s)
        desk = self.desk()
        found = positions(
            self.stage.store, self.stage.ledger, self._planning(desk), period, self.stage.customers
        )
        summaries = self.stage.summaries()
        for position in found:
            position.stripe = summaries.span(position.lane, period.start, period.end)
        invoices = StripeInvoices(desk.client, {EVENT_NAME: self.stage.meter["id"]})
        for invoice in invoices.of_period(period.end):
            one = Closing(
                invoice.customer, [p for p in found if p.lane.customer == invoice.customer], invoice
            )
            if invoice.status == "draft" and not one.obstacles:
                one.invoice = invoices.finalize(invoice)
                self.closed.add(invoice.invoice_id)
                told_in = sum(position.told_in for position in one.positions)
                self._check_bill(invoice.invoice_id, told_in)
            note_invoice(self.stage.store, one.invoice.raw, desk.now)

    def _check_bill(self, invoice_id, told_in):
        [line] = self.stage.account.get("invoice", invoice_id)["lines"]["data"]
        if line["quantity"] != told_in:
            msg = f"{invoice_id}: closed with {line['quantity']} units, told were {told_in}"
            raise Violation(msg)

    def check(self):
        super().check()
        self.stage.account.advance()
        for tenant, customer in self.stage.customers.items():
            final = [
                i for i in self.stage.account.of_kind("invoice") if i["customer"] == customer and "lines" in i
            ]
            billed = sum(line["quantity"] for invoice in final for line in invoice["lines"]["data"])
            if billed > self.highest[tenant]:
                msg = f"{tenant}: billed {billed}, the ledger never had more than {self.highest[tenant]}"
                raise Violation(msg)

    def settle(self):
        """All is well again; within days the loops alone bring everything to rest."""
        self.faulty, self.crash_rate = False, 0.0
        self.set_clock_right()
        for tenant in self.tenants:
            self.stage.ledger.add(tenant, self.stage.time() // HOUR_S * HOUR_S, 10**7)
            self.highest[tenant] = max(self.highest[tenant], self.stage.ledger.of(tenant) // 10**6)
        for step in range(50):
            self.advance(3 * HOUR_S if step % 2 else 11 * 60)
            self.person()
            for loop in self.loops():
                self.random.choice(self.processes).scheduler.turn(loop)
            self.close()
            self.check()
        failing = [one for one in standings(self.stage.store) if one.failures]
        if failing:
            msg = f"the loops do not come to rest: {failing}"
            raise Violation(msg)
        self._judge()

    def _planning(self, desk, running=False):
        return Planning(
            self.stage.declaration,
            lambda tenant: self.stage.customers.get(tenant, ""),
            STAMP,
            desk.now,
            running,
        )


@contextmanager
def loops_under(simulation):
    """Let the loops have the simulation's clock, chance and ledger."""

    def plan(desk, _ledger, *, running, write):
        planning = simulation._planning(desk, running)
        return plan_reports(desk.store, simulation.stage.ledger, planning, write=write)

    stand_ins = [
        (stripe_loops, "now", simulation.stage.time),
        (stripe_work, "now", simulation.stage.time),
        (stripe_loops, "plan", plan),
        (stripe_work, "secrets", Chance(simulation.random)),
    ]
    kept = [getattr(module, name) for module, name, _ in stand_ins]
    for module, name, value in stand_ins:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(stand_ins, kept, strict=True):
            setattr(module, name, value)


if __name__ == "__main__":
    campaign(int(sys.argv[1]), int(sys.argv[2]), ByItself)
