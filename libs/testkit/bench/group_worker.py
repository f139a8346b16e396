"""The same law behind a consumer group: `python -m testkit.bench.group_worker decision_fabric`. A comparison, and no part of the platform.

Kafka's coordinator says who reads which partitions; positions, dedupe and effects are in the same set-based transaction as a lane's, and
so is the check that a batch begins where the last one ended. It has no leases and no epochs: two members that believe they own a partition
are kept apart by the positions alone. Waits that come due are left out: the load has none.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog
import uvloop
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.structs import ConsumerRecord

from audit.offline import declared
from spine.faults import TRANSIENT
from spine.inputs import Source
from spine.lanes import LaneSpec, group_topics, lane_specs
from spine.outcome import ContinuityError, Part
from spine.ownership import Claim
from spine.process import build_runtime, close_runtime
from spine.publisher import Publisher
from spine.runtime import Runtime
from spine.service import Service
from spine.settings import Settings, load_settings

# The shortest that a broker accepts by default (group.min.session.timeout.ms): what a group can do, done as well as it can.
SESSION_TIMEOUT_MS = 6000
_HEARTBEAT_MS = 500
_FETCH_WAIT_MS = 250
_BATCH = 500

_POSITION = """
INSERT INTO lane_position (topic, partition, lane, cluster_id, topic_id, start_offset, next_offset)
VALUES ($2, $3, $1, $4, $5, 0, 0) ON CONFLICT (topic, partition) DO NOTHING
"""
_STANDS = "SELECT topic, next_offset FROM lane_position WHERE lane = $1"

_log = structlog.get_logger(__name__)


class Lane:
    """One partition of every topic of the group, as this member works on it."""

    def __init__(self, runtime: Runtime, spec: LaneSpec, claim: Claim) -> None:
        self._rt = runtime
        self.spec = spec
        self.next: dict[str, int] = {}
        self.publisher = Publisher(runtime.pool, runtime.producer, claim, runtime.settings.topic_prefix)
        self.publishing = asyncio.create_task(self.publisher.run())
        self.publisher.wake()

    async def apply(self, sources: list[Source], ends: dict[str, int]) -> None:
        """One batch, in one transaction. Raises ContinuityError where it does not follow the last one."""
        decoder = self._rt.decoders[self.spec.group.name]
        inputs = [decoder.record(source) for source in sources]
        async with self._rt.pool.acquire() as connection:
            await self._rt.law.apply(connection, [Part(self.spec, None, inputs, self.publisher.acknowledged_seq, ends)])
        self.publisher.wake()
        for source in sources:
            self.next[source.topic] = source.offset + 1


class Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """One member of the group."""

    def __init__(self, runtime: Runtime, service: Service) -> None:
        self._rt = runtime
        self._prefix = runtime.settings.topic_prefix
        self._specs = {spec.home: spec for spec in lane_specs(service)}
        self._topics = [topic.name for topic in group_topics(service.groups[0])]
        self._lanes: dict[int, Lane] = {}
        self._identities: dict[str, tuple[str, str]] = {}
        self._stopping = asyncio.Event()
        self._consumer = AIOKafkaConsumer(
            **runtime.bus_options,
            group_id=f"bench-{service.name}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # Partition i of every topic goes to one member: both topics of a key meet there.
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )

    def stop(self) -> None:
        """Finish the batch in hand and leave the group."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until told to stop."""
        found = await self._rt.watch.identities([self._prefix + name for name in self._topics])
        self._identities = {
            name.removeprefix(self._prefix): (identity.cluster_id, str(identity.topic_id)) for name, identity in found.items()
        }
        self._consumer.subscribe([self._prefix + name for name in self._topics], listener=self)
        await self._consumer.start()
        try:
            while not self._stopping.is_set():
                batches = await self._consumer.getmany(timeout_ms=_FETCH_WAIT_MS, max_records=_BATCH * max(1, len(self._lanes)))
                by_home: dict[int, dict[str, list[ConsumerRecord]]] = {}
                for place, records in batches.items():
                    by_home.setdefault(place.partition, {})[place.topic.removeprefix(self._prefix)] = records
                await asyncio.gather(*(self._work(home, records) for home, records in by_home.items()))
        finally:
            for lane in self._lanes.values():
                await lane.publisher.empty()
                lane.publishing.cancel()
            await self._consumer.stop()

    # --- ConsumerRebalanceListener ---

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Every member stops: the old owner publishes what it has, the new one begins where the store says."""
        for lane in self._lanes.values():
            await lane.publisher.empty()
            lane.publishing.cancel()
        self._lanes = {}

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Seek to where the store says that each lane stands."""
        for home in sorted({place.partition for place in assigned}):
            spec = self._specs[home]
            for name in self._topics:
                cluster_id, topic_id = self._identities[name]
                await self._rt.pool.execute(_POSITION, spec.lane, name, home, cluster_id, topic_id)
            row = await self._rt.pool.fetchrow("SELECT epoch, token, published_seq FROM lane WHERE lane = $1", spec.lane)
            if row is None:
                raise RuntimeError(f"lane {spec.lane} is not in the store")
            lane = Lane(self._rt, spec, Claim(spec.lane, row["epoch"], row["token"], row["published_seq"]))
            await self._seek(lane)
            self._lanes[home] = lane

    async def _seek(self, lane: Lane) -> None:
        lane.next = {row["topic"]: row["next_offset"] for row in await self._rt.pool.fetch(_STANDS, lane.spec.lane)}
        for name, offset in lane.next.items():
            self._consumer.seek(TopicPartition(self._prefix + name, lane.spec.home), offset)

    # --- working ---

    async def _work(self, home: int, batches: dict[str, list[ConsumerRecord]]) -> None:
        lane = self._lanes.get(home)
        if lane is None:
            return  # handed out before the assignment was answered (aiokafka#738): it is read again
        sources: list[Source] = []
        for name in self._topics:
            cluster_id, topic_id = self._identities[name]
            for record in batches.get(name, []):
                if record.offset != lane.next[name] + sum(1 for source in sources if source.topic == name):
                    await self._seek(lane)
                    return
                headers = tuple((key, value or b"") for key, value in record.headers)
                sources.append(Source(cluster_id, topic_id, name, home, record.offset, record.key or b"", record.value or b"", headers))
        ends = {
            name: max(self._consumer.highwater(TopicPartition(self._prefix + name, home)) or 0, lane.next[name]) for name in self._topics
        }
        if not sources:
            return
        try:
            await lane.apply(sources, ends)
        except ContinuityError:
            # Another member is at work on it: what the store says holds.
            await self._seek(lane)
        except TRANSIENT as error:
            _log.warning("member.waits", home=home, error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.05)
            await self._seek(lane)


async def _serve(service: Service, settings: Settings) -> None:
    runtime = await build_runtime(service, settings)
    member = Member(runtime, service)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, member.stop)
    try:
        await member.run()
    finally:
        await close_runtime(runtime)


def main() -> None:
    """`python -m testkit.bench.group_worker <service>`, with the environment of a worker."""
    settings = load_settings()
    uvloop.run(_serve(declared(sys.argv[1], settings), settings))


if __name__ == "__main__":
    main()
