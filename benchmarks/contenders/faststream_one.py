"""FastStream, one message at a time: a handler that is called with one record, acknowledged by hand once all of its law is done.

What FastStream offers is used as it is meant to be: its subscriber, its publisher, its acknowledgement, its life cycle. What costs and
is not needed is switched off: dependency injection, its own decoding, logs.
"""

from __future__ import annotations

import asyncpg
import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from benchmarks.contenders.place import from_environment
from benchmarks.contenders.plain_store import MARK, Connection, apply_one, left_behind
from benchmarks.law import Output, judge

place = from_environment()
broker = KafkaBroker(place.bootstrap, apply_types=False, logger=None, enable_idempotence=True, acks="all", allow_auto_create_topics=False)
app = FastStream(broker, logger=None)

# The position in the store is what counts; the group's offset only says where a restart begins to read, and each commit of it is a round
# trip to the broker.
_ACK_EVERY = 100


class Handler:
    """What it keeps between two messages: its connection, and the marks that ride along with the next transaction."""

    def __init__(self) -> None:
        self._published: dict[int, int] = {}
        self._stands: dict[int, int] = {}
        self._since_ack = 0
        self._store: Connection

    async def open(self) -> None:
        """Publish what a process left that died, and learn where the store stands."""
        self._store = await asyncpg.connect(place.dsn)
        for made in await left_behind(self._store, list(place.stops)):
            await self._publish(made)
        rows = await self._store.fetch("SELECT partition, next_offset FROM position")
        self._stands = {row["partition"]: row["next_offset"] for row in rows}

    async def close(self) -> None:
        """The last marks."""
        await self._store.execute(MARK, list(self._published), list(self._published.values()))
        await self._store.close()

    async def handle(self, message: KafkaMessage) -> None:
        """The law for one record."""
        record = message.raw_message
        assert not isinstance(record, tuple)
        at = record.partition
        if self._stands[at] <= record.offset < place.stops[at]:
            judged = judge(at, record.offset, record.key, record.value, record.headers)
            made = await apply_one(self._store, judged, self._published.get(at, 0))
            self._stands[at] = record.offset + 1
            if made is not None:
                await self._publish(made)
        self._since_ack += 1
        if self._since_ack >= _ACK_EVERY:
            # An acknowledgement commits all that the consumer was handed until now.
            await message.ack()
            self._since_ack = 0

    async def _publish(self, made: Output) -> None:
        headers = {name: value.decode() for name, value in made.headers}
        await broker.publish(made.value, place.postings, key=made.key, partition=made.partition, headers=headers)
        self._published[made.partition] = made.offset + 1


handler = Handler()


async def whole(message: KafkaMessage) -> KafkaMessage:
    """In place of FastStream's decoding: the law decodes the bytes as they stand."""
    return message


@broker.subscriber(
    place.payments, group_id=place.group, auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL, decoder=whole, no_reply=True
)
async def on_payment(message: KafkaMessage) -> None:
    """One record."""
    await handler.handle(message)


@app.on_startup
async def opened() -> None:
    """Before the first message."""
    await broker.connect()
    await handler.open()


@app.after_shutdown
async def closed() -> None:
    """After the last message."""
    await handler.close()


if __name__ == "__main__":
    uvloop.run(app.run())
