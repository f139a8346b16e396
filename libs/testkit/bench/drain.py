"""Drains a world through services one after another, each alone on the machine, and says what each step of an event costs.

`python -m testkit.bench.drain --size 20000 --services decision_fabric`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from laws.topics import FLOW_ANCHOR, TRAFFIC
from spine.deadline import Deadline
from testkit.bench.cpu_table import lines
from testkit.bench.draining import RUN, Drained, drain, install
from testkit.bench.filling import fill
from testkit.bench.step_map import missing
from testkit.engines import borrowed
from testkit.harness import Process, Site, free_port, module_argv, new_site, worker_process

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


async def measure(services: list[str], size: int, out: Path, *, workers: int = 1, profile: bool = True) -> list[Drained]:
    """Fill, then drain through each service in turn; logs and profiles go to `out`."""
    found = []
    with borrowed() as engines:
        site = await new_site(engines.endpoints)
        await site.topics()
        _say(f"filling the topics with a world of {size:,} events")
        filled = await fill(site, size, RUN, (TRAFFIC, FLOW_ANCHOR))
        _say(f"{filled:,} of them are traffic and anchors")
        outside = _Outside(site, out)
        try:
            for service in services:
                await outside.for_service(service)
                await install(site, service)
                found.append(await drain(engines, site, service, out, workers=workers, profile=profile, others=outside.pids))
                _say("\n".join(_lines(found[-1])))
        finally:
            await outside.stop()
    return found


class _Outside:
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
            argv = [*module_argv("testkit.provider"), "--port", str(port), "--journal", str(journal)]
            await self._started("provider", Process("provider", argv, {}, port, self._out / "provider.log"))
            self._site.environment["FP_PROVIDER_URL"] = f"http://127.0.0.1:{port}"
        if service == "case_management" and "label_store" not in self._processes:
            await install(self._site, "label_store")
            store = worker_process(self._site, "label_store", "label_store", self._out)
            await self._started("label_store", store)
            self._site.environment["FP_LABEL_STORE_URL"] = f"http://127.0.0.1:{store.port}"

    async def _started(self, name: str, process: Process) -> None:
        process.start()
        self._processes[name] = process
        await process.ready(Deadline(_START_SECONDS))

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


def _lines(drained: Drained) -> list[str]:
    cpu = ", ".join(f"{name} {us:.0f}" for name, us in drained.us.items() if us >= 0.5)
    head = f"{drained.service}: {drained.events:,} events in {drained.seconds:.2f} s, {drained.events / drained.seconds:,.0f}/s"
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
