"""Finding 4 (runtime.md, What broke): INSERT .. ON CONFLICT DO NOTHING can neither insert a row nor see it.

The statement's snapshot is older than the row that another transaction commits while it waits for that row's key. A runtime that takes
'not inserted' for 'seen before' can't say whether the payload was the same one: a forged copy passes as a duplicate. One that takes 'no
row found' for 'new' applies the event twice.
"""

from __future__ import annotations

import asyncio

from deduping import dedupe
from laws.identity import pack_event_id
from rig import Rig
from spine import sql

BLOCKED = """
SELECT count(*)::int FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database() AND pid <> pg_backend_pid()
"""

NAIVE = """
WITH added AS (INSERT INTO seen (event, payload) VALUES ($1, $2) ON CONFLICT (event) DO NOTHING RETURNING event)
SELECT EXISTS (SELECT 1 FROM added) AS is_new, (SELECT payload FROM seen WHERE event = $1) AS first_payload
"""


async def test_the_naive_statement_answers_not_new_and_not_there(rig: Rig) -> None:
    """Deterministic: the other transaction commits when the statement is seen to wait for it."""
    async with rig.site.store("ledger") as other, rig.site.store("ledger") as naive:
        await other.execute("CREATE TABLE seen (event text PRIMARY KEY, payload text NOT NULL)")
        meanwhile = other.transaction()
        await meanwhile.start()
        await other.execute("INSERT INTO seen VALUES ('e1', 'another payload')")
        asked = asyncio.create_task(naive.fetchrow(NAIVE, "e1", "a payload"))
        await rig.until(BLOCKED, 1)
        await meanwhile.commit()
        row = await asked
        assert row is not None
        assert (row["is_new"], row["first_payload"]) == (False, None)
        # It was there all the time that it took to say so.
        assert await naive.fetchval("SELECT payload FROM seen WHERE event = 'e1'") == "another payload"


async def test_the_spine_looks_again_in_the_same_transaction_and_finds_the_first_payload(rig: Rig) -> None:
    """Its own statements, in the same race. What becomes of the verdict, as a worker applies it, is in tests/spine/test_verdicts.py."""
    async with rig.site.store("ledger") as other, rig.site.store("ledger") as spine:
        meanwhile = other.transaction()
        await meanwhile.start()
        assert len(await dedupe(other, ["e1"], b"o" * 32, lane=0)) == 1
        async with spine.transaction():
            asked = asyncio.create_task(dedupe(spine, ["e1"], b"m" * 32, lane=1))
            await rig.until(BLOCKED, 1)
            await meanwhile.commit()
            # The fourth verdict, LOOK_AGAIN: not new, and when the statement began there was nothing that it could be a copy of.
            assert await asked == []
            (again,) = await spine.fetch(sql.FIRST_SIGHT, [0], [1], [1], [pack_event_id("e1")])
            assert bytes(again["first_hash"]) == b"o" * 32
