"""No housekeeping of young tables."""

from spine.migration_script import run_script
from spine.tables import A_ROW_AN_EVENT

revision = "decision_fabric_0002"
down_revision = "decision_fabric_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Set what the store does beside what it is asked (docs/decisions/2026-11-25-store-upkeep.md)."""
    run_script(f"""
ALTER TABLE anchor SET ({A_ROW_AN_EVENT});
ALTER TABLE decision SET ({A_ROW_AN_EVENT});
""")
