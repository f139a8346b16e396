"""Applies a fixed history, batch by batch, and counts what it costs the store and the way there.

Each batch goes through the law's own transaction; then the lane's publisher publishes its outputs, before the next batch begins, whose
transaction carries the mark.
"""

from __future__ import annotations

import msgspec

from benchmarks.contenders.plain_store import Connection
from benchmarks.counting.histories import CLUSTER, HISTORIES, SHAPES, TOPIC_ID, History, Shape, batches
from benchmarks.counting.wire import Counts, Wire
from benchmarks.workload import RUN
from spine.inputs import Source
from spine.lanes import group_topics, lane_specs
from spine.outcome import Fence, Part
from spine.ownership import Claim
from spine.process import build_runtime, close_runtime
from spine.publisher import Publisher
from spine.runtime import Runtime
from testkit.engines import Endpoints
from testkit.harness import Site, new_site


class Cost(msgspec.Struct):
    """What the counted batches of one history took, together."""

    batches: int
    events: int
    outputs: int
    statements: dict[str, int]
    """Executions by text."""
    round_trips: int
    bytes_out: int
    bytes_in: int
    wal_bytes: int
    """Of the service's own backend."""


Costs = dict[str, dict[str, Cost]]
"""By history and shape."""

_BEGIN = """
INSERT INTO lane_position (topic, partition, lane, cluster_id, topic_id, start_offset, next_offset) VALUES ($1, $2, $3, $4, $5, 0, 0)
"""
# A backend tells of its WAL when it likes, at the latest when it is told to.
_FLUSH = "SELECT pg_stat_force_next_flush()"
_WAL = "SELECT wal_bytes::bigint FROM pg_stat_get_backend_wal($1)"


async def measure(endpoints: Endpoints) -> Costs:
    """Costs of each history in each shape, each on a database of its own."""
    return {name: {shape: await measure_one(endpoints, name, shape) for shape in SHAPES} for name in HISTORIES}


async def measure_one(endpoints: Endpoints, name: str, shape: str) -> Cost:
    """The cost of one history in one shape."""
    history = HISTORIES[name]
    site = await new_site(endpoints)
    await site.topics(history.topics)
    site.passwords[name] = "bench"
    service = history.build(site.settings(name))
    await site.install(service, platform_run_id=RUN)
    wire = Wire(endpoints.postgres_dsn)
    async with wire.relaying(), site.store(name) as store:
        site.environment["FP_DATABASE_URL"] = wire.through(site.dsn(name))
        runtime = await build_runtime(service, site.settings(name))
        try:
            return await _Measurement(site, runtime, store, wire).of(history, SHAPES[shape])
        finally:
            await close_runtime(runtime)


class _Measurement:
    """One lane of a service in this process, its only user."""

    def __init__(self, site: Site, runtime: Runtime, store: Connection, wire: Wire) -> None:
        self._site = site
        self._runtime = runtime
        self._store = store
        self._wire = wire
        self._spec = lane_specs(runtime.service)[0]

    async def of(self, history: History, shape: Shape) -> Cost:
        """Applies everything, and counts what comes after the first batches."""
        runtime, spec = self._runtime, self._spec
        (claim,) = await runtime.ownership.claim(1)
        topics = [topic.name for topic in group_topics(spec.group)]
        for topic in topics:
            await self._store.execute(_BEGIN, topic, spec.home, spec.lane, CLUSTER, TOPIC_ID)
        publisher = Publisher(runtime.pool, runtime.producer, claim, runtime.settings.topic_prefix)
        # As a worker does that has claimed its lane: from here on the outbox is known.
        await publisher.empty()
        sources = history.sources(self._site, spec.home)
        published = wal = 0
        for number, batch in enumerate(batches(sources, shape, topics)):
            if number == shape.first:
                wal = await self._wal()
                published = publisher.published
                self._wire.counts = Counts()
            await self._apply(batch, claim, publisher, dict.fromkeys(topics, len(sources)))
        counts = self._wire.counts
        self._wire.counts = Counts()
        return Cost(
            batches=shape.counted,
            events=shape.counted * shape.batch,
            outputs=publisher.published - published,
            statements=dict(sorted(counts.statements.items())),
            round_trips=counts.round_trips,
            bytes_out=counts.bytes_out,
            bytes_in=counts.bytes_in,
            wal_bytes=await self._wal() - wal,
        )

    async def _apply(self, batch: list[Source], claim: Claim, publisher: Publisher, ends: dict[str, int]) -> None:
        runtime, spec = self._runtime, self._spec
        decoder = runtime.decoders[spec.group.name]
        inputs = [decoder.record(source) for source in batch]
        seq = publisher.acknowledged_seq
        part = Part(spec, Fence(claim.epoch, claim.token), inputs, seq, ends)
        async with runtime.pool.acquire() as connection:
            (applied,) = await runtime.law.apply(connection, [part])
        assert applied is not None
        publisher.carried(seq)
        publisher.hand_over(applied.lane_seq, applied.outbox)
        await publisher.publish_all()

    async def _wal(self) -> int:
        """Bytes that this service's backend has written until now. Its pool has one connection as long as one asks it."""
        async with self._runtime.pool.acquire() as connection:
            await connection.execute(_FLUSH)
            return int(await self._store.fetchval(_WAL, connection.get_server_pid()))
