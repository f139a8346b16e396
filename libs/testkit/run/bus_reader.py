"""Reads whole topics back with a consumer of its own: what really stands on the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from laws.catalogue import EVENT_TYPES
from laws.envelope import Envelope, decode_envelope
from laws.headers import missing_headers
from laws.payload_hash import payload_hash
from laws.topics import Topic


class Seen(NamedTuple):
    """One record."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    event_type: str
    event_class: str
    event_id: str
    platform_run_id: str
    payload_hash: str
    trace_id: str
    parent_event_id: str
    missing: tuple[str, ...]
    envelope: Envelope


async def end_offsets(consumer: AIOKafkaConsumer, topics: Iterable[Topic], prefix: str) -> dict[TopicPartition, int]:
    """The end of every partition."""
    places = [TopicPartition(prefix + topic.name, partition) for topic in topics for partition in range(topic.partitions)]
    found: dict[TopicPartition, int] = await consumer.end_offsets(places)
    return found


async def read_topics(bootstrap: str, topics: Iterable[Topic], prefix: str) -> AsyncIterator[Seen]:
    """Every record of the topics, up to the ends that stand now."""
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
            batches = await consumer.getmany(timeout_ms=1000, max_records=2000)
            for place, records in batches.items():
                for record in records:
                    yield _seen(record, prefix)
                if records and records[-1].offset + 1 >= ends[place]:
                    left.pop(place, None)
    finally:
        await consumer.stop()


def _seen(record: ConsumerRecord, prefix: str) -> Seen:
    value: bytes = record.value
    headers = dict(record.headers)
    envelope = decode_envelope(value)
    entry = EVENT_TYPES[envelope.event_type]
    return Seen(
        topic=record.topic.removeprefix(prefix),
        partition=record.partition,
        offset=record.offset,
        at_ms=record.timestamp,
        event_type=envelope.event_type,
        event_class=entry.event_class.value,
        event_id=envelope.event_id,
        platform_run_id=envelope.platform_run_id or "",
        payload_hash=payload_hash(envelope.event_type, bytes(envelope.payload), envelope.schema_version).hex(),
        trace_id=headers.get("traceparent", b"").decode("latin-1")[3:35],
        parent_event_id=envelope.parent_event_id or "",
        missing=missing_headers(headers),
        envelope=envelope,
    )
