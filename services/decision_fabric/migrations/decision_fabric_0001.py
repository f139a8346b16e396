"""Anchors, velocities and decisions."""

from spine.migration_script import run_script
from spine.tables import STAMP_DDL

revision = "decision_fabric_0001"
down_revision = None
branch_labels = ("decision_fabric",)
depends_on = "spine_0001"


def upgrade() -> None:
    """Create the tables."""
    run_script(f"""
CREATE TABLE anchor (
    platform_run_id text NOT NULL,
    flow_id text NOT NULL,
    event_id text NOT NULL,
    payload_hash bytea NOT NULL,
    merchant_id text NOT NULL,
    account_id text NOT NULL,
    party_id text NOT NULL,
    instrument_id text,
    device_id text,
    ip_id text,
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    cluster_id text NOT NULL,
    topic_uuid text NOT NULL,
    topic text NOT NULL,
    home_partition bigint NOT NULL,
    home_offset bigint NOT NULL,
    {STAMP_DDL},
    PRIMARY KEY (platform_run_id, flow_id)
);
CREATE TABLE velocity (
    platform_run_id text NOT NULL,
    dimension text NOT NULL,
    value text NOT NULL,
    buckets bytea NOT NULL,
    {STAMP_DDL},
    PRIMARY KEY (platform_run_id, dimension, value, lane)
);
CREATE TABLE decision (
    decision_id bytea PRIMARY KEY,
    platform_run_id text NOT NULL,
    source_event_id text NOT NULL,
    flow_id text NOT NULL,
    action_kind text NOT NULL,
    context_status text NOT NULL,
    snapshot_hash bytea NOT NULL,
    reason_codes text NOT NULL,
    decision_event_id text NOT NULL,
    {STAMP_DDL},
    UNIQUE (platform_run_id, source_event_id)
);
""")
