"""Stripe's own stripe-mock takes every call that the program makes: paths and parameters, by Stripe's specification.

It keeps no state, so it says nothing of behaviour; that is the stand-in's, and the sandbox suite's.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from stripe_double.stage import HOUR, NOON

from pipeline.outbox import Attempt, Lane, Report, Result
from sinks.stripe import Key, Sender, account_of, make_client
from sinks.stripe_invoices import Invoice, StripeInvoices
from sinks.stripe_read import StripeSummaries
from sinks.stripe_setup import Wanted, carry_out, survey

NAMED = "MILLRACE_TEST_STRIPE_MOCK"
MODULE = "github.com/stripe/stripe-mock@latest"
BUILD_S = 180


def built(folder):
    """Build stripe-mock, or skip with the reason why there is none."""
    go = shutil.which("go")
    if not go:
        pytest.skip(f"{NAMED} names no stripe-mock and there is no Go to build one")
    environment = {**os.environ, "GOBIN": str(folder)}
    try:
        done = subprocess.run(
            [go, "install", MODULE],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_S,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{NAMED} names no stripe-mock and Go did not build one within {BUILD_S} seconds")
    if done.returncode:
        pytest.skip(f"{NAMED} names no stripe-mock and Go cannot build one: {done.stderr.strip()[-200:]}")
    return folder / "stripe-mock"


@pytest.fixture(scope="module")
def mock(tmp_path_factory):
    """Run stripe-mock on a free port of this host."""
    named = os.environ.get(NAMED)
    program = Path(named) if named else built(tmp_path_factory.mktemp("go"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([program, "-http-addr", f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def client(mock):
    return make_client(Key("sk_test_123"), mock)


def attempt(value=7):
    report = Report("millrace", "acme", "cus_1", "millrace_micro_usd", NOON - HOUR, 0, value, NOON - HOUR)
    return Attempt(1, 1, 1, 1, "key-1", report.identifier, report, NOON)


def test_a_report_is_taken_with_our_parameters(client):
    assert Sender(client)(attempt()).result is Result.APPLIED


def test_a_parameter_that_stripe_does_not_know_is_refused(client):
    refused = pytest.raises(Exception, match=r"(?i)additional|unknown|extra|payload")
    with refused:
        client.v1.billing.meter_events.create({"event_name": "x", "payload": {}, "no_such_parameter": "1"})


def test_the_account_and_the_sums_are_read_with_our_parameters(client):
    assert account_of(client).startswith("acct_")
    summaries = StripeSummaries(client, {"m": "mtr_1"}, lambda: int(time.time()))
    assert all(units > 0 for units in summaries.hours(Lane("cus_1", "m"), NOON - HOUR, NOON).values())
    assert summaries.span(Lane("cus_1", "m"), NOON - HOUR, NOON) > 0


def test_everything_that_setup_creates_has_our_parameters(client):
    wanted = [Wanted("millrace_test", "Test", "0.04", "usd", "month")]
    steps = survey(None, wanted, {"acme": ""}, create_customers=True)
    made = carry_out(client, steps, wanted)
    assert [step.kind for step in made] == ["meter", "product", "price", "customer"]
    assert all(step.found_id for step in made)
    survey(client, wanted, {"acme": ""}, create_customers=True)


def test_invoices_are_listed_held_and_finalised_with_our_parameters(client):
    invoices = StripeInvoices(client, {"m": "mtr_1"})
    invoices.of_period(NOON)
    draft = Invoice("in_1", "cus_1", "draft", True, {})
    invoices.hold(draft)
    invoices.finalize(draft)
    assert isinstance(invoices.quantities(draft), dict)
