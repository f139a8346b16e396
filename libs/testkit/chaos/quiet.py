"""When a service has nothing left to do: it stands at the ends of its topics, nothing is pending, everything is published."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from spine.deadline import Deadline
from spine.lanes import group_topics, lane_specs
from spine.service import Service
from testkit.harness import Site

_LEFT = """
SELECT (SELECT count(*) FROM pending) AS pending,
       (SELECT sum((SELECT count(*) FROM outbox o WHERE o.lane = l.lane AND o.lane_seq > l.published_seq)) FROM lane l) AS unpublished,
       (SELECT count(*) FROM lane WHERE stopped_reason IS NOT NULL) AS stopped,
       (SELECT coalesce(sum(lane_seq), 0) FROM lane) AS applied
"""
_POSITIONS = "SELECT topic, partition, next_offset FROM lane_position"
_LOOK_EVERY = 0.1


async def until_quiet(site: Site, service: Service, deadline: Deadline) -> None:
    """Returns when two looks in a row find nothing to do and nothing done between them.

    Raises DeadlineExceededError with what is left.
    """
    places = [(topic.name, spec.home) for spec in lane_specs(service) for topic in group_topics(spec.group)]
    consumer = AIOKafkaConsumer(bootstrap_servers=site.endpoints.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        before = -1
        while True:
            left, applied = await _left(site, service.name, consumer, places)
            if not left and applied == before:
                return
            before = -1 if left else applied
            deadline.check(f"{service.name} to be quiet ({', '.join(left) or 'still moving'})")
            await asyncio.sleep(_LOOK_EVERY)
    finally:
        await consumer.stop()


async def _left(site: Site, schema: str, consumer: AIOKafkaConsumer, places: list[tuple[str, int]]) -> tuple[list[str], int]:
    async with site.store(schema) as store:
        row = await store.fetchrow(_LEFT)
        stands = {(found["topic"], found["partition"]): found["next_offset"] for found in await store.fetch(_POSITIONS)}
    if row is None:
        raise RuntimeError(f"schema {schema} answered nothing")
    # After the positions: an end that is older than a position would hide a record that was written between the two.
    ends = await consumer.end_offsets([TopicPartition(site.prefix + name, home) for name, home in places]) if places else {}
    behind = sum(max(0, ends[TopicPartition(site.prefix + name, home)] - stands.get((name, home), 0)) for name, home in places)
    words = [f"{row[name]} {name}" for name in ("pending", "unpublished", "stopped") if row[name]]
    return words + ([f"{behind} to read"] if behind else []), int(row["applied"])
