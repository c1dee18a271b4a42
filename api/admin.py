"""What admins may do: tenants, limits, modes, keys, credits, the audit, and alerts that nobody took."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from api.admin_door import PAGE_MAX, Admin, TenantPath, by_of, done
from api.amounts import MicroIn
from api.billing import Offered, PoolName
from api.models import Micro, Model, Moment, TenantName, moment
from api.once import KeyHeader, key_or_refuse
from api.principals import add_principals
from api.problems import Code, Problem, responses
from billing import accounts, api_keys, audit, report
from billing.accounts import Change, Tenant
from billing.alerts import list_deliveries, replay
from billing.api_keys import ApiKey
from billing.asks import Mode
from billing.credits import mint as mint_lot
from pipeline.accounts import THRESHOLD_MAX

DAY_MS = 86_400_000

router = APIRouter(tags=["admin"])
add_principals(router)


Usd = Annotated[
    str,
    Field(
        pattern=r"^(none|[0-9]{1,13}(\.[0-9]{1,6})?)$",
        description="US dollars, a decimal text with at most 6 digits behind the point; `none`: no limit.",
        examples=["250.00"],
    ),
]


class SpendLimit(Model):
    """What may be spent."""

    daily_spend_usd: Usd | None = None
    monthly_spend_usd: Usd | None = None


class AccountBody(Model):
    """An account's members; what is left out stays as it is, or has its default in a new account."""

    display_name: str | None = Field(default=None, max_length=255, examples=["Acme Ltd"])
    time_zone: str | None = Field(
        default=None, max_length=64, description="An IANA name.", examples=["Europe/Berlin"]
    )
    stripe_customer: str | None = Field(default=None, max_length=255, examples=["cus_1"])
    spend_limit: SpendLimit | None = None
    thresholds_percent: list[Annotated[int, Field(ge=1, le=THRESHOLD_MAX)]] | None = Field(
        default=None, max_length=100, examples=[[80, 100]]
    )
    tier: str | None = Field(default=None, max_length=64, examples=["standard"])
    mode: str | None = Field(
        default=None, pattern="^(shadow|soft|live|global)$", description="`global`: none of its own."
    )

    def change(self) -> Change:
        """The same for the accounts."""
        limit = self.spend_limit or SpendLimit()
        thresholds = None if self.thresholds_percent is None else tuple(self.thresholds_percent)
        return Change(
            self.display_name, self.time_zone, self.stripe_customer, limit.daily_spend_usd, limit.monthly_spend_usd,
            thresholds, self.tier, self.mode,
        )  # fmt: skip


class NewTenant(AccountBody):
    """A tenant to declare."""

    tenant: TenantName


class AccountView(Model):
    """An account."""

    tenant: str = Field(
        description="Empty: the defaults of tenants that were not declared.", examples=["acme"]
    )
    display_name: str
    time_zone: str
    stripe_customer: str
    daily_limit: Micro | None
    monthly_limit: Micro | None
    thresholds_percent: list[int]
    tier: str
    mode: Mode = Field(description="In force.", examples=["live"])
    own_mode: Mode | None = Field(description="null: the global mode is in force.", examples=[None])
    is_declared: bool
    held: Micro
    as_of: Moment | None


class Accounts(Model):
    """A page of accounts by name."""

    tenants: list[AccountView]
    next_after: str | None = Field(description="Give it as `after` for the next page.", examples=[None])


class ModeBody(Model):
    """The mode of all tenants that have none of their own."""

    mode: Mode = Field(examples=["soft"])


class KeyBody(Model):
    """An API key to make."""

    name: str = Field(min_length=1, max_length=128, examples=["backend"])
    scopes: list[str] = Field(
        default_factory=lambda: list(api_keys.SCOPES), max_length=20, examples=[["authorize"]]
    )
    tenant_from_subject: bool = Field(
        default=False, description="Whether events without a tenant belong to their subject."
    )
    expires_at_ms: int | None = Field(default=None, ge=0, le=2**53, description="Since 1970, in UTC.")


class KeyView(Model):
    """An API key, without its secret."""

    key_id: str
    tenant: str
    name: str
    scopes: list[str]
    tenant_from_subject: bool
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None


class NewKey(KeyView):
    """An API key that was made just now."""

    secret: str = Field(description="What requests present; shown this once.", examples=["mrk_..."])


class Keys(Model):
    """A tenant's keys."""

    keys: list[KeyView]


class MintBody(Model):
    """A lot of credits."""

    amount_micro: MicroIn
    pool_id: PoolName = "default"
    source: str = Field(default="grant", min_length=1, max_length=64, examples=["purchase"])
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    expires_at_ms: int | None = Field(default=None, ge=0, le=2**53, description="Since 1970, in UTC.")


