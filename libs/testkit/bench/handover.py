"""`fp bench handover`: how long an event waits when a worker joins, leaves and dies, with leases and with a consumer group."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from laws.topics import FLOW_ANCHOR, TRAFFIC
from spine.deadline import Deadline
from spine.settings import Timeouts
from testkit.bench.delays import delays
from testkit.bench.draining import RUN, install, standing, until_shared
from testkit.bench.filling import Made, pour, records
from testkit.bench.group_worker import SESSION_TIMEOUT_MS
from testkit.engines import EngineSet, borrowed
from testkit.harness import Process, Site, new_site, worker_process
from testkit.run.bus_facts import read_bus
from testkit.run.figures import decided

_SERVICE = "decision_fabric"
_GROUP_RUNNER = "testkit.bench.group_worker"
_READY_SECONDS = 60.0
_DRAIN_SECONDS = 120.0
_END_SECONDS = 30.0
# Delays further from the moment than this have another cause.
_BEFORE_S, _AFTER_S = 1.0, 12.0

_PLACED = "SELECT count(DISTINCT lane) FROM lane_position"
_LEFT = "SELECT count(*) FROM lane l WHERE EXISTS (SELECT 1 FROM outbox o WHERE o.lane = l.lane AND o.lane_seq > l.published_seq)"
_CONSUMED = "SELECT coalesce(sum(next_offset - start_offset), 0)::bigint FROM lane_position"

Say = Callable[[str], None]


@dataclass(frozen=True)
class HandoverOptions:
    """Options of `fp bench handover`."""

    rate: float = 1000.0
    seconds: float = 24.0
    at: float = 8.0
    """Seconds after the first event at which something happens."""
    workers: int = 2
    """Before one joins, or after one is gone."""
    scenarios: tuple[str, ...] = ("join", "sigterm", "sigkill")
    group: bool = True
    """The same with a consumer group beside it."""
    rounds: int = 1
    out: Path = Path("runs/bench_handover")


class Delays(NamedTuple):
    """Of one scenario: milliseconds from a record to the transaction that applied it, and to its decision on the topic."""

    scenario: str
    owner: str
    """`lease` or `group`."""
    events: int
    goal_ms: float
    applied_p50: float
    applied_p99: float
    applied_max: float
    """Longest of any event around the moment."""
    decided_max: float
    """The same to the decision on the topic, for events that are decided on."""
    quiet_max: float
    """Longest of any event before the moment: what the machine does by itself."""
    late_ms: float
    """How late the latest event was sent."""

    @property
    def met(self) -> bool:
        """Whether no event waited longer than the goal."""
        return self.applied_max <= self.goal_ms


async def measure(options: HandoverOptions, say: Say) -> list[Delays]:
    """Every scenario, each on a site of its own; handover.json at the end."""
    lease = Timeouts().lease
    say(f"lease {lease:g} s; session timeout of the group {SESSION_TIMEOUT_MS / 1000:g} s; {options.rate:,.0f} events/s offered")
    found: list[Delays] = []
    with borrowed() as engines:
        for scenario in options.scenarios:
            for owner in ("lease", "group") if options.group else ("lease",):
                for _ in range(options.rounds):
                    found.append(await _Scenario(engines, options, scenario, owner, _goal_ms(scenario, lease)).play())
                    say(line_of(found[-1]))
    told = [{**delays._asdict(), "met": delays.met} for delays in found]
    (options.out / "handover.json").write_text(json.dumps({"lease_s": lease, "scenarios": told}, indent=2) + "\n", encoding="utf-8")
    return found


def _goal_ms(scenario: str, lease: float) -> float:
    return 1000 * (lease + 1) if scenario == "sigkill" else 300.0


def line_of(delays: Delays) -> str:
    """One scenario for the eye."""
    verdict = f"{'met' if delays.met else 'MISSED'} (goal {delays.goal_ms:,.0f} ms)" if delays.owner == "lease" else "beside it"
    return (
        f"{delays.scenario:>8} {delays.owner:>6}: longest delay of any event {delays.applied_max:8,.0f} ms to its transaction, "
        f"{delays.decided_max:8,.0f} ms to a decision; p50 {delays.applied_p50:.0f}, p99 {delays.applied_p99:.0f}; "
        f"before it at most {delays.quiet_max:.0f} ms; {verdict}"
    )


class _Scenario:
    def __init__(self, engines: EngineSet, options: HandoverOptions, scenario: str, owner: str, goal_ms: float) -> None:
        self._engines = engines
        self._options = options
        self._scenario = scenario
        self._owner = owner
        self._goal_ms = goal_ms
        self._processes: list[Process] = []

    async def play(self) -> Delays:
        options = self._options
        site = await new_site(self._engines.endpoints)
        await site.topics()
        await install(site, _SERVICE)
        count = int(options.rate * options.seconds)
        made: list[Made] = []
        # Six events in ten of a world are traffic and anchors.
        for record in records(site, count * 2, RUN, (TRAFFIC, FLOW_ANCHOR)):
            made.append(record)
            if len(made) == count:
                break
        folder = options.out / f"{self._scenario}-{self._owner}-{site.database}"
        folder.mkdir(parents=True)
        workers = options.workers + (self._scenario != "join")
        self._processes = [self._worker(site, folder, number) for number in range(workers)]
        try:
            for process in self._processes:
                process.start()
            await self._settled(site)
            pouring = asyncio.create_task(pour(site, made, options.rate))
            began = time.time()
            await asyncio.sleep(options.at)
            moment = time.time()
            await self._act(site, folder)
            late = await pouring
            await self._drained(site)
        finally:
            await self._end()
        return await self._delays(site, began, moment, late)

    def _worker(self, site: Site, folder: Path, number: int) -> Process:
        runner = _GROUP_RUNNER if self._owner == "group" else None
        process = worker_process(site, _SERVICE, _SERVICE, folder, runner=runner)
        process.name = f"{process.name}#{number}"
        return process

    async def _act(self, site: Site, folder: Path) -> None:
        if self._scenario == "join":
            joining = self._worker(site, folder, len(self._processes))
            self._processes.append(joining)
            joining.start()
        elif self._scenario == "sigterm":
            self._processes[0].terminate()
        elif self._scenario == "sigkill":
            self._processes[0].kill()
        else:
            raise ValueError(f"scenario {self._scenario!r}: use join, sigterm or sigkill")

    async def _settled(self, site: Site) -> None:
        """Every lane has an owner, and the owners have stopped moving lanes about."""
        async with site.store(_SERVICE) as store:
            if self._owner == "lease":
                await until_shared(store, self._processes)
                return
            deadline = Deadline(_READY_SECONDS)
            lanes = await store.fetchval("SELECT count(*) FROM lane")
            while (placed := await store.fetchval(_PLACED)) != lanes:
                deadline.check(f"{lanes} lanes to be owned, {placed} are")
                await asyncio.sleep(0.1)
        await self._group_is_whole(site, deadline)

    async def _group_is_whole(self, site: Site, deadline: Deadline) -> None:
        """Every member has partitions: a group that still gathers would stop the world in the middle of the measurement."""
        from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415  only here

        admin = AIOKafkaAdminClient(bootstrap_servers=site.endpoints.kafka_bootstrap)
        await admin.start()
        try:
            while True:
                (described,) = await admin.describe_consumer_groups([f"bench-{_SERVICE}"])
                state, members = described.groups[0][2], described.groups[0][5]
                if state == "Stable" and len(members) == len(self._processes):
                    return
                deadline.check(f"the group to be stable with {len(self._processes)} members, it is {state} with {len(members)}")
                await asyncio.sleep(0.2)
        finally:
            await admin.close()

    async def _drained(self, site: Site) -> None:
        total = await standing(site, _SERVICE)
        deadline = Deadline(_DRAIN_SECONDS)
        async with site.store(_SERVICE) as store:
            while (consumed := await store.fetchval(_CONSUMED)) < total or await store.fetchval(_LEFT):
                deadline.check(f"{total:,} events to be applied and published, {consumed:,} are applied")
                await asyncio.sleep(0.1)

    async def _end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            await process.ended(Deadline(_END_SECONDS))

    async def _delays(self, site: Site, began: float, moment: float, late: float) -> Delays:
        sent_ms, delay = await delays(site, _SERVICE, (TRAFFIC, FLOW_ANCHOR))
        around = (sent_ms >= 1000 * (moment - _BEFORE_S)) & (sent_ms < 1000 * (moment + _AFTER_S))
        # The first second warms plans and caches.
        quiet = (sent_ms >= 1000 * (began + 1)) & (sent_ms < 1000 * (moment - _BEFORE_S))
        found = decided(await read_bus(site.endpoints.kafka_bootstrap, site.prefix))
        near = (found.possible_ms >= 1000 * (moment - _BEFORE_S)) & (found.possible_ms < 1000 * (moment + _AFTER_S))
        return Delays(
            self._scenario,
            self._owner,
            len(delay),
            self._goal_ms,
            float(np.percentile(delay, 50)),
            float(np.percentile(delay, 99)),
            float(delay[around].max(initial=0.0)),
            float(found.waited_ms[near].max(initial=0)),
            float(delay[quiet].max(initial=0.0)),
            1000 * late,
        )
