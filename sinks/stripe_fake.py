"""A stand-in for Stripe's metered billing, for tests and for trying things out without an account.

It holds state and keeps to the rules that docs/stripe.md lists with their certainty: what is documented, or
was only seen by others, is a rule here, and the sandbox suite proves the rules against Stripe itself. Time is
handed in, so tests own it. This module is the account; `sinks.stripe_fake_http` is its wire.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

HOUR_S = 3600
DAY_S = 24 * HOUR_S
IDENTIFIERS_KEPT_S = DAY_S
PAST_MAX_S = 35 * DAY_S
FUTURE_MAX_S = 300
DIGITS_MAX = 15
SESSION_S = 15 * 60
STREAM_MAX = 100
SAMPLES_MAX = 1
"""How many failed identifiers an error report names: samples only, as Stripe does."""


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """An answer with an error: status, type, message, and a code where Stripe gives one."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", code: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"type": kind, "message": message}
        if code:
            self.body["code"] = code


@dataclass(frozen=True, slots=True)
class Rules:
    """What differs between accounts, or is not known of Stripe and so can be set."""

    summary_lag_s: int = 0
    """How long an event takes to show up in summaries."""
    finalizes_after_s: int = HOUR_S
    unknown_customer_is_sync: bool = True
    account: str = "acct_fake"
    api_version: str = "2026-10-28.endive"
    """What the account renders its events with."""


@dataclass(slots=True)
class Event:
    """A meter event that was received."""

    identifier: str
    event_name: str
    customer: str
    value: Decimal
    timestamp: int
    received_at: int
    counted: bool = True
    cancelled: bool = False


