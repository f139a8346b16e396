"""Drains a world through services one after another, each alone on the machine, and says what each step of an event costs.

`python -m testkit.bench.drain --size 20000 --services decision_fabric`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit.offline import declared
from laws.topics import FLOW_ANCHOR, TRAFFIC
from spine.deadline import Deadline
from testkit.bench.cpu_table import ServiceCost, lines, read_profiles, service_cost
from testkit.bench.filling import fill
from testkit.bench.step_map import missing
from testkit.bench.usage import Spent, Usage, spent_between
from testkit.engines import EngineSet, borrowed
from testkit.harness import Process, Site, free_port, new_site, worker_process
from testkit.world import RunIds

_RUN = RunIds("platform_20260105T000000Z", "a" * 32)
_START_SECONDS = 60.0
# No drain of what fits on one machine takes longer; one that does is stuck.
_DRAIN_SECONDS = 3600.0
_STOP_SECONDS = 30.0

_STANDING = """
SELECT coalesce((SELECT sum(next_offset - start_offset) FROM lane_position), 0)::bigint AS consumed,
       (SELECT count(*) FROM lane_position) AS positions,
       (SELECT count(*) FROM pending)::bigint AS pending,
       (SELECT count(*) FROM lane l WHERE l.published_seq <
           (SELECT coalesce(max(o.lane_seq), 0) FROM outbox o WHERE o.lane = l.lane))::bigint AS unpublished
"""


@dataclass
class Drained:
    """One service's drain."""

    service: str
    events: int
    seconds: float
    cpu_s: dict[str, float]
    """By process: the service's own, the store's backends that worked for it, the bus."""
    cost: ServiceCost | None
    samples: list[tuple[float, int]] = field(default_factory=list)
    """(seconds, events consumed)."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "service": self.service,
            "events": self.events,
            "seconds": round(self.seconds, 3),
            "events_per_s": round(self.events / self.seconds, 1),
            "cpu_us_per_event": {name: round(1e6 * cpu / max(1, self.events), 2) for name, cpu in self.cpu_s.items()},
            "steps": None
            if self.cost is None
            else {
                "us_per_event": round(self.cost.us_per_event, 2),
                "steps": {step.step: round(step.us_per_event, 2) for step in self.cost.steps},
                "functions": {step: [(name, round(us, 2)) for name, us in functions[:8]] for step, functions in self.cost.leaves.items()},
            },
        }


async def measure(services: list[str], size: int, out: Path, *, workers: int = 1, profile: bool = True) -> list[Drained]:
    """Fill, then drain through each service in turn; logs and profiles go to `out`."""
    found = []
    with borrowed() as engines:
        site = await new_site(engines.endpoints)
        await site.topics()
        _say(f"filling the topics with a world of {size:,} events")
        filled = await fill(site, size, _RUN, (TRAFFIC, FLOW_ANCHOR))
        _say(f"{filled:,} of them are traffic and anchors")
        helpers = _Helpers(site, out)
        try:
            for service in services:
                found.append(await _drain(engines, site, service, out, helpers, workers=workers, profile=profile))
                _say("\n".join(_lines(found[-1])))
        finally:
            await helpers.stop()
    return found


class _Helpers:
    """What a service calls: the provider, and the label store for case management. Started when first needed."""

    def __init__(self, site: Site, out: Path) -> None:
        self._site = site
        self._out = out
        self._processes: dict[str, Process] = {}

    async def for_service(self, service: str) -> None:
        """Start what the service needs."""
        if service == "action_layer" and "provider" not in self._processes:
            port = free_port()
            journal = self._out / "provider.journal"
            journal.unlink(missing_ok=True)
            argv = [sys.executable, "-m", "testkit.provider", "--port", str(port), "--journal", str(journal)]
            provider = Process("provider", argv, {}, port, self._out / "provider.log")
            provider.start()
            self._processes["provider"] = provider
            self._site.environment["FP_PROVIDER_URL"] = f"http://127.0.0.1:{port}"
            await provider.ready(Deadline(_START_SECONDS))
        if service == "case_management" and "label_store" not in self._processes:
            await self._site.install(declared("label_store", self._site.settings("label_store")), platform_run_id=_RUN.platform_run_id)
            store = worker_process(self._site, "label_store", "label_store", self._out)
            store.start()
            self._processes["label_store"] = store
            self._site.environment["FP_LABEL_STORE_URL"] = f"http://127.0.0.1:{store.port}"
            await store.ready(Deadline(_START_SECONDS))

    @property
    def pids(self) -> dict[str, list[int]]:
        """By name."""
        return {name: [process.pid] for name, process in self._processes.items()}

    async def stop(self) -> None:
        """End them."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            await process.ended(Deadline(_STOP_SECONDS))


