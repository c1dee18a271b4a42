"""A slice of the seeded histories, and the proof that they find what they are for.

The long campaign: `PYTHONPATH=.:tests python -m stripe_double.simulation 0 5000`.
"""

from dataclasses import replace

import pytest
import structlog
from stripe_double.by_itself import ByItself
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


@pytest.mark.parametrize("seed", [1, 3])
def test_the_loops_alone_bring_a_months_end_to_rest_and_its_close_bills_what_was_told(seed, empty_store):
    simulate(seed, empty_store, ByItself)


class AppliedWithoutAnAnswer(Simulation):
    """The histories in which the broken ways show soonest."""

    faults = (Fault.ERROR_AFTER, Fault.TIMEOUT_AFTER)


def nameless(send):
    """Send each attempt under a name of its own."""
    return lambda attempt: send(
        replace(
            attempt,
            identifier=f"{attempt.identifier}-{attempt.number}",
            idempotency_key=f"{attempt.idempotency_key}-{attempt.number}",
        )
    )


class WithoutIdentifier(AppliedWithoutAnAnswer):
    """Each attempt under a name of its own."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.stream, self.send = None, nameless(self.send)


def resend_for_ever(monkeypatch):
    monkeypatch.setattr(billing.machine, "RESEND_FOR_S", 10**9)
    return AppliedWithoutAnAnswer


class ThroughTheStream(AppliedWithoutAnAnswer):
    """The same, a hundred in a request."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.stream = self.stream or self.stage.streamer()


def resend_for_ever_through_the_stream(monkeypatch):
    resend_for_ever(monkeypatch)
    return ThroughTheStream


class LoopsWithoutIdentifier(ByItself):
    """The loops, with each attempt under a name of its own."""

    faults = AppliedWithoutAnAnswer.faults

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.stream = None
        self.send = nameless(self.send)


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
        pytest.param(lambda _monkeypatch: WithoutIdentifier, 0, id="no identifier"),
        pytest.param(lambda _monkeypatch: LoopsWithoutIdentifier, 0, id="no identifier, by the loops"),
        pytest.param(resend_for_ever, 1, id="sent again after 24 hours"),
        pytest.param(resend_for_ever_through_the_stream, 1, id="sent again after 24 hours, by the stream"),
        pytest.param(take_a_duplicate_for_a_failure, 16, id="a duplicate is a failure"),
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