@dataclass(slots=True)
class Account:
    """All state of one account."""

    clock: Callable[[], int]
    rules: Rules = Rules()
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Customers, meters, products, prices, subscriptions and invoices by id."""
    events: list[Event] = field(default_factory=list)
    identifiers: dict[str, int] = field(default_factory=dict)
    reject_async: dict[str, str] = field(default_factory=dict)
    """Customer -> code: its events are received and then not counted."""
    outgoing: list[dict[str, Any]] = field(default_factory=list)
    """Events for webhooks, oldest first; who delivers them takes them out."""
    thin_events: dict[str, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)
    """Token of a session -> when it expires."""
    numbers: int = 0

    def new_id(self, prefix: str) -> str:
        """Make the id of the next object."""
        self.numbers += 1
        return f"{prefix}_{self.numbers:08d}"

    def create(self, kind: str, prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a new object."""
        made = {
            "id": self.new_id(prefix),
            "object": kind,
            "created": self.clock(),
            "livemode": False,
            **values,
        }
        self.objects[made["id"]] = made
        return made

    def adopt_customer(self, name: str, tenant: str) -> None:
        """Keep a customer under the id that it has elsewhere."""
        made = {"id": name, "object": "customer", "created": self.clock(), "livemode": False}
        self.objects[name] = {**made, "name": tenant, "metadata": {}}

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Find an object or refuse as Stripe does."""
        found = self.objects.get(name)
        if found is None or found["object"] != kind:
            raise Refusal(404, f"No such {kind}: '{name}'", code="resource_missing")
        return found

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """List objects, the newest first."""
        return [one for one in reversed(self.objects.values()) if one["object"] == kind]

    def meter_named(self, event_name: str) -> dict[str, Any] | None:
        """Find the active meter of an event name."""
        named = (m for m in self.of_kind("billing.meter") if m["event_name"] == event_name)
        return next((m for m in named if m["status"] == "active"), None)

    def create_meter(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a new meter; an event name has one active meter."""
        if self.meter_named(str(values["event_name"])):
            raise Refusal(
                400, f"There is already an active meter with the event name {values['event_name']}."
            )
        defaults = {
            "status": "active",
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
            "event_time_window": None,
        }
        return self.create("billing.meter", "mtr", {**defaults, **values})

    def receive(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Receive a meter event, or refuse it as Stripe does at once."""
        now = self.clock()
        payload = params.get("payload") or {}
        identifier = str(params.get("identifier") or self.new_id("evt"))
        timestamp = int(params.get("timestamp") or now)
        self._check_time(timestamp, now)
        value = _value(payload.get("value"))
        customer = str(payload.get("stripe_customer_id", ""))
        if self.rules.unknown_customer_is_sync and self.get("customer", customer).get("deleted"):
            raise Refusal(404, f"No such customer: '{customer}'", code="resource_missing")
        self._claim(identifier, now)
        event = Event(identifier, str(params["event_name"]), customer, value, timestamp, now)
        self._count(event)
        return {
            "object": "billing.meter_event",
            "created": now,
            "event_name": event.event_name,
            "identifier": identifier,
            "livemode": False,
            "payload": dict(payload),
            "timestamp": timestamp,
        }

    def open_session(self) -> dict[str, Any]:
        """Open a session for the stream of version 2; its token holds for 15 minutes."""
        now, name = self.clock(), self.new_id("mes")
        self.sessions[f"token_{name}"] = now + SESSION_S
        return {
            "id": name,
            "object": "v2.billing.meter_event_session",
            "authentication_token": f"token_{name}",
            "created": _iso(now),
            "expires_at": _iso(now + SESSION_S),
            "livemode": False,
        }

    def receive_stream(self, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Take up to a hundred events; whatever is wrong with one is reported later, if at all."""
        if not 1 <= len(events) <= STREAM_MAX:
            raise Refusal(400, f"events must have 1 to {STREAM_MAX} entries.")
        now = self.clock()
        for one in events:
            payload = one["payload"]
            timestamp = int(datetime.fromisoformat(str(one["timestamp"])).timestamp())
            customer, identifier = str(payload.get("stripe_customer_id", "")), str(one["identifier"])
            event = Event(identifier, str(one["event_name"]), customer, Decimal(0), timestamp, now)
            try:
                event.value = _value(payload.get("value"))
                self._check_time(timestamp, now)
                self._claim(identifier, now)
            except Refusal as refusal:
                event.counted = False
                self._report(event, str(refusal.body.get("code", "duplicate_meter_event")))
            else:
                self._count(event)
        return {}

    def cancel(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Cancel an event within 24 hours of its receipt."""
        identifier = str((params.get("cancel") or {}).get("identifier", ""))
        now = self.clock()
        found = [
            e for e in self.events if e.identifier == identifier and e.event_name == params["event_name"]
        ]
        if not found or now - found[-1].received_at >= DAY_S:
            raise Refusal(400, f"No event found with identifier {identifier} in the last 24 hours.")
        found[-1].cancelled = True
        return {
            "object": "billing.meter_event_adjustment",
            "event_name": params["event_name"],
            "cancel": {"identifier": identifier},
            "status": "pending",
            "type": "cancel",
            "livemode": False,
        }

    def sum(
        self, event_name: str, customer: str, start: int, end: int, *, visible_at: int | None = None
    ) -> Decimal:
        """Sum what is counted with a timestamp in [start, end), as far as it shows at `visible_at`."""
        seen = [
            e
            for e in self.events
            if e.event_name == event_name
            and e.customer == customer
            and start <= e.timestamp < end
            and e.counted
            and not e.cancelled
            and (visible_at is None or e.received_at <= visible_at)
        ]
        meter = next((m for m in self.of_kind("billing.meter") if m["event_name"] == event_name), None)
        grain = {"hour": HOUR_S, "day": DAY_S}.get(str(meter and meter.get("event_time_window")))
        if grain is None:
            return sum((e.value for e in seen), Decimal(0))
        latest = {e.timestamp // grain: e.value for e in sorted(seen, key=lambda e: e.received_at)}
        return sum(latest.values(), Decimal(0))

    def summaries(self, meter_id: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Sum a meter's events for one customer, the newest window first."""
        meter = self.get("billing.meter", meter_id)
        start, end = int(params["start_time"]), int(params["end_time"])
        grain = {"hour": HOUR_S, "day": DAY_S}.get(str(params.get("value_grouping_window")))
        if start % (grain or 60) or end % (grain or 60) or start >= end:
            raise Refusal(400, "start_time and end_time must align with the grouping window.")
        customer, visible_at = str(params["customer"]), self.clock() - self.rules.summary_lag_s
        edges = range(start, end, grain or end - start)
        rows = []
        for left in reversed(edges):
            right = left + (grain or end - start)
            value = self.sum(str(meter["event_name"]), customer, left, right, visible_at=visible_at)
            if value or grain is None:
                rows.append(
                    {
                        "id": f"mtrusg_{meter_id}_{customer}_{left}",
                        "object": "billing.meter_event_summary",
                        "aggregated_value": float(value),
                        "start_time": left,
                        "end_time": right,
                        "livemode": False,
                        "meter": meter_id,
                    }
                )
        return rows

    def advance(self) -> None:
        """Close what time has closed: draft invoices at a month's end, final ones after the grace."""
        now = self.clock()
        for subscription in self.of_kind("subscription"):
            while subscription.get("status") != "canceled" and subscription["current_period_end"] <= now:
                self._draft(subscription)
        for invoice in self.of_kind("invoice"):
            due = invoice["period_end"] + self.rules.finalizes_after_s
            if invoice["status"] == "draft" and invoice["auto_advance"] and now >= due:
                self.finalize(invoice["id"])

    def finalize(self, invoice_id: str) -> dict[str, Any]:
        """Make an invoice final: what comes for its period from now on is never billed."""
        invoice = self.get("invoice", invoice_id)
        if invoice["status"] != "draft":
            raise Refusal(400, f"Invoice {invoice_id} is already finalized.")
        invoice["lines"] = {"object": "list", "data": self.lines(invoice), "has_more": False}
        invoice["status"] = "open"
        invoice["status_transitions"] = {"finalized_at": self.clock()}
        self.emit("invoice.finalized", invoice)
        return invoice

    def subscribe(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a subscription."""
        now = self.clock()
        plain = {"status": "active", "start_date": now, "current_period_start": now, "metadata": {}}
        made = self.create(
            "subscription", "sub", {**plain, "current_period_end": following_month(now), **values}
        )
        self.emit("customer.subscription.created", made)
        return made

    def cancel_subscription(self, name: str) -> dict[str, Any]:
        """End a subscription at once: no invoice of it is made from now on."""
        ended = self.get("subscription", name)
        ended |= {"status": "canceled", "ended_at": self.clock()}
        self.emit("customer.subscription.deleted", ended)
        return ended

    def delete_customer(self, name: str) -> dict[str, Any]:
        """Delete a customer for good, and end what it has."""
        gone = self.get("customer", name)
        for one in self.of_kind("subscription"):
            if one["customer"] == name and one.get("status") != "canceled":
                self.cancel_subscription(one["id"])
        self.emit("customer.deleted", gone)
        self.objects[name] = {"id": name, "object": "customer", "deleted": True, "created": gone["created"]}
        return self.objects[name]

    def set_meter_status(self, name: str, status: str) -> dict[str, Any]:
        """Deactivate a meter, or let it take events again."""
        meter = self.get("billing.meter", name)
        meter["status"] = status
        self.emit(f"billing.meter.{'reactivated' if status == 'active' else 'deactivated'}", meter)
        return meter

    def emit(self, kind: str, thing: Mapping[str, Any]) -> None:
        """Queue a snapshot event for webhooks."""
        self.outgoing.append(
            {
                "id": self.new_id("evt"),
                "object": "event",
                "type": kind,
                "api_version": self.rules.api_version,
                "created": self.clock(),
                "livemode": False,
                "data": {"object": dict(thing)},
            }
        )

    def _check_time(self, timestamp: int, now: int) -> None:
        if timestamp < now - PAST_MAX_S:
            oldest = datetime.fromtimestamp(now - PAST_MAX_S, UTC)
            said = (
                "The event timestamp cannot be more than 35 days in past. Expected a timestamp greater than"
            )
            raise Refusal(
                400, f"{said} or equal to {oldest:%Y-%m-%dT%H:%M:%SZ}", code="timestamp_too_far_in_past"
            )
        if timestamp > now + FUTURE_MAX_S:
            raise Refusal(400, "The event timestamp cannot be in the future.", code="timestamp_in_future")

    def _claim(self, identifier: str, now: int) -> None:
        """Refuse an identifier of the last 24 hours in Stripe's words, without a code."""
        known = self.identifiers.get(identifier)
        if known is not None and now - known < IDENTIFIERS_KEPT_S:
            raise Refusal(400, f"An event already exists with identifier {identifier}.")
        self.identifiers[identifier] = now

    def _count(self, event: Event) -> None:
        """Validate as Stripe does after its 2xx."""
        self.events.append(event)
        code = self.reject_async.get(event.customer, "")
        if self.meter_named(event.event_name) is None:
            code = "no_meter"
        elif self.objects.get(event.customer, {"deleted": True}).get("deleted"):
            code = "meter_event_customer_not_found"
        if code:
            event.counted = False
            self._report(event, code)

    def _report(self, event: Event, code: str) -> None:
        meter: dict[str, Any] | None = self.meter_named(event.event_name)
        kind = "v1.billing.meter.error_report_triggered" if meter else "v1.billing.meter.no_meter_found"
        created = datetime.fromtimestamp(event.received_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        sample = {"error_message": f"rejected: {code}", "request": {"identifier": event.identifier}}
        samples = [sample][:SAMPLES_MAX]
        full: dict[str, Any] = {
            "id": self.new_id("evt"),
            "object": "v2.core.event",
            "type": kind,
            "created": created,
            "livemode": False,
            "related_object": {"id": meter["id"], "type": "billing.meter", "url": ""} if meter else None,
            "data": {
                "developer_message_summary": "There is 1 invalid event",
                "reason": {
                    "error_count": 1,
                    "error_types": [{"code": code, "error_count": 1, "sample_errors": samples}],
                },
                "validation_start": created,
                "validation_end": created,
            },
        }
        self.thin_events[full["id"]] = full
        self.outgoing.append({name: value for name, value in full.items() if name != "data"})

    def _draft(self, subscription: dict[str, Any]) -> None:
        start, end = subscription["current_period_start"], subscription["current_period_end"]
        values = {
            "customer": subscription["customer"],
            "subscription": subscription["id"],
            "billing_reason": "subscription_cycle",
            "status": "draft",
            "auto_advance": True,
            "period_start": start,
            "period_end": end,
            "status_transitions": {"finalized_at": None},
        }
        invoice = self.create("invoice", "in", values)
        subscription["current_period_start"] = end
        subscription["current_period_end"] = following_month(end)
        self.emit("invoice.created", invoice)

    def lines(self, invoice: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Give an invoice's lines: of a final one as they were frozen, of a draft as they stand."""
        if "lines" in invoice:
            return list(invoice["lines"]["data"])
        subscription = self.get("subscription", invoice["subscription"])
        return [self._line(invoice, price_id) for price_id in subscription["prices"]]

    def _line(self, invoice: Mapping[str, Any], price_id: str) -> dict[str, Any]:
        start, end = invoice["period_start"], invoice["period_end"]
        meter = self.get("billing.meter", self.get("price", price_id)["recurring"]["meter"])
        total = self.sum(meter["event_name"], invoice["customer"], start, end)
        return {
            "id": f"il_{invoice['id']}_{price_id}",
            "object": "line_item",
            "quantity": max(int(total), 0),
            "period": {"start": start, "end": end},
            "pricing": {"type": "price_details", "price_details": {"price": price_id}},
        }


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def following_month(moment: int) -> int:
    """Give the start of the month after, in UTC."""
    at = datetime.fromtimestamp(moment, UTC)
    year, month = (at.year + 1, 1) if at.month == 12 else (at.year, at.month + 1)  # noqa: PLR2004 - December
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())


def _value(text: object) -> Decimal:
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise Refusal(400, "The event payload has an invalid value.", code="meter_event_invalid_value")
    if len(value.normalize().as_tuple().digits) > DIGITS_MAX:
        raise Refusal(400, "The value has too many digits.", code="meter_event_value_too_many_digits")
    return value
