"""One measurement's ground: a database of its own beside topics that all share, the contender's processes, and the check of what it did."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.contenders.outgoing import BATCH_BYTES
from benchmarks.contenders.place import Place
from benchmarks.contenders.plain_store import SCHEMA
from benchmarks.posting.service import build
from benchmarks.roster import Contender
from benchmarks.workload import PAYMENTS, POSTINGS, RUN, Expected, Record
from laws.headers import EVENT_ID
from laws.topics import AUDIT, Topic
from spine.deadline import Deadline
from testkit.engines import EngineSet
from testkit.harness import Process, Site, new_site, worker_process

# A contender that has not ended this long after it was told to is stuck.
_END_SECONDS = 20.0

# Where the processes find this package, wherever the run was started.
_PATH = {"PYTHONPATH": str(Path(__file__).parents[1])}

_TOPIC_CONFIG = {
    "retention.ms": "-1",
    # The broker's clock, and one for all: when an output stands on the topic is when its latency ends.
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": str(2 * 1024 * 1024),
}


class Bus:
    """The topics of one or more measurements, and a look at them."""

    def __init__(self, engines: EngineSet, prefix: str, consumer: AIOKafkaConsumer) -> None:
        self.bootstrap = engines.endpoints.kafka_bootstrap
        self.prefix = prefix
        self._consumer = consumer

    def places(self, topic: Topic) -> list[TopicPartition]:
        """The partitions of a topic under this prefix."""
        return [TopicPartition(self.prefix + topic.name, partition) for partition in range(topic.partitions)]

    async def ends(self, topic: Topic) -> dict[int, int]:
        """Where each partition ends now."""
        return {place.partition: end for place, end in (await self._consumer.end_offsets(self.places(topic))).items()}

    async def fill(self, made: Sequence[Record]) -> None:
        """Put records on the payments' topic, in order."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, max_batch_size=BATCH_BYTES, linger_ms=0)
        await producer.start()
        try:
            by_partition: dict[int, list[Record]] = {}
            for record in made:
                by_partition.setdefault(record.partition, []).append(record)
            await asyncio.gather(*(self._fill(producer, partition, some) for partition, some in by_partition.items()))
        finally:
            await producer.stop()

    async def _fill(self, producer: AIOKafkaProducer, partition: int, made: Sequence[Record]) -> None:
        topic = self.prefix + PAYMENTS.name
        batch = producer.create_batch()
        for record in made:
            if batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers) is None:
                await (await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers)
        await (await producer.send_batch(batch, topic, partition=partition))

    async def outputs(self, starts: Mapping[int, int]) -> list[Seen]:
        """Every output from there on."""
        ends = await self.ends(POSTINGS)
        places = [place for place in self.places(POSTINGS) if ends[place.partition] > starts[place.partition]]
        self._consumer.assign(places)
        for place in places:
            self._consumer.seek(place, starts[place.partition])
        seen: list[Seen] = []
        left = sum(ends[place.partition] - starts[place.partition] for place in places)
        while left > 0:
            for records in (await self._consumer.getmany(timeout_ms=1000, max_records=2000)).values():
                seen += [_seen(record) for record in records]
                left -= len(records)
        return seen


class Seen(NamedTuple):
    """An output on the topic."""

    event_id: str
    parent_event_id: str
    at_ms: int
    value: bytes


class _Head(msgspec.Struct):
    event_id: str
    parent_event_id: str


_HEAD = msgspec.json.Decoder(_Head)


def _seen(record: Any) -> Seen:
    head = _HEAD.decode(record.value)
    if dict(record.headers)[EVENT_ID].decode() != head.event_id:
        raise ValueError(f"output {head.event_id} names another event in its headers")
    return Seen(head.event_id, head.parent_event_id, record.timestamp, record.value)


@contextlib.asynccontextmanager
async def open_bus(engines: EngineSet, prefix: str) -> AsyncIterator[Bus]:
    """Fresh topics."""
    bootstrap = engines.endpoints.kafka_bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", max_partition_fetch_bytes=4 * 1024 * 1024
    )
    await consumer.start()
    topics = [prefix + topic.name for topic in (PAYMENTS, POSTINGS, AUDIT)]
    try:
        await admin.create_topics(
            [NewTopic(prefix + topic.name, topic.partitions, 1, topic_configs=_TOPIC_CONFIG) for topic in (PAYMENTS, POSTINGS, AUDIT)]
        )
        bus = Bus(engines, prefix, consumer)
        for topic in (PAYMENTS, POSTINGS, AUDIT):
            # Asked until every partition has its leader: a producer that comes sooner is told to try again.
            await bus.ends(topic)
        yield bus
        await admin.delete_topics(topics)
    finally:
        await consumer.stop()
        await admin.close()


@dataclasses.dataclass(frozen=True)
class _Queries:
    """What the store says, in its own tables."""

    applied: str
    inbox: str
    postings: str
    balance: str
    mismatches: str
    outbox: str
    unmarked: str


_PLAIN = _Queries(
    applied="SELECT coalesce(sum(next_offset), 0)::bigint FROM position",
    inbox="SELECT count(*) FROM inbox",
    postings="SELECT coalesce(sum(postings), 0)::bigint FROM account",
    balance="SELECT coalesce(sum(balance_minor), 0)::bigint FROM account",
    mismatches="SELECT count(*) FROM mismatch",
    outbox="SELECT count(*) FROM outbox",
    unmarked='SELECT count(*) FROM outbox o JOIN position p USING (partition) WHERE o."offset" >= p.published',
)
_SPINE = dataclasses.replace(
    _PLAIN,
    applied="SELECT coalesce(sum(next_offset), 0)::bigint FROM lane_position",
    mismatches="SELECT count(*) FROM anomaly",
    outbox=f"SELECT count(*) FROM outbox WHERE topic = '{POSTINGS.name}'",  # noqa: S608  a constant of ours
    unmarked="SELECT count(*) FROM outbox o JOIN lane l USING (lane) WHERE o.lane_seq > l.published_seq",
)