class Lot(Model):
    """A lot of credits."""

    lot_id: str
    tenant: str
    pool_id: str
    source: str
    amount: Micro
    remaining: Micro
    priority: int
    expires_at: Moment | None
    minted_at: Moment
    is_replay: bool = Field(description="It was there already, under the same key.", examples=[False])


class Listed(Model):
    """Rows as the store has them."""

    rows: list[dict[str, Any]]


class Replayed(Model):
    """How many are sent again."""

    count: int


@router.get("/api/admin/tenants", summary="Tenants by name")
def list_tenants(
    services: Offered,
    caller: Admin,
    after: Annotated[str, Query(max_length=128, description="Those behind this name.")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> Accounts:
    """List the declared tenants."""
    del caller
    found = accounts.list_tenants(services.store, after=after, limit=limit)
    more = found[-1].account.tenant if len(found) == limit else None
    return Accounts(tenants=[_account(tenant) for tenant in found], next_after=more)


@router.post(
    "/api/admin/tenants",
    summary="Declare a tenant",
    status_code=201,
    responses=responses(Code.ALREADY_EXISTS),
)
def add_tenant(services: Offered, caller: Admin, body: NewTenant) -> AccountView:
    """Declare a tenant with its limits, zone, tier and mode."""
    by = by_of(services, caller)
    return _account(done(lambda: accounts.add(services.store, body.tenant, body.change(), by)))


@router.get(
    "/api/admin/tenants/{tenant}", summary="One tenant", responses=responses(Code.NOT_FOUND)
)  # fmt: skip
def show_tenant(services: Offered, caller: Admin, tenant: TenantPath) -> AccountView:
    """Show a tenant that was declared or has asked before."""
    del caller
    found = accounts.get(services.store, tenant)
    if found is None:
        raise Problem(Code.NOT_FOUND, "there is no such tenant")
    return _account(found)


@router.patch(
    "/api/admin/tenants/{tenant}", summary="Change a tenant", responses=responses(Code.NOT_FOUND)
)  # fmt: skip
def set_tenant(services: Offered, caller: Admin, tenant: TenantPath, body: AccountBody) -> AccountView:
    """Change what is given, and nothing else. Limits hold from the next decision on."""
    by = by_of(services, caller)
    return _account(done(lambda: accounts.change(services.store, tenant, body.change(), by)))


@router.get("/api/admin/defaults", summary="The defaults of tenants that were not declared")
def show_defaults(services: Offered, caller: Admin) -> AccountView:
    """Show the defaults, and the global mode as theirs."""
    del caller
    found = accounts.get(services.store, accounts.DEFAULTS)
    assert found is not None  # noqa: S101 - the first migration made it
    return _account(found)


@router.patch("/api/admin/defaults", summary="Change the defaults")
def set_defaults(services: Offered, caller: Admin, body: AccountBody) -> AccountView:
    """Change the defaults of tenants that were not declared."""
    by = by_of(services, caller)
    return _account(
        done(lambda: accounts.change(services.store, accounts.DEFAULTS, body.change(), by))
    )  # fmt: skip


@router.put("/api/admin/mode", summary="Set the global mode")
def set_mode(services: Offered, caller: Admin, body: ModeBody) -> ModeBody:
    """Set the mode of all tenants that have none of their own."""
    accounts.set_global_mode(services.store, body.mode, by_of(services, caller))
    return body


@router.get("/api/admin/tenants/{tenant}/keys", summary="A tenant's API keys")
def list_keys(services: Offered, caller: Admin, tenant: TenantPath) -> Keys:
    """List keys, without their secrets, the revoked ones too."""
    del caller
    return Keys(keys=[_key(key) for key in api_keys.list_keys(services.store, tenant)])


@router.post("/api/admin/tenants/{tenant}/keys", summary="Make an API key", status_code=201)
def add_key(services: Offered, caller: Admin, tenant: TenantPath, body: KeyBody) -> NewKey:
    """Make a key; its secret is in this answer and nowhere else."""
    key, secret = done(
        lambda: api_keys.create(
            services.store, tenant, name=body.name, scopes=body.scopes, tenant_from_subject=body.tenant_from_subject,
            expires_at_ms=body.expires_at_ms, by=by_of(services, caller), random_hex=services.random_hex,
        )
    )  # fmt: skip
    return NewKey(**_key(key).model_dump(), secret=secret)


@router.delete("/api/admin/keys/{key_id}", summary="Revoke an API key", responses=responses(Code.NOT_FOUND))
def revoke_key(
    services: Offered, caller: Admin, key_id: Annotated[str, Path(min_length=1, max_length=32)]
) -> KeyView:
    """Revoke a key for ever."""
    return _key(done(lambda: api_keys.revoke(services.store, key_id, by_of(services, caller))))


@router.post(
    "/api/admin/tenants/{tenant}/credits",
    summary="Mint credits",
    status_code=201,
    responses=responses(Code.IDEMPOTENCY_CONFLICT),
)
def mint(services: Offered, caller: Admin, tenant: TenantPath, body: MintBody, key: KeyHeader = None) -> Lot:
    """Mint a lot once for each key of the tenant."""
    own_key = key_or_refuse(key)
    minted = done(
        lambda: mint_lot(
            services.store, tenant, body.amount_micro, key=own_key, pool=body.pool_id, source=body.source,
            priority=body.priority, expires_at_ms=body.expires_at_ms, by=by_of(services, caller),
            random_hex=services.random_hex,
        )
    )  # fmt: skip
    lot = minted.lot
    return Lot(
        lot_id=lot.id, tenant=lot.tenant, pool_id=lot.pool, source=lot.source, amount=str(lot.amount_micro),
        remaining=str(lot.remaining_micro), priority=lot.priority,
        expires_at=None if lot.expires_at_ms is None else moment(lot.expires_at_ms),
        minted_at=moment(lot.minted_at_ms), is_replay=minted.is_replay,
    )  # fmt: skip


@router.get("/api/admin/audit", summary="The audit, newest first")
def list_audit(  # noqa: PLR0913, PLR0917 - the question
    services: Offered,
    caller: Admin,
    tenant: Annotated[str | None, Query(max_length=128)] = None,
    action: Annotated[str, Query(max_length=64, examples=["payment_settled"])] = "",
    before: Annotated[int | None, Query(ge=0, le=2**53, description="Entries older than this id.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> Listed:
    """List entries; `millrace audit verify` checks their chains."""
    del caller
    rows = audit.entries(services.store, chain=tenant, action=action, before=before, limit=limit)
    return Listed(rows=[dict(row) for row in rows])


@router.get("/api/admin/caps/report", summary="What another mode would have done")
def caps_report(
    services: Offered,
    caller: Admin,
    days: Annotated[int, Query(ge=1, le=90)] = 7,
    tenant: Annotated[str | None, Query(max_length=128)] = None,
) -> Listed:
    """Sum the last days' requests beyond a cap: refused, and let through."""
    del caller
    since = services.clock.now_ms() - days * DAY_MS
    lines = report.compare(services.store, since, tenant)
    return Listed(
        rows=[
            {
                "tenant": line.tenant, "mode": line.mode, "refusedRequests": line.refused_requests,
                "refusedMicro": str(line.refused_micro), "passedRequests": line.passed_requests,
                "passedMicro": str(line.passed_micro),
            }
            for line in lines
        ]
    )  # fmt: skip


@router.get("/api/admin/deliveries", summary="Alerts on their way")
def deliveries(
    services: Offered,
    caller: Admin,
    state: Annotated[str, Query(pattern="^(|pending|delivered|dead)$")] = "",
    before: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> Listed:
    """List deliveries with their alerts, newest first."""
    del caller
    rows = list_deliveries(services.store, state=state, before=before, limit=limit)
    return Listed(rows=[dict(row) for row in rows])


@router.post("/api/admin/deliveries/replay", summary="Send dead letters again")
def replay_dead(services: Offered, caller: Admin) -> Replayed:
    """Send all dead letters again."""
    del caller
    return Replayed(count=replay(services.store, services.clock.now_ms()))


def _account(tenant: Tenant) -> AccountView:
    account = tenant.account
    day, month = account.daily_limit_micro_usd, account.monthly_limit_micro_usd
    return AccountView(
        tenant=account.tenant,
        display_name=account.display_name,
        time_zone=account.time_zone,
        stripe_customer=account.stripe_customer,
        daily_limit=None if day is None else str(day),
        monthly_limit=None if month is None else str(month),
        thresholds_percent=list(account.thresholds_percent),
        tier=tenant.tier,
        mode=tenant.mode,
        own_mode=tenant.own_mode,
        is_declared=tenant.is_declared,
        held=str(tenant.held_micro),
        as_of=None if tenant.as_of_ms is None else moment(tenant.as_of_ms),
    )


def _key(key: ApiKey) -> KeyView:
    return KeyView(
        key_id=key.id,
        tenant=key.tenant,
        name=key.name,
        scopes=sorted(key.scopes),
        tenant_from_subject=key.tenant_from_subject,
        created_at=moment(key.created_at_ms),
        expires_at=None if key.expires_at_ms is None else moment(key.expires_at_ms),
        revoked_at=None if key.revoked_at_ms is None else moment(key.revoked_at_ms),
    )
