"""`millrace stripe webhooks`: takes Stripe's webhooks in over HTTP, shows what is stored, and replays it."""

import os
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvicorn

from api.webhooks import PATH, Take, make_app
from billing.store import Store
from billing.webhooks import Receipt, Selection, handle_stored, list_stored, replay, take
from cli import stripe_show
from cli.reading import who
from cli.stripe_desk import (
    KEY_VARIABLE,
    ControlOption,
    Format,
    FormatOption,
    LiveOption,
    StateOption,
    UrlOption,
    log_to_stderr,
    now,
    open_desk,
    read_key_of_environment,
)
from cli.stripe_metrics import StripeMetrics
from pipeline.errors import UsageError
from sinks.stripe_events import StripeEvents

app = typer.Typer(
    name="webhooks", help="Take Stripe's webhooks in; list and replay what is stored.", no_args_is_help=True
)
SECRET_VARIABLE = "STRIPE_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
PORT = 8085
HERE = Path(".millrace")
REPLAY_MAX = 1_000_000
_log = structlog.get_logger(__name__)

FailedOption = Annotated[
    bool, typer.Option("--failed", help="Only those that failed and were not handled since.")
]
TypeOption = Annotated[str, typer.Option("--type", help="Only this type of event.")]
SinceOption = Annotated[
    str, typer.Option("--since", help="Only what was received from this moment on (UTC).")
]
UntilOption = Annotated[str, typer.Option("--until", help="Only what was received before this moment (UTC).")]


@app.command()
def serve(
    state: StateOption = HERE,
    control: ControlOption = None,
    host: Annotated[
        str, typer.Option(envvar="MILLRACE_WEBHOOKS_HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, envvar="MILLRACE_WEBHOOKS_PORT", help="The port to listen on.")
    ] = PORT,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log each delivery on stderr.")] = False,
) -> None:
    """Take Stripe's webhooks in until SIGTERM; the secrets are in STRIPE_WEBHOOK_SECRET, by commas.

    Each is stored before it is acknowledged. `millrace stripe loop` handles what is stored.
    """
    log_to_stderr(verbose=verbose)
    secrets = read_secrets()
    with open_desk(state, control) as desk:
        application = make_app(taker(desk.store, secrets), StripeMetrics(desk.store, now).text)
        typer.echo(f"taking webhooks at http://{host}:{port}{PATH}; stop with SIGTERM", err=True)
        uvicorn.run(application, host=host, port=port, log_level="warning", access_log=False)


@app.command("list")
def list_(  # noqa: PLR0913, PLR0917 - one argument for each flag
    state: StateOption = HERE,
    control: ControlOption = None,
    failed: FailedOption = False,
    type_: TypeOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 100,
    format: FormatOption = Format.TABLE,  # noqa: A002
) -> None:
    """List stored webhooks: their type, when they came, and whether they are handled."""
    selection = Selection((), type_, _moment("--since", since), _moment("--until", until), failed)
    with open_desk(state, control) as desk:
        stripe_show.webhooks(list_stored(desk.store, selection, limit), as_json=format is Format.JSON)


@app.command("replay")
def replay_(  # noqa: PLR0913, PLR0917 - one argument for each flag
    event_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[EVENT ...]", help="The ids of events.", show_default=False)
    ] = None,
    state: StateOption = HERE,
    control: ControlOption = None,
    stripe_url: UrlOption = "",
    live: LiveOption = False,
    failed: FailedOption = False,
    type_: TypeOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
) -> None:
    """Handle stored webhooks again, now: those that are named, or those that the flags choose.

    What they are about is fetched again, so it does no harm to replay what was handled. Kept in the audit.
    """
    selection = Selection(
        tuple(event_ids or ()), type_, _moment("--since", since), _moment("--until", until), failed
    )
    if selection == Selection():
        msg = "nothing is chosen: name events, or give --failed, --type, --since or --until"
        raise UsageError(msg)
    with open_desk(state, control, key=read_key_of_environment(live), url=stripe_url) as desk:
        if desk.client is None:
            raise UsageError(f"there is no one to ask again: set {KEY_VARIABLE}")
        chosen = list_stored(desk.store, selection, REPLAY_MAX)
        if not chosen:
            msg = "no stored webhook fits: see `millrace stripe webhooks list`"
            raise UsageError(msg)
        these = Selection([one.event_id for one in chosen]) if failed else selection
        replay(desk.store, these, who(), desk.now)
        done = handle_stored(desk.store, StripeEvents(desk.client), desk.now, limit=REPLAY_MAX, only=these)
        typer.echo(", ".join(f"{count} {name}" for name, count in done.items()))
        if done["failed"]:
            raise typer.Exit(1)


def taker(store: Store, secrets: list[str]) -> Take:
    """Make what takes deliveries into a store and logs each with its event, never with its body."""

    def take_in(body: bytes, signature: str) -> Receipt:
        receipt = take(store, body, signature, secrets, now())
        log = _log.info if receipt.status == HTTPStatus.OK else _log.warning
        said = {"event_id": receipt.event_id, "tenant": receipt.tenant, "identifier": ""}
        log("webhook_taken", status=receipt.status, detail=receipt.detail, **said)
        return receipt

    return take_in


def read_secrets() -> list[str]:
    """Read the signing secrets; the environment is the only place for them. Two hold while they are rolled."""
    found = [text.strip() for text in os.environ.get(SECRET_VARIABLE, "").split(",") if text.strip()]
    if not found or not all(text.startswith("whsec_") for text in found):
        raise UsageError(
            f"{SECRET_VARIABLE} must hold the endpoint's signing secret, whsec_..., or two by a comma "
            "while they are rolled"
        )
    return found


def _moment(flag: str, text: str) -> int | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{flag} takes a moment such as 2026-11-20T12:00, got {text!r}") from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
