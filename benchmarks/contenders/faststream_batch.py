"""FastStream in batches: its batch subscriber, and the same set-based transaction and bulk publishing as the floor's.

FastStream publishes a batch with one set of headers for all of it; each output has its own, so the outputs go out through aiokafka itself.
"""

from __future__ import annotations

import asyncpg
import uvloop
from aiokafka import AIOKafkaProducer
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from benchmarks.contenders.outgoing import make_producer, publish
from benchmarks.contenders.place import from_environment
from benchmarks.contenders.plain_store import MARK, Connection, apply_batch, left_behind, ranges_of
from benchmarks.law import judge

place = from_environment()
broker = KafkaBroker(place.bootstrap, apply_types=False, logger=None, allow_auto_create_topics=False)
app = FastStream(broker, logger=None)


class Handler:
    """What it keeps between two batches."""

    def __init__(self) -> None:
        self._published: dict[int, int] = {}
        self._stands: dict[int, int] = {}
        self._store: Connection
        self._producer: AIOKafkaProducer

    async def open(self) -> None:
        """Publish what a process left that died, and learn where the store stands."""
        self._store = await asyncpg.connect(place.dsn)
        self._producer = make_producer(place.bootstrap)
        await self._producer.start()
        self._published.update(await publish(self._producer, place.postings, await left_behind(self._store, list(place.stops))))
        rows = await self._store.fetch("SELECT partition, next_offset FROM position")
        self._stands = {row["partition"]: row["next_offset"] for row in rows}

    async def close(self) -> None:
        """The last marks."""
        await self._store.execute(MARK, list(self._published), list(self._published.values()))
        await self._store.close()
        await self._producer.stop()

    async def handle(self, message: KafkaMessage) -> None:
        """The law for a batch."""
        records = message.raw_message
        assert isinstance(records, tuple)
        batch = [
            judge(record.partition, record.offset, record.key, record.value, record.headers)
            for record in records
            if self._stands[record.partition] <= record.offset < place.stops[record.partition]
        ]
        if batch:
            ranges = ranges_of(batch)
            outputs = await apply_batch(self._store, ranges, batch, self._published)
            self._stands.update((partition, found.stop) for partition, found in ranges.items())
            self._published.update(await publish(self._producer, place.postings, outputs))
        await message.ack()


handler = Handler()


async def whole(message: KafkaMessage) -> KafkaMessage:
    """In place of FastStream's decoding: the law decodes the bytes as they stand."""
    return message


@broker.subscriber(
    place.payments,
    group_id=place.group,
    auto_offset_reset="earliest",
    batch=True,
    max_records=place.batch,
    # After an empty read it sleeps as long as it has waited: longer would be latency.
    batch_timeout_ms=5,
    max_partition_fetch_bytes=4 * 1024 * 1024,
    ack_policy=AckPolicy.MANUAL,
    decoder=whole,
    no_reply=True,
)
async def on_payments(message: KafkaMessage) -> None:
    """One batch."""
    await handler.handle(message)


@app.on_startup
async def opened() -> None:
    """Before the first batch."""
    await handler.open()


@app.after_shutdown
async def closed() -> None:
    """After the last batch."""
    await handler.close()


if __name__ == "__main__":
    uvloop.run(app.run())
