"""Puts duplicates and changed payloads straight onto a topic, behind their original."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from laws.canonical import canonical_json
from laws.envelope import decode_envelope, encode_envelope
from laws.payload_hash import payload_hash
from spine.deadline import Deadline
from testkit.run.answers import Place, identity_text
from testkit.world import TopicInject

_READ_SECONDS = 10.0
# A fetch gives at least one batch of records, however large; one is all that is wanted of it.
_FETCH_BYTES = 16 * 1024


class Behind:
    """A producer that goes around the edge."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._prefix = prefix
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none", max_partition_fetch_bytes=_FETCH_BYTES
        )
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, max_request_size=2 * 1024 * 1024)
        self.injected = 0
        self.changed: set[str] = set()
        """Identity and other payload hash of the changed payloads that stand on a topic."""

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()
        await self._producer.start()

    async def stop(self) -> None:
        """Close."""
        await self._consumer.stop()
        await self._producer.stop()

    async def inject(self, steps: Sequence[tuple[TopicInject, Place]]) -> None:
        """Publish the admitted record of each step's `of` again, with its own bytes or with another payload."""
        left: dict[TopicPartition, list[tuple[TopicInject, int]]] = {}
        for step, place in steps:
            topic = place.topic if place.topic.startswith(self._prefix) else self._prefix + place.topic
            left.setdefault(TopicPartition(topic, place.partition), []).append((step, place.offset))
        while left:
            # One of each partition at a time: the originals of a round are fetched together.
            originals = await self._originals({partition: queued.pop(0) for partition, queued in left.items()})
            # One request to the broker, not one a record: they are of different partitions, so no order is lost.
            await asyncio.gather(*(self._publish(step, record) for step, record in originals))
            left = {partition: queued for partition, queued in left.items() if queued}

    async def _originals(self, wanted: dict[TopicPartition, tuple[TopicInject, int]]) -> list[tuple[TopicInject, ConsumerRecord]]:
        self._consumer.assign(list(wanted))
        for partition, (_, offset) in wanted.items():
            self._consumer.seek(partition, offset)
        found: list[tuple[TopicInject, ConsumerRecord]] = []
        left = dict(wanted)
        deadline = Deadline(_READ_SECONDS)
        while left:
            deadline.check(f"{len(left)} originals to be read, one is {next(iter(left.values()))[0].of}")
            for partition, records in (await self._consumer.getmany(*left, timeout_ms=500)).items():
                step, offset = left.pop(partition)
                if records[0].offset != offset:
                    raise RuntimeError(f"nothing stands at {partition} {offset}, where the edge said that {step.of} is")
                found.append((step, records[0]))
        return found

    async def _publish(self, step: TopicInject, record: ConsumerRecord) -> None:
        value = record.value
        if step.payload is not None:
            value, digest = _changed(record.value, step.payload)
            of = step.of
            self.changed.add(f"{identity_text(of.platform_run_id, of.event_class, of.event_id)}/{digest}")
        await self._producer.send_and_wait(record.topic, value, key=record.key, partition=record.partition, headers=list(record.headers))
        self.injected += 1


def _changed(value: bytes, payload: dict[str, object]) -> tuple[bytes, str]:
    envelope = decode_envelope(value)
    fields = {name: getattr(envelope, name) for name in envelope.__struct_fields__ if name != "payload"}
    raw = canonical_json(payload)  # type: ignore[arg-type]  # a payload of the world is JSON
    return encode_envelope(fields, raw), payload_hash(envelope.event_type, raw, envelope.schema_version).hex()
