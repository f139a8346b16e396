"""The statement with which the spine tells new from known, for tests that race it."""

from __future__ import annotations

import asyncpg

from laws.identity import pack_event_id
from spine import sql


async def dedupe(connection: asyncpg.Connection[asyncpg.Record], names: list[str], payload_hash: bytes, lane: int) -> list[asyncpg.Record]:
    """The spine's own statement for a batch of those events: a row for each that is new."""
    count = len(names)
    return await connection.fetch(
        sql.DEDUPE,
        [1],
        [1],
        [None],
        [None],
        [lane],
        [1],
        [1],
        [1] * count,
        [pack_event_id(name) for name in names],
        [payload_hash] * count,
        [None] * count,
    )
