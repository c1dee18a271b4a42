"""From the ledger's totals to frozen reports: a pure function of both and of what the outbox already holds.

What is owed in all is `floor((ledger total - units counted * unit) / unit)` and no more is ever planned, so
planning twice plans nothing new and Stripe is never told more than the ledger has. Within that, the walk goes
through the windows in their order and carries the remainder of each, and a negative total, to the next.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from billing.meters import Meter
from billing.periods import HURRY_S, hour_start, month_start, open_from
from pipeline.event import UNATTRIBUTED
from pipeline.outbox import HOUR_S, SLOTS, VALUE_MAX, Report, Usage

SPACING_S = 27 * 60
"""The n-th report of a window waits n times this after the one before: sixty then last for 33 days."""


@dataclass(frozen=True, slots=True)
class Used:
    """How far the minutes of one customer's window are used."""

    slots: int
    newest_at: int
    """When the newest report of the window was planned."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the outbox holds for one meter."""

    counted: Mapping[str, Mapping[int, int]]
    """Tenant -> window that owed them -> units, without those proven not to be at Stripe."""
    used: Mapping[tuple[str, int], Used]
    """(Customer, window) -> its minutes."""
    closed_until: Mapping[str, int] = field(default_factory=dict)
    """Customer -> end of its newest period whose invoice is known to be final."""
    stopped: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Customer -> the hour from which nothing is told to it, and why."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one planning."""

    now: int
    finalizes_after_s: int
    namespace: str
    running: bool = False
    """Whether the hour that has not ended is planned too."""


@dataclass(frozen=True, slots=True)
class Balance:
    """One tenant's books for one meter: `ledger = (counted + planned) * unit + rest`, exactly."""

    tenant: str
    customer: str
    """Empty: the tenant has no customer, so nothing is sent."""
    event_name: str
    unit: int
    ledger: int
    counted: int
    planned: int
    waiting: str = ""
    """Why whole units of the rest are not planned yet; empty where the rest is less than one."""

    @property
    def rest(self) -> int:
        """What is owed and not planned, scaled by 10^6; below 0: told too much, later usage covers it."""
        return self.ledger - (self.counted + self.planned) * self.unit


@dataclass(frozen=True, slots=True)
class Plan:
    """New reports, and the books of every tenant with usage."""

    reports: tuple[Report, ...]
    balances: tuple[Balance, ...]


def plan(
    meter: Meter, usage: Sequence[Usage], ground: Ground, customers: Mapping[str, str], terms: Terms
) -> Plan:
    """Plan one meter's reports; `customers` maps tenants to Stripe customers."""
    slots = _Slots(ground.used, terms)
    reports: list[Report] = []
    balances: list[Balance] = []
    for tenant, totals in sorted(_by_tenant(usage, ground).items()):
        customer = "" if tenant == UNATTRIBUTED else customers.get(tenant, "")
        stop = ground.stopped.get(customer)
        desk = _Desk(meter, tenant, customer, terms, ground.closed_until.get(customer, 0), stop)
        new, waiting = desk.reports(totals, ground.counted.get(tenant, {}), slots)
        reports += new
        balances.append(
            Balance(
                tenant=tenant,
                customer=customer,
                event_name=meter.event_name,
                unit=meter.unit,
                ledger=sum(totals.values()),
                counted=sum(ground.counted.get(tenant, {}).values()),
                planned=sum(report.value for report in new),
                waiting=waiting,
            )
        )
    return Plan(tuple(reports), tuple(balances))


def _by_tenant(usage: Sequence[Usage], ground: Ground) -> dict[str, dict[int, int]]:
    tenants: dict[str, dict[int, int]] = {tenant: {} for tenant in ground.counted}
    for row in usage:
        windows = tenants.setdefault(row.tenant, {})
        windows[row.window_start] = windows.get(row.window_start, 0) + row.total
    return tenants


