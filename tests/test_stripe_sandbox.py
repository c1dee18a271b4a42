"""The contract of docs/stripe.md, proven again against Stripe itself, in a sandbox. Opt-in: it makes objects there.

    STRIPE_SECRET_KEY=sk_test_... python -m pytest tests/test_stripe_sandbox.py

It takes minutes, since sums follow with a delay. What it makes carries `millrace_sandbox` in its names; nothing
is deleted, the meter is deactivated.
"""

import os
import secrets
import time
from dataclasses import replace

import pytest

from pipeline.errors import UsageError
from pipeline.outbox import HOUR_S, Attempt, Lane, Report, Result
from sinks.stripe import Sender, make_client, read_key
from sinks.stripe_read import StripeSummaries

PATIENCE_S = 300
LATE_S = 40 * 24 * HOUR_S


@pytest.fixture(scope="module")
def client():
    if os.environ.get("MILLRACE_STRIPE_URL"):
        pytest.skip("MILLRACE_STRIPE_URL names a stand-in: the key is not of a sandbox of Stripe")
    try:
        key = read_key(os.environ.get("STRIPE_SECRET_KEY", ""), allow_live=False)
    except UsageError as error:
        pytest.skip(f"STRIPE_SECRET_KEY names no sandbox of Stripe: {error}")
    return make_client(key)


@pytest.fixture(scope="module")
def lane(client):
    name = f"millrace_sandbox_{secrets.token_hex(4)}"
    mapping = {"type": "by_id", "event_payload_key": "stripe_customer_id"}
    meter = client.v1.billing.meters.create({
        "display_name": name, "event_name": name, "default_aggregation": {"formula": "sum"},
        "customer_mapping": mapping, "value_settings": {"event_payload_key": "value"},
    })  # fmt: skip
    customer = client.v1.customers.create({"name": name})
    yield Lane(customer.id, name), meter.id
    client.v1.billing.meters.deactivate(meter.id)


def attempt(lane, slot=0, value=7, window=None, number=1):
    start = window or int(time.time()) // HOUR_S * HOUR_S - HOUR_S
    report = Report("sandbox", "acme", lane.customer, lane.event_name, start, slot, value, start)
    return Attempt(1, 1, number, 1, f"{report.identifier}.k{number}", report.identifier, report, 2**40)


def summaries(client, lane, meter):
    return StripeSummaries(client, {lane.event_name: meter}, lambda: int(time.time()))


def settled(read, expected):
    """Read until the sum is there; sums follow with a delay that Stripe does not publish."""
    for _ in range(PATIENCE_S // 10):
        if read() == expected:
            return expected
        time.sleep(10)
    return read()


def test_a_report_is_counted_in_its_own_minute_and_nowhere_else(client, lane):
    of, meter = lane
    one = attempt(of, slot=3)
    assert Sender(client)(one).result is Result.APPLIED
    start, sums = one.report.window_start, summaries(client, of, meter)
    assert settled(lambda: sums.span(of, start + 180, start + 240), 7) == 7
    assert sums.span(of, start, start + 180) == 0
    assert sums.span(of, start + 240, start + 300) == 0
    assert sums.hours(of, start, start + HOUR_S) == {start: 7}


def test_the_same_key_and_body_is_answered_again_and_counted_once(client, lane):
    of, meter = lane
    one = attempt(of, slot=10)
    assert [Sender(client)(one).result for _ in range(2)] == [Result.APPLIED] * 2
    start, sums = one.report.window_start + 600, summaries(client, of, meter)
    assert settled(lambda: sums.span(of, start, start + 60), 7) == 7


def test_a_known_identifier_under_a_new_key_is_refused_in_the_words_that_are_matched(client, lane):
    of, _ = lane
    assert Sender(client)(attempt(of, slot=20)).result is Result.APPLIED
    assert Sender(client)(attempt(of, slot=20, number=2)).result is Result.DUPLICATE
    changed = attempt(of, slot=20, value=8, number=3)
    assert Sender(client)(changed).result is Result.DUPLICATE, "the changed value is refused, not taken"


def test_a_key_with_other_parameters_is_a_mismatch(client, lane):
    of, _ = lane
    one = attempt(of, slot=30)
    assert Sender(client)(one).result is Result.APPLIED
    other = replace(attempt(of, slot=31), idempotency_key=one.idempotency_key)
    assert Sender(client)(other).result is Result.KEY_MISMATCH


@pytest.mark.parametrize("moved_s", [-LATE_S, 2 * HOUR_S], ids=["too old", "too far ahead"])
def test_times_out_of_reach_are_refused_at_once(client, lane, moved_s):
    of, _ = lane
    window = int(time.time()) // HOUR_S * HOUR_S + moved_s
    assert Sender(client)(attempt(of, window=window)).result is Result.REFUSED


def test_fifteen_digits_are_taken_and_sixteen_are_refused(client, lane):
    of, _ = lane
    assert Sender(client)(attempt(of, slot=40, value=10**15 - 1)).result is Result.APPLIED
    assert Sender(client)(attempt(of, slot=41, value=10**16 - 1)).result is Result.REFUSED


@pytest.mark.usefixtures("client")
def test_a_wrong_key_has_no_effect_and_halts_everything():
    sender = Sender(make_client(read_key("sk_test_wrong", allow_live=False)))
    outcome = sender(attempt(Lane("cus_none", "none")))
    assert (outcome.result, outcome.halts_all) == (Result.NOT_APPLIED, True)
