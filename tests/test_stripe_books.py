"""The books of all tenants without a plan: what the ledger has, what is in reports, what is in none yet."""

from stripe_double.stage import HOUR, NOON
from test_stripe_stops import told

pytest_plugins = ["stripe_double.fixtures"]
MILLION = 10**6


def test_books_are_those_of_the_plan_once_all_that_has_ended_is_planned(stage):
    for tenant in ("acme", "beta"):
        stage.add_tenant(tenant)
    stage.ledger.add("acme", NOON - 30 * HOUR, 7)
    stage.ledger.add("acme", NOON - 2 * HOUR, 2)
    stage.ledger.add("beta", NOON - 3 * HOUR, 4)
    stage.ledger.add("nobody", NOON - 3 * HOUR, 5)
    before = {one.tenant: (one.counted, one.rest, one.customer != "") for one in stage.books()}
    assert before == {
        "acme": (0, 9 * MILLION, True),
        "beta": (0, 4 * MILLION, True),
        "nobody": (0, 5 * MILLION, False),
    }
    stage.plan()
    planned = {(one.tenant, one.ledger, one.counted, one.rest) for one in stage.plan().balances}
    assert {(one.tenant, one.ledger, one.counted, one.rest) for one in stage.books()} == planned


def test_usage_of_the_running_hour_is_owed_and_in_no_report(stage):
    stage.add_tenant("acme")
    stage.ledger.add("acme", NOON, 3)
    assert stage.plan().reports == ()
    assert [(one.rest, one.planned, one.waiting) for one in stage.books()] == [(3 * MILLION, 0, "")]


def test_what_a_deleted_customer_owes_says_why_it_waits(stage):
    customer = stage.add_tenant("acme")
    stage.ledger.add("acme", NOON - 2 * HOUR, 7)
    stage.account.delete_customer(customer)
    told(stage)
    assert [(one.rest, one.waiting) for one in stage.books()] == [
        (7 * MILLION, "the customer was deleted at Stripe")
    ]
