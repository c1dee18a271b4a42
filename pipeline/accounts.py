"""The accounts file: who the tenants are, how much they may spend, and in which time zone their days begin.

    [tenants."acct_1"]
    display_name = "Example Ltd"            # default: the tenant's name
    time_zone = "Europe/Berlin"             # an IANA name, default UTC: where its days and months begin
    stripe_customer = "cus_123"             # default: none, so nothing is sent to Stripe
    thresholds_percent = [50, 80, 100]      # integers, 1 to 1000, default [80, 100]
    spendLimit.dailySpendUsd = "250.00"     # decimal string (to 6 decimals) or integer, default: no limit
    spendLimit.monthlySpendUsd = 5000
    tier = "standard"                       # free text, default none
    mode = "shadow"                         # shadow, soft or live: what becomes of requests beyond a cap

    [defaults]                              # the same keys, for tenants that the file does not name
    spendLimit.dailySpendUsd = "10"

A tenant that is named takes nothing from `[defaults]`. Every mistake is a `ConfigError` with file and line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from zoneinfo import ZoneInfo

from pipeline.toml_file import Table, fixed_point, read_toml, shown, suggestion
from pipeline.zones import load_zone, zone_names

THRESHOLDS_PERCENT = (80, 100)
MODES = ("shadow", "soft", "live")
THRESHOLD_MAX = 1000
LIMIT_MICRO_USD_MAX = 2**63 - 1
TENANT_LENGTH_MAX = 128


@dataclass(frozen=True, slots=True)
class Account:
    """One tenant's settings, all defaults applied."""

    tenant: str
    display_name: str = ""
    """Never empty in an account that `Accounts` gives: the tenant's name where none is set."""
    time_zone: str = "UTC"
    stripe_customer: str = ""
    daily_limit_micro_usd: int | None = None
    """What may be spent in a calendar day of `time_zone`; None is no limit, 0 is a limit of nothing."""
    monthly_limit_micro_usd: int | None = None
    thresholds_percent: tuple[int, ...] = THRESHOLDS_PERCENT
    """Ascending, none twice."""
    tier: str = ""
    mode: str = ""
    """shadow, soft or live; empty: nothing is said. Caps over HTTP go by it, the pipeline's decisions do not."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone itself."""
        return load_zone(self.time_zone)


@dataclass(frozen=True, slots=True)
class Accounts:
    """All accounts; with no argument, those of no file: every tenant in UTC, without limits."""

    tenants: Mapping[str, Account] = field(default_factory=dict)
    defaults: Account = Account("")

    def get(self, tenant: str) -> Account:
        """Look a tenant up; one that is not named has the file's defaults."""
        return self.tenants.get(tenant) or _named(self.defaults, tenant)

    def declared(self, tenant: str) -> bool:
        """Whether the file names the tenant."""
        return tenant in self.tenants


def load_accounts(path: Path) -> Accounts:
    """Load an accounts file; raises `ConfigError` with the file and the line of the first mistake."""
    root = read_toml(path, "the accounts file")
    root.only("tenants", "defaults")
    tenants = {}
    for tenant, table in root.tables("tenants"):
        if not 1 <= len(tenant) <= TENANT_LENGTH_MAX:
            table.fail(
                None, f"a tenant has 1 to {TENANT_LENGTH_MAX} characters, not {len(tenant)}: mend its name"
            )
        tenants[tenant] = _named(_account(table), tenant)
    defaults = root.table("defaults")
    return Accounts(tenants, Account("") if defaults is None else _account(defaults))


def _named(account: Account, tenant: str) -> Account:
    return replace(account, tenant=tenant, display_name=account.display_name or tenant)


def _account(table: Table) -> Account:
    table.only(
        "display_name", "time_zone", "stripe_customer", "thresholds_percent", "spendLimit", "tier", "mode"
    )
    limits = table.table("spendLimit")
    if limits is not None:
        limits.only("dailySpendUsd", "monthlySpendUsd")
    return Account(
        tenant="",
        display_name=table.text("display_name") or "",
        time_zone=_time_zone(table),
        stripe_customer=table.text("stripe_customer") or "",
        daily_limit_micro_usd=_limit_micro_usd(limits, "dailySpendUsd"),
        monthly_limit_micro_usd=_limit_micro_usd(limits, "monthlySpendUsd"),
        thresholds_percent=_thresholds(table),
        tier=table.text("tier") or "",
        mode=_mode(table),
    )


def _mode(table: Table) -> str:
    mode = table.text("mode") or ""
    if mode and mode not in MODES:
        table.fail("mode", f"unknown mode {mode!r}: {suggestion(mode, MODES)}")
    return mode


def _time_zone(table: Table) -> str:
    name = table.text("time_zone") or "UTC"
    if name not in zone_names():
        close = get_close_matches(name, zone_names(), n=1)
        advice = f"did you mean {close[0]!r}?" if close else "give an IANA name such as 'Europe/Berlin'"
        table.fail("time_zone", f"unknown time zone {name!r}: {advice}")
    return name


def _limit_micro_usd(limits: Table | None, key: str) -> int | None:
    value = None if limits is None else limits.values.get(key)
    if limits is None or value is None:
        return None
    label = limits.label(key)
    if isinstance(value, float):
        why = "a TOML number with a point is a binary float, which cannot hold money exactly"
        limits.fail(key, f'{label} is the number {value}, but {why}: put it in quotes, as in "250.10"')
    limit = fixed_point(str(value)) if type(value) in (str, int) else None
    if limit is None or limit > LIMIT_MICRO_USD_MAX:
        expected = "US dollars from 0 to 9223372036854, with at most 6 digits behind the point, in quotes"
        limits.fail(key, f"{label} must be {expected}, not {shown(value)}")
    return limit


def _thresholds(table: Table) -> tuple[int, ...]:
    values = table.list("thresholds_percent")
    if values is None:
        return THRESHOLDS_PERCENT
    for number, value in enumerate(values):
        if type(value) is not int or not 1 <= value <= THRESHOLD_MAX:
            what = f"an integer from 1 to {THRESHOLD_MAX}, in percent of the limit"
            place = (*table.place, "thresholds_percent", number)
            table.file.fail(
                place, f"{table.label('thresholds_percent')} must each be {what}, not {shown(value)}"
            )
    return tuple(sorted(set(values)))
