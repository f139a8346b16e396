"""How fast a law service drains a topic, beside reading, decoding and hashing the same topic alone; both on this machine's engines."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from decision_fabric.app import build
from laws.canonical import canonical_json
from laws.catalogue import EVENT_TYPES
from laws.envelope import decode_envelope
from laws.headers import Correlation, Provenance
from laws.topics import FLOW_ANCHOR, TRAFFIC
from spine.deadline import Deadline
from spine.inputs import Decoder, Source
from spine.worker import Worker, build_runtime, close_runtime
from testkit.engines import borrowed
from testkit.harness import Site, free_port, new_site
from testkit.world import NO_MESS, EdgeSend, RunIds, World, WorldConfig

# No drain of the sizes that fit on one machine takes longer; one that does is stuck.
_SECONDS = 3600.0
# Records under way at once while the topic is filled: their futures are kept.
_IN_FLIGHT = 20_000


async def measure(size: int, rounds: int, out: Path) -> dict[str, Any]:
    """Rates (events a second) of each round and the median ratio; written to `out` as JSON."""
    results = []
    with borrowed() as engines:
        for number in range(rounds):
            site = await new_site(engines.endpoints)
            await site.topics([TRAFFIC, FLOW_ANCHOR])
            site.passwords["decision_fabric"] = "bench"
            run = RunIds(f"platform_20260105T0000{number:02d}Z", "a" * 32)
            await site.install(build(site.settings("decision_fabric")), platform_run_id=run.platform_run_id)
            events = await fill(site, size, run)
            floor = events / await _floor(site)
            law = events / await drain(site, events)
            results.append({"events": events, "floor_per_s": round(floor), "law_per_s": round(law), "ratio": round(law / floor, 3)})
    ordered = sorted(results, key=lambda result: result["ratio"])
    summary = {"rounds": results, "median": ordered[len(ordered) // 2]}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")  # noqa: ASYNC240  nothing else runs by then
    return summary


async def fill(site: Site, size: int, run: RunIds) -> int:
    """Put a world's traffic and anchors on their topics; how many."""
    producer = AIOKafkaProducer(bootstrap_servers=site.endpoints.kafka_bootstrap, linger_ms=5)
    await producer.start()
    sent: list[Any] = []
    total = 0
    for step in World(WorldConfig(seed=1, size=size, mess=NO_MESS), run):
        if not isinstance(step, EdgeSend):
            continue
        envelope = decode_envelope(step.envelope)
        topic = EVENT_TYPES[envelope.event_type].topic
        if topic not in (TRAFFIC, FLOW_ANCHOR):
            continue
        key = topic.key.key_of(envelope.event_id, json.loads(bytes(envelope.payload)))
        if key is None:
            raise RuntimeError(f"event {envelope.event_id} has no key")
        correlation = Correlation(step.traceparent, "", run.platform_run_id, run.scenario_run_id, "P6", envelope.event_id, "ig")
        headers = [*correlation.headers(), *Provenance("bench", "bench", "bench", "bench").headers()]
        value = canonical_json(json.loads(step.envelope))
        sent.append(await producer.send(site.prefix + topic.name, value, key=key, partition=topic.partition(key), headers=headers))
        total += 1
        if len(sent) == _IN_FLIGHT:
            await asyncio.gather(*sent)
            sent = []
    await asyncio.gather(*sent)
    await producer.stop()
    return total


async def _floor(site: Site) -> float:
    """Seconds to read, decode and hash everything, and nothing else."""
    decoder = Decoder(build(site.settings("decision_fabric")).groups[0])
    consumer = AIOKafkaConsumer(bootstrap_servers=site.endpoints.kafka_bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    places = [TopicPartition(site.prefix + topic.name, partition) for topic in (TRAFFIC, FLOW_ANCHOR) for partition in range(6)]
    ends = sum((await consumer.end_offsets(places)).values())
    started = time.perf_counter()
    consumer.assign(places)
    read = 0
    while read < ends:
        for place, records in (await consumer.getmany(timeout_ms=1000, max_records=500)).items():
            for record in records:
                name = place.topic.removeprefix(site.prefix)
                decoder.record(Source("", "", name, place.partition, record.offset, record.key, record.value, tuple(record.headers)))
            read += len(records)
    seconds = time.perf_counter() - started
    await consumer.stop()
    return seconds


async def drain(site: Site, events: int) -> float:
    """Seconds until one worker has applied and published everything."""
    settings = site.settings("decision_fabric", free_port())
    runtime = await build_runtime(build(settings), settings)
    worker = Worker(runtime)
    started = time.perf_counter()
    running = asyncio.create_task(worker.run())
    deadline = Deadline(_SECONDS)
    async with site.store("decision_fabric") as store:
        while True:
            done = await store.fetchval("SELECT coalesce(sum(next_offset - start_offset), 0) FROM lane_position")
            if done == events:
                break
            deadline.check(f"{events} events to be applied, {done} are")
            await asyncio.sleep(0.05)
    seconds = time.perf_counter() - started
    worker.stop()
    await running
    await close_runtime(runtime)
    return seconds


def main() -> None:
    """`python -m benchmarks.law_drain [--size N] [--rounds N]`."""
    parser = argparse.ArgumentParser(prog="law_drain", description=__doc__)
    parser.add_argument("--size", type=int, default=20_000, help="events of the world")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median counts")
    options = parser.parse_args()
    out = Path("runs/bench.json")
    summary = asyncio.run(measure(options.size, options.rounds, out))
    for result in summary["rounds"]:
        sys.stdout.write(f"floor {result['floor_per_s']:,}/s, law {result['law_per_s']:,}/s, ratio {result['ratio']}\n")
    sys.stdout.write(f"median ratio {summary['median']['ratio']} ({summary['median']['law_per_s']:,} events/s); {out}\n")


if __name__ == "__main__":
    main()
