"""Reports to Stripe as facts for people."""

from dashboards.console.markup import Child, Markup, link, tag
from dashboards.console.services import Told
from dashboards.console.text import Zone, grouped
from pipeline.outbox import State

_GOOD = frozenset({State.VERIFIED, State.ACCEPTED})
_WAITS = frozenset({State.FROZEN, State.UNKNOWN, State.SENDING, State.DEFERRED})
_BAD = frozenset({State.REJECTED, State.ASYNC_REJECTED, State.QUARANTINED})


def kind_of(state: State) -> str:
    """Colour a state: good, waiting, or for a person to look at."""
    return "ok" if state in _GOOD else "warn" if state in _WAITS else "bad" if state in _BAD else ""


def identifier_link(told: Told) -> Markup:
    """Lead to what a report holds."""
    return link("/explain", tag("code", told.report.identifier), report=told.report.identifier)


def report_facts(told: Told, zone: Zone) -> list[tuple[str, Child]]:
    """Say what a report is, named."""
    report = told.report
    return [
        ("Identifier", identifier_link(told)),
        ("Meter", report.event_name),
        ("Units", grouped(report.value)),
        ("Customer", report.customer),
        ("Usage of", zone.stamp(report.origin_start, seconds=False)),
        ("Reported for", zone.stamp(report.window_start, seconds=False)),
        ("Attempts", grouped(told.attempts)),
        ("Last attempt", None if told.last_attempt_at is None else zone.stamp(told.last_attempt_at)),
        ("Detail", told.detail),
    ]
