"""Alerts of the service: where they go, and the loops that carry them there."""

import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from billing.alerts import Courier
from billing.store import Store
from cli.run_kafka import KafkaOptions
from cli.secret import read_secret
from cli.serving_caps import Loop
from pipeline.errors import UsageError
from pipeline.letters import Target
from pipeline.ports import Clock
from sinks.alert_targets import AlertTopic, Webhook, checked_url
from sinks.kafka import ConfirmedProducer

SECRET = "MILLRACE_ALERT_SECRET"  # noqa: S105 - the name of a variable
EVERY_MS = 500
NAME_MAX = 64

WebhookOption = Annotated[
    list[str] | None,
    typer.Option(
        "--webhook", envvar="MILLRACE_WEBHOOK", metavar="NAME=URL",
        help="Post alerts here, signed with MILLRACE_ALERT_SECRET; repeat it.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class AlertOptions:
    """Where alerts go."""

    webhooks: Sequence[str] = ()
    is_development: bool = False
    decisions_topic: str | None = None
    brokers: str | None = None
    kafka: Sequence[str] = ()


def targets_of(options: AlertOptions) -> list[Target]:
    """Make the targets of alerts; raises `UsageError` for flags that do not go together."""
    targets: list[Target] = [*webhooks_of(options)]
    if options.decisions_topic:
        if not options.brokers:
            msg = "alerts go to --decisions-topic by --brokers: give them, too"
            raise UsageError(msg)
        settings = KafkaOptions(
            options.brokers, options.decisions_topic, "millrace", list(options.kafka)
        ).kafka()
        targets.append(AlertTopic(options.decisions_topic, ConfirmedProducer(settings, threading.Event())))
    return targets


def webhooks_of(options: AlertOptions) -> list[Webhook]:
    """Read the webhooks and their secret; raises `UsageError` for what cannot be."""
    if not options.webhooks:
        return []
    secret = read_secret(SECRET, is_development=options.is_development)
    if secret is None:
        msg = f"--webhook needs {SECRET}, with which receivers check that an alert is ours"
        raise UsageError(msg)
    found: dict[str, Webhook] = {}
    for entry in options.webhooks:
        name, sign, url = entry.partition("=")
        if not sign or not 1 <= len(name) <= NAME_MAX or not name.isprintable() or name in found:
            msg = f"--webhook takes NAME=URL, each name once and of at most {NAME_MAX} characters, got {entry!r}"
            raise UsageError(msg)
        checked_url(url)
        found[name] = Webhook(name, url, secret.text)
    return list(found.values())


def alert_loops(store: Store, clock: Clock, targets: Sequence[Target]) -> list[Loop]:
    """Make a loop for each target, so that one that hangs holds up no other."""
    names = [target.name for target in targets]
    loops = []
    for target in targets:
        courier = Courier(store, [target], clock.now_ms, secrets.randbelow, names)
        loops.append(Loop(f"alerts to {target.name}", EVERY_MS, courier.turn))
    return loops
