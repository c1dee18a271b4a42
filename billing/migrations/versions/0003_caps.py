"""Accounts and caps: tenants, keys, windows, reservations, settlements, credits, alerts; the audit becomes a chain."""

import sqlalchemy as sa
from alembic import op

from billing.chain import Link, link_hash

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_ONLY_ADDED = ("audit", "entries", "settlements")


def upgrade() -> None:
    """Make the tables, put the audit that is there into its chain, and let nothing change what is only added to."""
    _accounts()
    _money()
    _alerts()
    _chain_the_audit()
    for table in _ONLY_ADDED:
        _refuse_changes(table)
    op.execute("INSERT INTO tenants (tenant, mode, created_at_ms, changed_at_ms) VALUES ('', 'live', 0, 0)")


def _accounts() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("is_declared", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("display_name", sa.Text, nullable=False, server_default=""),
        sa.Column("time_zone", sa.String(64), nullable=False, server_default="UTC"),
        sa.Column("stripe_customer", sa.String(255), nullable=False, server_default=""),
        sa.Column("thresholds_percent", sa.Text, nullable=False, server_default="80,100"),
        sa.Column("daily_limit_micro", sa.BigInteger),
        sa.Column("monthly_limit_micro", sa.BigInteger),
        sa.Column("tier", sa.String(64), nullable=False, server_default=""),
        sa.Column("mode", sa.String(8), nullable=False, server_default=""),
        sa.Column("held_micro", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("as_of_ms", sa.BigInteger),
        sa.Column("figures_version", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("held_micro >= 0", name="no_negative_hold"),
        sa.CheckConstraint("daily_limit_micro >= 0 AND monthly_limit_micro >= 0", name="no_negative_limit"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("tenant", sa.String(128), sa.ForeignKey("tenants.tenant"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("tenant_from_subject", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
        sa.Column("revoked_at_ms", sa.BigInteger),
    )
    op.create_index("api_keys_by_tenant", "api_keys", ["tenant"])
    op.create_table(
        "audit_heads",
        sa.Column("chain", sa.String(128), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )


def _money() -> None:
    op.create_table(
        "spend_windows",
        sa.Column("tenant", sa.String(128), sa.ForeignKey("tenants.tenant"), primary_key=True),
        sa.Column("window", sa.String(8), primary_key=True),
        sa.Column("start_s", sa.BigInteger, primary_key=True),
        sa.Column("ledger_micro", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("ledger_residual_pico", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("pending_micro", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("level_percent", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.CheckConstraint("pending_micro >= 0", name="no_negative_pending"),
        sa.CheckConstraint("ledger_residual_pico BETWEEN 0 AND 999999", name="residual_below_a_micro"),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(128), sa.ForeignKey("tenants.tenant"), nullable=False),
        sa.Column("amount_micro", sa.BigInteger, nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("pool", sa.String(64), nullable=False),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("context", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
        sa.Column("closed_at_ms", sa.BigInteger),
        sa.CheckConstraint("amount_micro >= 0", name="no_negative_reservation"),
        sa.CheckConstraint("(state = 'open') = (closed_at_ms IS NULL)", name="open_until_closed"),
    )
    op.create_index("reservations_by_state", "reservations", ["tenant", "state", "expires_at_ms"])
    op.create_index("reservations_by_expiry", "reservations", ["state", "expires_at_ms"])
    op.create_table(
        "settlements",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(128), sa.ForeignKey("tenants.tenant"), nullable=False),
        sa.Column("reservation_id", sa.String(64), sa.ForeignKey("reservations.id"), unique=True),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("amount_micro", sa.BigInteger, nullable=False),
        sa.Column("overrun_micro", sa.BigInteger, nullable=False),
        sa.Column("credit_micro", sa.BigInteger, nullable=False),
        sa.Column("shortfall_micro", sa.BigInteger, nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("settled_at_ms", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.CheckConstraint(
            "amount_micro >= 0 AND overrun_micro BETWEEN 0 AND amount_micro", name="overrun_is_a_part"
        ),
        sa.CheckConstraint("credit_micro >= 0 AND shortfall_micro >= 0", name="no_negative_credit"),
    )
    op.create_index("settlements_by_tenant", "settlements", ["tenant", "settled_at_ms"])
    op.create_table(
        "usage_events",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("key", sa.String(255), nullable=False, unique=True),
        sa.Column("settlement_id", sa.String(64), sa.ForeignKey("settlements.id"), nullable=False),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("amount_micro", sa.BigInteger, nullable=False),
        sa.Column("occurred_at_ms", sa.BigInteger, nullable=False),
        sa.Column("day_start_s", sa.BigInteger, nullable=False),
        sa.Column("month_start_s", sa.BigInteger, nullable=False),
        sa.Column("line", sa.Text, nullable=False),
        sa.Column("sent_at_ms", sa.BigInteger),
        sa.Column("seen_at_ms", sa.BigInteger),
        sa.Column("seen_micro", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    )
    op.create_index("usage_events_to_send", "usage_events", ["sent_at_ms", "id"])
    op.create_index("usage_events_to_see", "usage_events", ["seen_at_ms", "tenant", "occurred_at_ms"])
    op.create_table(
        "lots",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("tenant", sa.String(128), sa.ForeignKey("tenants.tenant"), nullable=False),
        sa.Column("pool", sa.String(64), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("amount_micro", sa.BigInteger, nullable=False),
        sa.Column("remaining_micro", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("minted_at_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("tenant", "key", name="minted_once"),
        sa.CheckConstraint("amount_micro > 0", name="a_lot_is_something"),
        sa.CheckConstraint("remaining_micro BETWEEN 0 AND amount_micro", name="remaining_within_the_lot"),
    )
    op.create_index("lots_by_tenant", "lots", ["tenant", "pool", "expires_at_ms"])
    op.create_table(
        "entries",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("entry_type", sa.String(16), nullable=False),
        sa.Column("pool", sa.String(64), nullable=False),
        sa.Column("amount_micro", sa.BigInteger, nullable=False),
        sa.Column("lot_id", sa.String(64), sa.ForeignKey("lots.id")),
        sa.Column("reservation_id", sa.String(64), nullable=False, server_default=""),
        sa.Column("settlement_id", sa.String(64), nullable=False, server_default=""),
        sa.Column("made_at_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("lot_id", "entry_type", "settlement_id", name="a_lot_pays_once"),
    )
    op.create_index("entries_by_tenant", "entries", ["tenant", "id"])
    op.create_table(
        "answers",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("made_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("answers_by_age", "answers", ["made_at_ms"])
    op.create_table(
        "refusals",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("asked", sa.String(16), nullable=False),
        sa.Column("window", sa.String(8), nullable=False),
        sa.Column("window_start_s", sa.BigInteger, nullable=False),
        sa.Column("amount_micro", sa.BigInteger, nullable=False),
        sa.Column("limit_micro", sa.BigInteger, nullable=False),
        sa.Column("current_micro", sa.BigInteger, nullable=False),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("caller", sa.String(255), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("refusals_by_tenant", "refusals", ["tenant", "decided_at_ms"])
    op.create_index("refusals_by_age", "refusals", ["decided_at_ms"])


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("dedupe", sa.String(255), nullable=False, unique=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("tenant", sa.String(128), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("made_at_ms", sa.BigInteger, nullable=False),
        sa.Column("addressed_at_ms", sa.BigInteger),
    )
    op.create_index("alerts_to_address", "alerts", ["addressed_at_ms", "id"])
    op.create_table(
        "deliveries",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("alert_id", sa.BigInteger, sa.ForeignKey("alerts.id"), nullable=False),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("due_at_ms", sa.BigInteger, nullable=False),
        sa.Column("leased_until_ms", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.Column("delivered_at_ms", sa.BigInteger),
        sa.UniqueConstraint("alert_id", "target", name="one_delivery_for_each_target"),
    )
    op.create_index("deliveries_due", "deliveries", ["state", "due_at_ms"])


def _chain_the_audit() -> None:
    for name, kind in (
        ("before", sa.Text),
        ("after", sa.Text),
        ("request_id", sa.String(255)),
        ("chain", sa.String(128)),
        ("previous", sa.String(64)),
        ("hash", sa.String(64)),
    ):
        op.add_column("audit", sa.Column(name, kind, nullable=False, server_default=""))
    op.add_column("audit", sa.Column("number", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    connection = op.get_bind()
    columns = "id, made_at, who, action, subject, detail"
    number, previous = 0, ""
    for row in connection.execute(sa.text(f"SELECT {columns} FROM audit ORDER BY id")).all():  # noqa: S608 - ours
        number += 1
        link = Link(
            "", number, row.made_at, row.who, row.action, row.subject, row.detail, "", "", "", previous
        )
        values = {"id": row.id, "number": number, "previous": previous, "hash": link_hash(link)}
        connection.execute(
            sa.text("UPDATE audit SET number = :number, previous = :previous, hash = :hash WHERE id = :id"),
            values,
        )
        previous = link_hash(link)
    if number:
        values = {"number": number, "hash": previous}
        connection.execute(
            sa.text("INSERT INTO audit_heads (chain, number, hash) VALUES ('', :number, :hash)"), values
        )
    op.create_index("audit_by_chain", "audit", ["chain", "number"], unique=True)


def _refuse_changes(table: str) -> None:
    said = f"{table} is only added to"
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuses_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{said}'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_refuses_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_is_only_added_to()"
    )
