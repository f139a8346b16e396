"""Records of one array as batches of one partition each: a tenth of the client's work of one record at a time."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ingress.record import Record

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer
    from aiokafka.producer.message_accumulator import BatchBuilder
    from aiokafka.structs import RecordMetadata


class PublishUnknownError(Exception):
    """Nobody knows whether the record was or will be appended."""


class Ack(NamedTuple):
    """Where a record stands, and the time that its record carries (epoch milliseconds)."""

    offset: int
    timestamp_ms: int


class Batch:
    """Records of one partition, in the caller's order. The broker appends all of them or none."""

    def __init__(self, builder: "BatchBuilder", topic: str, partition: int, timestamp_ms: int) -> None:
        self.builder = builder
        self.topic = topic
        self.partition = partition
        self.sent: asyncio.Future[RecordMetadata] | None = None
        """Set when the producer has taken the batch; done when it is appended."""
        # Given here: the answer to a batch tells only where its first record stands.
        self._timestamp_ms = timestamp_ms
        self._indexes: list[int] = []

    def add(self, index: int, record: Record) -> bool:
        """Whether the record, the caller's `index`-th, went in; a batch that is full takes none."""
        added = self.builder.append(timestamp=self._timestamp_ms, key=record.key, value=record.value, headers=record.headers)
        if added is not None:
            self._indexes.append(index)
        return added is not None

    def answers(self) -> Iterator[tuple[int, Ack | PublishUnknownError]]:
        """What became of each record, by the caller's index; nothing while there is no answer."""
        if self.sent is None or not self.sent.done() or self.sent.cancelled():
            return
        base = self._base(self.sent)
        for number, index in enumerate(self._indexes):
            yield index, Ack(base + number, self._timestamp_ms) if isinstance(base, int) else base

    def end(self) -> int | None:
        """The offset behind the last record; None where nothing is known to be appended."""
        if self.sent is None or not self.sent.done() or self.sent.cancelled():
            return None
        base = self._base(self.sent)
        return base + len(self._indexes) if isinstance(base, int) else None

    @staticmethod
    def _base(sent: "asyncio.Future[RecordMetadata]") -> int | PublishUnknownError:
        if error := sent.exception():
            return PublishUnknownError(f"{type(error).__name__}: {error}")
        offset: int = sent.result().offset
        # The broker has the batch and has forgotten where: only the log can tell.
        return offset if offset >= 0 else PublishUnknownError("the broker knows the record and not its offset")


def in_batches(producer: "AIOKafkaProducer", records: Sequence[Record]) -> list[Batch]:
    """The records in as few batches as hold them."""
    now_ms = int(time.time() * 1000)
    batches: list[Batch] = []
    open_batch: dict[tuple[str, int], Batch] = {}
    for index, record in enumerate(records):
        place = (record.topic, record.partition)
        batch = open_batch.get(place)
        if batch is not None and batch.add(index, record):
            continue
        batch = open_batch[place] = Batch(producer.create_batch(), record.topic, record.partition, now_ms)
        batches.append(batch)
        if not batch.add(index, record):
            raise AssertionError("an empty batch takes any record")
    for batch in batches:
        batch.builder.close()  # else the producer adds single records to it, whose offsets we would take for those of ours
    return batches