class Ground:
    """A contender at work on its own database."""

    def __init__(
        self, contender: Contender, bus: Bus, site: Site, starts: Mapping[int, int], store: asyncpg.Connection[asyncpg.Record]
    ) -> None:
        self.contender = contender
        self.bus = bus
        self.site = site
        self.starts = starts
        self._store = store
        self._queries = _SPINE if contender.spine else _PLAIN
        self.processes: list[Process] = []

    def start(self, stops: Mapping[int, int], folder: Path) -> None:
        """Start its processes; plain ones read up to `stops` and no further."""
        self.processes = list(self._made(stops, folder))
        for process in self.processes:
            process.start()

    def _made(self, stops: Mapping[int, int], folder: Path) -> Sequence[Process]:
        contender = self.contender
        if contender.spine:
            return [
                worker_process(self.site, contender.module, "posting", folder, environment={**_PATH, **contender.environment})
                for _ in range(contender.workers)
            ]
        return [self._plain(number, stops, folder) for number in range(contender.workers)]

    def _plain(self, number: int, stops: Mapping[int, int], folder: Path) -> Process:
        contender = self.contender
        share = {partition: stop for partition, stop in stops.items() if partition % contender.workers == number}
        prefix = self.bus.prefix
        place = Place(
            bootstrap=self.bus.bootstrap,
            dsn=self.site.operator_dsn,
            payments=prefix + PAYMENTS.name,
            postings=prefix + POSTINGS.name,
            group=self.site.database,
            stops=share,
        )
        name = f"{contender.name}-{self.site.database}-{number}"
        argv = [sys.executable, "-m", contender.module, *contender.arguments]
        return Process(name, argv, {**_PATH, **place.environment(), **contender.environment}, 0, folder / f"{name}.log")

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        return [process.pid for process in self.processes if process.alive]

    def complain(self) -> None:
        """Raises RuntimeError, with the end of its log, when one of the processes has ended by itself."""
        for process in self.processes:
            if not process.alive:
                raise RuntimeError(f"{process.name} ended by itself:\n{process.log.read_text(errors='replace')[-2000:]}")

    async def applied(self) -> int:
        """Records that its store has moved past."""
        return int(await self._store.fetchval(self._queries.applied))

    async def published(self) -> int:
        """Records on the outputs' topic since it began. A lane that changes hands may publish a record twice."""
        ends = await self.bus.ends(POSTINGS)
        return sum(ends.values()) - sum(self.starts.values())

    async def end(self) -> None:
        """Tell the processes to end and wait until they have; one that does not is killed, and complained of."""
        for process in self.processes:
            process.terminate()
        deadline = Deadline(_END_SECONDS)
        try:
            for process in self.processes:
                await process.ended(deadline)
        finally:
            self.kill()

    def kill(self) -> None:
        """End its processes wherever they are."""
        for process in self.processes:
            if process.alive:
                process.kill()

    async def wrong(self, expected: Expected, outputs: Sequence[Seen]) -> list[str]:
        """What is not exact; empty when everything is."""
        queries, distinct = self._queries, len(expected.event_ids)
        wanted = {
            "rows of the inbox": (queries.inbox, distinct),
            "postings of all accounts": (queries.postings, distinct),
            "balance of all accounts": (queries.balance, expected.amount_minor),
            "mismatches recorded": (queries.mismatches, expected.mismatches),
            "rows of the outbox": (queries.outbox, distinct),
            "rows of the outbox that are not marked": (queries.unmarked, 0),
        }
        found = {name: (int(await self._store.fetchval(query)), want) for name, (query, want) in wanted.items()}
        values: dict[str, bytes] = {}
        altered = sum(1 for seen in outputs if values.setdefault(seen.event_id, seen.value) != seen.value)
        found |= {
            "outputs on the topic by id": (len(values), distinct),
            "payments without an output": (len(expected.event_ids - {seen.parent_event_id for seen in outputs}), 0),
            "copies of outputs with other bytes": (altered, 0),
        }
        return [f"{name}: {is_} instead of {want}" for name, (is_, want) in found.items() if is_ != want]


@contextlib.asynccontextmanager
async def open_ground(engines: EngineSet, contender: Contender, bus: Bus) -> AsyncIterator[Ground]:
    """A fresh database for a contender on topics that are there; its processes are gone at the end."""
    site = dataclasses.replace(await new_site(engines.endpoints), prefix=bus.prefix)
    schema = "posting" if contender.spine else "public"
    if contender.spine:
        site.passwords["posting"] = "bench"
        await site.install(build(site.settings("posting")), platform_run_id=RUN)
    try:
        async with site.store(schema) as store:
            if not contender.spine:
                await store.execute(SCHEMA)
            # What the measurement before left to write would fall into this one.
            await store.execute("CHECKPOINT")
            ground = Ground(contender, bus, site, await bus.ends(POSTINGS), store)
            try:
                yield ground
            finally:
                await ground.end()
    finally:
        admin = await asyncpg.connect(engines.endpoints.postgres_dsn)
        try:
            await admin.execute(f'DROP DATABASE IF EXISTS "{site.database}" WITH (FORCE)')
        finally:
            await admin.close()
