"""`millrace tenants`: who the tenants are, what they may spend, in which mode, and with which keys."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from billing import accounts, api_keys
from billing.accounts import DEFAULTS, Change, Tenant
from billing.api_keys import SCOPES, ApiKey
from cli.principals import app as principals_app
from cli.reading import Form
from cli.store_desk import (
    HERE,
    ControlOption,
    FormOption,
    StateOption,
    by,
    moment_ms,
    opened_store,
    shown_moment,
    tell,
    usd,
)
from pipeline.errors import UsageError

app = typer.Typer(help="Look after tenants: limits, tiers, modes and keys.", no_args_is_help=True)
keys_app = typer.Typer(help="Look after a tenant's API keys.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
app.add_typer(principals_app, name="principals")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The tenant.", show_default=False)]
DayOption = Annotated[
    str | None, typer.Option("--spend-day", metavar="USD", help="The limit of a day; none: no limit.")
]
MonthOption = Annotated[
    str | None, typer.Option("--spend-month", metavar="USD", help="The limit of a month; none: no limit.")
]
DisplayOption = Annotated[str | None, typer.Option("--display-name", help="The name that people know.")]
ZoneOption = Annotated[
    str | None, typer.Option("--time-zone", help="Where its days begin: an IANA name; default UTC.")
]
CustomerOption = Annotated[str | None, typer.Option("--stripe-customer", help="Its customer at Stripe.")]
ThresholdOption = Annotated[
    list[int] | None,
    typer.Option("--threshold", help="A share of the limit that alerts, in percent; repeat it."),
]
TierOption = Annotated[str | None, typer.Option("--tier", help="Its tier; free text.")]
ModeOption = Annotated[
    str | None, typer.Option("--mode", help="shadow, soft, live, or global for none of its own.")
]


@app.command()
def add(  # noqa: PLR0913, PLR0917 - one argument for each flag
    name: NameArgument,
    spend_day: DayOption = None,
    spend_month: MonthOption = None,
    display_name: DisplayOption = None,
    time_zone: ZoneOption = None,
    stripe_customer: CustomerOption = None,
    threshold: ThresholdOption = None,
    tier: TierOption = None,
    mode: ModeOption = None,
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Declare a tenant. What is not said has its default; a declared tenant takes none of `defaults`."""
    wanted = _change(display_name, time_zone, stripe_customer, spend_day, spend_month, threshold, tier, mode)
    with opened_store(state, control) as store:
        _show([accounts.add(store, name, wanted, by())], format)


