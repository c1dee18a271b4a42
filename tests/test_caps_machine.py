"""Any order of asks, refreshes and lags, against a model that is too simple to be wrong."""

import itertools
from dataclasses import dataclass, field

import hypothesis.strategies as st
from caps_stage import NOON_MS, PICO, CapsStage, caps_stage, migrated_url
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from billing.asks import Authorize, Finalize, Once, Release, Reserve, Settle, Status
from billing.cap_checks import check_caps

__all__ = ["caps_stage", "migrated_url"]

pytest_plugins = ["stripe_double.fixtures"]

LIMIT = 1_000
AMOUNTS = st.integers(0, 400)
_tenants = itertools.count(1)


@dataclass
class Model:
    """What counts against a cap, in four plain sums."""

    others: int = 0
    """What the pipeline counted beside settlements, as far as it was read."""
    others_unread: int = 0
    settled: int = 0
    open: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Reservation -> amount, expiry."""
    ended: dict[str, str] = field(default_factory=dict)
    cost: dict[str, int] = field(default_factory=dict)
    """Finalised reservation -> amount."""
    paid: dict[str, int] = field(default_factory=dict)
    """Settled key -> amount."""

    @property
    def current(self) -> int:
        return self.others + self.settled + sum(amount for amount, _ in self.open.values())

    def expire(self, now_ms: int) -> None:
        for name, (_, expires_at_ms) in list(self.open.items()):
            if expires_at_ms <= now_ms:
                del self.open[name]
                self.ended[name] = "expired"


class CapsMachine(RuleBasedStateMachine):
    """One tenant of a shared store; each example has its own."""

    stage: CapsStage
    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.tenant = f"t{next(_tenants)}"
        self.stage.ledger.waiting.clear()
        self.model = Model()
        self.stage.limit(self.tenant, day=f"0.{LIMIT:06d}")
        self.stage.ask(Authorize(self.tenant, 0))  # the first ask of a tenant reads the ledger by itself

    @rule(target=reservations, amount=AMOUNTS, seconds=st.integers(1, 100))
    def reserve(self, amount, seconds):
        self._pass(0)
        outcome = self.stage.ask(Reserve(self.tenant, amount, seconds))
        fits = self.model.current + amount <= LIMIT
        assert outcome.status is (Status.RESERVED if fits else Status.CAP_EXCEEDED)
        if not fits:
            return "res_none"
        self.model.open[outcome.reservation.id] = (amount, self.stage.clock.ms + seconds * 1000)
        return outcome.reservation.id

    @rule(name=reservations, amount=AMOUNTS)
    def finalize(self, name, amount):
        self._pass(0)
        outcome = self.stage.ask(Finalize(name, amount))
        if name in self.model.open:
            reserved, _ = self.model.open.pop(name)
            done = outcome.settlement
            assert done.finalized_micro == amount == reserved - done.released_micro + done.overrun_micro
            assert min(done.released_micro, done.overrun_micro) == 0
            self.model.settled += amount
            self.model.ended[name], self.model.cost[name] = "finalized", amount
        elif name in self.model.cost:
            is_same = self.model.cost[name] == amount
            assert outcome.status is (Status.SETTLED if is_same else Status.RESERVATION_FINALIZED)
            assert outcome.is_replay == is_same
        else:
            ended = self.model.ended.get(name, "unknown")
            assert outcome.status == f"reservation_{ended}"

    @rule(name=consumes(reservations))
    def release(self, name):
        self._pass(0)
        outcome = self.stage.ask(Release(name))
        if name in self.model.open:
            del self.model.open[name]
            self.model.ended[name] = "released"
            assert outcome.status is Status.RELEASED
        else:
            ended = self.model.ended.get(name, "unknown")
            assert outcome.status == ("released" if ended == "released" else f"reservation_{ended}")

    @rule(amount=AMOUNTS, number=st.integers(1, 5))
    def settle(self, amount, number):
        self._pass(0)
        key = f"{self.tenant}-{number}"
        outcome = self.stage.ask(Settle(self.tenant, amount, key=key))
        if key in self.model.paid:
            is_same = self.model.paid[key] == amount
            assert outcome.status is (Status.SETTLED if is_same else Status.IDEMPOTENCY_CONFLICT)
        elif self.model.current + amount <= LIMIT:
            assert outcome.status is Status.SETTLED
            self.model.paid[key] = amount
            self.model.settled += amount
        else:
            assert outcome.status is Status.CAP_EXCEEDED

    @rule(amount=AMOUNTS, number=st.integers(1, 3))
    def authorize_with_a_key(self, amount, number):
        once = Once(f"authorize:{self.tenant}", str(number), str(amount))
        outcome = self.stage.ask(Authorize(self.tenant, amount), once)
        again = self.stage.ask(Authorize(self.tenant, amount), once)
        assert again.status is outcome.status
        assert again.is_replay or again.status is Status.IDEMPOTENCY_CONFLICT

    @rule(seconds=st.integers(1, 60))
    def pass_time(self, seconds):
        self._pass(seconds)

    @rule(amount=AMOUNTS)
    def others_spend(self, amount):
        self.stage.ledger.spend(self.tenant, amount * PICO, self.stage.clock.ms)
        self.model.others_unread += amount

    @rule()
    def hand_over(self):
        self.stage.hand_over()

    @rule(count=st.integers(1, 3))
    def pipeline_catches_up(self, count):
        self.stage.ledger.catch_up(min(count, len(self.stage.ledger.waiting)))

    @rule()
    def refresh(self):
        self.stage.refresh()
        self.model.others += self.model.others_unread
        self.model.others_unread = 0

    @invariant()
    def what_is_told_is_what_is_there(self):
        self._pass(0)
        told = self.stage.ask(Authorize(self.tenant, 0)).spend
        assert told.day.current_micro == told.month.current_micro == self.model.current

    def teardown(self):
        """Once the pipeline has caught up, the ledger holds what clients were told, and nothing is pending."""
        self.stage.hand_over()
        self.stage.ledger.catch_up()
        self.stage.refresh()
        self.model.others += self.model.others_unread
        told = self.stage.ask(Authorize(self.tenant, 0)).spend.day
        assert told.pending_micro == 0
        assert told.ledger_micro == self.model.others + self.model.settled
        assert check_caps(self.stage.store, self.stage.clock.ms).findings == []

    def _pass(self, seconds):
        self.stage.clock.ms += seconds * 1000
        if self.stage.clock.ms >= NOON_MS + 6 * 3_600_000:
            self.stage.clock.ms = NOON_MS
        self.model.expire(self.stage.clock.ms)


def test_whatever_happens_in_whatever_order_the_cap_holds_and_nothing_counts_twice(caps_stage):
    machine = type("Machine", (CapsMachine,), {"stage": caps_stage})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
