"""A slice of the seeded histories, and the proof that they find what they are for.

The long campaign: `PYTHONPATH=.:tests python -m stripe_double.simulation 0 5000`.
"""

from dataclasses import replace

import pytest
import structlog
from stripe_double.simulation import Simulation, Violation, simulate

import billing.machine
import billing.outbox
from pipeline.outbox import Result, State
from sinks.stripe_fake_http import Fault

pytest_plugins = ["stripe_double.fixtures"]


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("seed", range(1000, 1010))
def test_a_seeded_history_ends_with_the_ledgers_sum_at_stripe(seed, empty_store):
    simulate(seed, empty_store)


class AppliedWithoutAnAnswer(Simulation):
    """The histories in which the broken ways show soonest."""

    faults = (Fault.ERROR_AFTER, Fault.TIMEOUT_AFTER)


class WithoutIdentifier(AppliedWithoutAnAnswer):
    """Each attempt under a name of its own."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        send = self.send
        self.send = lambda attempt: send(
            replace(
                attempt,
                identifier=f"{attempt.identifier}-{attempt.number}",
                idempotency_key=f"{attempt.idempotency_key}-{attempt.number}",
            )
        )


def resend_for_ever(monkeypatch):
    monkeypatch.setattr(billing.machine, "RESEND_FOR_S", 10**9)
    return AppliedWithoutAnAnswer


def take_a_duplicate_for_a_failure(monkeypatch):
    settle = billing.outbox.after_attempt

    def after_attempt(standing, number, outcome, now, retry_at):
        if outcome.result is Result.DUPLICATE:
            return replace(standing, state=State.ABSENT)
        return settle(standing, number, outcome, now, retry_at)

    monkeypatch.setattr(billing.outbox, "after_attempt", after_attempt)
    return AppliedWithoutAnAnswer


def take_every_error_for_a_failure(monkeypatch):
    settle = billing.outbox.after_attempt

    def after_attempt(standing, number, outcome, now, retry_at):
        if outcome.result is not Result.APPLIED:
            return replace(standing, state=State.ABSENT)
        return settle(standing, number, outcome, now, retry_at)

    monkeypatch.setattr(billing.outbox, "after_attempt", after_attempt)
    return AppliedWithoutAnAnswer


@pytest.mark.parametrize(
    ("broken", "first_seed"),
    [
        pytest.param(lambda _monkeypatch: WithoutIdentifier, 1, id="no identifier"),
        pytest.param(resend_for_ever, 14, id="sent again after 24 hours"),
        pytest.param(take_a_duplicate_for_a_failure, 3, id="a duplicate is a failure"),
        pytest.param(take_every_error_for_a_failure, 0, id="any error is a failure"),
    ],
)
def test_a_broken_push_is_found_out(broken, first_seed, empty_store, monkeypatch):
    simulation = broken(monkeypatch)

    def first_violation():
        for seed in range(first_seed, first_seed + 60):
            simulate(seed, empty_store, simulation)

    with pytest.raises(Violation):
        first_violation()
