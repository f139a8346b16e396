"""The way from a worker to the broker, under the script's control: what is sent arrives when the script says so, or never."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer


class _Record(NamedTuple):
    value: bytes
    key: bytes
    headers: list[tuple[str, bytes]]


class _Batch:
    """Full with one record, so that the script has each record under its control."""

    def __init__(self) -> None:
        self.record: _Record | None = None

    def append(self, *, timestamp: None, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> _Record | None:
        """The record that was taken; None where there is no more room."""
        if self.record is not None:
            return None
        self.record = _Record(value, key, headers)
        return self.record


class _Sent(NamedTuple):
    topic: str
    partition: int
    record: _Record
    acknowledged: asyncio.Future[None]


class Network:
    """In the place of a worker's producer. A worker that dies takes with it what the broker has not got."""

    def __init__(self, broker: AIOKafkaProducer) -> None:
        self._broker = broker
        self.waiting: deque[_Sent] = deque()

    def create_batch(self) -> _Batch:
        """What `spine.publisher` fills."""
        return _Batch()

    async def send_batch(self, batch: _Batch, topic: str, *, partition: int) -> asyncio.Future[None]:
        """What `spine.publisher` asks of a producer."""
        assert batch.record is not None
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(_Sent(topic, partition, batch.record, acknowledged))
        return acknowledged

    async def stop(self) -> None:
        """Nothing to close."""

    async def append(self, loop: asyncio.AbstractEventLoop) -> None:
        """The broker takes the next record, and tells the worker that lives on `loop`."""
        sent = self.waiting.popleft()
        value, key, headers = sent.record
        await self._broker.send_and_wait(sent.topic, value, key=key, partition=sent.partition, headers=headers)
        loop.call_soon_threadsafe(_acknowledge, sent.acknowledged)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.waiting


def _acknowledge(acknowledged: asyncio.Future[Any]) -> None:
    if not acknowledged.done():
        acknowledged.set_result(None)
