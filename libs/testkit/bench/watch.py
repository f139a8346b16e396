"""Looks at the platform once a second while a measurement runs: how far behind every lane is, what every process has used and holds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from audit.offline import declared
from laws.topics import Topic
from spine.lanes import group_topics
from testkit.bench.usage import Spent, Usage
from testkit.run.bus_reader import end_offsets
from testkit.run.platform import SERVICES, Platform

_EVERY = 1.0

_POSITIONS = "SELECT topic, partition, lane, next_offset FROM lane_position"
_PENDING = "SELECT count(*) FROM pending"
# Lanes that went together have a certificate each, and one time.
_CERTIFIED = """
SELECT c.lane, c.lane_seq, c.applied_at FROM unnest($1::int[], $2::bigint[]) AS seen(lane, lane_seq)
JOIN certificate c ON c.lane = seen.lane AND c.lane_seq > seen.lane_seq
"""


class Look(NamedTuple):
    """One moment."""

    at: float
    """Epoch seconds."""
    behind: dict[str, dict[int, int]]
    """Records between each lane and the ends of its topics, by service."""
    pending: dict[str, int]
    """Waits and calls that are open, by service."""
    spent: dict[str, Spent]
    transactions: dict[str, int]
    """Committed by the lanes of a service so far, those of several lanes counted once."""
    read: dict[str, int]
    """Records applied so far, by service."""

    @property
    def backlog(self) -> int:
        """Records that some service has not read yet."""
        return sum(sum(lanes.values()) for lanes in self.behind.values())


class Watch:
    """Samples until stopped. Reads as the operator."""

    def __init__(self, platform: Platform, others: Mapping[str, list[int]]) -> None:
        """`others`: pids of processes that are no part of the platform, by name."""
        self._platform = platform
        self._others = others
        self._consumer = AIOKafkaConsumer(bootstrap_servers=platform.engines.endpoints.kafka_bootstrap, enable_auto_commit=False)
        self._connections: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        self._topics: tuple[Topic, ...] = ()
        self._certified: dict[str, dict[int, int]] = {}
        self._transactions: Counter[str] = Counter()
        self._usage: Usage | None = None
        self._running: asyncio.Task[None] | None = None
        # A connection does one thing at a time, and a search looks beside the one look a second.
        self._looking = asyncio.Lock()
        self.looks: list[Look] = []

    async def start(self) -> None:
        """Connect, and begin to look."""
        site = self._platform.site
        await self._consumer.start()
        topics: dict[str, Topic] = {}
        for name in SERVICES:
            self._connections[name] = connection = await asyncpg.connect(site.operator_dsn, server_settings={"search_path": name})
            self._certified[name] = dict.fromkeys([row["lane"] for row in await connection.fetch("SELECT lane FROM lane")], 0)
            for group in declared(name, site.settings(name)).groups:
                topics |= {topic.name: topic for topic in group_topics(group)}
        self._topics = tuple(topics.values())
        pids = {name: [process.pid for process in group] for name, group in self._platform.processes.items()}
        self._usage = Usage(self._platform.engines, site.database, {**pids, **self._others})
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more. Raises what looking raised."""
        failure = None
        if self._running is not None:
            failure = self._running.exception() if self._running.done() and not self._running.cancelled() else None
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        for connection in self._connections.values():
            await connection.close()
        await self._consumer.stop()
        if failure is not None:
            raise failure

    async def _run(self) -> None:
        while True:
            begun = time.monotonic()
            await self.look()
            await asyncio.sleep(max(0.05, _EVERY - (time.monotonic() - begun)))

    async def look(self) -> Look:
        """Take one sample."""
        async with self._looking:
            return await self._look()

    async def _look(self) -> Look:
        if self._usage is None:
            raise RuntimeError("the watch is not started")
        stands = {name: await connection.fetch(_POSITIONS) for name, connection in self._connections.items()}
        pending = {name: int(await connection.fetchval(_PENDING)) for name, connection in self._connections.items()}
        applied = {name: await self._applied(name, connection) for name, connection in self._connections.items()}
        # After the positions: an end that is older than a position would hide a record that was written between the two.
        ends = await end_offsets(self._consumer, self._topics, self._platform.site.prefix)
        prefix = self._platform.site.prefix
        behind: dict[str, dict[int, int]] = {}
        for name, rows in stands.items():
            lanes = behind.setdefault(name, {})
            for row in rows:
                end = ends.get(TopicPartition(prefix + row["topic"], row["partition"]), 0)
                lanes[row["lane"]] = lanes.get(row["lane"], 0) + max(0, end - row["next_offset"])
        read = {name: sum(row["next_offset"] for row in rows) for name, rows in stands.items()}
        look = Look(time.time(), behind, pending, self._usage.look(), applied, read)
        self.looks.append(look)
        return look

    async def _applied(self, name: str, connection: asyncpg.Connection[asyncpg.Record]) -> int:
        seen = self._certified[name]
        rows = await connection.fetch(_CERTIFIED, list(seen), list(seen.values()))
        for row in rows:
            seen[row["lane"]] = max(seen[row["lane"]], row["lane_seq"])
        self._transactions[name] += len({row["applied_at"] for row in rows})
        return self._transactions[name]
