"""Fills an inbox with identities that look as if they had come from a topic."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg

from spine.tables import quote

# Rows of one statement: often enough for a word on how far it has come.
_PORTION = 1_000_000

# 33 bytes as a packed hex64 id has them; payload hash, place and stamp as records of the traffic topic would have.
_ROWS = """
INSERT INTO {partition} (run_no, class_no, event_id, payload_hash, lane, lane_seq, epoch, topic_id, partition, "offset")
SELECT $1, 1, '\\x01'::bytea || sha256(int8send(n)), sha256(int8send(-n)), n % 6, n / 600 + 1, 1, $4::uuid, n % 6, n / 6
FROM generate_series($2::bigint, $3::bigint) AS n
"""
_TOPIC = "00000000-0000-4000-8000-000000000001"

# Ids come in no order: an index that grew by them has leaves that are two thirds full. One that is built over them is left as much room.
_FILLED = 70

_KEY = "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'p'"


async def fill_inbox(store: asyncpg.Connection, run_no: int, rows: int, say: Callable[[str], None]) -> None:
    """Put `rows` of these into a run's partition, which must be empty and unused; its key is taken off and built again over them.

    Row by row through the key, as a service writes them, fifty million take a quarter of an hour; they end up the same.
    """
    if not rows:
        return
    partition = quote(f"inbox_r{run_no}")
    key = await store.fetchrow(_KEY, f"inbox_r{run_no}")
    if key is None:
        raise RuntimeError(f"{partition} has no primary key")
    await store.execute(f"ALTER TABLE inbox DETACH PARTITION {partition}")
    await store.execute(f"ALTER TABLE {partition} DROP CONSTRAINT {quote(key['conname'])}")
    for first in range(1, rows + 1, _PORTION):
        upto = min(rows, first + _PORTION - 1)
        await store.execute(_ROWS.format(partition=partition), run_no, first, upto, _TOPIC)
        if upto % (10 * _PORTION) == 0 or upto == rows:
            say(f"  inbox: {upto:,} of {rows:,} rows")
    await store.execute(f"ALTER TABLE {partition} ADD {key['definition']} WITH (fillfactor = {_FILLED})")
    await store.execute(f"ALTER TABLE inbox ATTACH PARTITION {partition} FOR VALUES IN ({run_no})")
    # What filling left to be done must not be paid by the events that are measured.
    await store.execute(f"VACUUM ANALYZE {partition}")
    await store.execute("CHECKPOINT")
