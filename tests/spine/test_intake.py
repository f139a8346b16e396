"""What a lane reads: everything that came while it rested is in one batch, of all its topics."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from laws.topics import Topic
from ledger.service import ENTRIES, KEYS
from rig import Record, Rig, entry, key_given
from spine.bus import TopicWatch, make_consumer
from spine.deadline import Deadline
from spine.intake import Fetched, Intake, Position

ACCOUNT = "a"


@contextlib.asynccontextmanager
async def reading(rig: Rig, *topics: Topic) -> AsyncIterator[Intake]:
    options = {"bootstrap_servers": rig.engines.endpoints.kafka_bootstrap}
    watch, consumer = TopicWatch(options), make_consumer(options, fetch_wait_ms=100)
    await watch.start()
    await consumer.start()
    try:
        names = {topic.name: rig.site.prefix + topic.name for topic in topics}
        identities = await watch.identities(list(names.values()))
        home = entry("e", account=ACCOUNT).partition
        positions = [Position(topic, home, identities[names[topic.name]], 0) for topic in topics]
        intake = Intake(consumer, positions, rig.site.prefix, pytest.fail)
        intake.start()
        yield intake
    finally:
        await consumer.stop()
        await watch.stop()


async def fetched(intake: Intake, size: int = 100) -> Fetched:
    """The next batch that is not empty."""
    deadline = Deadline(20)
    while not (found := await intake.fetch(size, 250)).sources:
        deadline.check("records to come")
    return found


def entries(first: int, count: int) -> list[Record]:
    return [entry(f"e{number}", account=ACCOUNT) for number in range(first, first + count)]


async def test_what_came_while_a_lane_rested_is_one_batch(rig: Rig) -> None:
    """Left to itself the client asks for more at once, gets the one record that comes first, and keeps it."""
    async with reading(rig, ENTRIES) as intake:
        await rig.send(*entries(0, 3))
        found = await fetched(intake)
        assert (len(found.sources), found.more) == (3, False)
        for record in entries(3, 6):
            await rig.send(record)
        found = await fetched(intake)
        assert (len(found.sources), found.more) == (6, False)


async def test_a_batch_that_is_full_says_that_there_is_more(rig: Rig) -> None:
    async with reading(rig, ENTRIES) as intake:
        await rig.send(*entries(0, 10))
        found = [await fetched(intake, size=4) for _ in range(3)]
        assert [(len(batch.sources), batch.more) for batch in found] == [(4, True), (4, True), (2, False)]


async def test_one_batch_has_what_came_of_every_topic(rig: Rig) -> None:
    async with reading(rig, ENTRIES, KEYS) as intake:
        await rig.send(*entries(0, 1))
        assert [source.topic for source in (await fetched(intake)).sources] == [ENTRIES.name]
        # Alone at first: a client that is not told to hold would have it in its hands, and would give it out before it asks for the rest.
        await rig.send(key_given("k0", ACCOUNT))
        await rig.send(*entries(1, 5))
        assert [source.topic for source in (await fetched(intake)).sources] == [ENTRIES.name] * 5 + [KEYS.name]
