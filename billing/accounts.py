"""Accounts in the control store: who the tenants are, what they may spend, in which mode. Every change is audited.

The accounts file stays a way to load them (`load_file`), and the pipeline sees what the store holds by `accounts`.
A tenant that was never declared takes the defaults, which are the account of the empty name.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from billing.asks import Mode
from billing.audit import By, Note, append, text_of
from billing.book import account_of, insert_once
from billing.cap_tables import tenants
from billing.store import Store
from pipeline.accounts import (
    LIMIT_MICRO_USD_MAX,
    TENANT_LENGTH_MAX,
    THRESHOLD_MAX,
    THRESHOLDS_PERCENT,
    Account,
    Accounts,
    load_accounts,
)
from pipeline.errors import UsageError
from pipeline.toml_file import fixed_point
from pipeline.zones import zone_names


class ExistsError(UsageError):
    """It is there already."""


class UnknownError(UsageError):
    """There is no such thing."""


DEFAULTS = ""
"""The name under which the defaults are kept; its mode is the mode of all tenants that have none of their own."""
NO_LIMIT, GLOBAL_MODE = "none", "global"
_TEXT_MAX = 255


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
    if not 1 <= len(tenant) <= TENANT_LENGTH_MAX or not tenant.isprintable():
        raise UsageError(f"a tenant has 1 to {TENANT_LENGTH_MAX} printable characters, not {tenant!r}")
    fresh = _values(replace_none(wanted))
    with store.write() as connection:
        row = _locked(connection, tenant, by.now_ms)
        if row.is_declared:
            raise ExistsError(
                f"the tenant {tenant!r} is there already: change it with `millrace tenants set {tenant}`"
            )
        _write(connection, row, {**fresh, "is_declared": True}, "tenant_added", by)
        return _tenant(connection, tenant)


def replace_none(wanted: Change) -> Change:
    """Complete a change with what an account has where nothing is said."""
    full = Change("", "UTC", "", NO_LIMIT, NO_LIMIT, THRESHOLDS_PERCENT, "", GLOBAL_MODE)
    given = {name: value for name, value in asdict(wanted).items() if value is not None}
    return replace(full, **given)


def change(store: Store, tenant: str, wanted: Change, by: By) -> Tenant:
    """Change a declared tenant, or the defaults; raises `UsageError` where there is none."""
    values = _values(wanted)
    if tenant == DEFAULTS and values.get("mode") == "":
        msg = "the global mode is shadow, soft or live"
        raise UsageError(msg)
    with store.write() as connection:
        row = connection.execute(_ROW, {"of": tenant}).first()
        if row is None or not (row.is_declared or tenant == DEFAULTS):
            raise UnknownError(_unknown(connection, tenant))
        _write(connection, row, values, "tenant_changed" if tenant else "defaults_changed", by)
        return _tenant(connection, tenant)


def get(store: Store, tenant: str) -> Tenant | None:
    """Look a tenant up that was declared or has asked before; None otherwise."""
    with store.read() as connection:
        row = connection.execute(select(tenants.c.tenant).where(tenants.c.tenant == tenant)).first()
        return None if row is None else _tenant(connection, tenant)


def list_tenants(store: Store, *, after: str = "", limit: int = 100) -> list[Tenant]:
    """List declared tenants by name, those behind `after`."""
    query = (
        select(tenants)
        .where(tenants.c.is_declared, tenants.c.tenant > after)
        .order_by(tenants.c.tenant)
        .limit(limit)
    )
    with store.read() as connection:
        defaults = _defaults(connection)
        return [_view(row, defaults) for row in connection.execute(query)]


def set_global_mode(store: Store, mode: Mode, by: By) -> None:
    """Set the mode of all tenants that have none of their own."""
    change(store, DEFAULTS, Change(mode=mode.value), by)


def global_mode(store: Store) -> Mode:
    """Give the mode of all tenants that have none of their own."""
    with store.read() as connection:
        return Mode(_defaults(connection).mode)


def load_file(store: Store, path: Path, by: By) -> Mapping[str, str]:
    """Take an accounts file over: its tenants and defaults as they stand there; tells what became of each.

    Tenants that the file does not name stay as they are, and so do tiers and modes of which it does not say any.
    """
    return take_over(store, load_accounts(path), by)


def take_over(store: Store, given: Accounts, by: By) -> Mapping[str, str]:
    """Take accounts over; see `load_file`."""
    became = {}
    with store.write() as connection:
        for name, account in [(DEFAULTS, given.defaults), *sorted(given.tenants.items())]:
            row = _locked(connection, name, by.now_ms)
            values = {**_of_account(account), "is_declared": name != DEFAULTS}
            action = "tenant_changed" if row.is_declared else "tenant_added"
            changed = _write(connection, row, values, action if name else "defaults_changed", by)
            became[name] = (
                "unchanged" if not changed else "changed" if row.is_declared or not name else "added"
            )
    return became


def accounts(store: Store) -> Accounts:
    """Give all declared accounts and the defaults as the pipeline takes them."""
    with store.read() as connection:
        defaults = _defaults(connection)
        rows = connection.execute(select(tenants).where(tenants.c.is_declared)).all()
    own = replace(account_of(defaults, defaults), tenant="", display_name=defaults.display_name)
    return Accounts({row.tenant: account_of(row, defaults) for row in rows}, own)


def lock(connection: Connection, tenant: str, now_ms: int) -> None:
    """Lock a tenant's row, which guards all of its money and its chain of the audit; makes it where it is not."""
    _locked(connection, tenant, now_ms)


