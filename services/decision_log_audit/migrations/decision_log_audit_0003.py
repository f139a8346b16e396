"""No housekeeping of young tables."""

from spine.migration_script import run_script
from spine.tables import A_ROW_AN_EVENT

revision = "decision_log_audit_0003"
down_revision = "decision_log_audit_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Set what the store does beside what it is asked (docs/decisions/2026-11-25-store-upkeep.md)."""
    run_script(f"""
ALTER TABLE chain SET ({A_ROW_AN_EVENT});
ALTER TABLE audit_record SET ({A_ROW_AN_EVENT});
""")
