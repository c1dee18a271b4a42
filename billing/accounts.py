"""Accounts in the control store: who the tenants are, what they may spend, in which mode. Every change is audited.

The accounts file stays a way to load them (`load_file`), and the pipeline sees what the store holds by `accounts`.
A tenant that was never declared takes the defaults, which are the account of the empty name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from billing.asks import Mode
from billing.audit import By
from billing.store import Store
from pipeline.accounts import Account, Accounts

DEFAULTS = ""
"""The name under which the defaults are kept; its mode is the mode of all tenants that have none of their own."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """An account as the store keeps it."""

    account: Account
    tier: str
    own_mode: Mode | None
    """None: the global mode."""
    mode: Mode
    """The mode in force."""
    is_declared: bool
    held_micro: int
    as_of_ms: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """What to change of an account; None leaves a member as it is."""

    display_name: str | None = None
    time_zone: str | None = None
    stripe_customer: str | None = None
    daily_limit: str | None = None
    """US dollars, a decimal text; `none` takes the limit away."""
    monthly_limit: str | None = None
    thresholds_percent: tuple[int, ...] | None = None
    tier: str | None = None
    mode: str | None = None
    """shadow, soft, live, or `global` for none of its own."""


def add(store: Store, tenant: str, wanted: Change, by: By) -> Tenant:
    """Declare a tenant; raises `UsageError` where it is declared already or a value cannot be."""
    raise NotImplementedError


def change(store: Store, tenant: str, wanted: Change, by: By) -> Tenant:
    """Change a declared tenant, or the defaults; raises `UsageError` where there is none."""
    raise NotImplementedError


def get(store: Store, tenant: str) -> Tenant | None:
    """Look a tenant up that was declared or has asked before; None otherwise."""
    raise NotImplementedError


def list_tenants(store: Store, *, after: str = "", limit: int = 100) -> list[Tenant]:
    """List declared tenants by name, those behind `after`."""
    raise NotImplementedError


def set_global_mode(store: Store, mode: Mode, by: By) -> None:
    """Set the mode of all tenants that have none of their own."""
    raise NotImplementedError


def global_mode(store: Store) -> Mode:
    """Give the mode of all tenants that have none of their own."""
    raise NotImplementedError


def load_file(store: Store, path: Path, by: By) -> Mapping[str, str]:
    """Take an accounts file over: its tenants and defaults as they stand there; tells what became of each."""
    raise NotImplementedError


def accounts(store: Store) -> Accounts:
    """Give all declared accounts and the defaults as the pipeline takes them."""
    raise NotImplementedError
