"""Room for the one rewrite of an execution, and no housekeeping of young tables."""

from spine.migration_script import run_script
from spine.tables import A_ROW_AN_EVENT, REWRITTEN_ONCE

revision = "action_layer_0002"
down_revision = "action_layer_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Set what the store does beside what it is asked (docs/decisions/2026-11-25-store-upkeep.md)."""
    run_script(f"""
ALTER TABLE execution SET ({A_ROW_AN_EVENT}, {REWRITTEN_ONCE});
ALTER TABLE outcome SET ({A_ROW_AN_EVENT});
""")
