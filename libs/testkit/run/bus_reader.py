"""Reads whole topics back with a consumer of its own: what really stands on the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from laws.topics import Topic


async def end_offsets(consumer: AIOKafkaConsumer, topics: Iterable[Topic], prefix: str) -> dict[TopicPartition, int]:
    """The end of every partition."""
    places = [TopicPartition(prefix + topic.name, partition) for topic in topics for partition in range(topic.partitions)]
    found: dict[TopicPartition, int] = await consumer.end_offsets(places)
    return found


async def read_topics(bootstrap: str, topics: Iterable[Topic], prefix: str) -> AsyncIterator[list[ConsumerRecord]]:
    """Every record of the topics, up to the ends that stand now, in portions of one partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none", max_partition_fetch_bytes=4 * 1024 * 1024
    )
    await consumer.start()
    try:
        ends = await end_offsets(consumer, topics, prefix)
        left = {place: end for place, end in ends.items() if end > 0}
        consumer.assign(list(left))
        for place in left:
            consumer.seek(place, 0)
        while left:
            batches = await consumer.getmany(timeout_ms=1000, max_records=5000)
            for place, records in batches.items():
                if place not in left:
                    continue
                yield [record for record in records if record.offset < ends[place]]
                if records and records[-1].offset + 1 >= ends[place]:
                    left.pop(place)
                    # What is written meanwhile belongs to no end: reading it would go on for ever.
                    consumer.pause(place)
    finally:
        await consumer.stop()
