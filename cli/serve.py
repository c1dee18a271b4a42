"""`millrace serve`: the HTTP interface, alone or beside the flow, until SIGTERM."""

from pathlib import Path
from typing import Annotated

import typer

from api.limits import DEFAULT_RATES, Limit, Rate, parse_rate
from cli.alerting import AlertOptions, WebhookOption
from cli.running import RunOptions
from cli.serving import ServeOptions, run_service
from cli.serving_ingest import IngestOptions
from cli.token import (
    ADMIN_AUDIENCE,
    ADMIN_ISSUER,
    AUDIENCE,
    ISSUER,
    AdminAudienceOption,
    AdminIssuerOption,
    AudienceOption,
    IssuerOption,
)
from pipeline.errors import UsageError
from sinks.spool import SpoolLimits

PORT = 8080
RATES = ", ".join(f"{limit}={rate}" for limit, rate in DEFAULT_RATES.items())

app = typer.Typer(help="Serve the HTTP interface.")


@app.command()
def serve(  # noqa: PLR0913, PLR0917 - one argument for each flag
    host: Annotated[
        str, typer.Option(envvar="MILLRACE_SERVE_HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, envvar="MILLRACE_SERVE_PORT", help="The port to listen on; 0: a free one."
        ),
    ] = PORT,
    state: Annotated[
        Path, typer.Option(envvar="MILLRACE_STATE", help="The folder of the control store.")
    ] = Path(".millrace"),
    control: Annotated[
        str | None,
        typer.Option(envvar="MILLRACE_CONTROL", help="The control store's URL, in place of --state."),
    ] = None,
    ledger: Annotated[
        str | None, typer.Option(envvar="MILLRACE_LEDGER", help="The URL of the ledger.")
    ] = None,
    catalog: Annotated[
        Path | None, typer.Option(envvar="MILLRACE_CATALOG", help="Prices: a file or a folder.")
    ] = None,
    accounts: Annotated[
        Path | None,
        typer.Option(
            envvar="MILLRACE_ACCOUNTS", help="An accounts file to load into the control store at the start."
        ),
    ] = None,
    spool: Annotated[
        Path | None,
        typer.Option(
            envvar="MILLRACE_SPOOL",
            help="A folder for events: they are counted in this process. Default with an embedded ledger: in --state.",
        ),
    ] = None,
    spool_keep_mb: Annotated[
        int,
        typer.Option(min=0, help="MiB of the spool that are kept when the ledger has all that is in them."),
    ] = 1024,
    spool_room_mb: Annotated[
        int, typer.Option(min=0, help="MiB of the spool's disk that stay free for the ledger.")
    ] = 256,
    types: Annotated[
        Path | None, typer.Option(envvar="MILLRACE_TYPES", help="Events of free types to ours: a file.")
    ] = None,
    brokers: Annotated[
        str | None,
        typer.Option(envvar="MILLRACE_BROKERS", help="Events to Kafka: host:port of brokers, by commas."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(envvar="MILLRACE_TOPIC", help="Events to Kafka: the topic.")
    ] = None,
    kafka: Annotated[
        list[str] | None,
        typer.Option(envvar="MILLRACE_KAFKA", metavar="KEY=VALUE", help="Any setting of librdkafka."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=64, envvar="MILLRACE_WORKERS", help="Threads that count; one keeps up with the door."
        ),
    ] = 1,
    unknown_tenants: Annotated[
        str,
        typer.Option(envvar="MILLRACE_UNKNOWN_TENANTS", help="accept, or refuse those not in the accounts."),
    ] = "accept",
    unattributed_tenant: Annotated[
        str | None,
        typer.Option(envvar="MILLRACE_UNATTRIBUTED_TENANT", help="The tenant of events that name none."),
    ] = None,
    flush_ms: Annotated[
        int,
        typer.Option(
            min=1,
            envvar="MILLRACE_FLUSH_MS",
            help="How old rows get at the most before they are written.",
        ),
    ] = 100,
    stuck_after_s: Annotated[
        int,
        typer.Option(min=1, envvar="MILLRACE_STUCK_AFTER_S", help="No progress so long is unhealthy."),
    ] = 60,
    refresh_ms: Annotated[
        int, typer.Option(min=10, help="How often the caps read what the ledger counts.")
    ] = 250,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            envvar="MILLRACE_SERVE_RATE", metavar="DOOR=RATE", help=f"How often a door opens: {RATES}."
        ),
    ] = None,
    issuer: IssuerOption = ISSUER,
    audience: AudienceOption = AUDIENCE,
    admin_issuer: AdminIssuerOption = ADMIN_ISSUER,
    admin_audience: AdminAudienceOption = ADMIN_AUDIENCE,
    body_max: Annotated[
        int, typer.Option(min=1024, help="Most bytes of a request's body, but for events.")
    ] = 64 * 1024,
    body_timeout_s: Annotated[int, typer.Option(min=1, help="Most seconds for a body to come.")] = 10,
    head_timeout_s: Annotated[int, typer.Option(min=1, help="Most seconds for a head to come.")] = 10,
    grace_s: Annotated[
        int,
        typer.Option(
            min=1, envvar="MILLRACE_GRACE_S", help="Seconds to answer what is in flight, when stopped."
        ),
    ] = 25,
    access_log: Annotated[
        bool, typer.Option("--access-log/--no-access-log", help="Log each request, as JSON on stderr.")
    ] = True,
    console: Annotated[
        bool,
        typer.Option(
            "--console/--no-console", envvar="MILLRACE_CONSOLE", help="Serve the console below /console."
        ),
    ] = True,
    stripe: Annotated[
        bool, typer.Option("--stripe", envvar="MILLRACE_STRIPE", help="Report to Stripe beside the service.")
    ] = False,
    analysts_port: Annotated[
        int | None,
        typer.Option(
            envvar="MILLRACE_ANALYSTS_PORT", help="Let analysts read an embedded ledger on this port."
        ),
    ] = None,
    webhook: WebhookOption = None,
    decisions_topic: Annotated[
        str | None,
        typer.Option(envvar="MILLRACE_DECISIONS_TOPIC", help="Kafka: a compacted topic for alerts."),
    ] = None,
    development: Annotated[
        bool, typer.Option("--development", help="Take weak secrets. For a machine that nobody else reaches.")
    ] = False,
) -> None:
    """Serve ingest, caps, credits and reading over HTTP until SIGTERM; docs/http.md is the reference.

    Secrets come from BILLING_INTERNAL_JWT_SECRET and BILLING_ADMIN_JWT_SECRET, or from the files that these with
    _FILE behind them name. Without one, no token of its kind is good.
    """
    if unknown_tenants not in {"accept", "refuse"}:
        raise UsageError(f"--unknown-tenants is accept or refuse, got {unknown_tenants!r}")
    ingest = IngestOptions(
        RunOptions(
            [],
            ledger or "",
            catalog=catalog,
            accounts=accounts,
            control=control or f"sqlite:///{state.absolute() / 'control.db'}",
            workers=workers,
            reject_budget=1,
            refuse_unknown_tenants=unknown_tenants == "refuse",
            unattributed_tenant=unattributed_tenant,
        ),
        spool or state / "spool",
        spool is not None,
        types,
        brokers,
        topic,
        kafka or [],
        flush_ms,
        grace_s,
        stuck_after_s,
        SpoolLimits(kept_bytes=spool_keep_mb << 20, room_bytes=spool_room_mb << 20),
    )
    options = ServeOptions(
        host=host,
        port=port,
        state=state,
        control=control,
        ledger=ledger,
        catalog=catalog,
        accounts=accounts,
        rates=_rates(rate or []),
        issuer=issuer,
        audience=audience,
        admin_issuer=admin_issuer,
        admin_audience=admin_audience,
        body_max=body_max,
        body_timeout_s=body_timeout_s,
        head_timeout_s=head_timeout_s,
        grace_s=grace_s,
        access_log=access_log,
        stripe=stripe,
        analysts_port=analysts_port,
        is_development=development,
        alerts=AlertOptions(tuple(webhook or ()), development, decisions_topic, brokers, kafka or []),
        refresh_ms=refresh_ms,
        ingest=ingest,
        has_console=console,
    )
    run_service(options)


def default_rates() -> dict[Limit, Rate]:
    """How often doors open where nothing else is said."""
    return _rates([])


def _rates(given: list[str]) -> dict[Limit, Rate]:
    """The default rates with those that were given in their place; raises `UsageError`."""
    texts = dict(DEFAULT_RATES)
    for entry in given:
        name, sign, text = entry.partition("=")
        if not sign or name not in set(Limit):
            raise UsageError(f"--rate takes DOOR=RATE with a door of {', '.join(Limit)}, got {entry!r}")
        texts[Limit(name)] = text
    try:
        return {limit: parse_rate(text) for limit, text in texts.items()}
    except ValueError as error:
        raise UsageError(f"--rate takes a rate such as 200/minute: {error}") from None
