"""Makes Stripe ready: meters, products, metered prices and customers, created once and adopted ever after.

`survey` reads what is there and says what it takes; `carry_out` does it. Both can be repeated at any time:
a thing is found again by its event name, its lookup key or its metadata, not by an idempotency key alone.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import stripe

from sinks.stripe import asked

PAGE = 100
TENANT_KEY = "millrace_tenant"
METER_KEY = "millrace_event_name"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A meter as it is declared; `unit_amount_decimal` is empty where no price is declared."""

    event_name: str
    display_name: str
    unit_amount_decimal: str = ""
    currency: str = ""
    interval: str = ""


class Action(StrEnum):
    """What one step does."""

    CREATE = "create"
    ADOPT = "adopt"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to be there in the end."""

    action: Action
    kind: str
    """meter, product, price, customer."""
    name: str
    """The event name, or the tenant of a customer."""
    found_id: str = ""
    detail: str = ""


def survey(
    client: stripe.StripeClient | None,
    wanted: Sequence[Wanted],
    tenants: Mapping[str, str],
    *,
    create_customers: bool,
) -> list[Step]:
    """Say what it takes; without a client, from nothing. `tenants` maps tenants to customers, or to ""."""
    steps: list[Step] = []
    there = _There(client)
    for one in wanted:
        steps += _meter_steps(there, one)
    for tenant, customer in tenants.items():
        steps += _customer_steps(there, tenant, customer, create_customers=create_customers)
    return steps


def carry_out(client: stripe.StripeClient, steps: Sequence[Step], wanted: Sequence[Wanted]) -> list[Step]:
    """Do the steps in their order and return them with the ids of what is there now."""
    declared = {one.event_name: one for one in wanted}
    ids: dict[tuple[str, str], str] = {}
    done = []
    for step in steps:
        found = step.found_id
        if step.action is Action.CREATE:
            found = _create(client, step, declared.get(step.name), ids)
        ids[step.kind, step.name] = found
        done.append(Step(step.action, step.kind, step.name, found, step.detail))
    return done


class _There:
    """What the account has; nothing where there is no client."""

    def __init__(self, client: stripe.StripeClient | None) -> None:
        self.is_known = client is not None
        self.meters = _all("the meters", client and client.v1.billing.meters)
        self.products = _all("the products", client and client.v1.products)
        self.prices = _all("the prices", client and client.v1.prices)
        self.customers = _all("the customers", client and client.v1.customers)


def _all(what: str, service: Any) -> list[dict[str, Any]]:
    if service is None:
        return []

    def read() -> list[dict[str, Any]]:
        return [one.to_dict() for one in service.list({"limit": PAGE}).auto_paging_iter()]

    return list(asked(what, read))


def _meter_steps(there: _There, wanted: Wanted) -> list[Step]:
    named = [meter for meter in there.meters if meter["event_name"] == wanted.event_name]
    active = [meter for meter in named if meter["status"] == "active"]
    meter = _meter_step(wanted, active, named)
    if not wanted.unit_amount_decimal or meter.action is Action.REFUSE:
        return [meter]
    held = [p for p in there.products if (p.get("metadata") or {}).get(METER_KEY) == wanted.event_name]
    product = Step(
        Action.ADOPT if held else Action.CREATE, "product", wanted.event_name, held[0]["id"] if held else ""
    )
    return [meter, product, _price_step(there, wanted, meter.found_id)]


def _meter_step(wanted: Wanted, active: list[dict[str, Any]], named: list[dict[str, Any]]) -> Step:
    if not named:
        return Step(Action.CREATE, "meter", wanted.event_name, "", f"sums events named {wanted.event_name}")
    if not active:
        why = f"{named[0]['id']} is deactivated: reactivate it in Stripe, or declare another event_name"
        return Step(Action.REFUSE, "meter", wanted.event_name, named[0]["id"], why)
    held = active[0]
    differs = [
        f"{what} is {has}, not {needs}"
        for what, has, needs in (
            ("its aggregation", (held.get("default_aggregation") or {}).get("formula"), "sum"),
            (
                "its customer key",
                (held.get("customer_mapping") or {}).get("event_payload_key"),
                "stripe_customer_id",
            ),
            ("its value key", (held.get("value_settings") or {}).get("event_payload_key"), "value"),
            ("its window", held.get("event_time_window"), None),
        )
        if has != needs
    ]
    if differs:
        why = f"{'; '.join(differs)}, and Stripe never changes a meter: declare another event_name"
        return Step(Action.REFUSE, "meter", wanted.event_name, held["id"], why)
    return Step(Action.ADOPT, "meter", wanted.event_name, held["id"])


def _price_step(there: _There, wanted: Wanted, meter_id: str) -> Step:
    held = [price for price in there.prices if price.get("lookup_key") == lookup_key(wanted.event_name)]
    shown = f"{wanted.unit_amount_decimal} {wanted.currency} cents a unit, by {wanted.interval}"
    if not held:
        return Step(Action.CREATE, "price", wanted.event_name, "", shown)
    price = held[0]
    recurring = price.get("recurring") or {}
    same = (
        Decimal(str(price.get("unit_amount_decimal"))) == Decimal(wanted.unit_amount_decimal)
        and price.get("currency") == wanted.currency
        and recurring.get("interval") == wanted.interval
        and (not meter_id or recurring.get("meter") == meter_id)
    )
    if same:
        return Step(Action.ADOPT, "price", wanted.event_name, price["id"], shown)
    why = (
        f"it says {price.get('unit_amount_decimal')} {price.get('currency')} by {recurring.get('interval')}, "
        "and Stripe never changes a price: make the new one in Stripe, move its lookup key there, and move "
        "subscriptions at the end of a period (a change in mid-cycle drops usage of the grace)"
    )
    return Step(Action.REFUSE, "price", wanted.event_name, price["id"], why)


def _customer_steps(there: _There, tenant: str, customer: str, *, create_customers: bool) -> list[Step]:
    ids = {one["id"] for one in there.customers}
    if customer:
        if customer in ids or not there.is_known:
            return [Step(Action.ADOPT, "customer", tenant, customer)]
        why = f"Stripe has no customer {customer}: mend stripe_customer in the accounts file"
        return [Step(Action.REFUSE, "customer", tenant, customer, why)]
    made = [c["id"] for c in there.customers if (c.get("metadata") or {}).get(TENANT_KEY) == tenant]
    if made:
        return [Step(Action.ADOPT, "customer", tenant, made[0])]
    return [Step(Action.CREATE, "customer", tenant)] if create_customers else []


def lookup_key(event_name: str) -> str:
    """Name a meter's price so that it is found again."""
    return f"millrace_{event_name}"


