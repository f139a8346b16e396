"""Tables of the test service."""

from spine.migration_script import run_script
from spine.tables import STAMP_DDL

revision = "ledger_0001"
down_revision = None
branch_labels = ("ledger",)
depends_on = "spine_0001"


def upgrade() -> None:
    run_script(f"""
CREATE TABLE account (account text PRIMARY KEY, balance bigint NOT NULL, entries bigint NOT NULL, keyed boolean NOT NULL, {STAMP_DDL});
CREATE TABLE entry (event_id text PRIMARY KEY, account text NOT NULL, amount bigint NOT NULL, how text NOT NULL, {STAMP_DDL});
CREATE TABLE note (note text NOT NULL, times bigint NOT NULL, {STAMP_DDL}, PRIMARY KEY (note, lane));
""")
