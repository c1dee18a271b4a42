"""The tables of accounts and caps. Moments are milliseconds since 1970 in UTC, amounts whole micro-USD.

What must never be wrong is a constraint of the database: no negative holds, no lot below nothing or above its
amount, no settlement twice, no credit twice. `audit`, `entries` and `settlements` are only ever added to: triggers
refuse all else.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from billing.tables import Key, metadata

Millis = BigInteger
Micro = BigInteger

# Who pays. The row of the empty name has the defaults of tenants that were not declared, and the global mode.
tenants = Table(
    "tenants",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("is_declared", Boolean, nullable=False, server_default=false()),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("time_zone", String(64), nullable=False, server_default="UTC"),
    Column("stripe_customer", String(255), nullable=False, server_default=""),
    Column("thresholds_percent", Text, nullable=False, server_default="80,100"),
    Column("daily_limit_micro", Micro),
    Column("monthly_limit_micro", Micro),
    Column("tier", String(64), nullable=False, server_default=""),
    Column("mode", String(8), nullable=False, server_default=""),
    Column("held_micro", Micro, nullable=False, server_default=text("0")),
    Column("as_of_ms", Millis),
    Column("figures_version", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at_ms", Millis, nullable=False),
    Column("changed_at_ms", Millis, nullable=False),
    CheckConstraint("held_micro >= 0", name="no_negative_hold"),
    CheckConstraint("daily_limit_micro >= 0 AND monthly_limit_micro >= 0", name="no_negative_limit"),
)

# The pipeline's windows as they were last read, and what was settled that they do not hold yet.
spend_windows = Table(
    "spend_windows",
    metadata,
    Column("tenant", String(128), ForeignKey("tenants.tenant"), primary_key=True),
    Column("window", String(8), primary_key=True),
    Column("start_s", BigInteger, primary_key=True),
    Column("ledger_micro", Micro, nullable=False, server_default=text("0")),
    Column("ledger_residual_pico", Integer, nullable=False, server_default=text("0")),
    Column("pending_micro", Micro, nullable=False, server_default=text("0")),
    Column("level_percent", Integer, nullable=False, server_default=text("0")),
    CheckConstraint("pending_micro >= 0", name="no_negative_pending"),
    CheckConstraint("ledger_residual_pico BETWEEN 0 AND 999999", name="residual_below_a_micro"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(128), ForeignKey("tenants.tenant"), nullable=False),
    Column("amount_micro", Micro, nullable=False),
    Column("method", String(16), nullable=False),
    Column("pool", String(64), nullable=False),
    Column("mode", String(8), nullable=False),
    Column("context", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at_ms", Millis, nullable=False),
    Column("expires_at_ms", Millis, nullable=False),
    Column("closed_at_ms", Millis),
    CheckConstraint("amount_micro >= 0", name="no_negative_reservation"),
    CheckConstraint("(state = 'open') = (closed_at_ms IS NULL)", name="open_until_closed"),
    Index("reservations_by_state", "tenant", "state", "expires_at_ms"),
    Index("reservations_by_expiry", "state", "expires_at_ms"),
)

# Each settlement once, under an id that its reservation or its key gives it.
settlements = Table(
    "settlements",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(128), ForeignKey("tenants.tenant"), nullable=False),
    Column("reservation_id", String(64), ForeignKey("reservations.id"), unique=True),
    Column("idempotency_key", String(255), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("amount_micro", Micro, nullable=False),
    Column("overrun_micro", Micro, nullable=False),
    Column("credit_micro", Micro, nullable=False),
    Column("shortfall_micro", Micro, nullable=False),
    Column("method", String(16), nullable=False),
    Column("mode", String(8), nullable=False),
    Column("settled_at_ms", Millis, nullable=False),
    Column("outcome", Text, nullable=False),
    CheckConstraint(
        "amount_micro >= 0 AND overrun_micro BETWEEN 0 AND amount_micro", name="overrun_is_a_part"
    ),
    CheckConstraint("credit_micro >= 0 AND shortfall_micro >= 0", name="no_negative_credit"),
    Index("settlements_by_tenant", "tenant", "settled_at_ms"),
)

# The usage events that settlements emit: written with them, handed to the event log, then awaited in the ledger.
usage_events = Table(
    "usage_events",
    metadata,
    Column("id", Key, primary_key=True),
    Column("key", String(255), nullable=False, unique=True),
    Column("settlement_id", String(64), ForeignKey("settlements.id"), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("amount_micro", Micro, nullable=False),
    Column("occurred_at_ms", Millis, nullable=False),
    Column("day_start_s", BigInteger, nullable=False),
    Column("month_start_s", BigInteger, nullable=False),
    Column("line", Text, nullable=False),
    Column("sent_at_ms", Millis),
    Column("seen_at_ms", Millis),
    Column("seen_micro", Micro, nullable=False, server_default=text("0")),
    Index("usage_events_to_send", "sent_at_ms", "id"),
    Index("usage_events_to_see", "seen_at_ms", "tenant", "occurred_at_ms"),
)

lots = Table(
    "lots",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(128), ForeignKey("tenants.tenant"), nullable=False),
    Column("pool", String(64), nullable=False),
    Column("source", String(64), nullable=False),
    Column("amount_micro", Micro, nullable=False),
    Column("remaining_micro", Micro, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("expires_at_ms", Millis),
    Column("key", String(255), nullable=False),
    Column("minted_at_ms", Millis, nullable=False),
    UniqueConstraint("tenant", "key", name="minted_once"),
    CheckConstraint("amount_micro > 0", name="a_lot_is_something"),
    CheckConstraint("remaining_micro BETWEEN 0 AND amount_micro", name="remaining_within_the_lot"),
    Index("lots_by_tenant", "tenant", "pool", "expires_at_ms"),
)

# What happened to money, line by line; the lines of a lot add up to what remains of it.
entries = Table(
    "entries",
    metadata,
    Column("id", Key, primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column("entry_type", String(16), nullable=False),
    Column("pool", String(64), nullable=False),
    Column("amount_micro", Micro, nullable=False),
    Column("lot_id", String(64), ForeignKey("lots.id")),
    Column("reservation_id", String(64), nullable=False, server_default=""),
    Column("settlement_id", String(64), nullable=False, server_default=""),
    Column("made_at_ms", Millis, nullable=False),
    UniqueConstraint("lot_id", "entry_type", "settlement_id", name="a_lot_pays_once"),
    Index("entries_by_tenant", "tenant", "id"),
)

# First answers, by scope and idempotency key.
answers = Table(
    "answers",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("scope", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("made_at_ms", Millis, nullable=False),
    Index("answers_by_age", "made_at_ms"),
)

# Each request that exceeded a cap, whether the mode let it through or not.
refusals = Table(
    "refusals",
    metadata,
    Column("id", Key, primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column("asked", String(16), nullable=False),
    Column("window", String(8), nullable=False),
    Column("window_start_s", BigInteger, nullable=False),
    Column("amount_micro", Micro, nullable=False),
    Column("limit_micro", Micro, nullable=False),
    Column("current_micro", Micro, nullable=False),
    Column("mode", String(8), nullable=False),
    Column("caller", String(255), nullable=False),
    Column("request_id", String(255), nullable=False),
    Column("decided_at_ms", Millis, nullable=False),
    Index("refusals_by_tenant", "tenant", "decided_at_ms"),
    Index("refusals_by_age", "decided_at_ms"),
)

# What someone is to be told; written with what caused it.
alerts = Table(
    "alerts",
    metadata,
    Column("id", Key, primary_key=True),
    Column("dedupe", String(255), nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("body", Text, nullable=False),
    Column("made_at_ms", Millis, nullable=False),
    Column("addressed_at_ms", Millis),
    Index("alerts_to_address", "addressed_at_ms", "id"),
)

# One alert on its way to one target.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Key, primary_key=True),
    Column("alert_id", BigInteger, ForeignKey("alerts.id"), nullable=False),
    Column("target", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at_ms", Millis, nullable=False),
    Column("leased_until_ms", Millis, nullable=False, server_default=text("0")),
    Column("detail", Text, nullable=False, server_default=""),
    Column("delivered_at_ms", Millis),
    UniqueConstraint("alert_id", "target", name="one_delivery_for_each_target"),
    Index("deliveries_due", "state", "due_at_ms"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("tenant", String(128), ForeignKey("tenants.tenant"), nullable=False),
    Column("name", Text, nullable=False),
    Column("salt", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("tenant_from_subject", Boolean, nullable=False, server_default=false()),
    Column("created_at_ms", Millis, nullable=False),
    Column("expires_at_ms", Millis),
    Column("revoked_at_ms", Millis),
    Index("api_keys_by_tenant", "tenant"),
)

# Who causes a tenant's cost, by a name that people know. Events may name others, too.
principals = Table(
    "principals",
    metadata,
    Column("tenant", String(128), ForeignKey("tenants.tenant"), primary_key=True),
    Column("principal", String(255), primary_key=True),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("kind", String(32), nullable=False, server_default=""),
    Column("created_at_ms", Millis, nullable=False),
    Column("removed_at_ms", Millis),
)

# The last link of each chain of the audit: a chain that was cut short is found by it.
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("chain", String(128), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
