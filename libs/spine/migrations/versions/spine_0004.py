"""What the store does for each row beside writing it: less (docs/decisions/2026-11-24-hot-path.md)."""

from spine.migration_script import run_script

revision = "spine_0004"
down_revision = "spine_0003"
branch_labels = None
depends_on = None

# A foreign key of every row to the one row of its provenance locks that row once a row: half of what an outbox row cost. The number is read
# from the table when a worker starts and is in no other hands; the certificate of each transaction keeps its key.
_DDL = """
DO $$
DECLARE found record;
BEGIN
    FOR found IN
        SELECT c.conrelid::regclass AS owner, c.conname FROM pg_constraint c
        WHERE c.contype = 'f' AND c.confrelid = 'provenance'::regclass AND c.conrelid <> 'certificate'::regclass
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.owner, found.conname);
    END LOOP;
END
$$;
-- Rows of two to eight kilobytes stay as they are: compressing them (the default from 2 kB on) took more of the store's time than all the
-- rest of an outbox row, to save bytes that are dropped with their run.
ALTER TABLE outbox SET (toast_tuple_target = 8160);
ALTER TABLE read_set SET (toast_tuple_target = 8160);
ALTER TABLE input SET (toast_tuple_target = 8160);
ALTER TABLE pending SET (toast_tuple_target = 8160);
"""


def upgrade() -> None:
    """Drop the keys of tables that hold a row an event."""
    run_script(_DDL)
