"""Reads the topics of one lane: strict continuity, one re-seek for a hole, never a guess (runtime.md, What broke 2; Rules)."""

from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from laws.reasons import Reason
from laws.topics import Topic
from spine.bus import BusError, TopicIdentity
from spine.inputs import Source

# A header without a value comes as None.
_value_of = itemgetter(1)


class Position(NamedTuple):
    """Where a lane stands on one topic."""

    topic: Topic
    partition: int
    identity: TopicIdentity
    next_offset: int


class Fetched(NamedTuple):
    """Records in the order in which the lane applies them, and how far each topic stood when they were fetched."""

    sources: list[Source]
    ends: dict[str, int]
    more: bool
    """Whether the log held more than these when it was last asked."""


class Intake:
    """The consumer of one lane."""

    def __init__(self, consumer: AIOKafkaConsumer, positions: list[Position], prefix: str, reseeking: Callable[[str], None]) -> None:
        self._consumer = consumer
        self._reseeking = reseeking
        self._order = [position.topic.name for position in positions]
        self._positions = {position.topic.name: position for position in positions}
        self._partitions = {position.topic.name: TopicPartition(prefix + position.topic.name, position.partition) for position in positions}
        self._next = {position.topic.name: position.next_offset for position in positions}
        self._reseeked: set[str] = set()
        self._read_up_to_ms: dict[str, int] = {}

    def start(self) -> None:
        """Assign and seek; without a pause between, so that nothing is read from a place that we did not choose."""
        self._consumer.assign(list(self._partitions.values()))
        for name, partition in self._partitions.items():
            self._consumer.seek(partition, self._next[name])

    def rewind(self, positions: dict[str, int]) -> None:
        """Read again from the stored positions."""
        self._next.update(positions)
        for name, offset in positions.items():
            self._consumer.seek(self._partitions[name], offset)

    async def fetch(self, max_records: int, wait_ms: int) -> Fetched:
        """The next records, perhaps none. Where they are all there is, the broker is asked for nothing until the next call.

        Raises BusError with GAP for a hole that one re-seek does not close.
        """
        self._consumer.resume(*self._partitions.values())
        try:
            batches = await self._consumer.getmany(timeout_ms=wait_ms, max_records=max_records)
        except OffsetOutOfRangeError as error:
            raise BusError(Reason.GAP, f"the log no longer holds what comes next: {error}") from error
        sources: list[Source] = []
        for name in self._order:
            sources.extend(self._contiguous(name, batches.get(self._partitions[name], [])))
        if not sources:
            return Fetched(sources, {}, more=False)
        more = any(self.lag().values())
        if not more:
            # The client would ask at once for the little that comes next and keep it: the next batch would be that old, and asked for
            # twice.
            self._consumer.pause(*self._partitions.values())
        return Fetched(sources, await self._ends(), more)

    def _contiguous(self, name: str, records: list[ConsumerRecord]) -> list[Source]:
        taken: list[Source] = []
        if not records:
            return taken
        identity = self._positions[name].identity
        topic_id = str(identity.topic_id)
        expected = self._next[name]
        for record in records:
            if record.offset != expected:
                found = f"{name}/{record.partition}: offset {record.offset} came where {expected} was due"
                if name in self._reseeked:
                    raise BusError(Reason.GAP, found)
                self._reseeking(found)
                # The client's own trouble (a fetch that raced an assignment) goes away with a second read; a real hole does not.
                self._reseeked.add(name)
                self._consumer.seek(self._partitions[name], expected)
                return taken
            taken.append(_source(record, name, identity.cluster_id, topic_id))
            self._next[name] = expected = expected + 1
            self._read_up_to_ms[name] = record.timestamp
        self._reseeked.discard(name)
        return taken

    async def _ends(self) -> dict[str, int]:
        ends: dict[str, int] = {}
        for name, partition in self._partitions.items():
            highwater = self._consumer.highwater(partition)
            if highwater is None:
                found = await self._consumer.end_offsets([partition])
                highwater = found[partition]
            ends[name] = max(highwater, self._next[name])
        return ends

    def lag(self) -> dict[str, int]:
        """Records between the lane and the end of each topic, as far as the last fetch knew."""
        return {
            name: max(0, (self._consumer.highwater(partition) or self._next[name]) - self._next[name])
            for name, partition in self._partitions.items()
        }

    def lag_seconds(self, now_s: float) -> dict[str, float]:
        """How old the newest record read is, where there are newer ones; 0 where the lane has read everything."""
        behind = self.lag()
        return {
            name: max(0.0, round(now_s - self._read_up_to_ms[name] / 1000, 3)) if behind[name] and name in self._read_up_to_ms else 0.0
            for name in self._partitions
        }

    def places(self, offsets: dict[str, int]) -> dict[str, dict[int, int]]:
        """{physical topic: {partition: next offset}}, as advisory offsets are told."""
        return {self._partitions[name].topic: {self._partitions[name].partition: offset} for name, offset in offsets.items()}


def _source(record: ConsumerRecord, name: str, cluster_id: str, topic_id: str) -> Source:
    headers = tuple(record.headers)
    if not all(map(_value_of, headers)):
        headers = tuple((key, value or b"") for key, value in headers)
    return Source(cluster_id, topic_id, name, record.partition, record.offset, record.key or b"", record.value or b"", headers)


def check_identity(position: Position, now: TopicIdentity | None) -> None:
    """Raises BusError when the name means another topic, or another cluster, than the stored position."""
    if now is None:
        raise BusError(Reason.TOPIC_CHANGED, f"{position.topic.name} does not exist any more")
    if now.cluster_id != position.identity.cluster_id:
        raise BusError(Reason.CLUSTER_CHANGED, f"cluster is {now.cluster_id}, positions are of {position.identity.cluster_id}")
    if now.topic_id != position.identity.topic_id:
        raise BusError(
            Reason.TOPIC_CHANGED, f"{position.topic.name} has topic id {now.topic_id}, positions are of {position.identity.topic_id}"
        )
    if now.partitions != position.topic.partitions:
        raise BusError(
            Reason.TOPIC_CHANGED, f"{position.topic.name} has {now.partitions} partitions, the catalogue says {position.topic.partitions}"
        )


async def start_offset(consumer: AIOKafkaConsumer, name: str, partition: int) -> int:
    """The first offset that the log holds: where a lane begins that never stood on this topic; recorded as start_offset."""
    place = TopicPartition(name, partition)
    return int((await consumer.beginning_offsets([place]))[place])
