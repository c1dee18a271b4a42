"""The states as a pure function: each rule by itself, and what holds for every history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.machine import (
    ABSENCE_AFTER_S,
    ATTEMPTS_MAX,
    PAUSE_MAX_S,
    READS_APART_S,
    RESEND_FOR_S,
    Standing,
    after_attempt,
    after_crash,
    after_read,
    after_time,
    begun,
    pause_s,
)
from pipeline.outbox import Outcome, Result, State

NOW = 1_800_000_000
FRESH = Standing(State.PLANNED)


def attempted(*results):
    standing = FRESH
    for number, result in enumerate(results, 1):
        standing = after_attempt(
            begun(standing, NOW + number), number, Outcome(result, "said"), NOW + number, NOW
        )
    return standing


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ([Result.APPLIED], State.ACCEPTED),
        ([Result.DUPLICATE], State.QUARANTINED),
        ([Result.KEY_MISMATCH], State.QUARANTINED),
        ([Result.NOT_APPLIED], State.DEFERRED),
        ([Result.REFUSED], State.REJECTED),
        ([Result.UNKNOWN], State.UNKNOWN),
        ([Result.REPLAYED_FAILURE], State.UNKNOWN),
        ([Result.UNKNOWN, Result.DUPLICATE], State.ACCEPTED),
        ([Result.UNKNOWN, Result.REFUSED], State.UNKNOWN),
        ([Result.UNKNOWN, Result.NOT_APPLIED], State.UNKNOWN),
        ([Result.UNKNOWN, Result.KEY_MISMATCH], State.UNKNOWN),
        ([Result.NOT_APPLIED, Result.DUPLICATE], State.QUARANTINED),
        ([Result.NOT_APPLIED, Result.REFUSED], State.REJECTED),
        ([Result.NOT_APPLIED] * ATTEMPTS_MAX, State.REJECTED),
    ],
)
def test_what_follows_from_attempts(results, state):
    assert attempted(*results).state is state


def test_a_new_key_is_used_only_after_an_answer_that_is_stored_under_the_old_one():
    assert attempted(Result.UNKNOWN, Result.UNKNOWN).key_number == 1
    assert attempted(Result.UNKNOWN, Result.REPLAYED_FAILURE).key_number == 2
    assert attempted(Result.UNKNOWN, Result.KEY_MISMATCH).key_number == 2


def test_doubt_counts_from_the_earliest_attempt_that_may_have_had_an_effect():
    assert attempted(Result.NOT_APPLIED, Result.UNKNOWN, Result.UNKNOWN).uncertain_since == NOW + 2
    assert attempted(Result.NOT_APPLIED).uncertain_since is None


def test_a_report_is_sent_again_for_23_hours_and_not_a_second_longer():
    unknown = attempted(Result.UNKNOWN)
    since = unknown.uncertain_since
    assert after_time(unknown, since + RESEND_FOR_S - 1, closed=False).state is State.UNKNOWN
    assert after_time(unknown, since + RESEND_FOR_S, closed=False).state is State.FROZEN
    assert after_time(unknown, since, closed=True).state is State.FROZEN
    assert after_time(unknown, since, closed=False, clock_went_back=True).state is State.FROZEN


def test_only_what_was_surely_not_sent_is_carried():
    for standing, state in (
        (FRESH, State.CARRIED),
        (attempted(Result.NOT_APPLIED), State.CARRIED),
        (attempted(Result.APPLIED), State.ACCEPTED),
        (attempted(Result.REFUSED), State.REJECTED),
    ):
        assert after_time(standing, NOW, closed=True).state is state


def test_an_empty_minute_proves_absence_only_late_and_twice():
    frozen = after_time(attempted(Result.UNKNOWN), NOW + RESEND_FOR_S + 1, closed=False)
    due = frozen.last_attempt_at + ABSENCE_AFTER_S
    assert after_read(frozen, 7, 0, due - 1) == frozen
    once = after_read(frozen, 7, 0, due)
    assert once.state is State.FROZEN
    assert after_read(once, 7, 0, due + READS_APART_S - 1) == once
    assert after_read(once, 7, 0, due + READS_APART_S).state is State.ABSENT


@pytest.mark.parametrize("state", [State.ACCEPTED, State.UNKNOWN, State.FROZEN])
def test_a_minute_with_the_value_proves_it_and_with_another_is_for_a_person(state):
    standing = Standing(state, last_attempt_at=NOW)
    assert after_read(standing, 7, 7, NOW).state is State.VERIFIED
    for other in (14, 1, -7):
        assert after_read(standing, 7, other, NOW).state is State.QUARANTINED


def test_a_crash_leaves_doubt():
    crashed = after_crash(begun(FRESH, NOW), NOW + 300)
    assert (crashed.state, crashed.uncertain_since) == (State.UNKNOWN, NOW)


@given(st.integers(0, 200), st.randoms(use_true_random=False))
def test_pauses_grow_to_ten_minutes_and_are_half_by_chance(failures, random):
    pause = pause_s(failures, random.randrange)
    longest = min(PAUSE_MAX_S, 2 ** max(failures, 1))
    assert longest // 2 <= pause <= longest


results = st.lists(st.sampled_from(list(Result)), min_size=1, max_size=8)


@given(results)
def test_a_report_that_may_be_at_stripe_is_never_given_up_without_a_reading(history):
    standing, doubt = FRESH, False
    for number, result in enumerate(history, 1):
        if standing.state not in {State.PLANNED, State.DEFERRED, State.UNKNOWN}:
            break
        standing = after_attempt(begun(standing, NOW + number), number, Outcome(result), NOW + number, NOW)
        doubt |= result in {Result.UNKNOWN, Result.REPLAYED_FAILURE} and standing.state is State.UNKNOWN
        if doubt:
            assert standing.state in {State.UNKNOWN, State.ACCEPTED}
            assert standing.state is State.ACCEPTED or standing.uncertain_since is not None
    if doubt and standing.state is State.UNKNOWN:
        assert after_time(standing, NOW + 10**6, closed=True).state is State.FROZEN
