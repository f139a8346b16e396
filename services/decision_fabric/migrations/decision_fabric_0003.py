"""Buckets of a velocity are written shorter (decision_fabric.velocity): what stands in the older form can't be read any more."""

from spine.migration_script import run_script

revision = "decision_fabric_0003"
down_revision = "decision_fabric_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Refuse a store that has rows of the older form, rather than let every trigger of their values be parked."""
    run_script("""
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM velocity) THEN
        RAISE EXCEPTION 'velocity has rows in an older form: drain and close the run, and begin a new one on a new store';
    END IF;
END
$$;
""")