def _locked(connection: Connection, tenant: str, now_ms: int) -> Any:
    insert_once(connection, tenants, [{"tenant": tenant, "created_at_ms": now_ms, "changed_at_ms": now_ms}])
    return connection.execute(_ROW, {"of": tenant}).one()


def _write(connection: Connection, row: Any, values: Mapping[str, Any], action: str, by: By) -> bool:
    """Write what differs, with its entry of the audit; says whether anything did."""
    old = row._asdict()
    after = {name: value for name, value in values.items() if old[name] != value}
    if not after:
        return False
    connection.execute(
        update(tenants).where(tenants.c.tenant == row.tenant).values(**after, changed_at_ms=by.now_ms)
    )
    before = {name: old[name] for name in after}
    note = Note(row.tenant, action, row.tenant or "defaults", "", text_of(before), text_of(after))
    append(connection, [(note, by)])
    return True


def _values(wanted: Change) -> dict[str, Any]:
    """Check a change and give the columns that it sets."""
    values: dict[str, Any] = {}
    for name in ("display_name", "stripe_customer", "tier"):
        text = getattr(wanted, name)
        if text is not None:
            values[name] = _text(name, text, 64 if name == "tier" else _TEXT_MAX)
    if wanted.time_zone is not None:
        values["time_zone"] = _zone(wanted.time_zone)
    for name, text in (
        ("daily_limit_micro", wanted.daily_limit),
        ("monthly_limit_micro", wanted.monthly_limit),
    ):
        if text is not None:
            values[name] = micro_of(text)
    if wanted.thresholds_percent is not None:
        values["thresholds_percent"] = _thresholds(wanted.thresholds_percent)
    if wanted.mode is not None:
        values["mode"] = _mode(wanted.mode)
    return values


def micro_of(text: str) -> int | None:
    """Read a limit in US dollars as micro-USD; None for `none`. Raises `UsageError`."""
    if text == NO_LIMIT:
        return None
    micro = fixed_point(text)
    if micro is None or micro > LIMIT_MICRO_USD_MAX:
        expected = "US dollars from 0 to 9223372036854, with at most 6 digits behind the point, or none"
        raise UsageError(f"a limit is {expected}, not {text!r}")
    return micro


def _text(name: str, text: str, most: int) -> str:
    if len(text) > most or any(ord(sign) < ord(" ") for sign in text):
        raise UsageError(f"{name} has at most {most} characters and no control characters")
    return text


def _zone(name: str) -> str:
    if name not in zone_names():
        close = get_close_matches(name, zone_names(), n=1)
        advice = f"did you mean {close[0]!r}?" if close else "give an IANA name such as 'Europe/Berlin'"
        raise UsageError(f"unknown time zone {name!r}: {advice}")
    return name


def _thresholds(values: tuple[int, ...]) -> str:
    if any(not 1 <= value <= THRESHOLD_MAX for value in values):
        raise UsageError(f"a threshold is an integer from 1 to {THRESHOLD_MAX}, in percent of the limit")
    return ",".join(str(value) for value in sorted(set(values)))


def _mode(text: str) -> str:
    if text == GLOBAL_MODE:
        return ""
    if text not in set(Mode):
        raise UsageError(f"a mode is {', '.join(Mode)} or {GLOBAL_MODE}, not {text!r}")
    return text


def _of_account(account: Account) -> dict[str, Any]:
    name = account.display_name
    return {
        "display_name": "" if name == account.tenant else name,
        "time_zone": account.time_zone,
        "stripe_customer": account.stripe_customer,
        "daily_limit_micro": account.daily_limit_micro_usd,
        "monthly_limit_micro": account.monthly_limit_micro_usd,
        "thresholds_percent": _thresholds(account.thresholds_percent),
        **({"tier": account.tier} if account.tier else {}),
        **({"mode": account.mode} if account.mode else {}),
    }


def _unknown(connection: Connection, tenant: str) -> str:
    names = connection.execute(select(tenants.c.tenant).where(tenants.c.is_declared)).scalars().all()
    close = get_close_matches(tenant, names, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"add it with `millrace tenants add {tenant}`"
    return f"there is no tenant {tenant!r}: {advice}"


def _tenant(connection: Connection, tenant: str) -> Tenant:
    row = connection.execute(select(tenants).where(tenants.c.tenant == tenant)).one()
    return _view(row, _defaults(connection))


def _view(row: Any, defaults: Any) -> Tenant:
    account = account_of(row, defaults)
    own = Mode(row.mode) if row.mode else None
    mode = own or Mode(defaults.mode)
    return Tenant(account, row.tier, own, mode, row.is_declared, row.held_micro, row.as_of_ms)


def _defaults(connection: Connection) -> Any:
    return connection.execute(select(tenants).where(tenants.c.tenant == DEFAULTS)).one()


_ROW = select(tenants).where(tenants.c.tenant == bindparam("of")).with_for_update()
