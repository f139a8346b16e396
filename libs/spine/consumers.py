"""Consumers that are connected before a lane needs one: connecting is the longest part of taking a lane over."""

import asyncio
from collections.abc import Collection
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer

from spine.bus import fetch_wait_of, make_consumer
from spine.deadline import Deadline
from spine.faults import TRANSIENT

_log = structlog.get_logger(__name__)

# A worker that leaves gives the others a lane or two each. What more is claimed at once is connected then.
_SPARES = 2
_RETRY_AFTER = 1.0


class Consumers:
    """Makes the consumers of one worker."""

    def __init__(self, options: dict[str, Any], kinds: Collection[int]) -> None:
        """`kinds`: numbers of topics that lanes of this worker read."""
        self._options = options
        self._spares: dict[int, list[AIOKafkaConsumer]] = {topics: [] for topics in kinds}
        self._taken = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()

    async def take(self, topics: int) -> AIOKafkaConsumer:
        """A connected consumer for so many topics, the caller's from now on. Raises aiokafka.errors.KafkaError where the bus is away."""
        self._taken.set()
        spares = self._spares[topics]
        while spares:
            spare = spares.pop(0)
            if spare._client.get_random_node() is not None:
                return spare
            # It has lost sight of every broker while it waited, and would never find one again by itself.
            await spare.stop()
        return await self._connected(topics)

    async def run(self) -> None:
        """Keep spares until cancelled."""
        while True:
            self._taken.clear()
            try:
                for topics, spares in self._spares.items():
                    while len(spares) < _SPARES:
                        spares.append(await self._connected(topics))
            except TRANSIENT as error:
                _log.info("worker.spare_consumer_failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(_RETRY_AFTER)
                continue
            await self._taken.wait()

    def retire(self, consumer: AIOKafkaConsumer) -> None:
        """Disconnect one that was taken, in the background: its lane is given back without waiting for that."""
        task = asyncio.create_task(consumer.stop())
        self._retiring.add(task)
        task.add_done_callback(self._retired)

    async def close(self, deadline: Deadline) -> None:
        """Disconnect what is left, within the deadline."""
        for spares in self._spares.values():
            while spares:
                self.retire(spares.pop())
        if self._retiring:
            _, late = await asyncio.wait(self._retiring, timeout=deadline.left)
            for task in late:
                task.cancel()

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._retiring.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.info("worker.consumer_stop_failed", error=f"{type(error).__name__}: {error}")

    async def _connected(self, topics: int) -> AIOKafkaConsumer:
        consumer = make_consumer(self._options, fetch_wait_of(topics))
        try:
            await consumer.start()
        except BaseException:
            # A client that did not start keeps its connections and tasks, and a broker that is down is tried again and again.
            await consumer.stop()
            raise
        return consumer
