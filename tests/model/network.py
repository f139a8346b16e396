"""The way from a worker to the broker, under the script's control: what is sent arrives when the script says so, or never."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer


class _Sent(NamedTuple):
    topic: str
    value: bytes
    key: bytes
    partition: int
    headers: list[tuple[str, bytes]]
    acknowledged: asyncio.Future[None]


class Network:
    """In the place of a worker's producer. A worker that dies takes with it what the broker has not got."""

    def __init__(self, broker: AIOKafkaProducer) -> None:
        self._broker = broker
        self.waiting: deque[_Sent] = deque()

    async def send(self, topic: str, value: bytes, *, key: bytes, partition: int, headers: list[tuple[str, bytes]]) -> asyncio.Future[None]:
        """What `spine.publisher` asks of a producer."""
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(_Sent(topic, value, key, partition, headers, acknowledged))
        return acknowledged

    async def stop(self) -> None:
        """Nothing to close."""

    async def append(self, loop: asyncio.AbstractEventLoop) -> None:
        """The broker takes the next record, and tells the worker that lives on `loop`."""
        sent = self.waiting.popleft()
        await self._broker.send_and_wait(sent.topic, sent.value, key=sent.key, partition=sent.partition, headers=sent.headers)
        loop.call_soon_threadsafe(_acknowledge, sent.acknowledged)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.waiting


def _acknowledge(acknowledged: asyncio.Future[Any]) -> None:
    if not acknowledged.done():
        acknowledged.set_result(None)
