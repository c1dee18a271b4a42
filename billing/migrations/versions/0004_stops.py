"""What has stopped at Stripe: customers, subscriptions, meters."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "stops",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("stopped_at", sa.BigInteger),
        sa.Column("resumed_at", sa.BigInteger),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.Column("seen_created", sa.BigInteger, nullable=False),
        sa.Column("seen_event_id", sa.String(255), nullable=False),
    )