def spread(
    totals: Mapping[int, int], counted: Mapping[int, int], unit: int, until: int
) -> list[tuple[int, int]]:
    """Say how many whole units each window before `until` owes, in order, remainders and debts carried on.

    Windows from `until` on count in the sum that bounds them all, but owe nothing yet.
    """
    left = max(0, (sum(totals.values()) - sum(counted.values()) * unit) // unit)
    owed = []
    carry = 0
    for window in sorted(totals.keys() | counted.keys()):
        if window >= until or left == 0:
            break
        carry += totals.get(window, 0) - counted.get(window, 0) * unit
        units = min(max(carry, 0) // unit, left)
        if units:
            owed.append((window, units))
            carry -= units * unit
            left -= units
    return owed


@dataclass(frozen=True, slots=True)
class _Desk:
    """Plans for one tenant and meter."""

    meter: Meter
    tenant: str
    customer: str
    terms: Terms
    closed_until: int
    stop: tuple[int, str] | None = None

    def reports(
        self, totals: Mapping[int, int], counted: Mapping[int, int], slots: "_Slots"
    ) -> tuple[list[Report], str]:
        """Give the new reports and why some units have to wait."""
        until = hour_start(self.terms.now) + (HOUR_S if self.terms.running else 0)
        buckets, told_before = self._bucketed(totals), self._bucketed(counted)
        owed = spread(buckets, told_before, self.meter.unit, until)
        if not self.customer:
            return [], "the tenant has no Stripe customer" if owed else ""
        reports: list[Report] = []
        waiting = ""
        if self.stop and owed:
            until = min(until, self.stop[0])
            in_all = sum(units for _, units in owed)
            owed = spread(buckets, told_before, self.meter.unit, until)
            waiting = self.stop[1] if sum(units for _, units in owed) < in_all else ""
        for origin, units in owed:
            window, why = self._window(origin, until)
            slot, why = (None, why) if why else slots.take(self.customer, window)
            if slot is None:
                waiting = why
                continue
            reports.append(self._report(origin, window, slot, min(units, VALUE_MAX)))
        return reports, waiting

    def _report(self, origin: int, window: int, slot: int, value: int) -> Report:
        return Report(
            namespace=self.terms.namespace,
            tenant=self.tenant,
            customer=self.customer,
            event_name=self.meter.event_name,
            window_start=window,
            slot=slot,
            value=value,
            origin_start=origin,
        )

    @property
    def _open_from(self) -> int:
        return max(open_from(self.terms.now, self.terms.finalizes_after_s), self.closed_until)

    def _bucketed(self, amounts: Mapping[int, int]) -> dict[int, int]:
        """Put the hours of closed months together: they are told in one report."""
        first = self._open_from
        buckets: dict[int, int] = {}
        for window, amount in amounts.items():
            bucket = window if window >= first else month_start(window)
            buckets[bucket] = buckets.get(bucket, 0) + amount
        return buckets

    def _window(self, origin: int, until: int) -> tuple[int, str]:
        """Choose the window to tell it in: its own, or the newest open one where its own is closed."""
        if origin >= self._open_from:
            return origin, ""
        newest = until - HOUR_S
        if newest < self._open_from:
            return newest, "its period is closed and the open one has no ended hour yet"
        return newest, ""


class _Slots:
    """Deals out the minutes of windows."""

    def __init__(self, used: Mapping[tuple[str, int], Used], terms: Terms) -> None:
        self._used = used
        self._terms = terms
        self._next: dict[tuple[str, int], int] = {}

    def take(self, customer: str, window: int) -> tuple[int | None, str]:
        """Give the next free minute, or None and why there is none now."""
        key = (customer, window)
        used = self._used.get(key, Used(0, 0))
        slot = self._next.get(key, used.slots)
        if slot >= SLOTS:
            return None, "all sixty minutes of the hour are used"
        due = used.newest_at + used.slots * SPACING_S
        if used.slots and self._terms.now < due and not self._hurry(window):
            return (
                None,
                f"the hour has {used.slots} reports; the next comes after a pause that grows with them",
            )
        self._next[key] = slot + 1
        return slot, ""

    def _hurry(self, window: int) -> bool:
        """Say whether the window closes so soon that it must not wait."""
        return open_from(self._terms.now + HURRY_S, self._terms.finalizes_after_s) > window


def told(reports: Sequence[Report]) -> Iterator[dict[str, object]]:
    """Show reports as the exact parameters of the calls that would send them."""
    for report in reports:
        payload = {"stripe_customer_id": report.customer, "value": str(report.value)}
        yield {
            "event_name": report.event_name,
            "identifier": report.identifier,
            "timestamp": report.timestamp,
            "payload": payload,
        }
