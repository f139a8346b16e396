"""That the identities of a closed run are gone (spine.retention)."""

from spine.migration_script import run_script

revision = "spine_0005"
down_revision = "spine_0004"
branch_labels = None
depends_on = None

_DDL = """
ALTER TABLE run ADD COLUMN dropped_at timestamptz CHECK (dropped_at IS NULL OR state = 'CLOSED');
"""


def upgrade() -> None:
    """Add the column."""
    run_script(_DDL)