async def _drain(engines: EngineSet, site: Site, service: str, out: Path, helpers: _Helpers, *, workers: int, profile: bool) -> Drained:
    await helpers.for_service(service)
    # Its password must stand before its settings can name it.
    site.passwords.setdefault(service, "bench")
    await site.install(declared(service, site.settings(service)), platform_run_id=_RUN.platform_run_id)
    events = await _waiting(site, service)
    processes = [_worker(site, service, out, number, profile=profile) for number in range(workers)]
    for process in processes:
        process.start()
    usage = Usage(engines, site.database, {service: [process.pid for process in processes], **helpers.pids})
    began = time.perf_counter()
    before: dict[str, Spent] | None = None
    samples: list[tuple[float, int]] = []
    deadline = Deadline(_DRAIN_SECONDS)
    async with site.store(service) as store:
        while True:
            row = await store.fetchrow(_STANDING)
            if row is None:
                raise RuntimeError(f"schema {service} answered nothing")
            consumed = int(row["consumed"])
            if before is None and consumed > 0:
                # The process has begun to work: importing it is not part of an event's cost.
                before, began, samples = usage.look(), time.perf_counter(), []
            samples.append((time.perf_counter() - began, consumed))
            if consumed >= events and not row["pending"] and not row["unpublished"]:
                break
            deadline.check(f"{service} to drain {events:,} events, {consumed:,} are")
            if not all(process.alive for process in processes):
                raise RuntimeError(f"a worker of {service} ended: see {processes[0].log}")
            await asyncio.sleep(0.05)
    seconds = time.perf_counter() - began
    spent = spent_between(before or {}, usage.look())
    for process in processes:
        process.terminate()
    for process in processes:
        await process.ended(Deadline(_STOP_SECONDS))
    cost = service_cost(service, read_profiles(out, service), events, cpu_s=spent.get(service, 0.0)) if profile else None
    return Drained(service, events, seconds, spent, cost, samples)


async def _waiting(site: Site, service: str) -> int:
    """Records that stand on the topics of a service."""
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415  only here

    from spine.lanes import group_topics  # noqa: PLC0415
    from testkit.run.bus_reader import end_offsets  # noqa: PLC0415

    topics = {topic for group in declared(service, site.settings(service)).groups for topic in group_topics(group)}
    consumer = AIOKafkaConsumer(bootstrap_servers=site.endpoints.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        return sum((await end_offsets(consumer, topics, site.prefix)).values())
    finally:
        await consumer.stop()


def _worker(site: Site, service: str, out: Path, number: int, *, profile: bool) -> Process:
    port = free_port()
    environment = {**site.env(service, port), "FP_PROFILE_OUT": str((out / f"profile-{service}-{number}.json").resolve())}
    argv = [sys.executable, "-m", *(["testkit.bench.profiled"] if profile else []), service]
    return Process(f"{service}:{port}", argv, environment, port, out / f"{service}-{number}.log")


def _lines(drained: Drained) -> list[str]:
    figures = drained.as_dict()
    cpu = ", ".join(f"{name} {us:.0f}" for name, us in figures["cpu_us_per_event"].items() if us >= 0.5)
    head = f"{drained.service}: {drained.events:,} events in {drained.seconds:.2f} s, {figures['events_per_s']:,.0f}/s"
    return [head, f"  CPU us an event by process: {cpu}", *(lines([drained.cost]) if drained.cost else [])]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """`python -m testkit.bench.drain`."""
    parser = argparse.ArgumentParser(prog="drain", description=__doc__)
    parser.add_argument("--size", type=int, default=20_000, help="events of the world; about six in ten are traffic and anchors")
    parser.add_argument("--services", default="decision_fabric", help="in the order of the events' way, with commas")
    parser.add_argument("--workers", type=int, default=1, help="processes of each service")
    parser.add_argument("--no-profile", action="store_true", help="without the sampler: what it costs itself is the difference")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_drain"))
    options = parser.parse_args()
    if lost := missing():
        _say(f"functions of the step map that do not exist any more: {', '.join(lost)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for old in options.out.glob("profile-*.json"):
        old.unlink()
    services = options.services.split(",")
    found = asyncio.run(measure(services, options.size, options.out, workers=options.workers, profile=not options.no_profile))
    (options.out / "drain.json").write_text(json.dumps([drained.as_dict() for drained in found], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
