"""Puts a world straight onto its topics, as the edge would: for measurements of what is behind the edge."""

from __future__ import annotations

import json
from typing import Any

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


async def fill(site: Site, size: int, run: RunIds, topics: tuple[Topic, ...], seed: int = 1) -> int:
    """Put the events of a world of `size` that travel on `topics` there; how many."""
    producer = AIOKafkaProducer(bootstrap_servers=site.endpoints.kafka_bootstrap, enable_idempotence=True, linger_ms=5)
    await producer.start()
    sent: list[Any] = []
    total = 0
    try:
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
            correlation = Correlation(step.traceparent, "", run.platform_run_id, run.scenario_run_id, "P6", envelope.event_id, "ig")
            headers = [*correlation.headers(), *Provenance("bench", "bench", "bench", "bench").headers()]
            value = canonical_json(json.loads(step.envelope))
            sent.append(await producer.send(site.prefix + topic.name, value, key=key, partition=topic.partition(key), headers=headers))
            total += 1
            if len(sent) == _IN_FLIGHT:
                await _acknowledged(sent)
        await _acknowledged(sent)
    finally:
        await producer.stop()
    return total


async def _acknowledged(sent: list[Any]) -> None:
    for future in sent:
        await future
    sent.clear()
