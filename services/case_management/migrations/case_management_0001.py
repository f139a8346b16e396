"""Cases, timelines, label handshakes."""

from spine.migration_script import run_script
from spine.tables import STAMP_DDL

revision = "case_management_0001"
down_revision = None
branch_labels = ("case_management",)
depends_on = "spine_0001"


def upgrade() -> None:
    """Create the tables."""
    run_script(f"""
CREATE TABLE cases (
    case_id bytea PRIMARY KEY,
    platform_run_id text NOT NULL,
    subject_event_class text NOT NULL,
    subject_event_id text NOT NULL,
    first_observed_time text NOT NULL,
    last_observed_time text NOT NULL,
    trigger_count bigint NOT NULL,
    trigger_types text NOT NULL,
    cause bytea NOT NULL,
    {STAMP_DDL},
    UNIQUE (platform_run_id, subject_event_class, subject_event_id)
);
CREATE TABLE timeline (
    case_timeline_event_id bytea PRIMARY KEY,
    case_id bytea NOT NULL,
    timeline_event_type text NOT NULL,
    source_ref_id text NOT NULL,
    observed_time text NOT NULL,
    payload bytea NOT NULL,
    payload_hash bytea NOT NULL,
    {STAMP_DDL},
    UNIQUE (case_id, timeline_event_type, source_ref_id)
);
CREATE INDEX timeline_triggered ON timeline (lane, lane_seq) WHERE timeline_event_type = 'CASE_TRIGGERED';
CREATE TABLE label_emission (
    label_assertion_id bytea PRIMARY KEY,
    case_id bytea NOT NULL,
    case_timeline_event_id bytea NOT NULL,
    status text NOT NULL CHECK (status IN ('PENDING', 'ACCEPTED', 'REJECTED')),
    observed_time text NOT NULL,
    attempts bigint NOT NULL,
    reason text,
    assertion_ref text,
    {STAMP_DDL}
);
""")
