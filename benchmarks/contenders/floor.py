"""The floor: the least code that does the law, written as well as it can be. No leases, no certificates, no surface, no telemetry.

Three stages run side by side in one event loop: read and judge a batch, apply it in one set-based transaction, publish its outputs.
Published are the bytes that the transaction stored, from memory; those of a process that died are read from the store at the start.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.contenders.outgoing import make_producer, publish
from benchmarks.contenders.place import Place, from_environment, told_to_end
from benchmarks.contenders.plain_store import MARK, Connection, Range, apply_batch, left_behind
from benchmarks.law import Judged, Output, judge


class _Batch(NamedTuple):
    ranges: dict[int, Range]
    judged: list[Judged]


class Floor:
    """One process of it, with a fixed share of the partitions."""

    def __init__(self, place: Place, store: Connection, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        self._place = place
        self._store = store
        self._consumer = consumer
        self._producer = producer
        # One batch ahead of each stage: more would only wait, and make everything in it late.
        self._read: asyncio.Queue[_Batch | None] = asyncio.Queue(1)
        self._made: asyncio.Queue[list[Output] | None] = asyncio.Queue(1)
        self._published: dict[int, int] = {}

    async def run(self, ended: asyncio.Event) -> None:
        """Until told to end; then what is in hand is finished, stage by stage."""
        await self._start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_all(ended))
            group.create_task(self._apply_all())
            group.create_task(self._publish_all())
        # The last mark: no batch came that would have carried it along.
        await self._store.execute(MARK, list(self._published), list(self._published.values()))

    async def _start(self) -> None:
        mine = list(self._place.stops)
        self._published.update(await publish(self._producer, self._place.postings, await left_behind(self._store, mine)))
        stands = {row["partition"]: row["next_offset"] for row in await self._store.fetch("SELECT partition, next_offset FROM position")}
        self._consumer.assign([TopicPartition(self._place.payments, partition) for partition in mine])
        for partition in mine:
            self._consumer.seek(TopicPartition(self._place.payments, partition), stands[partition])

    async def _read_all(self, ended: asyncio.Event) -> None:
        stops = self._place.stops
        while not ended.is_set():
            found = await self._consumer.getmany(timeout_ms=200, max_records=self._place.batch)
            ranges: dict[int, Range] = {}
            batch: list[Judged] = []
            for at, records in found.items():
                wanted = [record for record in records if record.offset < stops[at.partition]]
                if wanted:
                    ranges[at.partition] = Range(wanted[0].offset, wanted[-1].offset + 1)
                    batch += [judge(record.partition, record.offset, record.key, record.value, record.headers) for record in wanted]
            if batch:
                await self._read.put(_Batch(ranges, batch))
        await self._read.put(None)

    async def _apply_all(self) -> None:
        while (batch := await self._read.get()) is not None:
            outputs = await apply_batch(self._store, batch.ranges, batch.judged, self._published)
            if outputs:
                await self._made.put(outputs)
        await self._made.put(None)

    async def _publish_all(self) -> None:
        while (outputs := await self._made.get()) is not None:
            self._published.update(await publish(self._producer, self._place.postings, outputs))


async def main() -> None:
    """Until told to end."""
    place = from_environment()
    ended = told_to_end()
    store = await asyncpg.connect(place.dsn)
    consumer = AIOKafkaConsumer(bootstrap_servers=place.bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=4 * 1024 * 1024)
    producer = make_producer(place.bootstrap)
    await consumer.start()
    await producer.start()
    try:
        await Floor(place, store, consumer, producer).run(ended)
    finally:
        await consumer.stop()
        await producer.stop()
        await store.close()


if __name__ == "__main__":
    uvloop.run(main())
