"""One service drains what stands on its topics, and what an event cost it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer

from audit.offline import declared
from spine.deadline import Deadline
from spine.lanes import group_topics
from testkit.bench.cpu_table import ServiceCost, read_profiles, service_cost
from testkit.bench.filling import Made, put
from testkit.bench.usage import Usage, spent_between
from testkit.engines import EngineSet
from testkit.harness import Process, Site, worker_process
from testkit.run.bus_reader import end_offsets
from testkit.world import RunIds

RUN = RunIds("platform_20260105T000000Z", "a" * 32)
RUNNER = "testkit.bench.profiled"
# No drain of what fits on one machine takes longer; one that does is stuck.
_DRAIN_SECONDS = 3600.0
_STOP_SECONDS = 30.0
_READY_SECONDS = 60.0
# Share of the records put first and not counted.
_WARMING = 0.1
# Workers that are held while records are put must keep their lanes.
_LONG_LEASE = {"FP_TIMEOUT_LEASE": "120"}

_OWNED = "SELECT count(*) FROM lane_lease WHERE until > now() AND owner IS NOT NULL"
_MOST = "SELECT max(owned) FROM (SELECT count(*) AS owned FROM lane_lease WHERE until > now() GROUP BY owner) AS counted"

_STANDING = """
SELECT coalesce((SELECT sum(next_offset - start_offset) FROM lane_position), 0)::bigint AS consumed,
       (SELECT coalesce(sum(lane_seq), 0) FROM lane)::bigint AS transactions,
       (SELECT count(*) FROM pending)::bigint AS pending,
       (SELECT count(*) FROM lane l
        WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.lane = l.lane AND o.lane_seq > l.published_seq)) AS unpublished
"""


@dataclass(frozen=True)
class Drained:
    """One drain. Counted is from the first events that were seen consumed: importing and connecting are no part of an event's cost."""

    service: str
    events: int
    seconds: float
    transactions: int
    cpu_s: dict[str, float]
    """By process: the service's own, the store's backends that worked for it, the bus."""
    cost: ServiceCost | None

    @property
    def us(self) -> dict[str, float]:
        """CPU microseconds an event by process."""
        return {name: 1e6 * cpu / max(1, self.events) for name, cpu in self.cpu_s.items()}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        steps = None
        if self.cost is not None:
            steps = {
                "us_per_event": round(self.cost.us_per_event, 2),
                "steps": {step.step: round(step.us_per_event, 2) for step in self.cost.steps},
                "functions": {step: [(name, round(us, 2)) for name, us in functions[:8]] for step, functions in self.cost.leaves.items()},
            }
        return {
            "service": self.service,
            "events": self.events,
            "seconds": round(self.seconds, 3),
            "events_per_s": round(self.events / self.seconds, 1),
            "events_per_transaction": round(self.events / max(1, self.transactions), 1),
            "cpu_us_per_event": {name: round(us, 2) for name, us in self.us.items()},
            "steps": steps,
        }


async def install(site: Site, service: str) -> None:
    """The service's schema and one open run."""
    # Its password must stand before its settings can name it.
    site.passwords.setdefault(service, "bench")
    await site.install(declared(service, site.settings(service)), platform_run_id=RUN.platform_run_id)


async def drain(
    engines: EngineSet,
    site: Site,
    service: str,
    out: Path,
    *,
    workers: int = 1,
    profile: bool = False,
    others: Mapping[str, list[int]] | None = None,
) -> Drained:
    """Start workers, let them drain what stands on the topics now, and end them. `others`: pids of what the service calls, by name."""
    total = await standing(site, service)
    processes = [_worker(site, service, out, number, profile=profile) for number in range(workers)]
    for process in processes:
        process.start()
    usage = Usage(engines, site.database, {service: [process.pid for process in processes], **(others or {})})
    async with site.store(service) as store:
        first = await _until_moved(store, processes)
        before, began = usage.look(), time.perf_counter()
        row = await _until_drained(store, processes, total)
    seconds = time.perf_counter() - began
    spent = spent_between(before, usage.look())
    for process in processes:
        process.terminate()
    for process in processes:
        await process.ended(Deadline(_STOP_SECONDS))
    events = total - first["consumed"]
    cost = service_cost(service, read_profiles(out, service), events, cpu_s=spent.get(service, 0.0)) if profile else None
    return Drained(service, events, seconds, row["transactions"] - first["transactions"], spent, cost)


