"""Finding 5 (runtime.md, What broke): two batches that insert the same keys in other orders wait for each other, and one is killed.

A runtime that counts a deadlock against a record parks, or drops, an event that nothing is wrong with; one that retries stalls both of
its partitions for the deadlock timeout, again and again while the duplicates last.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import asyncpg

from deduping import dedupe
from rig import Rig
from spine.deadline import Deadline

ROUNDS = 12
KEYS = 1000

Insert = Callable[["asyncpg.Connection[asyncpg.Record]", list[str], int], Awaitable[object]]


async def unsorted(connection: asyncpg.Connection[asyncpg.Record], names: list[str], lane: int) -> object:
    """A batch as it came."""
    return await connection.execute(
        "INSERT INTO unsorted (event, lane) SELECT event, $2 FROM unnest($1::text[]) AS g(event) ON CONFLICT (event) DO NOTHING",
        names,
        lane,
    )


async def by_key(connection: asyncpg.Connection[asyncpg.Record], names: list[str], lane: int) -> object:
    """The same batch by the spine's own statement."""
    return await dedupe(connection, names, b"x" * 32, lane)


async def a_round(rig: Rig, insert: Insert, number: int) -> bool:
    """Two lanes get the same events at once, in orders of their own; whether one of them was killed for a deadlock."""
    names = [f"round-{number}-{key:04d}" for key in range(KEYS)]
    together = asyncio.Barrier(2)

    async def lane(which: int) -> None:
        mine = list(names)
        random.Random(f"{number}/{which}").shuffle(mine)
        async with rig.site.store("ledger") as store:
            # A second, by default, is how long both stand still before the store looks for the cycle.
            await store.execute("SET deadlock_timeout = '20ms'")
            async with store.transaction():
                await together.wait()
                await insert(store, mine, which)

    ended = await asyncio.gather(lane(0), lane(1), return_exceptions=True)
    for error in ended:
        if error is not None and not isinstance(error, asyncpg.DeadlockDetectedError):
            raise error
    return any(ended)


async def test_unsorted_batches_deadlock_and_the_spine_s_never(rig: Rig, say: Callable[[str], None]) -> None:
    """The danger shows in most rounds, not in every one: it is repeated until it has shown. The spine has twice the rounds to show it."""
    async with rig.site.store("ledger") as store:
        await store.execute("CREATE TABLE unsorted (event text PRIMARY KEY, lane int NOT NULL)")
    deadline = Deadline(60)
    rounds = deadlocks = 0
    while rounds < ROUNDS or not deadlocks:
        deadline.check(f"a deadlock of unsorted batches, in {rounds} rounds there was none")
        deadlocks += await a_round(rig, unsorted, rounds)
        rounds += 1
    sorted_deadlocks = [await a_round(rig, by_key, number) for number in range(2 * rounds)]
    say(f"deadlocks: {deadlocks} in {rounds} rounds unsorted, {sum(sorted_deadlocks)} in {2 * rounds} rounds by key")
    assert not any(sorted_deadlocks)
    assert await rig.value("SELECT count(*)::int FROM inbox") == 2 * rounds * KEYS
