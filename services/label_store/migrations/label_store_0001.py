"""Labels."""

from spine.migration_script import run_script
from spine.tables import STAMP_DDL

revision = "label_store_0001"
down_revision = None
branch_labels = ("label_store",)
depends_on = "spine_0001"


def upgrade() -> None:
    """Create the table."""
    run_script(f"""
CREATE TABLE label (
    label_assertion_id bytea PRIMARY KEY,
    platform_run_id text NOT NULL,
    subject_event_id text NOT NULL,
    label_type text NOT NULL,
    label_value text NOT NULL,
    effective_time text NOT NULL,
    observed_time text NOT NULL,
    source_type text NOT NULL,
    actor_id text,
    payload_hash bytea NOT NULL,
    assertion bytea NOT NULL,
    {STAMP_DDL}
);
CREATE INDEX label_by_subject ON label (platform_run_id, subject_event_id, label_type);
""")
