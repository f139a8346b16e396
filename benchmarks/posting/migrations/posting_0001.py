"""The one table of the measured service."""

from spine.migration_script import run_script
from spine.tables import STAMP_DDL

revision = "posting_0001"
down_revision = None
branch_labels = ("posting",)
depends_on = "spine_0001"


def upgrade() -> None:
    run_script(f"""
CREATE TABLE account (account_id text PRIMARY KEY, balance_minor bigint NOT NULL, postings bigint NOT NULL, {STAMP_DDL});
""")
