"""The first tables: the outbox of reports, its attempts and lanes, and what the provider told."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "facts",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "meters",
        sa.Column("event_name", sa.String(100), primary_key=True),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("meter_id", sa.String(255), nullable=False, server_default=""),
        sa.Column("product_id", sa.String(255), nullable=False, server_default=""),
        sa.Column("price_id", sa.String(255), nullable=False, server_default=""),
    )
    op.create_table(
        "customers",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("customer", sa.String(255), nullable=False),
        sa.Column("adopted_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "intents",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("identifier", sa.String(100), nullable=False, unique=True),
        sa.Column("namespace", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("customer", sa.String(255), nullable=False),
        sa.Column("event_name", sa.String(100), nullable=False),
        sa.Column("window_start", sa.BigInteger, nullable=False),
        sa.Column("slot", sa.Integer, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.Column("origin_start", sa.BigInteger, nullable=False),
        sa.Column("api_version", sa.String(32), nullable=False),
        sa.Column("sdk_version", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("key_number", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("fence", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("uncertain_attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("uncertain_since", sa.BigInteger),
        sa.Column("last_attempt_at", sa.BigInteger),
        sa.Column("retry_at", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("zero_reads", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("last_read_at", sa.BigInteger),
        sa.Column("accepted_at", sa.BigInteger),
        sa.Column("settled_at", sa.BigInteger),
        sa.UniqueConstraint(
            "event_name", "customer", "window_start", "slot", name="one_report_for_each_minute"
        ),
    )
    op.create_index("intents_by_state", "intents", ["state", "retry_at"])
    op.create_index("intents_by_tenant", "intents", ["event_name", "tenant", "origin_start"])
    op.create_index("intents_by_lane", "intents", ["event_name", "customer", "state", "window_start", "slot"])
    op.create_table(
        "attempts",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("intent_id", sa.BigInteger, sa.ForeignKey("intents.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("result", sa.String(32), nullable=False, server_default=""),
        sa.Column("http_status", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("request_id", sa.String(255), nullable=False, server_default=""),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
    )
    op.create_index("attempts_by_intent", "attempts", ["intent_id"])
    op.create_table(
        "lanes",
        sa.Column("customer", sa.String(255), primary_key=True),
        sa.Column("event_name", sa.String(100), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False, server_default=""),
        sa.Column("fence", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("leased_until", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("in_flight", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("paused_until", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("served_at", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("due_at", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_index("lanes_by_due", "lanes", ["due_at"])
    op.create_table(
        "invoices",
        sa.Column("invoice_id", sa.String(255), primary_key=True),
        sa.Column("customer", sa.String(255), nullable=False),
        sa.Column("period_start", sa.BigInteger, nullable=False),
        sa.Column("period_end", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("finalized_at", sa.BigInteger),
        sa.Column("seen_created", sa.BigInteger, nullable=False),
        sa.Column("seen_event_id", sa.String(255), nullable=False),
    )
    op.create_index("invoices_by_customer", "invoices", ["customer", "period_end"])
    op.create_table(
        "provider_events",
        sa.Column("provider", sa.String(32), primary_key=True),
        sa.Column("event_id", sa.String(255), primary_key=True),
        sa.Column("type", sa.String(128), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("handled_at", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("retry_at", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("error", sa.Text, nullable=False, server_default=""),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("provider_events_to_handle", "provider_events", ["handled_at", "retry_at"])
    op.create_table(
        "reconciliations",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.Column("windows", sa.Integer, nullable=False),
        sa.Column("differences", sa.Integer, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
