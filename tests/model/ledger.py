"""The ledger as a list: once, exactly (contract, section 2), rejects (3), rows and sums (4 and 5)."""

import datetime as dt
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from fractions import Fraction

from .pricing import key_of, rate, version_at
from .reading import RefusedError, is_out_of_range, read, refuse_if
from .spend import EPOCH, Spend

BLANK = b" \t\r"


@dataclass(frozen=True)
class Settings:
    unattributed_tenant: str | None = None
    refuse_unknown_tenants: bool = False
    refuse_late: bool = False
    locked_periods: frozenset = frozenset()
    locked_for: dict = field(default_factory=dict)
    """{tenant: periods that are locked for it alone}."""


@dataclass(frozen=True)
class Outcome:
    """What became of a line: accepted, duplicate, or rejected for a reason."""

    kind: str
    reason: str = ""


ACCEPTED, DUPLICATE = Outcome("accepted"), Outcome("duplicate")


@dataclass(frozen=True)
class Row:
    """An accepted event in the ledger; bytes, units and usage are exact, money is an int of pico-USD."""

    tenant: str
    principal: str
    key: str
    event_id: str
    source: str
    type: str
    operation: str
    action: str
    at_ms: int
    request_bytes: Fraction
    response_bytes: Fraction
    delta_bytes: Fraction
    base_units: Fraction
    weighted_units: Fraction
    usage: tuple
    breakdown: tuple
    pricing: str
    settlement: str
    catalog_version: str
    billing_period: str
    voids: str
    origin: tuple

    @property
    def pico(self):
        return sum(pico for _, pico in self.breakdown)

    @property
    def cost_micro_usd(self):
        return self.pico // 10**6

    @property
    def residual_pico_usd(self):
        return self.pico % 10**6


