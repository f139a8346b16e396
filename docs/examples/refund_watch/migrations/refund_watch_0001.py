"""Refunds by flow."""

from spine.migration_script import run_script
from spine.tables import STAMP_DDL

revision = "refund_watch_0001"
down_revision = None
branch_labels = ("refund_watch",)
depends_on = "spine_0001"


def upgrade() -> None:
    """Create the table."""
    run_script(f"""
CREATE TABLE refunds (
    platform_run_id text NOT NULL,
    flow_id text NOT NULL,
    refunds bigint NOT NULL,
    amount_minor bigint NOT NULL,
    {STAMP_DDL},
    PRIMARY KEY (platform_run_id, flow_id)
);
""")
