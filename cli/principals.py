"""`millrace tenants principals`: who causes a tenant's cost, by names that people know."""

from typing import Annotated

import typer

from billing.principals import KINDS, Principal, declare, list_principals, remove
from cli.reading import Form
from cli.store_desk import HERE, ControlOption, FormOption, StateOption, by, opened_store, tell

app = typer.Typer(help="Look after a tenant's principals.", no_args_is_help=True)

TenantArgument = Annotated[str, typer.Argument(metavar="NAME", help="The tenant.", show_default=False)]
PrincipalArgument = Annotated[
    str, typer.Argument(metavar="PRINCIPAL", help="The subject of its events.", show_default=False)
]


@app.command("add")
def add(  # noqa: PLR0913, PLR0917 - one argument for each flag
    name: TenantArgument,
    principal: PrincipalArgument,
    display_name: Annotated[str, typer.Option("--display-name", help="The name that people know.")] = "",
    kind: Annotated[str, typer.Option("--kind", help=f"One of {', '.join(KINDS[1:])}.")] = "",
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Declare a principal, or change one."""
    with opened_store(state, control) as store:
        _show([declare(store, name, principal, display_name=display_name, kind=kind, by=by())], format)


@app.command("remove")
def remove_(
    name: TenantArgument,
    principal: PrincipalArgument,
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """Take a principal off the list; what it has cost stays."""
    with opened_store(state, control) as store:
        _show([remove(store, name, principal, by())], format)


@app.command("list")
def list_(
    name: TenantArgument,
    state: StateOption = HERE,
    control: ControlOption = None,
    format: FormOption = Form.TABLE,  # noqa: A002
) -> None:
    """List a tenant's principals by name."""
    found: list[Principal] = []
    with opened_store(state, control) as store:
        while page := list_principals(store, name, after=found[-1].principal if found else "", limit=1_000):
            found += page
    _show(found, format)


def _show(found: list[Principal], form: Form) -> None:
    names = ("tenant", "principal", "name", "kind")
    tell(form, names, (False,) * 4, [(p.tenant, p.principal, p.display_name, p.kind) for p in found])
