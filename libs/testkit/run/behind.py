"""Puts duplicates and changed payloads straight onto a topic, behind their original."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from laws.canonical import canonical_json
from laws.envelope import decode_envelope, encode_envelope
from laws.payload_hash import payload_hash
from testkit.run.answers import Place
from testkit.world import Identity, TopicInject

_READ_MS = 10_000


class Behind:
    """A producer that goes around the edge."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none", max_partition_fetch_bytes=4 * 1024 * 1024
        )
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, max_request_size=2 * 1024 * 1024)
        self.injected = 0
        self.changed: set[tuple[Identity, str]] = set()
        """(identity, other payload hash) of the changed payloads that stand on a topic."""

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()
        await self._producer.start()

    async def stop(self) -> None:
        """Close."""
        await self._consumer.stop()
        await self._producer.stop()

    async def inject(self, step: TopicInject, place: Place) -> None:
        """Publish the admitted record of `step.of` again, with its own bytes or with another payload."""
        topic = place.topic if place.topic.startswith(self._prefix) else self._prefix + place.topic
        partition = TopicPartition(topic, place.partition)
        self._consumer.assign([partition])
        self._consumer.seek(partition, place.offset)
        found = await self._consumer.getmany(partition, timeout_ms=_READ_MS, max_records=1)
        records = found.get(partition, [])
        if not records or records[0].offset != place.offset:
            raise RuntimeError(f"nothing stands at {topic}/{place.partition}/{place.offset}, where the edge said that {step.of} is")
        record = records[0]
        value = record.value
        if step.payload is not None:
            value, digest = _changed(record.value, step.payload)
            self.changed.add((step.of, digest))
        await self._producer.send_and_wait(topic, value, key=record.key, partition=place.partition, headers=list(record.headers))
        self.injected += 1


def _changed(value: bytes, payload: dict[str, object]) -> tuple[bytes, str]:
    envelope = decode_envelope(value)
    fields = {name: getattr(envelope, name) for name in envelope.__struct_fields__ if name != "payload"}
    raw = canonical_json(payload)  # type: ignore[arg-type]  # a payload of the world is JSON
    return encode_envelope(fields, raw), payload_hash(envelope.event_type, raw, envelope.schema_version).hex()
