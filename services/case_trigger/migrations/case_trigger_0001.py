"""Published triggers."""

from spine.migration_script import run_script
from spine.tables import STAMP_DDL

revision = "case_trigger_0001"
down_revision = None
branch_labels = ("case_trigger",)
depends_on = "spine_0001"


def upgrade() -> None:
    """Create the table."""
    run_script(f"""
CREATE TABLE published_trigger (
    case_trigger_id bytea PRIMARY KEY,
    case_id bytea NOT NULL,
    platform_run_id text NOT NULL,
    trigger_type text NOT NULL,
    source_ref_id text NOT NULL,
    subject_event_id text NOT NULL,
    {STAMP_DDL}
);
""")
