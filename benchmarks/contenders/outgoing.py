"""Step 4 of the law, where outputs are published in bulk: whole record batches by partition, each acknowledged by the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer

from benchmarks.law import Output

# The broker's default limit of a record batch is a mebibyte: two of these fit with their overhead.
BATCH_BYTES = 512 * 1024


def make_producer(bootstrap: str) -> AIOKafkaProducer:
    """Idempotent, as the spine's: a retried batch is not appended twice."""
    return AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", linger_ms=0, max_batch_size=BATCH_BYTES)


async def publish(producer: AIOKafkaProducer, topic: str, outputs: Iterable[Output]) -> dict[int, int]:
    """Publish the bytes as they are stored; once all are acknowledged, the mark of each partition (next input offset)."""
    by_partition: dict[int, list[Output]] = {}
    for made in outputs:
        by_partition.setdefault(made.partition, []).append(made)
    await asyncio.gather(*(_publish_in(producer, topic, partition, made) for partition, made in by_partition.items()))
    return {partition: made[-1].offset + 1 for partition, made in by_partition.items()}


async def _publish_in(producer: AIOKafkaProducer, topic: str, partition: int, outputs: list[Output]) -> None:
    sent = []
    batch = producer.create_batch()
    for made in outputs:
        if batch.append(timestamp=None, key=made.key, value=made.value, headers=made.headers) is None:
            sent.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(timestamp=None, key=made.key, value=made.value, headers=made.headers)
    sent.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*sent)