async def drain_put(
    engines: EngineSet,
    site: Site,
    service: str,
    out: Path,
    made: Sequence[Made],
    *,
    workers: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Drained:
    """Start workers, wait until they share the lanes, put these records, and count until they are applied and published.

    No process starts and no lane moves while it counts, a part of the records that is not counted has filled caches and planned
    statements in every worker, and all the others stand on the topics when it begins: several workers are as comparable with one as one is
    with itself.
    """
    warming = int(len(made) * _WARMING)
    given = {**_LONG_LEASE, **(environment or {})}
    processes = [_worker(site, service, out, number, profile=False, environment=given) for number in range(workers)]
    for process in processes:
        process.start()
    try:
        async with site.store(service) as store:
            await until_shared(store, processes)
            usage = Usage(engines, site.database, {service: [process.pid for process in processes]})
            start = await _standing(store)
            await put(site, made[:warming])
            await _until_drained(store, processes, start["consumed"] + warming)
            for process in processes:
                process.send(signal.SIGSTOP)
            await put(site, made[warming:])
            first, before, began = await _standing(store), usage.look(), time.perf_counter()
            for process in processes:
                process.send(signal.SIGCONT)
            row = await _until_drained(store, processes, start["consumed"] + len(made))
            seconds = time.perf_counter() - began
            spent = spent_between(before, usage.look())
    finally:
        for process in processes:
            process.send(signal.SIGCONT)
            process.terminate()
        for process in processes:
            await process.ended(Deadline(_STOP_SECONDS))
    return Drained(service, len(made) - warming, seconds, row["transactions"] - first["transactions"], spent, None)


async def _until_drained(store: asyncpg.Connection, processes: Sequence[Process], consumed: int) -> asyncpg.Record:
    """Where the service stands once it has consumed so many, waits for nothing and has published everything."""
    deadline = Deadline(_DRAIN_SECONDS)
    while True:
        row = await _standing(store)
        if row["consumed"] >= consumed and not row["pending"] and not row["unpublished"]:
            return row
        deadline.check(f"{consumed:,} events to be drained, {row['consumed']:,} are")
        _alive(processes)
        await asyncio.sleep(0.05)


async def until_shared(store: asyncpg.Connection, processes: Sequence[Process]) -> None:
    """Every lane has an owner, and the owners have stopped moving lanes about."""
    deadline = Deadline(_READY_SECONDS)
    lanes = await store.fetchval("SELECT count(*) FROM lane")
    share = -(-lanes // len(processes))
    while True:
        owned, most = await store.fetchval(_OWNED), await store.fetchval(_MOST)
        if owned == lanes and most <= share:
            return
        _alive(processes)
        deadline.check(f"{lanes} lanes to be owned by {len(processes)}, {owned} are")
        await asyncio.sleep(0.1)


async def _until_moved(store: asyncpg.Connection, processes: list[Process]) -> asyncpg.Record:
    """Where the service stands at the moment when the workers have begun to consume."""
    consumed: int = (await _standing(store))["consumed"]
    deadline = Deadline(_DRAIN_SECONDS)
    while True:
        row = await _standing(store)
        if row["consumed"] > consumed:
            return row
        deadline.check("a worker to consume anything")
        _alive(processes)
        await asyncio.sleep(0.02)


async def _standing(store: asyncpg.Connection) -> asyncpg.Record:
    row = await store.fetchrow(_STANDING)
    if row is None:
        raise RuntimeError("the store answered nothing")
    return row


def _alive(processes: Sequence[Process]) -> None:
    for process in processes:
        if not process.alive:
            raise RuntimeError(f"{process.name} ended: see {process.log}")


async def standing(site: Site, service: str) -> int:
    """Records that stand on the topics of a service."""
    topics = {topic for group in declared(service, site.settings(service)).groups for topic in group_topics(group)}
    consumer = AIOKafkaConsumer(bootstrap_servers=site.endpoints.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        return sum((await end_offsets(consumer, topics, site.prefix)).values())
    finally:
        await consumer.stop()


def _worker(site: Site, service: str, out: Path, number: int, *, profile: bool, environment: Mapping[str, str] | None = None) -> Process:
    given = {"FP_PROFILE_OUT": str(out.resolve() / f"profile-{service}-{number}.json"), **(environment or {})}
    return worker_process(site, service, service, out, environment=given, runner=RUNNER if profile else None)
