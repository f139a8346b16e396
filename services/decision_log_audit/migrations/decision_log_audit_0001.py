"""Chains and audit records."""

from spine.migration_script import run_script
from spine.tables import STAMP_DDL

revision = "decision_log_audit_0001"
down_revision = None
branch_labels = ("decision_log_audit",)
depends_on = "spine_0001"


def upgrade() -> None:
    """Create the tables."""
    run_script(f"""
CREATE TABLE chain (
    platform_run_id text NOT NULL,
    decision_id bytea NOT NULL,
    chain_status text NOT NULL CHECK (chain_status IN ('UNRESOLVED', 'RESOLVED')),
    unresolved_reasons text NOT NULL,
    decision bytea,
    decision_ref bytea,
    intent_ref bytea,
    outcome_ref bytea,
    cause bytea,
    {STAMP_DDL},
    PRIMARY KEY (platform_run_id, decision_id)
);
-- What waits is few among what was ever audited; it is asked for by run, oldest first.
CREATE INDEX chain_unresolved ON chain (platform_run_id, recorded_at) WHERE chain_status = 'UNRESOLVED';
CREATE TABLE audit_record (
    audit_id bytea PRIMARY KEY,
    platform_run_id text NOT NULL,
    decision_id bytea NOT NULL,
    source_event_id text NOT NULL,
    record bytea NOT NULL,
    record_digest bytea NOT NULL,
    {STAMP_DDL},
    -- The decision first: people ask by it alone.
    UNIQUE (decision_id, platform_run_id)
);
""")
