"""`millrace stripe webhooks`: takes Stripe's webhooks in over HTTP."""

import os
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvicorn

from api.webhooks import PATH, Take, make_app
from billing.store import Store
from billing.webhooks import Receipt, take
from cli.stripe_desk import ControlOption, StateOption, log_to_stderr, now, open_desk
from cli.stripe_metrics import StripeMetrics
from pipeline.errors import UsageError

SECRET_VARIABLE = "STRIPE_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
PORT = 8085
_log = structlog.get_logger(__name__)


def webhooks(
    state: StateOption = Path(".millrace"),
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
        app = make_app(taker(desk.store, secrets), StripeMetrics(desk.store, now).text)
        typer.echo(f"taking webhooks at http://{host}:{port}{PATH}; stop with SIGTERM", err=True)
        uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)


def taker(store: Store, secrets: list[str]) -> Take:
    """Make what takes deliveries into a store and logs each with its event, never with its body."""

    def take_in(body: bytes, signature: str) -> Receipt:
        receipt = take(store, body, signature, secrets, now())
        log = _log.info if receipt.status == HTTPStatus.OK else _log.warning
        log("webhook_taken", status=receipt.status, detail=receipt.detail, event_id=receipt.event_id)
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
