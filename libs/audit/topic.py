"""Reads partitions of a topic with a consumer of its own, from outside every service."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from laws.claims import CLAIM, read_claim
from laws.envelope import Envelope, decode_envelope
from laws.event_classes import EventClass
from laws.identity import Identity
from laws.payload_hash import payload_hash
from spine.bus import TopicIdentity, TopicWatch, make_consumer


class LogGoneError(Exception):
    """The log no longer holds what is asked for, or another topic stands under the name."""


class Read(NamedTuple):
    """A record as it stands on the log."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class Fact(NamedTuple):
    """What the auditor makes of a record's bytes by itself. `identity` is None where they say none."""

    identity: Identity | None
    event_id: str
    payload_hash: bytes


class Log:
    """The bus, for reading."""

    def __init__(self, bus: dict[str, Any], prefix: str) -> None:
        self._bus = bus
        self._prefix = prefix
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> "Log":
        # The client has one fetch under way at a time: one that is held back at the end of a partition holds up the next partition.
        self._consumer = make_consumer(self._bus, fetch_wait_ms=5)
        await self._consumer.start()
        # The client's own tasks must have begun: one that is cancelled before that lets its cancellation out of stop().
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def identities(self, topics: list[str]) -> dict[str, TopicIdentity]:
        """What the names mean on this cluster now."""
        watch = TopicWatch(self._bus)
        await watch.start()
        try:
            found = await watch.identities([self._prefix + topic for topic in topics])
        finally:
            await watch.stop()
        return {name.removeprefix(self._prefix): identity for name, identity in found.items()}

    async def span(self, topic: str, partition: int) -> tuple[int, int]:
        """[first offset, end) of what the log holds of a partition."""
        place = TopicPartition(self._prefix + topic, partition)
        consumer = self._started()
        begin, end = await consumer.beginning_offsets([place]), await consumer.end_offsets([place])
        return int(begin[place]), int(end[place])

    async def read(self, topic: str, partition: int, start: int, stop: int) -> AsyncIterator[list[Read]]:
        """The records of [start, stop) in order, in pieces. Raises LogGoneError where the log holds fewer."""
        first, end = await self.span(topic, partition)
        if start >= stop:
            return
        if first > start or end < stop:
            raise LogGoneError(f"{topic}/{partition} holds [{first}, {end}), asked for [{start}, {stop})")
        place = TopicPartition(self._prefix + topic, partition)
        consumer = self._started()
        consumer.assign([place])
        consumer.seek(place, start)
        due = start
        while due < stop:
            batch = await consumer.getmany(timeout_ms=500, max_records=5000)
            piece = []
            for record in batch.get(place, ()):
                if record.offset >= stop:
                    break
                if record.offset != due:
                    raise LogGoneError(f"{topic}/{partition}: offset {record.offset} came where {due} was due")
                headers = tuple((name, value or b"") for name, value in record.headers)
                piece.append(Read(topic, partition, record.offset, record.key or b"", record.value or b"", headers))
                due += 1
            if piece:
                yield piece

    def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("the log is not open: use it as a context manager")
        return self._consumer


def fact_of(value: bytes, headers: Sequence[tuple[str, bytes]], classes: dict[str, EventClass]) -> Fact:
    """The identity and the payload hash that a record's bytes say; a claim says that of the payload in whose place it stands."""
    try:
        envelope = decode_envelope(value)
    except msgspec.MsgspecError:
        return Fact(None, "", b"")
    event_class = classes.get(envelope.event_type)
    if event_class is None or envelope.platform_run_id is None or not bytes(envelope.payload):
        return Fact(None, "", b"")
    digest = _claimed(envelope, headers) or payload_hash(envelope.event_type, bytes(envelope.payload), envelope.schema_version)
    return Fact(Identity(envelope.platform_run_id, event_class, envelope.event_id), envelope.event_id, digest)


def _claimed(envelope: Envelope, headers: Sequence[tuple[str, bytes]]) -> bytes | None:
    if not any(name == CLAIM for name, _ in headers):
        return None
    try:
        return bytes.fromhex(read_claim(envelope).payload_hash)
    except msgspec.MsgspecError:
        return None
