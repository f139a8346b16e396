"""Fills an inbox with identities that look as if they had come from a topic."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg

from spine.tables import quote

# Rows of one statement: as a stream of batches would leave them, in order within and in no order between.
_PORTION = 250_000

# 33 bytes as a packed hex64 id has them; payload hash, place and stamp as records of the traffic topic would have.
_ROWS = """
INSERT INTO inbox (run_no, class_no, event_id, payload_hash, lane, lane_seq, epoch, topic_id, partition, "offset")
SELECT $1, 1, '\\x01'::bytea || sha256(int8send(n)), sha256(int8send(-n)), n % 6, n / 600 + 1, 1, $4::uuid, n % 6, n / 6
FROM generate_series($2::bigint, $3::bigint) AS n
ORDER BY 3
"""
_TOPIC = "00000000-0000-4000-8000-000000000001"


async def fill_inbox(store: asyncpg.Connection, run_no: int, filled: int, rows: int, say: Callable[[str], None]) -> None:
    """Add rows to a run's partition until it has `rows` of these, `filled` of which are there."""
    while filled < rows:
        upto = min(rows, filled + _PORTION)
        await store.execute(_ROWS, run_no, filled + 1, upto, _TOPIC)
        filled = upto
        if upto % 1_000_000 == 0 or upto == rows:
            say(f"  inbox: {upto:,} of {rows:,} rows")
    if rows:
        # What filling left to be done must not be paid by the events that are measured.
        await store.execute(f"VACUUM ANALYZE {quote(f'inbox_r{run_no}')}")
        await store.execute("CHECKPOINT")
