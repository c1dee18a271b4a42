"""`millrace stripe`: metered usage to Stripe, planned from the ledger, sent once, proven equal."""

import time
from pathlib import Path
from typing import Annotated

import typer

from billing.binding import remember_customers, remember_meter
from billing.meters import Meter, hold_meaning
from billing.planner import Plan
from billing.planning import unsent
from billing.resolve import Decision, held_reports
from billing.resolve import resolve as resolve_report
from billing.restore import notice_restore
from billing.status import status as status_of
from billing.webhooks import handle_stored, purge
from cli import stripe_show
from cli.reading import who
from cli.stripe_bench import bench
from cli.stripe_close import close
from cli.stripe_desk import (
    KEY_VARIABLE,
    AccountsOption,
    ControlOption,
    Desk,
    Format,
    FormatOption,
    LedgerOption,
    LiveOption,
    MetersOption,
    StateOption,
    StreamOption,
    UrlOption,
    log_to_stderr,
    meters_at_stripe,
    now,
    open_desk,
    read_key_of_environment,
)
from cli.stripe_loops import loop
from cli.stripe_webhooks import app as webhooks
from cli.stripe_work import compare, plan, push_due, sender_of
from pipeline.accounts import load_accounts
from pipeline.errors import MillraceError, UsageError
from sinks.stripe_events import StripeEvents
from sinks.stripe_fake import Account as FakeAccount
from sinks.stripe_fake import Rules
from sinks.stripe_fake_http import Wire
from sinks.stripe_fake_server import FakeServer
from sinks.stripe_push import Pace
from sinks.stripe_read import StripeSummaries
from sinks.stripe_setup import Action, Step, Wanted, carry_out, survey

app = typer.Typer(name="stripe", help="Report metered usage to Stripe.", no_args_is_help=True)
quarantine = typer.Typer(name="quarantine", help="Reports that wait for a person.", no_args_is_help=True)
app.add_typer(quarantine)
app.command()(loop)
app.command()(bench)
app.command()(close)
app.add_typer(webhooks)
FAKE_PORT = 12111
HERE = Path(".millrace")


@app.callback()
def main() -> None:
    """Tell Stripe what was used, exactly once, and prove it."""
    log_to_stderr(verbose=False)


