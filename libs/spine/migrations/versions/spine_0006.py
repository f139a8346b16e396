"""Room to rewrite rows where they stand, no housekeeping of young tables (docs/decisions/2026-11-25-store-upkeep.md)."""

from spine.migration_script import run_script
from spine.tables import A_ROW_AN_EVENT, REWRITTEN_ONCE

revision = "spine_0006"
down_revision = "spine_0005"
branch_labels = None
depends_on = None

_DDL = f"""
ALTER TABLE outbox SET ({A_ROW_AN_EVENT});
ALTER TABLE read_set SET ({A_ROW_AN_EVENT});
ALTER TABLE input SET ({A_ROW_AN_EVENT});
ALTER TABLE certificate SET ({A_ROW_AN_EVENT});
-- A call's row is rewritten when the call begins, in columns that no index has and no index's condition names.
ALTER TABLE pending SET ({REWRITTEN_ONCE});
"""


def upgrade() -> None:
    """Set what the store does beside what it is asked."""
    run_script(_DDL)
