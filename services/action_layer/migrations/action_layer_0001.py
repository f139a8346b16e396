"""Executions and outcomes."""

from spine.migration_script import run_script
from spine.tables import STAMP_DDL

revision = "action_layer_0001"
down_revision = None
branch_labels = ("action_layer",)
depends_on = "spine_0001"


def upgrade() -> None:
    """Create the tables."""
    run_script(f"""
CREATE TABLE execution (
    idempotency_key bytea PRIMARY KEY,
    platform_run_id text NOT NULL,
    intent_event_id text NOT NULL,
    decision_id bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('EXECUTING', 'TERMINAL')),
    intent bytea NOT NULL,
    {STAMP_DDL}
);
CREATE TABLE outcome (
    outcome_id bytea PRIMARY KEY,
    platform_run_id text NOT NULL,
    idempotency_key bytea NOT NULL UNIQUE,
    decision_id bytea NOT NULL,
    action_kind text NOT NULL,
    status text NOT NULL,
    terminal_state text NOT NULL,
    reason text,
    provider_ref text,
    {STAMP_DDL}
);
""")
