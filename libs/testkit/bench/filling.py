"""Puts a world straight onto its topics, as the edge would: for measurements of what is behind the edge."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer

from laws.canonical import canonical_json
from laws.catalogue import EVENT_TYPES
from laws.envelope import decode_envelope
from laws.headers import Correlation, Provenance
from laws.topics import Topic
from testkit.harness import Site
from testkit.world import NO_MESS, EdgeSend, RunIds, World, WorldConfig

# Records under way at once: their futures are kept.
_IN_FLIGHT = 20_000
_PROVENANCE = Provenance("bench", "bench", "bench", "bench")


class Made(NamedTuple):
    """One record, ready to be sent."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def records(
    site: Site, size: int, run: RunIds, topics: Collection[Topic], *, seed: int = 1, partitions: Collection[int] | None = None
) -> Iterator[Made]:
    """The events of a world of `size` that travel on `topics`; only those of some partitions where they are named."""
    for step in World(WorldConfig(seed=seed, size=size, mess=NO_MESS), run):
        if not isinstance(step, EdgeSend):
            continue
        topic = EVENT_TYPES[step.event_type].topic
        if topic is None or topic not in topics:
            continue
        envelope = decode_envelope(step.envelope)
        key = topic.key.key_of(envelope.event_id, json.loads(bytes(envelope.payload)))
        if key is None:
            raise RuntimeError(f"event {envelope.event_id} has no key")
        partition = topic.partition(key)
        if partitions is not None and partition not in partitions:
            continue
        correlation = Correlation(step.traceparent, "", run.platform_run_id, run.scenario_run_id, "P6", envelope.event_id, "ig")
        headers = [*correlation.headers(), *_PROVENANCE.headers()]
        yield Made(site.prefix + topic.name, partition, key, canonical_json(json.loads(step.envelope)), headers)


async def fill(
    site: Site, size: int, run: RunIds, topics: Collection[Topic], *, seed: int = 1, partitions: Collection[int] | None = None
) -> int:
    """Put them there; how many."""
    producer = await _producer(site)
    sent: list[Any] = []
    total = 0
    try:
        for made in records(site, size, run, topics, seed=seed, partitions=partitions):
            sent.append(await _send(producer, made))
            total += 1
            if len(sent) == _IN_FLIGHT:
                await _acknowledged(sent)
        await _acknowledged(sent)
    finally:
        await producer.stop()
    return total


async def put(site: Site, made: Sequence[Made]) -> None:
    """Put records there that are made already, as fast as it goes."""
    producer = await _producer(site)
    sent: list[Any] = []
    try:
        for record in made:
            sent.append(await _send(producer, record))
            if len(sent) == _IN_FLIGHT:
                await _acknowledged(sent)
        await _acknowledged(sent)
    finally:
        await producer.stop()


async def pour(site: Site, made: Sequence[Made], per_second: float) -> float:
    """Send records at a rate that waits for nobody; returns how late (seconds) the latest was."""
    producer = await _producer(site)
    sent: list[Any] = []
    late = 0.0
    began = time.monotonic()
    try:
        for number, record in enumerate(made):
            due = began + number / per_second
            if (ahead := due - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            late = max(late, time.monotonic() - due)
            sent.append(await _send(producer, record))
        await _acknowledged(sent)
    finally:
        await producer.stop()
    return late


async def _producer(site: Site) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(bootstrap_servers=site.endpoints.kafka_bootstrap, enable_idempotence=True, linger_ms=2)
    await producer.start()
    return producer


async def _send(producer: AIOKafkaProducer, made: Made) -> Any:
    return await producer.send(made.topic, made.value, key=made.key, partition=made.partition, headers=made.headers)


async def _acknowledged(sent: list[Any]) -> None:
    for future in sent:
        await future
    sent.clear()
