"""The tables of the control store. Moments are whole seconds since 1970 in UTC; amounts are integers.

`billing/migrations` makes them; a test holds both together.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import Boolean

metadata = MetaData()
Moment = BigInteger
Key = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the type is INTEGER."""

# Single values: which account and mode the store belongs to, where a restore was noticed.
facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

# What each meter has summed since its first report; a meter never changes its meaning.
meters = Table(
    "meters",
    metadata,
    Column("event_name", String(100), primary_key=True),
    Column("definition", Text, nullable=False),
    Column("meter_id", String(255), nullable=False, server_default=""),
    Column("product_id", String(255), nullable=False, server_default=""),
    Column("price_id", String(255), nullable=False, server_default=""),
)

# Customers that setup created or adopted for tenants whose account names none.
customers = Table(
    "customers",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("customer", String(255), nullable=False),
    Column("adopted_at", Moment, nullable=False),
)

# Frozen reports and where they stand. The columns up to created_at never change.
intents = Table(
    "intents",
    metadata,
    Column("id", Key, primary_key=True),
    Column("identifier", String(100), nullable=False, unique=True),
    Column("namespace", String(64), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("customer", String(255), nullable=False),
    Column("event_name", String(100), nullable=False),
    Column("window_start", Moment, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("origin_start", Moment, nullable=False),
    Column("api_version", String(32), nullable=False),
    Column("sdk_version", String(32), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("state", String(16), nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("key_number", Integer, nullable=False, server_default=text("1")),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("uncertain_attempt", Integer, nullable=False, server_default=text("0")),
    Column("uncertain_since", Moment),
    Column("last_attempt_at", Moment),
    Column("retry_at", Moment, nullable=False, server_default=text("0")),
    Column("zero_reads", Integer, nullable=False, server_default=text("0")),
    Column("last_read_at", Moment),
    Column("accepted_at", Moment),
    Column("settled_at", Moment),
    UniqueConstraint("event_name", "customer", "window_start", "slot", name="one_report_for_each_minute"),
    Index("intents_by_state", "state", "retry_at"),
    Index("intents_by_tenant", "event_name", "tenant", "origin_start"),
    Index("intents_by_lane", "event_name", "customer", "state", "window_start", "slot"),
)

# Every attempt, written before its bytes leave.
attempts = Table(
    "attempts",
    metadata,
    Column("id", Key, primary_key=True),
    Column("intent_id", BigInteger, ForeignKey("intents.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("idempotency_key", String(255), nullable=False),
    Column("owner", String(128), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("result", String(32), nullable=False, server_default=""),
    Column("http_status", Integer, nullable=False, server_default=text("0")),
    Column("request_id", String(255), nullable=False, server_default=""),
    Column("detail", Text, nullable=False, server_default=""),
    Index("attempts_by_intent", "intent_id"),
)

# One lease with a fencing number for each customer's meter.
lanes = Table(
    "lanes",
    metadata,
    Column("customer", String(255), primary_key=True),
    Column("event_name", String(100), primary_key=True),
    Column("owner", String(128), nullable=False, server_default=""),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("leased_until", Moment, nullable=False, server_default=text("0")),
    Column("in_flight", Boolean, nullable=False, server_default=false()),
    Column("paused_until", Moment, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("served_at", Moment, nullable=False, server_default=text("0")),
    Column("due_at", Moment, nullable=False, server_default=text("0")),
    Column("held", Boolean, nullable=False, server_default=false()),
    Index("lanes_by_due", "due_at"),
)

# Work that recurs: one lease with a fencing number for each kind, so that one process at a time does it.
loops = Table(
    "loops",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("owner", String(128), nullable=False, server_default=""),
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    Column("leased_until", Moment, nullable=False, server_default=text("0")),
    Column("due_at", Moment, nullable=False, server_default=text("0")),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("succeeded_at", Moment),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("detail", Text, nullable=False, server_default=""),
)

# What the provider told about invoices: after finalisation usage of the period is billed no more.
invoices = Table(
    "invoices",
    metadata,
    Column("invoice_id", String(255), primary_key=True),
    Column("customer", String(255), nullable=False),
    Column("period_start", Moment, nullable=False),
    Column("period_end", Moment, nullable=False),
    Column("status", String(32), nullable=False),
    Column("finalized_at", Moment),
    Column("seen_created", Moment, nullable=False),
    Column("seen_event_id", String(255), nullable=False),
    Index("invoices_by_customer", "customer", "period_end"),
)

# What has stopped at Stripe, and begun again: customers, their subscriptions, meters.
stops = Table(
    "stops",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("stopped_at", Moment),
    Column("resumed_at", Moment),
    Column("detail", Text, nullable=False, server_default=""),
    Column("seen_created", Moment, nullable=False),
    Column("seen_event_id", String(255), nullable=False),
)

# Webhooks as they came, stored before they are acknowledged.
provider_events = Table(
    "provider_events",
    metadata,
    Column("provider", String(32), primary_key=True),
    Column("event_id", String(255), primary_key=True),
    Column("type", String(128), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("handled_at", Moment),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("retry_at", Moment, nullable=False, server_default=text("0")),
    Column("error", Text, nullable=False, server_default=""),
    Column("body", Text, nullable=False),
    Index("provider_events_to_handle", "handled_at", "retry_at"),
)

# Each comparison with the provider, kept with the data.
reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Key, primary_key=True),
    Column("made_at", Moment, nullable=False),
    Column("windows", Integer, nullable=False),
    Column("differences", Integer, nullable=False),
    Column("result", Text, nullable=False),
)

# What people decided, and each settlement: chained by hash, tenant by tenant; `billing.audit` writes it.
audit = Table(
    "audit",
    metadata,
    Column("id", Key, primary_key=True),
    Column("made_at", Moment, nullable=False),
    Column("who", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("detail", Text, nullable=False),
    Column("before", Text, nullable=False, server_default=""),
    Column("after", Text, nullable=False, server_default=""),
    Column("request_id", String(255), nullable=False, server_default=""),
    Column("chain", String(128), nullable=False, server_default=""),
    Column("number", BigInteger, nullable=False, server_default=text("0")),
    Column("previous", String(64), nullable=False, server_default=""),
    Column("hash", String(64), nullable=False, server_default=""),
    Index("audit_by_chain", "chain", "number", unique=True),
)
