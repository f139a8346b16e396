"""When a run is over: every lane stands at the end of its topics, nothing is pending, everything is published."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, TopicPartition

from laws.topics import TOPICS
from spine.deadline import Deadline
from testkit.run.bus_reader import end_offsets
from testkit.run.observe import Sample
from testkit.run.platform import SERVICES, Platform

_POSITIONS = "SELECT topic, partition, next_offset FROM lane_position"


class Quiescence:
    """Asks the broker where the topics end, and the stores where the lanes stand."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._consumer = AIOKafkaConsumer(bootstrap_servers=platform.engines.endpoints.kafka_bootstrap, enable_auto_commit=False)

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def reached(self, look: Callable[[], Awaitable[Sample]], deadline: Deadline, what: str) -> None:
        """Returns when two looks in a row find nothing to do and nothing done between them.

        Raises DeadlineExceededError with what is left.
        """
        before: tuple[int, ...] | None = None
        while True:
            sample = await look()
            left = await self._left(sample)
            now = tuple(standing.applied for standing in sample.services.values())
            if not left and now == before:
                return
            before = None if left else now
            deadline.check(f"{what} ({'; '.join(left) or 'still moving'})")
            await asyncio.sleep(0.2)

    async def _left(self, sample: Sample) -> list[str]:
        left = [f"{name}: {standing.pending} pending" for name, standing in sample.services.items() if standing.pending]
        left += [f"{name}: {standing.unpublished} records to publish" for name, standing in sample.services.items() if standing.unpublished]
        prefix = self._platform.site.prefix
        ends = await end_offsets(self._consumer, TOPICS, prefix)
        for name in SERVICES:
            behind = await self._behind(name, ends, prefix)
            if behind:
                left.append(f"{name}: {behind} records to read")
        return left

    async def _behind(self, name: str, ends: dict[TopicPartition, int], prefix: str) -> int:
        async with self._platform.site.store(name) as store:
            rows = await store.fetch(_POSITIONS)
        return sum(max(0, ends[TopicPartition(prefix + row["topic"], row["partition"])] - row["next_offset"]) for row in rows)
