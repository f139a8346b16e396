"""What the spine's tests share: records, sites with the test service, workers in this process and as processes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from laws.canonical import canonical_json
from laws.catalogue import EventType
from laws.envelope import encode_envelope
from laws.headers import Correlation, Provenance
from laws.topics import Topic
from ledger import service as ledger
from spine.commands import CommandDoor
from spine.deadline import Deadline
from spine.inputs import Source
from spine.process import build_runtime, close_runtime
from spine.runtime import Runtime
from spine.worker import Worker
from testkit.engines import EngineSet
from testkit.harness import PLATFORM_RUN, Process, Site, free_port, new_site, worker_process

PINS = {
    "platform_run_id": PLATFORM_RUN,
    "scenario_run_id": "a" * 32,
    "manifest_fingerprint": "b" * 64,
    "parameter_hash": "c" * 64,
    "seed": "7",
    "scenario_id": "baseline",
}
PROVENANCE = Provenance("policy", "bundle", "config", "release")
INSTANT = "2026-01-05T00:00:00.000000Z"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Record:
    """One record as a producer would make it."""

    topic: Topic
    partition: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


def record(event_type: EventType, event_id: str, payload: dict[str, Any], run: str = PLATFORM_RUN) -> Record:
    """A lawful record."""
    assert event_type.topic is not None
    pins = {**PINS, "platform_run_id": run}
    fields = {**pins, "event_id": event_id, "event_type": event_type.name, "ts_utc": INSTANT, "schema_version": "v1", "producer": "test"}
    key = event_type.topic.key.key_of(event_id, payload)
    assert key is not None
    value = encode_envelope(fields, canonical_json(payload))
    headers = (*correlation(event_id, run).headers(), *PROVENANCE.headers())
    return Record(event_type.topic, event_type.topic.partition(key), key, value, headers)


def correlation(event_id: str, run: str = PLATFORM_RUN) -> Correlation:
    """The headers of an event whose trace id follows from its id."""
    trace = hashlib.sha256(event_id.encode()).hexdigest()[:32]
    return Correlation(f"00-{trace}-{'1' * 16}-01", "", run, "a" * 32, "P6", event_id, "ig")


def entry(event_id: str, account: str = "a", amount: int = 1, note: str = "", run: str = PLATFORM_RUN) -> Record:
    """An entry of the test service."""
    payload: dict[str, Any] = {"account": account, "amount": amount}
    if note:
        payload["note"] = note
    return record(ledger.ENTRY, event_id, payload, run)


def key_given(event_id: str, account: str) -> Record:
    """The event that an entry with note `wait` waits for."""
    return record(ledger.KEY, event_id, {"account": account})


def adjust(door: CommandDoor, event_id: str, account: str, amount: int) -> tuple[Source, Any]:
    """A command of the test service, and its home lane."""
    payload = {"account": account, "amount": amount, "pins": PINS, "observed_time": INSTANT}
    body = ledger.Adjust(account=account, amount=amount, pins=None, observed_time=INSTANT)  # type: ignore[arg-type]  # only the key is read
    key, spec = door.home(ledger.ADJUST.name, body)
    fields = {**PINS, "event_id": event_id, "event_type": ledger.ADJUST.name, "ts_utc": INSTANT, "schema_version": "v1", "producer": "test"}
    headers = (*correlation(event_id).headers(), *PROVENANCE.headers())
    return Source("", "", "", 0, -1, key, encode_envelope(fields, canonical_json(payload)), headers), spec  # type: ignore[arg-type]  # headers are pairs


@dataclass
class Rig:
    """The test service on real engines, isolated from every other test."""

    engines: EngineSet
    site: Site
    producer: AIOKafkaProducer
    folder: Path

    async def send(self, *records: Record) -> None:
        """Publish, in order, acknowledged."""
        sent = [
            await self.producer.send(
                self.site.prefix + item.topic.name, item.value, key=item.key, partition=item.partition, headers=list(item.headers)
            )
            for item in records
        ]
        await asyncio.gather(*sent)

    async def read(self, topic: Topic) -> list[Any]:
        """Every record that stands on a topic now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.engines.endpoints.kafka_bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            places = [TopicPartition(self.site.prefix + topic.name, partition) for partition in range(topic.partitions)]
            ends = await consumer.end_offsets(places)
            consumer.assign(places)
            found: list[Any] = []
            while len(found) < sum(ends.values()):
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    found.extend(batch)
            return found
        finally:
            await consumer.stop()

    async def rows(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Rows of the service's schema, as the operator."""
        async with self.site.store("ledger") as store:
            return await store.fetch(sql, *arguments)

    async def value(self, sql: str, *arguments: Any) -> Any:
        """One value of the service's schema."""
        async with self.site.store("ledger") as store:
            return await store.fetchval(sql, *arguments)

    async def until(self, sql: str, wanted: Any, seconds: float = 30.0) -> None:
        """Waits until a query gives a value; on time-out says what it gave."""
        deadline = Deadline(seconds)
        async with self.site.store("ledger") as store:
            while (found := await store.fetchval(sql)) != wanted:
                deadline.check(f"{sql} to be {wanted!r}, it is {found!r}")
                await asyncio.sleep(0.02)

    async def quiet(self, records: int, seconds: float = 40.0) -> None:
        """Waits until that many records are consumed and everything in the outbox is published."""
        await self.until("SELECT coalesce(sum(next_offset - start_offset), 0)::int FROM lane_position", records, seconds)
        await self.until("SELECT count(*)::int FROM outbox o JOIN lane l USING (lane) WHERE o.lane_seq > l.published_seq", 0, seconds)

    @contextlib.asynccontextmanager
    async def worker(self, adapt: Callable[[Runtime], None] | None = None) -> AsyncIterator[tuple[Worker, CommandDoor]]:
        """A worker inside this process."""
        settings = self.site.settings("ledger", free_port())
        runtime = await build_runtime(ledger.build(settings), settings)
        if adapt is not None:
            adapt(runtime)
        worker = Worker(runtime)
        running = asyncio.create_task(worker.run())
        try:
            yield worker, CommandDoor(runtime)
        finally:
            worker.stop()
            await running
            await close_runtime(runtime)

    def process(self, **environment: str) -> Process:
        """A worker process, not started yet."""
        path = f"{HERE}:{self.folder}"
        return worker_process(self.site, "ledger", "ledger", self.folder, environment={"PYTHONPATH": path, **environment})


@contextlib.asynccontextmanager
async def rig_on(engines: EngineSet, folder: Path) -> AsyncIterator[Rig]:
    """A fresh rig: its own database, topics, role and run."""
    site = await new_site(engines.endpoints)
    # A short lease makes deaths short; the order of the timeouts stays.
    site.environment |= {
        "FP_TIMEOUT_LOCK": "0.5",
        "FP_TIMEOUT_STATEMENT": "1.0",
        "FP_TIMEOUT_IDLE_IN_TRANSACTION": "1.2",
        "FP_TIMEOUT_DRAIN": "1.5",
        "FP_TIMEOUT_LEASE": "2.0",
    }
    await site.topics(ledger.TOPICS)
    site.passwords["ledger"] = "ledger"
    await site.install(ledger.build(site.settings("ledger")))
    producer = AIOKafkaProducer(bootstrap_servers=engines.endpoints.kafka_bootstrap, enable_idempotence=True)
    await producer.start()
    try:
        yield Rig(engines, site, producer, folder)
    finally:
        await producer.stop()
