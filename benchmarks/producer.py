"""An open-loop producer, a process of its own: it follows a schedule and waits for nobody, so that what waits behind it counts.

`python -m benchmarks.producer <plan as JSON>`; it says `ready`, is told on standard input at which instant to begin (seconds of the epoch),
and says at the end how late it was itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import msgspec
import uvloop
from aiokafka import AIOKafkaProducer

from benchmarks.contenders.outgoing import make_producer
from benchmarks.workload import PARTITIONS, Record, records

# A record waits this long for others at the most, so that the broker is asked 200 times a second and not once a record.
_TICK = 0.005


class Plan(msgspec.Struct, frozen=True):
    """Records `first` to `first + count` of the workload, `rate` a second."""

    bootstrap: str
    topic: str
    first: int
    count: int
    rate: float


async def main(plan: Plan) -> None:
    """Until the last record is acknowledged."""
    parts: list[list[tuple[int, Record]]] = [[] for _ in range(PARTITIONS)]
    for number, record in enumerate(records(plan.first + plan.count)):
        if number >= plan.first:
            parts[record.partition].append((number - plan.first, record))
    producer = make_producer(plan.bootstrap)
    await producer.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    begin = float(await asyncio.to_thread(sys.stdin.readline))
    try:
        late = await asyncio.gather(*(_follow(producer, plan, part, begin) for part in parts))
    finally:
        await producer.stop()
    sys.stdout.write(json.dumps({"latest_ms": round(max(late) * 1000, 1)}) + "\n")


async def _follow(producer: AIOKafkaProducer, plan: Plan, part: list[tuple[int, Record]], begin: float) -> float:
    """Send one partition's records when their time has come; how many seconds after it the latest was handed to the bus."""
    sent = 0
    latest = 0.0
    acknowledgements = []
    while sent < len(part):
        now = time.time()
        if (wait := begin + part[sent][0] / plan.rate - now) > 0:
            await asyncio.sleep(max(wait, _TICK))
            continue
        latest = max(latest, -wait)
        batch = producer.create_batch()
        while sent < len(part) and begin + part[sent][0] / plan.rate <= now:
            record = part[sent][1]
            if batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers) is None:
                break
            sent += 1
        # Waits until the batch before has left for the broker, not until it is acknowledged.
        acknowledgements.append(await producer.send_batch(batch, plan.topic, partition=part[0][1].partition))
    await asyncio.gather(*acknowledgements)
    return latest


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Plan)))
