"""Rates: exact at their limit, sliding at their border, counted for each caller by itself."""

import pytest
from http_stage import SERVICE, StandingClock, bearer, make_stage, opened_store, token, trial_router
from hypothesis import given, settings
from hypothesis import strategies as st

from api.limits import CALLERS_MAX, DEFAULT_RATES, Limit, Rate, RateLimits, parse_rate

MINUTE = 60_000


def limits(requests: int, window_ms: int = MINUTE) -> tuple[RateLimits, StandingClock]:
    clock = StandingClock(window_ms * 1000)
    return RateLimits(clock, dict.fromkeys(Limit, Rate(requests, window_ms))), clock


def test_the_shipped_rates():
    assert parse_rate(DEFAULT_RATES[Limit.FINALIZE]) == Rate(200, MINUTE)
    assert parse_rate(DEFAULT_RATES[Limit.ADMIN]) == Rate(30, MINUTE)
    assert parse_rate("10 per 2 seconds") == Rate(10, 2000)
    with pytest.raises(ValueError, match="many"):
        parse_rate("many")


def test_exactly_so_many_get_through_and_each_is_told_what_is_left():
    counter, _ = limits(3)
    assert [counter.count(Limit.ADMIN, "ann").remaining for _ in range(3)] == [2, 1, 0]
    refused = counter.count(Limit.ADMIN, "ann")
    assert (refused.is_within, refused.remaining) == (False, 0)
    assert counter.count(Limit.ADMIN, "bob").is_within
    assert counter.count(Limit.FINALIZE, "ann").is_within


def test_a_burst_at_the_border_of_two_windows_gets_through_once():
    counter, clock = limits(100)
    clock.ms += MINUTE - 1
    assert sum(counter.count(Limit.ADMIN, "ann").is_within for _ in range(200)) == 100
    clock.ms += 2
    assert sum(counter.count(Limit.ADMIN, "ann").is_within for _ in range(200)) <= 1


@settings(max_examples=200, deadline=None)
@given(
    requests=st.integers(1, 50),
    window_s=st.integers(1, 90),
    steps=st.lists(st.integers(0, 40_000), min_size=1, max_size=60),
)
def test_who_waits_as_told_gets_in_and_not_much_before(requests, window_s, steps):
    counter, clock = limits(requests, window_s * 1000)
    for step_ms in steps:
        clock.ms += step_ms
        standing = counter.count(Limit.INGEST, "acme")
        if not standing.is_within:
            clock.ms += standing.retry_after_s * 1000
            assert counter.count(Limit.INGEST, "acme").is_within


def test_counters_of_the_past_are_let_go():
    counter, clock = limits(5)
    for number in range(CALLERS_MAX):
        counter.count(Limit.READ, str(number))
    clock.ms += 3 * MINUTE
    counter.count(Limit.READ, "new")
    assert len(counter._counters) == 1


def test_the_headers_of_a_door(tmp_path):
    with opened_store(tmp_path) as store:
        stage = make_stage(store, more=[trial_router()], rates={Limit.FINALIZE: "2/minute"})
        client = stage.client()
        ask = lambda sub: client.post("/trial/finalize", headers=bearer(token(SERVICE, sub=sub)))
        first, _, third, other = ask("a"), ask("a"), ask("a"), ask("b")
    assert first.headers["ratelimit-limit"] == "2"
    assert first.headers["ratelimit-remaining"] == "1"
    assert first.headers["ratelimit-policy"] == "2;w=60"
    assert 1 <= int(first.headers["ratelimit-reset"]) <= 60
    assert (third.status_code, third.json()["code"]) == (429, "rate_limited")
    assert int(third.headers["retry-after"]) >= 1
    assert third.headers["ratelimit-remaining"] == "0"
    assert other.status_code == 200
