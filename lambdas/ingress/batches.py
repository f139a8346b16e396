"""The way of records to one partition: what comes while a batch is under way goes together in the next, whoever brought it.

One batch at a time is under way to a partition. aiokafka takes several callers' batches too, but lets them wait for each other in turns
that count their waiting more than once, so that under load they run out of time after a fraction of it.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ingress.record import Record

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer
    from aiokafka.producer.message_accumulator import BatchBuilder

# The producer's batches have 512 KiB: two shares fit with their overhead, and a record that is larger goes alone.
_SHARE_BYTES = 200 * 1024
_BATCH_BYTES = 2 * _SHARE_BYTES
_RECORD_OVERHEAD = 64


class PublishUnknownError(Exception):
    """Nobody knows whether the record was or will be appended."""


class Ack(NamedTuple):
    """Where a record stands, and the time that its record carries (epoch milliseconds)."""

    offset: int
    timestamp_ms: int


class Share:
    """Records of one array that go to one partition together, in the caller's order: appended all or none."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.records: list[Record] = []
        self.size = 0
        self.done: asyncio.Future[Ack | PublishUnknownError] = asyncio.get_running_loop().create_future()
        """Where the first of them stands, or that nobody knows."""
        self._indexes: list[int] = []

    def add(self, index: int, record: Record) -> bool:
        """Whether the record, the caller's `index`-th, went in."""
        size = len(record.value) + len(record.key) + _RECORD_OVERHEAD
        for name, value in record.headers:
            size += len(name) + len(value)
        if self.records and self.size + size > _SHARE_BYTES:
            return False
        self.records.append(record)
        self.size += size
        self._indexes.append(index)
        return True

    def settle(self, first: Ack | PublishUnknownError) -> None:
        """Say what became of it; nobody may be listening any more."""
        if not self.done.done():
            self.done.set_result(first)

    def answers(self) -> Iterator[tuple[int, Ack | PublishUnknownError]]:
        """What became of each record, by the caller's index; nothing while there is no answer."""
        if not self.done.done() or self.done.cancelled():
            return
        first = self.done.result()
        for number, index in enumerate(self._indexes):
            yield index, first if isinstance(first, PublishUnknownError) else Ack(first.offset + number, first.timestamp_ms)

    @property
    def end(self) -> int | None:
        """The offset behind the last record; None where nothing is known to be appended."""
        if not self.done.done() or self.done.cancelled():
            return None
        first = self.done.result()
        return None if isinstance(first, PublishUnknownError) else first.offset + len(self.records)


def shares_of(records: Sequence[Record]) -> list[Share]:
    """The records of an array in as few shares as hold them."""
    shares: list[Share] = []
    open_share: dict[tuple[str, int], Share] = {}
    for index, record in enumerate(records):
        place = (record.topic, record.partition)
        share = open_share.get(place)
        if share is None or not share.add(index, record):
            share = open_share[place] = Share(record.topic, record.partition)
            share.add(index, record)
            shares.append(share)
    return shares


class Outgoing:
    """What is on its way to one partition by one producer."""

    def __init__(self, producer: "AIOKafkaProducer", topic: str, partition: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._waiting: list[Share] = []
        self._sending: asyncio.Task[None] | None = None

    def put(self, share: Share) -> None:
        """Send it, after what came before it."""
        self._waiting.append(share)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    def end(self) -> None:
        """Send nothing any more; of what is under way nobody knows."""
        if self._sending is not None:
            self._sending.cancel()
        self._waiting.clear()

    async def _send(self) -> None:
        while self._waiting:
            now_ms = int(time.time() * 1000)
            builder, taken = self._batch(now_ms)
            first: Ack | PublishUnknownError
            try:
                sent = await self._producer.send_batch(builder, self._topic, partition=self._partition)
                offset = (await sent).offset
            except Exception as error:  # whatever it was, the broker may have the batch
                first = PublishUnknownError(f"{type(error).__name__}: {error}")
            else:
                # The broker has a batch and may have forgotten where: only the log can tell then.
                first = Ack(offset, now_ms) if offset >= 0 else PublishUnknownError("the broker knows the records and not their offsets")
            for share in taken:
                share.settle(first)
                if isinstance(first, Ack):
                    first = Ack(first.offset + len(share.records), first.timestamp_ms)

    def _batch(self, now_ms: int) -> tuple["BatchBuilder", list[Share]]:
        builder = self._producer.create_batch()
        taken: list[Share] = []
        size = 0
        while self._waiting and (not taken or size + self._waiting[0].size <= _BATCH_BYTES):
            share = self._waiting.pop(0)
            for record in share.records:
                if builder.append(timestamp=now_ms, key=record.key, value=record.value, headers=record.headers) is None:
                    raise AssertionError("shares are cut so that a batch holds them")
            taken.append(share)
            size += share.size
        builder.close()  # else the producer adds single records to it, whose offsets we would take for those of ours
        return builder, taken