def _create(
    client: stripe.StripeClient, step: Step, wanted: Wanted | None, ids: Mapping[tuple[str, str], str]
) -> str:
    digest = hashlib.sha256(f"{step.kind} {step.name}".encode()).hexdigest()
    options = {"idempotency_key": f"millrace-setup-{digest}"}
    if step.kind == "customer":
        customer = {"name": step.name, "metadata": {TENANT_KEY: step.name}}
        return _id_of("a customer", client.v1.customers.create, customer, options)
    if wanted is None:
        message = f"no meter {step.name} is declared"
        raise AssertionError(message)
    if step.kind == "meter":
        return _id_of("a meter", client.v1.billing.meters.create, _meter_values(wanted), options)
    if step.kind == "product":
        product = {"name": wanted.display_name, "metadata": {METER_KEY: wanted.event_name}}
        return _id_of("a product", client.v1.products.create, product, options)
    price = _price_values(wanted, ids["product", step.name], ids["meter", step.name])
    return _id_of("a price", client.v1.prices.create, price, options)


def _id_of(what: str, create: Callable[..., Any], values: dict[str, Any], options: dict[str, Any]) -> str:
    return str(asked(what, create, values, options).id)


def _meter_values(wanted: Wanted) -> dict[str, Any]:
    return {
        "display_name": wanted.display_name,
        "event_name": wanted.event_name,
        "default_aggregation": {"formula": "sum"},
        "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
        "value_settings": {"event_payload_key": "value"},
    }


def _price_values(wanted: Wanted, product: str, meter: str) -> dict[str, Any]:
    return {
        "currency": wanted.currency,
        "product": product,
        "unit_amount_decimal": Decimal(wanted.unit_amount_decimal),
        "lookup_key": lookup_key(wanted.event_name),
        "recurring": {"interval": wanted.interval, "usage_type": "metered", "meter": meter},
    }
