"""What a publisher takes from memory and what it reads from the store (docs/decisions/2026-11-24-hot-path.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError

from spine import publisher as publishing
from spine.emission import Record
from spine.ownership import Claim
from spine.publisher import Publisher

CLAIM = Claim(lane=0, epoch=1, token=b"t", published_seq=0)
HEADERS = msgspec.msgpack.encode([("x-fp-event-id", b"e")])


def record(name: str) -> Record:
    return "topic", 0, b"key", HEADERS, name.encode()


class Batch:
    def __init__(self) -> None:
        self.values: list[str] = []

    def append(self, *, timestamp: None, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> bool:
        self.values.append(value.decode())
        return True


class Bus:
    """Takes batches; the next `down` of them fail."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self.down = 0

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.down:
            self.down -= 1
            done.set_exception(KafkaConnectionError("away"))
        else:
            self.values += batch.values
            done.set_result(None)
        return done


class Store:
    """The outbox of one lane, and how often it was read."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, Record]] = []
        self.standing = 0
        self.reads = 0

    def commit(self, *names: str) -> tuple[int, tuple[Record, ...]]:
        self.standing += 1
        self.rows += [(self.standing, record(name)) for name in names]
        return self.standing, tuple(record(name) for name in names)

    async def fetch(self, _: str, lane: int, after: int, limit: int) -> list[Any]:
        self.reads += 1
        found = [Row(self.standing, seq, *row) for seq, row in self.rows if seq > after]
        return found or [Row(self.standing, None, None, None, None, None, None)]

    async def fetchval(self, *_: Any) -> int:
        return 1


class Row(tuple[Any, ...]):
    def __new__(cls, *values: Any) -> Row:
        return super().__new__(cls, values)

    def __getitem__(self, at: Any) -> Any:
        return super().__getitem__({"standing": 0, "lane_seq": 1}[at] if isinstance(at, str) else at)


@asynccontextmanager
async def running(store: Store, bus: Bus) -> AsyncIterator[Publisher]:
    made = Publisher(store, bus, CLAIM, "")  # type: ignore[arg-type]  # as much of a pool and of a producer as is asked of them
    await made.empty()
    made.wake()
    task = asyncio.create_task(made.run())
    try:
        await settled(made)
        store.reads = 0
        yield made
    finally:
        task.cancel()


async def settled(made: Publisher) -> None:
    """Until it waits for nothing but a mark."""
    async with asyncio.timeout(5):
        while made._wake.is_set() or made._handed or made._read_store:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)


async def test_what_follows_on_is_published_without_reading_it_back() -> None:
    store, bus = Store(), Bus()
    async with running(store, bus) as made:
        for names in (("a", "b"), (), ("c",)):
            made.hand_over(*store.commit(*names))
        await settled(made)
    assert (bus.values, store.reads) == (["a", "b", "c"], 0)
    assert made.acknowledged_seq == 3


async def test_a_lane_seq_between_that_nobody_handed_over_is_read_from_the_store_and_comes_first() -> None:
    """A command of another replica: published past it, its rows would be marked and never sent."""
    store, bus = Store(), Bus()
    async with running(store, bus) as made:
        store.commit("command")
        made.hand_over(*store.commit("mine"))
        await settled(made)
        assert bus.values == ["command", "mine"]
        assert store.reads > 0
        store.reads = 0
        made.hand_over(*store.commit("next"))
        await settled(made)
    assert (bus.values, store.reads) == (["command", "mine", "next"], 0)


async def test_after_trouble_of_the_bus_everything_unacknowledged_is_read_and_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_RETRY_AFTER", 0.01)
    store, bus = Store(), Bus()
    async with running(store, bus) as made:
        bus.down = 1
        made.hand_over(*store.commit("a"))
        made.hand_over(*store.commit("b"))
        async with asyncio.timeout(5):
            while made.acknowledged_seq < 2:
                await asyncio.sleep(0.001)
    assert bus.values[-2:] == ["a", "b"] and store.reads > 0


async def test_more_than_memory_should_hold_is_left_to_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_HANDED", 2)
    store, bus = Store(), Bus()
    async with running(store, bus) as made:
        for name in "abc":
            made.hand_over(*store.commit(name))
        assert made._handed_rows <= 2
        await settled(made)
    assert bus.values == ["a", "b", "c"] and store.reads > 0