@app.command()
def setup(  # noqa: PLR0913, PLR0917 - one argument for each flag
    state: StateOption = HERE,
    control: ControlOption = None,
    meters: MetersOption = None,
    accounts: AccountsOption = None,
    stripe_url: UrlOption = "",
    live: LiveOption = False,
    create_customers: Annotated[
        bool,
        typer.Option(
            "--create-customers", help="Make customers for tenants of the accounts file that name none."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002
) -> None:
    """Create or adopt meters, products, prices and customers; shows its plan first."""
    with open_desk(state, control, meters, accounts, read_key_of_environment(live), stripe_url) as desk:
        wanted = [_wanted(meter) for meter in desk.declaration.meters]
        tenants = {tenant: one.stripe_customer for tenant, one in desk.accounts.tenants.items()}
        steps = survey(desk.client, wanted, tenants, create_customers=create_customers)
        refused = [step for step in steps if step.action is Action.REFUSE]
        done = bool(yes and desk.client and not refused)
        if done and desk.client:
            hold_meaning(desk.store, desk.declaration)
            steps = carry_out(desk.client, steps, wanted)
            _remember(desk, steps)
        stripe_show.setup(steps, done=done, has_key=desk.client is not None, as_json=format is Format.JSON)
        if refused:
            msg = f"setup stops at {refused[0].kind} {refused[0].name!r}: {refused[0].detail}"
            raise MillraceError(msg)


@app.command()
def push(  # noqa: PLR0913, PLR0917 - one argument for each flag
    ledger: LedgerOption = None,
    state: StateOption = HERE,
    control: ControlOption = None,
    meters: MetersOption = None,
    accounts: AccountsOption = None,
    stripe_url: UrlOption = "",
    live: LiveOption = False,
    running: Annotated[bool, typer.Option("--now", help="Plan the hour that has not ended, too.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write and send nothing; say what would be.")
    ] = False,
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for what is not due yet.")] = 30,
    rate: Annotated[int, typer.Option(min=1, max=1000, help="Most requests in a second.")] = 20,
    lanes: Annotated[int, typer.Option(min=1, max=64, help="Most requests at a time.")] = 8,
    stream: StreamOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log each attempt on stderr.")] = False,
    format: FormatOption = Format.TABLE,  # noqa: A002
) -> None:
    """Plan what the ledger owes and send it.

    Without a key in STRIPE_SECRET_KEY the plan is kept, and shown exactly as it would be sent.
    """
    log_to_stderr(verbose=verbose)
    as_json = format is Format.JSON
    with open_desk(state, control, meters, accounts, read_key_of_environment(live), stripe_url) as desk:
        if desk.client is not None and not dry_run:
            meters_at_stripe(desk)  # events of a meter that is not there would be taken and lost
        made = plan(desk, ledger, running=running, write=not dry_run)
        if desk.client is None or dry_run:
            waiting = unsent(desk.store) + (list(made.reports) if dry_run else [])
            stripe_show.would_send(waiting, made, has_key=desk.client is not None, as_json=as_json)
            return
        tally = push_due(desk, sender_of(desk.client, stripe_url, stream=stream), Pace(lanes, rate, wait))
        found = status_of(desk.store, desk.declaration.finalizes_after_s)
        stripe_show.sent(tally, made, found, as_json=as_json)


@app.command()
def reconcile(  # noqa: PLR0913, PLR0917 - one argument for each flag
    ledger: LedgerOption = None,
    state: StateOption = HERE,
    control: ControlOption = None,
    meters: MetersOption = None,
    accounts: AccountsOption = None,
    stripe_url: UrlOption = "",
    live: LiveOption = False,
    full: Annotated[
        bool, typer.Option("--full", help="Every hour that Stripe still takes, not only open ones.")
    ] = False,
    restored: Annotated[
        bool,
        typer.Option("--restored", help="The control store was restored: learn from Stripe what it forgot."),
    ] = False,
    reads: Annotated[
        int, typer.Option(min=1, help="Most reads; Stripe allows 10000 a month at least.")
    ] = 2000,
    format: FormatOption = Format.TABLE,  # noqa: A002
) -> None:
    """Compare what was told with what Stripe counts; exits with 1 when there is a difference."""
    with open_desk(state, control, meters, accounts, read_key_of_environment(live), stripe_url) as desk:
        if desk.client is None:
            msg = f"there is nothing to compare with: set {KEY_VARIABLE}"
            raise UsageError(msg)
        handle_stored(desk.store, StripeEvents(desk.client), desk.now)
        purge(desk.store, desk.now)
        summaries = StripeSummaries(desk.client, meters_at_stripe(desk), now)
        result = compare(desk, summaries, full=full, restored=restored, reads_max=reads)
        read_only = notice_restore(desk.store, desk.mark, desk.now)
        books = Plan((), ()) if read_only else plan(desk, ledger, running=True, write=False)
        found = status_of(desk.store, desk.declaration.finalizes_after_s)
        stripe_show.reconciled(result, books, found, as_json=format is Format.JSON)
        if result.findings:
            raise typer.Exit(1)


@app.command()
def status(
    state: StateOption = HERE,
    control: ControlOption = None,
    meters: MetersOption = None,
    format: FormatOption = Format.TABLE,  # noqa: A002
) -> None:
    """Say where every report stands, what is pressing, and until when it can be told."""
    with open_desk(state, control, meters) as desk:
        found = status_of(desk.store, desk.declaration.finalizes_after_s)
        stripe_show.status(found, as_json=format is Format.JSON)


@quarantine.command("list")
def list_held(
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormatOption = Format.TABLE,  # noqa: A002
) -> None:
    """List the reports that hold their lane until someone has decided."""
    with open_desk(state, control) as desk:
        stripe_show.held(held_reports(desk.store), as_json=format is Format.JSON)


@quarantine.command("resolve")
def resolve(
    identifier: Annotated[str, typer.Argument(help="The report's identifier.", show_default=False)],
    decision: Annotated[
        Decision,
        typer.Option("--as", help="absent: plan it anew; delivered: it counts; retry: send it again."),
    ],
    why: Annotated[str, typer.Option(help="What you saw; kept in the audit.")],
    state: StateOption = HERE,
    control: ControlOption = None,
) -> None:
    """Decide about one report that waits; the decision is kept with your name."""
    with open_desk(state, control) as desk:
        made = resolve_report(desk.store, identifier, decision, who=who(), why=why, now=desk.now)
    typer.echo(f"{identifier} is {made.value} now")


@app.command()
def fake(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port on this host; 0: any free one.")
    ] = FAKE_PORT,
    lag: Annotated[int, typer.Option(min=0, help="Seconds until events show up in summaries.")] = 0,
    accounts: AccountsOption = None,
) -> None:
    """Stand in for Stripe on this host until interrupted; holds its state in memory.

    With an accounts file the customers that it names are there from the start.
    """
    account = FakeAccount(now, Rules(summary_lag_s=lag))
    for tenant, one in (load_accounts(accounts).tenants if accounts else {}).items():
        if one.stripe_customer:
            account.adopt_customer(one.stripe_customer, tenant)
    with FakeServer(Wire(account), port) as server:
        typer.echo(f"standing in for Stripe at {server.url}; in another terminal:")
        typer.echo(f"  export {KEY_VARIABLE}=sk_test_fake MILLRACE_STRIPE_URL={server.url}")
        while True:
            time.sleep(3600)


def _wanted(meter: Meter) -> Wanted:
    price = meter.price
    if price is None:
        return Wanted(meter.event_name, meter.display_name)
    return Wanted(
        meter.event_name, meter.display_name, price.unit_amount_decimal, price.currency, price.interval
    )


def _remember(desk: Desk, steps: list[Step]) -> None:
    ids: dict[str, dict[str, str]] = {}
    for step in steps:
        if step.kind != "customer":
            ids.setdefault(step.name, {})[f"{step.kind}_id"] = step.found_id
    for event_name, named in ids.items():
        remember_meter(desk.store, event_name, named)
    made = {step.name: step.found_id for step in steps if step.kind == "customer"}
    adopted = {tenant: customer for tenant, customer in made.items() if not desk.customer_of(tenant)}
    remember_customers(desk.store, adopted, desk.now)
