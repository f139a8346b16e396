"""The spine's own tables, in every service's schema (runtime.md, The lane and The transaction)."""

from alembic import context

from spine.migration_script import run_script

revision = "spine_0001"
down_revision = None
branch_labels = ("spine",)
depends_on = None

_STAMP = """
    lane int NOT NULL,
    lane_seq bigint NOT NULL,
    epoch bigint NOT NULL
"""

_DDL = f"""
CREATE TABLE provenance (
    provenance_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    policy_rev text NOT NULL,
    bundle_id text NOT NULL,
    config_digest text NOT NULL,
    release_id text NOT NULL,
    UNIQUE (policy_rev, bundle_id, config_digest, release_id)
);

-- The only lock that matters. Fill factor: the row is rewritten once a transaction, and should stay on its page.
CREATE TABLE lane (
    lane int PRIMARY KEY,
    lane_group text NOT NULL,
    home int NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    token bytea NOT NULL DEFAULT ''::bytea,
    lane_seq bigint NOT NULL DEFAULT 0,
    published_seq bigint NOT NULL DEFAULT 0,
    -- Hash of the newest certificate, and rows parked. Columns of the locked row on purpose: after a wait for the lock a statement sees the
    -- newest version of this row, but the oldest snapshot of every other table.
    chain bytea NOT NULL DEFAULT ''::bytea,
    parked_rows int NOT NULL DEFAULT 0,
    stopped_reason text,
    UNIQUE (lane_group, home)
) WITH (fillfactor = 20);

-- Apart from lane, so that renewing never waits for a batch.
CREATE TABLE lane_lease (
    lane int PRIMARY KEY REFERENCES lane,
    owner text,
    until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 20);

CREATE TABLE worker (
    worker_id text PRIMARY KEY,
    until timestamptz NOT NULL,
    address text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);

CREATE TABLE lane_position (
    topic text NOT NULL,
    partition int NOT NULL,
    lane int NOT NULL REFERENCES lane,
    cluster_id text NOT NULL,
    topic_id uuid NOT NULL,
    start_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 20);

CREATE TABLE run (
    run_no int PRIMARY KEY,
    platform_run_id text NOT NULL UNIQUE,
    state text NOT NULL CHECK (state IN ('OPEN', 'CLOSED')),
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz
);

CREATE TABLE inbox (
    run_no int NOT NULL,
    class_no smallint NOT NULL,
    event_id bytea NOT NULL,
    payload_hash bytea NOT NULL,
    {_STAMP},
    topic_id uuid,
    partition int,
    "offset" bigint,
    PRIMARY KEY (run_no, class_no, event_id)
) PARTITION BY LIST (run_no);

-- What came in by a door other than the log: commands, timers, answers. With the topics, this is everything that a replay needs.
CREATE TABLE input (
    {_STAMP},
    i int NOT NULL,
    inlet text NOT NULL,
    name text NOT NULL,
    ref text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (lane, lane_seq, i)
);

CREATE TABLE reply (
    run_no int NOT NULL,
    class_no smallint NOT NULL,
    event_id bytea NOT NULL,
    status int NOT NULL,
    body bytea NOT NULL,
    {_STAMP},
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_no, class_no, event_id)
);

CREATE TABLE outbox (
    {_STAMP},
    i int NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    key bytea NOT NULL,
    headers bytea NOT NULL,
    value bytea NOT NULL,
    event_id bytea NOT NULL,
    payload_hash bytea NOT NULL,
    source_topic_id uuid,
    source_partition int,
    source_offset bigint,
    provenance_id int NOT NULL REFERENCES provenance,
    PRIMARY KEY (lane, lane_seq, i)
);

CREATE TABLE anomaly (
    run_no int NOT NULL,
    class_no smallint NOT NULL,
    event_id bytea NOT NULL,
    other_hash bytea NOT NULL,
    first_hash bytea NOT NULL,
    reason text NOT NULL,
    first_topic_id uuid,
    first_partition int,
    first_offset bigint,
    {_STAMP},
    topic_id uuid,
    partition int,
    "offset" bigint,
    provenance_id int NOT NULL REFERENCES provenance,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_no, class_no, event_id, other_hash)
);

CREATE TABLE parked (
    {_STAMP},
    i int NOT NULL,
    key bytea NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    -- False for records of an unknown or closed run: other runs' events of the key flow on.
    holds_key boolean NOT NULL,
    -- True when the identity is in the inbox already: a release applies it without judging it again.
    identified boolean NOT NULL,
    inlet text NOT NULL,
    name text NOT NULL,
    source bytea NOT NULL,
    platform_run_id text,
    class_no smallint,
    event_id bytea,
    topic_id uuid,
    partition int,
    "offset" bigint,
    provenance_id int NOT NULL REFERENCES provenance,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    released_seq bigint,
    PRIMARY KEY (lane, lane_seq, i)
);
CREATE INDEX parked_held ON parked (lane, key) WHERE released_seq IS NULL;

-- Context waits and calls to the outside: one scheduler.
CREATE TABLE pending (
    {_STAMP},
    kind text NOT NULL,
    ref text NOT NULL,
    key text NOT NULL,
    due timestamptz NOT NULL,
    cap timestamptz,
    firing int NOT NULL DEFAULT 0,
    until_topic text,
    until_offset bigint,
    task_state text CHECK (task_state IN ('RESERVED', 'EXECUTING', 'ASKING')),
    attempt int NOT NULL DEFAULT 0,
    attempts bytea NOT NULL DEFAULT ''::bytea,
    body bytea NOT NULL,
    PRIMARY KEY (lane, kind, ref)
);
CREATE INDEX pending_due ON pending (lane, due);
CREATE INDEX pending_key ON pending (lane, kind, key);

CREATE TABLE read_set (
    {_STAMP},
    i int NOT NULL,
    snapshot_hash bytea NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (lane, lane_seq, i)
);

CREATE TABLE certificate (
    {_STAMP},
    inlet text NOT NULL,
    ranges jsonb NOT NULL,
    refs jsonb NOT NULL,
    counts jsonb NOT NULL,
    inputs_digest bytea NOT NULL,
    effects_digest bytea NOT NULL,
    reads_digest bytea NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL,
    applied_at timestamptz NOT NULL,
    provenance_id int NOT NULL REFERENCES provenance,
    PRIMARY KEY (lane, lane_seq)
);
"""

# What a service's role may do. No UPDATE and no DELETE on truths: append-only is kept by the database, not by good intentions.
_GRANTS = """
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT UPDATE ON lane, lane_lease, lane_position, worker, pending TO {role};
GRANT UPDATE (released_seq) ON parked TO {role};
GRANT DELETE ON pending, worker TO {role};
REVOKE INSERT ON run, inbox FROM {role};
GRANT INSERT ON inbox TO {role};
"""


def upgrade() -> None:
    """Create the tables and grant the role what it needs."""
    run_script(_DDL)
    run_script(_GRANTS.format(schema=context.config.attributes["schema"], role=context.config.attributes["role"]))
