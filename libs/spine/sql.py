"""The SQL of the transaction: set-based, sorted, one statement a step (runtime.md, The transaction)."""

from functools import lru_cache
from typing import Any

from spine.tables import STAMP_COLUMNS, Mode, Table, quote

# FOR UPDATE and not a plain read: while a COMMIT is in flight a plain read still shows the old position (runtime.md, finding 11).
# In the order of their numbers: two transactions that lock some of the same lanes in another order deadlock.
LOCK_LANES = """
SELECT lane, lane_seq, epoch, token, chain, published_seq, parked_rows, stopped_reason, clock_timestamp() AS at
FROM lane WHERE lane = ANY($1::int[]) ORDER BY lane FOR UPDATE
"""

HELD_KEYS = "SELECT DISTINCT key FROM parked WHERE lane = $1 AND released_seq IS NULL AND holds_key"

RUNS = "SELECT run_no, platform_run_id FROM run WHERE platform_run_id = ANY($1::text[])"

# Sorted by key: two batches that insert in different orders deadlock (finding 5). Answers with the identities that are fresh; the others
# are looked up by a statement of their own, which is rare: joined into this one, the planner compares every row with every row.
# What a batch has in common (run, class, topic, partition, lane) goes once, as short arrays that rows point into: asyncpg looks at every
# element of an array.
DEDUPE = """
INSERT INTO inbox (run_no, class_no, event_id, payload_hash, lane, lane_seq, epoch, topic_id, partition, "offset")
SELECT r.run_no, g.class_no, g.event_id, g.payload_hash, g.lane, g.lane_seq, g.epoch, g.topic_id, g.partition, g."offset"
FROM (
    SELECT ($1::int[])[s.at] AS run_no, ($2::smallint[])[s.at] AS class_no, ($3::uuid[])[s.at] AS topic_id, ($4::int[])[s.at] AS partition,
           ($5::int[])[s.at] AS lane, ($6::bigint[])[s.at] AS lane_seq, ($7::bigint[])[s.at] AS epoch,
           s.event_id, s.payload_hash, s."offset"
    FROM unnest($8::smallint[], $9::bytea[], $10::bytea[], $11::bigint[]) AS s(at, event_id, payload_hash, "offset")
) AS g
JOIN run r ON r.run_no = g.run_no AND r.state = 'OPEN'
ORDER BY r.run_no, g.class_no, g.event_id
ON CONFLICT (run_no, class_no, event_id) DO NOTHING
RETURNING run_no, class_no, event_id
"""

# The first sight of identities that were not fresh. A statement of its own, so that it sees what another transaction committed after the
# insert's snapshot (finding 4).
FIRST_SIGHT = """
SELECT g.ord, r.state,
       i.payload_hash AS first_hash, i.topic_id AS first_topic_id, i.partition AS first_partition, i."offset" AS first_offset
FROM unnest($1::int[], $2::int[], $3::smallint[], $4::bytea[]) AS g(ord, run_no, class_no, event_id)
JOIN run r ON r.run_no = g.run_no
LEFT JOIN inbox i ON (i.run_no, i.class_no, i.event_id) = (g.run_no, g.class_no, g.event_id)
"""

REPLIES = """
SELECT r.class_no, r.event_id, r.status, r.body FROM unnest($1::int[], $2::smallint[], $3::bytea[]) AS g(run_no, class_no, event_id)
JOIN reply r ON (r.run_no, r.class_no, r.event_id) = (g.run_no, g.class_no, g.event_id)
"""

INSERT_ANOMALIES = """
INSERT INTO anomaly (lane, lane_seq, epoch, provenance_id, run_no, class_no, event_id, other_hash, first_hash, reason,
                     first_topic_id, first_partition, first_offset, topic_id, partition, "offset")
SELECT $1, $2, $3, $4, g.* FROM unnest($5::int[], $6::smallint[], $7::bytea[], $8::bytea[], $9::bytea[], $10::text[],
                                       $11::uuid[], $12::int[], $13::bigint[], $14::uuid[], $15::int[], $16::bigint[]) AS g
ON CONFLICT (run_no, class_no, event_id, other_hash) DO NOTHING
RETURNING run_no, class_no, event_id, other_hash
"""

INSERT_PENDING = """
INSERT INTO pending (lane, lane_seq, epoch, kind, ref, key, due, cap, until_topic, until_offset, task_state, body)
SELECT g.* FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
                       $9::text[], $10::bigint[], $11::text[], $12::bytea[]) AS g
"""

# Rows of one kind by an array, here and below, and not by a join with what is looked for: for each element the planner took the index of
# (lane, kind, key), whose first two columns all calls of a lane share, and read every call of the lane, so that a batch cost its square.
DELETE_PENDING = """
DELETE FROM pending WHERE lane = $1 AND kind = $2 AND ref = ANY($3::text[]) RETURNING ref
"""

# By arrays and not by a join, for which the planner takes any of the indexes of a young table, and reads a lane's rows once for each key.
# What is kept under another of the keys in another of the lanes comes along, and is not looked at.
READ_WAITS = """
SELECT lane, kind, ref, key, body FROM pending
WHERE lane = ANY($1::int[]) AND kind = ANY($2::text[]) AND key = ANY($3::text[]) AND task_state IS NULL
ORDER BY lane, lane_seq, ref
"""

