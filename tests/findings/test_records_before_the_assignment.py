"""Finding 2 (runtime.md, What broke): aiokafka hands out records before `on_partitions_assigned` has finished (aiokafka#738).

A runtime whose position is in its own store must seek there, in the listener. It is given records from elsewhere before it has done so:
what it applies from there, and what it then skips as applied already, its user loses.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from laws.topics import KeyRecipe, Topic, TopicClass
from spine.bus import TopicIdentity, make_consumer
from spine.deadline import Deadline
from spine.intake import Intake, Position
from testkit.engines import EngineSet

RECORDS = 10
# Where the store says that the application stands, and where the group says so: an owner died after its commit, before its effect.
STORED, COMMITTED = 3, 7


@pytest.fixture
async def place(engines: EngineSet) -> TopicPartition:
    """The only partition of a topic with ten records."""
    bootstrap = engines.endpoints.kafka_bootstrap
    place = TopicPartition(f"race-{secrets.token_hex(5)}", 0)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(place.topic, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    for number in range(RECORDS):
        await producer.send_and_wait(place.topic, str(number).encode(), partition=0)
    await producer.stop()
    return place


class SeeksAfterAnAwait(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Asks its store where it stands, then seeks there: what its documentation proposes for offsets that are kept elsewhere."""

    def __init__(self, consumer: AIOKafkaConsumer, *, fails: bool = False) -> None:
        self._consumer = consumer
        self._fails = fails
        self.begun = False
        self.finished = False
        self.answer = asyncio.Event()
        """The store's answer is there."""

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Nothing is kept here."""

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.begun = True
        if self._fails:
            raise ConnectionError("the store is away")
        await self.answer.wait()
        for place in assigned:
            self._consumer.seek(place, STORED)
        self.finished = True


@asynccontextmanager
async def group_consumer(
    engines: EngineSet, place: TopicPartition, *, fails: bool = False
) -> AsyncIterator[tuple[AIOKafkaConsumer, SeeksAfterAnAwait]]:
    bootstrap, group = engines.endpoints.kafka_bootstrap, f"g-{secrets.token_hex(5)}"
    owner = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await owner.start()
    owner.assign([place])
    await owner.commit({place: COMMITTED})
    await owner.stop()
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    listener = SeeksAfterAnAwait(consumer, fails=fails)
    consumer.subscribe([place.topic], listener=listener)
    # Returns with the assignment; that the listener is not done with it holds nobody up.
    await consumer.start()
    try:
        yield consumer, listener
    finally:
        listener.answer.set()
        await consumer.stop()


async def first_records(consumer: AIOKafkaConsumer, place: TopicPartition, deadline: Deadline) -> list[int]:
    """Offsets of the first records that the client hands out."""
    while True:
        deadline.check("the client to hand out records")
        if records := (await consumer.getmany(timeout_ms=100)).get(place):
            return [record.offset for record in records]


async def test_records_are_handed_out_while_the_listener_still_asks_where_to_stand(engines: EngineSet, place: TopicPartition) -> None:
    """The records that stand where the dead owner had committed come first: applied, they carry the position past 3 to 6, which are lost.

    Not a matter of luck: the listener's await ends only after the records are here.
    """
    async with group_consumer(engines, place) as (consumer, listener):
        offsets = await first_records(consumer, place, Deadline(30))
        assert listener.begun and not listener.finished
        assert offsets[0] == COMMITTED


async def test_an_exception_of_the_listener_is_swallowed_and_reading_goes_on(engines: EngineSet, place: TopicPartition) -> None:
    """The store could not say where to stand: nobody who reads is told, and the same events are lost without a seek."""
    async with group_consumer(engines, place, fails=True) as (consumer, listener):
        offsets = await first_records(consumer, place, Deadline(30))
        assert listener.begun and not listener.finished
        assert offsets[0] == COMMITTED


async def test_a_lane_reads_from_its_position_and_from_nowhere_else(engines: EngineSet, place: TopicPartition) -> None:
    """The spine has no group to be given partitions by: it assigns and seeks without a pause between, and checks every offset besides.

    Twenty consumers, each begun anew, at every position.
    """
    topic = Topic(place.topic, TopicClass.HIGH_VOLUME, 1, 7, ("test",), ("test",), KeyRecipe("test.key.v1", ()))
    identity = TopicIdentity("cluster", uuid.uuid4(), 1)
    reseeks: list[str] = []
    for attempt in range(2 * RECORDS):
        start = attempt % RECORDS
        consumer = make_consumer({"bootstrap_servers": engines.endpoints.kafka_bootstrap}, fetch_wait_ms=100)
        await consumer.start()
        try:
            intake = Intake(consumer, [Position(topic, 0, identity, start)], "", reseeks.append)
            intake.start()
            offsets: list[int] = []
            deadline = Deadline(30)
            while len(offsets) < RECORDS - start:
                deadline.check(f"the lane to read from {start}, it read {offsets}")
                offsets += [source.offset for source in (await intake.fetch(100, 100)).sources]
        finally:
            await consumer.stop()
        assert offsets == list(range(start, RECORDS))
    assert reseeks == [], "it took a second read to stand right"