@app.command("set")
def set_(  # noqa: PLR0913, PLR0917 - one argument for each flag
    name: NameArgument,
    spend_day: DayOption = None,
    spend_month: MonthOption = None,
    display_name: DisplayOption = None,
    time_zone: ZoneOption = None,
    stripe_customer: CustomerOption = None,
    threshold: ThresholdOption = None,
    tier: TierOption = None,
    mode: ModeOption = None,
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Change what is said, and nothing else. A limit holds from the next decision on."""
    wanted = _change(display_name, time_zone, stripe_customer, spend_day, spend_month, threshold, tier, mode)
    with opened_store(state, control) as store:
        _show([accounts.change(store, name, wanted, by())], format)


@app.command()
def defaults(  # noqa: PLR0913, PLR0917 - one argument for each flag
    spend_day: DayOption = None,
    spend_month: MonthOption = None,
    time_zone: ZoneOption = None,
    threshold: ThresholdOption = None,
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Show, or change, what holds for tenants that were not declared."""
    wanted = _change(None, time_zone, None, spend_day, spend_month, threshold, None, None)
    with opened_store(state, control) as store:
        if wanted != Change():
            accounts.change(store, DEFAULTS, wanted, by())
        found = accounts.get(store, DEFAULTS)
        _show([found] if found else [], format)


@app.command("list")
def list_(
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """List the declared tenants by name."""
    found: list[Tenant] = []
    with opened_store(state, control) as store:
        while page := accounts.list_tenants(
            store, after=found[-1].account.tenant if found else "", limit=1_000
        ):
            found += page
    _show(found, format)


@app.command()
def show(
    name: NameArgument,
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Show one tenant."""
    with opened_store(state, control) as store:
        found = accounts.get(store, name)
    if found is None:
        raise UsageError(f"there is no tenant {name!r}: add it with `millrace tenants add {name}`")
    _show([found], format)


@app.command()
def load(
    file: Annotated[Path, typer.Argument(help="An accounts file.", show_default=False)],
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Take an accounts file over: its tenants and defaults, as they stand there."""
    with opened_store(state, control) as store:
        became = accounts.load_file(store, file, by())
    rows = [(name or "(defaults)", what) for name, what in became.items()]
    tell(format, ("tenant", "became"), (False, False), rows)


@keys_app.command("add")
def keys_add(  # noqa: PLR0913, PLR0917 - one argument for each flag
    name: NameArgument,
    label: Annotated[str, typer.Option("--label", help="What the key is for.")] = "default",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help=f"What it may: {', '.join(SCOPES)}; repeat it.")
    ] = None,
    tenant_from_subject: Annotated[
        bool,
        typer.Option(
            "--tenant-from-subject", help="Events without a tenant belong to their subject instead."
        ),
    ] = False,
    expires: Annotated[str, typer.Option("--expires", help="Until when it is good, with its offset.")] = "",
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Make a key. Its secret is shown this once: only a hash of it is kept."""
    with opened_store(state, control) as store:
        if accounts.get(store, name) is None:
            raise UsageError(f"there is no tenant {name!r}: add it with `millrace tenants add {name}`")
        key, secret = api_keys.create(
            store, name, name=label, scopes=tuple(scope or SCOPES), tenant_from_subject=tenant_from_subject,
            expires_at_ms=moment_ms(expires) if expires else None, by=by(), random_hex=secrets.token_hex,
        )  # fmt: skip
    if format is Form.JSON:
        tell(format, ("key", "tenant", "secret"), (False,) * 3, [(key.id, name, secret)])
    else:
        typer.echo(f"key {key.id} of {name}; keep its secret, it is shown this once:\n{secret}")


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="The key's id.", show_default=False)],
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Revoke a key for ever."""
    with opened_store(state, control) as store:
        _show_keys([api_keys.revoke(store, key, by())], format)


@keys_app.command("list")
def keys_list(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only of this tenant.")] = "",
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """List keys, the revoked ones too."""
    with opened_store(state, control) as store:
        _show_keys(api_keys.list_keys(store, name or None), format)


def _change(  # noqa: PLR0913, PLR0917 - one argument for each flag
    display_name: str | None,
    time_zone: str | None,
    stripe_customer: str | None,
    spend_day: str | None,
    spend_month: str | None,
    threshold: list[int] | None,
    tier: str | None,
    mode: str | None,
) -> Change:
    thresholds = tuple(threshold) if threshold else None
    return Change(display_name, time_zone, stripe_customer, spend_day, spend_month, thresholds, tier, mode)


def _show(found: list[Tenant], form: Form) -> None:
    names = (
        "tenant",
        "name",
        "zone",
        "day USD",
        "month USD",
        "thresholds %",
        "tier",
        "mode",
        "held USD",
        "Stripe",
    )
    rows = [
        (
            t.account.tenant or "(defaults)", t.account.display_name, t.account.time_zone,
            usd(t.account.daily_limit_micro_usd), usd(t.account.monthly_limit_micro_usd),
            ", ".join(str(p) for p in t.account.thresholds_percent), t.tier,
            t.mode if t.own_mode else f"{t.mode} (global)", usd(t.held_micro), t.account.stripe_customer,
        )
        for t in found
    ]  # fmt: skip
    tell(form, names, (False,) * 3 + (True,) * 2 + (False,) * 3 + (True, False), rows)


def _show_keys(found: list[ApiKey], form: Form) -> None:
    names = ("key", "tenant", "label", "scopes", "tenant from subject", "made", "expires", "revoked")
    rows = [
        (
            k.id, k.tenant, k.name, " ".join(sorted(k.scopes)), "yes" if k.tenant_from_subject else "no",
            shown_moment(k.created_at_ms), shown_moment(k.expires_at_ms), shown_moment(k.revoked_at_ms),
        )
        for k in found
    ]  # fmt: skip
    tell(form, names, (False,) * len(names), rows)
