"""What became of each lane's ownership, for the operator (spine.handovers)."""

from alembic import context

from spine.migration_script import run_script

revision = "spine_0003"
down_revision = "spine_0002"
branch_labels = None
depends_on = None

_DDL = """
CREATE TABLE handover (
    handover_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- No foreign key to lane: its check would wait behind the batch that holds the lane's row.
    lane int NOT NULL,
    epoch bigint NOT NULL,
    event text NOT NULL CHECK (event IN ('CLAIMED', 'BEGAN', 'READY', 'RESEEK', 'RENEWAL_MISSED', 'LEASE_IN_DOUBT', 'LEASE_LOST',
                                         'FENCED', 'STOPPED', 'FAILED', 'DRAINED', 'RELEASED')),
    worker_id text NOT NULL,
    reason text NOT NULL,
    duration_ms bigint
);
CREATE INDEX handover_at ON handover (at);
"""

_GRANTS = """
GRANT SELECT, INSERT ON {schema}.handover TO {role};
"""


def upgrade() -> None:
    """Create the table; a service's role may add rows and read them, and never rewrite one."""
    run_script(_DDL)
    run_script(_GRANTS.format(schema=context.config.attributes["schema"], role=context.config.attributes["role"]))