# A wait is over when its time has come and the lane has read what stood there at first sight, or at its cap, whatever was read.
DUE_TIMERS = """
SELECT p.kind, p.ref, p.firing, p.body,
       (p.until_offset IS NOT NULL AND l.next_offset < p.until_offset) AS capped
FROM pending p
LEFT JOIN lane_position l ON l.lane = p.lane AND l.topic = p.until_topic
WHERE p.lane = $1 AND p.task_state IS NULL
  AND ((p.due <= clock_timestamp() AND (p.until_offset IS NULL OR l.next_offset >= p.until_offset)) OR p.cap <= clock_timestamp())
ORDER BY p.due, p.ref
LIMIT $2
FOR UPDATE OF p
"""

# No lock on the rows: whoever changes a call's row holds the lane's, which this transaction has for itself.
OPEN_CALLS = """
SELECT ref FROM pending WHERE lane = $1 AND kind = $2 AND ref = ANY($3::text[]) AND task_state IS NOT NULL
"""

RELEASE_PARKED = """
UPDATE parked p SET released_seq = $2 FROM unnest($3::bigint[], $4::int[]) AS g(lane_seq, i)
WHERE p.lane = $1 AND p.lane_seq = g.lane_seq AND p.i = g.i
"""

PARKED_OF_KEY = """
SELECT lane_seq, i, inlet, name, source, identified FROM parked
WHERE lane = $1 AND key = $2 AND released_seq IS NULL ORDER BY lane_seq, i FOR UPDATE
"""

# One statement closes the transaction: positions move by compare-and-set, so that a hole or an overlap can't be passed.
CLOSE = """
WITH moved AS (
    UPDATE lane_position p SET next_offset = g.stop
    FROM unnest($1::int[], $2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::uuid[], $7::text[])
        AS g(lane, topic, partition, start, stop, topic_id, cluster_id)
    WHERE p.topic = g.topic AND p.partition = g.partition AND p.lane = g.lane
      AND p.next_offset = g.start AND p.topic_id = g.topic_id AND p.cluster_id = g.cluster_id
    RETURNING p.lane
), closed AS (
    SELECT * FROM unnest($8::int[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bytea[],
                         $16::bytea[], $17::bytea[], $18::bytea[], $19::bytea[], $20::bigint[], $21::int[], $22::text[], $23::text[],
                         $24::bytea[])
        AS c(lane, lane_seq, epoch, inlet, ranges, refs, counts, inputs_digest, effects_digest, reads_digest, previous, hash,
             acknowledged_seq, newly_parked, verdicts, ends, leaves)
), certified AS (
    INSERT INTO certificate (lane, lane_seq, epoch, inlet, ranges, refs, counts, inputs_digest, effects_digest, reads_digest,
                             previous, hash, applied_at, provenance_id, verdicts, ends, leaves)
    SELECT lane, lane_seq, epoch, inlet, ranges::jsonb, refs::jsonb, counts::jsonb, inputs_digest, effects_digest, reads_digest,
           previous, hash, $25, $26, verdicts, ends::jsonb, leaves
    FROM closed
), advanced AS (
    UPDATE lane l SET lane_seq = c.lane_seq, chain = c.hash, published_seq = greatest(l.published_seq, c.acknowledged_seq),
                      parked_rows = l.parked_rows + c.newly_parked
    FROM closed c WHERE l.lane = c.lane
)
SELECT lane, count(*) AS moved FROM moved GROUP BY lane
"""


@lru_cache(maxsize=256)
def read_rows(table: Table[Any]) -> str:
    """Rows of a state table by keys; of a shared one, the rows of all lanes."""
    columns = ", ".join(f"t.{quote(column.name)}" for column in table.columns)
    keys = ", ".join(f"${i}::{column.pg_type}[]" for i, column in enumerate(table.key_columns, 1))
    names = ", ".join(f"k{i}" for i in range(len(table.key)))
    match = " AND ".join(f"t.{quote(name)} = g.k{i}" for i, name in enumerate(table.key))
    return f"SELECT {columns}, t.lane, t.lane_seq FROM unnest({keys}) AS g({names}) JOIN {quote(table.name)} t ON {match}"


@lru_cache(maxsize=256)
def write_rows(table: Table[Any]) -> str:
    """Insert rows of a STATE or SHARED table; a row replaces the one of its key.

    Arguments: the provenance of all of them; lanes, lane_seqs, epochs, topic ids and partitions, which rows point into; where each row
    points and its offset, as arrays; the table's columns as arrays; trace ids.
    """
    names = [column.name for column in table.columns]
    columns = ", ".join(quote(name) for name in (*names, *STAMP_COLUMNS))
    arrays = ", ".join(f"${i}::{column.pg_type}[]" for i, column in enumerate(table.columns, 9))
    values = ", ".join(f"s.v{i}" for i in range(len(names)))
    target = ", ".join(quote(name) for name in (*table.key, *(("lane",) if table.mode is Mode.SHARED else ())))
    kept = set(table.key) | ({"lane"} if table.mode is Mode.SHARED else set())
    updates = ", ".join(f"{quote(name)} = excluded.{quote(name)}" for name in (*names, *STAMP_COLUMNS) if name not in kept)
    return (
        f"INSERT INTO {quote(table.name)} ({columns}) "
        f"SELECT {values}, ($2::int[])[s.at], ($3::bigint[])[s.at], ($4::bigint[])[s.at], "
        f'($5::uuid[])[s.at], ($6::int[])[s.at], s."offset", $1::int, s.trace_id '
        f"FROM unnest({arrays}, $7::smallint[], $8::bigint[], ${9 + len(names)}::bytea[]) "
        f'AS s({", ".join(f"v{i}" for i in range(len(names)))}, at, "offset", trace_id) '
        f"ON CONFLICT ({target}) DO UPDATE SET {updates}, recorded_at = now()"
    )
