"""What a certificate needs to be recomputed from outside: the verdict of every input, and a leaf for every row written."""

from spine.migration_script import run_script

revision = "spine_0002"
down_revision = "spine_0001"
branch_labels = None
depends_on = None

_DDL = """
-- One letter an input, in order (spine.certificates.VERDICT_LETTERS).
ALTER TABLE certificate ADD COLUMN verdicts text NOT NULL DEFAULT '';
-- How far other topics stood when a wait of this transaction was stored: part of what it decided on.
ALTER TABLE certificate ADD COLUMN ends jsonb NOT NULL DEFAULT '{}';
-- 32 bytes a row written: which row, and what it holds (spine.leaves). Digests do not compress: no time is spent on trying.
ALTER TABLE certificate ADD COLUMN leaves bytea NOT NULL DEFAULT ''::bytea;
ALTER TABLE certificate ALTER COLUMN leaves SET STORAGE EXTERNAL;
"""


def upgrade() -> None:
    """Add the columns."""
    run_script(_DDL)
