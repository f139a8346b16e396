"""Rows of a chain and of a record stay uncompressed: that took more of the store's time than all the rest of a row."""

from spine.migration_script import run_script

revision = "decision_log_audit_0002"
down_revision = "decision_log_audit_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Set what the store does with rows above two kilobytes (docs/decisions/2026-11-24-hot-path.md)."""
    run_script("""
ALTER TABLE chain SET (toast_tuple_target = 8160);
ALTER TABLE audit_record SET (toast_tuple_target = 8160);
""")