class Model:
    """The contract for one run over input of which each origin is read once."""

    def __init__(self, catalog, accounts=None, settings=None):
        self._versions = catalog if isinstance(catalog, list) else [catalog]
        self._tenants = (accounts or {}).get("tenants", {})
        self._settings = settings or Settings()
        self._rows_by_key = {}
        self._contents = {}
        self._voided = set()
        self.rows = []
        self.rejects = []
        self.counts = Counter()
        self.spend = Spend(accounts or {})

    def feed(self, line, topic="", partition=0, offset=0, arrival_ms=0):
        """What becomes of one record; everything that follows from it is kept."""
        origin = (topic, partition, offset)
        try:
            outcome = self._judge(line, origin, arrival_ms)
        except RefusedError as refusal:
            outcome = Outcome("rejected", refusal.args[0])
            self.rejects.append((outcome.reason, origin))
        self.counts["events"] += 1
        self.counts[outcome.kind] += 1
        self.counts["conflicts"] += outcome.reason == "idempotency_conflict"
        return outcome

    def feed_lines(self, lines, topic, arrival_ms):
        """Feed the lines of a file: blank ones are no events, the offset is the line's number from 1."""
        return [
            self.feed(line, topic, 0, number, arrival_ms)
            for number, line in enumerate(lines, 1)
            if line.strip(BLANK)
        ]

    def _judge(self, line, origin, arrival_ms):
        event = read(line, arrival_ms, self._settings.unattributed_tenant)
        refuse_if(is_out_of_range(event), "quantity_out_of_range")
        version = version_at(self._versions, event.at_ms)
        rated = None if event.type == "correction" else rate(version, event)
        unknown = event.tenant not in self._tenants and event.tenant != self._settings.unattributed_tenant
        refuse_if(self._settings.refuse_unknown_tenants and unknown, "unknown_tenant")
        key = key_of(version, event)
        if event.type == "correction":
            return self._correct(event, key, origin)
        return self._record(event, key, rated, origin)

    def _record(self, event, key, rated, origin):
        place = (event.tenant, key)
        if place in self._contents:
            refuse_if(self._contents[place] != event.content(), "idempotency_conflict")
            return DUPLICATE
        self._refuse_late(event)
        self._contents[place] = event.content()
        self._rows_by_key[place] = self._row(event, key, rated, origin)
        return self._accept(self._rows_by_key[place])

    def _correct(self, event, key, origin):
        place = (event.tenant, event.voids)
        if place in self._voided:
            return DUPLICATE
        refuse_if(place not in self._rows_by_key, "voids_unknown")
        voided = self._rows_by_key[place]
        is_open = not self._is_locked(event.tenant, voided.billing_period)
        if not is_open:
            self._refuse_late(event)
        self._voided.add(place)
        at_ms = voided.at_ms if is_open else event.at_ms
        return self._accept(
            replace(
                voided,
                key=key,
                event_id=event.event_id,
                source=event.source,
                type="correction",
                at_ms=at_ms,
                request_bytes=-voided.request_bytes,
                response_bytes=-voided.response_bytes,
                delta_bytes=-voided.delta_bytes,
                base_units=-voided.base_units,
                weighted_units=-voided.weighted_units,
                usage=tuple((name, -quantity) for name, quantity in voided.usage),
                breakdown=tuple((name, -pico) for name, pico in voided.breakdown),
                billing_period=voided.billing_period if is_open else self._first_open(event.tenant, at_ms),
                voids=event.voids,
                origin=origin,
            ),
        )

    def _row(self, event, key, rated, origin):
        return Row(
            tenant=event.tenant,
            principal=event.principal,
            key=key,
            event_id=event.event_id,
            source=event.source,
            type=event.type,
            operation=event.operation,
            action=event.action,
            at_ms=event.at_ms,
            request_bytes=event.request_bytes,
            response_bytes=event.response_bytes,
            delta_bytes=event.delta_bytes,
            base_units=event.units,
            weighted_units=rated.weighted_units,
            usage=tuple(event.usage.items()),
            breakdown=tuple(rated.breakdown),
            pricing=rated.pricing,
            settlement=rated.settlement,
            catalog_version=rated.version,
            billing_period=self._first_open(event.tenant, event.at_ms),
            voids="",
            origin=origin,
        )

    def _accept(self, row):
        self.rows.append(row)
        if row.settlement in ("metered", "credit"):
            self.spend.add(row.tenant, row.at_ms, row.pico, row.origin)
        return ACCEPTED

    def _is_locked(self, tenant, period):
        settings = self._settings
        return period in settings.locked_periods or period in settings.locked_for.get(tenant, ())

    def _refuse_late(self, event):
        late = self._settings.refuse_late and self._is_locked(event.tenant, _period(event.at_ms))
        refuse_if(late, "billing_period_locked")

    def _first_open(self, tenant, at_ms):
        period = _period(at_ms)
        while self._is_locked(tenant, period):
            year, month = (int(part) for part in period.split("-"))
            period = f"{year + month // 12:04}-{month % 12 + 1:02}"
        return period

    def rejects_by_reason(self):
        return dict(Counter(reason for reason, _ in self.rejects))

    def sums(self, *members):
        """{values of these members of a row: sum in pico-USD}, as in `sums("tenant", "billing_period")`."""
        totals = defaultdict(int)
        for row in self.rows:
            totals[tuple(getattr(row, member) for member in members)] += row.pico
        return dict(totals)

    def sums_by_source(self):
        """{(tenant, source of cost): sum in pico-USD}."""
        totals = defaultdict(int)
        for row in self.rows:
            for source, pico in row.breakdown:
                totals[row.tenant, source] += pico
        return dict(totals)

    def stripe(self):
        """{tenant: sum of its metered rows in pico-USD}: what Stripe must be told in the end."""
        totals = defaultdict(int)
        for row in self.rows:
            if row.settlement == "metered" and row.tenant != self._settings.unattributed_tenant:
                totals[row.tenant] += row.pico
        return dict(totals)


def _period(at_ms):
    return (EPOCH + dt.timedelta(milliseconds=at_ms)).strftime("%Y-%m")
