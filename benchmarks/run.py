"""One run of everything, section by section; each measurement's figures are on disk before the next one begins."""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.drain import drain
from benchmarks.ground import open_bus
from benchmarks.latency import needed, offer
from benchmarks.machine import probe_disk
from benchmarks.plan import Plan
from benchmarks.results import Fabric, Failure, Probe, Results, save
from benchmarks.roster import BY_NAME, Contender
from benchmarks.workload import Record, records
from testkit.bench.drain import measure as drain_services
from testkit.engines import EngineSet, Kind, start


class Run:
    """Fills `results` and keeps the file up to date."""

    def __init__(self, results: Results, path: Path) -> None:
        self.results = results
        self._path = path
        self._plan: Plan = results.plan
        self._began = time.monotonic()
        self._logs = Path(tempfile.mkdtemp(prefix="bench-"))
        self._slow: set[str] = set()
        self._prefixes = itertools.count(1)
        self._engines: EngineSet

    async def all(self) -> None:
        """Every section of the plan. A measurement that fails is noted, and the next one begins."""
        say(f"logs of the processes: {self._logs}")
        if set(self._plan.sections) & {"drain", "latency"}:
            with self._own_engines():
                self._probe("the start")
                if "drain" in self._plan.sections:
                    await self._drains([BY_NAME[name] for name in self._plan.contenders])
                if "latency" in self._plan.sections:
                    await self._latencies([BY_NAME[name] for name in self._plan.at_rates])
        if "fabric" in self._plan.sections:
            await self._fabric()
        self._keep()

    @contextmanager
    def _own_engines(self) -> Iterator[None]:
        # Of its own and new: nobody else's topics and tables are in the figures.
        self._say("starting Kafka and PostgreSQL")
        with start({Kind.KAFKA, Kind.POSTGRES}) as engines:
            self._engines = engines
            yield

    async def _drains(self, contenders: Sequence[Contender]) -> None:
        plan, engines = self._plan, self._engines
        made = list(records(plan.events))
        prefix = self._fresh_prefix()
        async with open_bus(engines, prefix) as bus:
            self._say(f"filling the topic with {plan.events:,} records")
            await bus.fill(made)
            for number in range(plan.rounds):
                for contender in contenders:
                    size = min(plan.events, plan.slow_events) if contender.slow else plan.events
                    what = f"drain, round {number + 1} of {plan.rounds}, {contender.title}"

                    async def one(contender: Contender = contender, size: int = size, number: int = number) -> str:
                        drained = await drain(engines, contender, bus, made, size, self._logs, number)
                        self.results.drains.append(drained)
                        if drained.wrong:
                            raise RuntimeError("not exact: " + "; ".join(drained.wrong))
                        return f"{drained.events_per_s:,.0f} events/s, {sum(drained.cpu_us.values()):.0f} us CPU an event"

                    await self._one(what, one)
                self._probe(f"round {number + 1}")

    async def _latencies(self, contenders: Sequence[Contender]) -> None:
        plan = self._plan
        made = list(records(needed(max(plan.rates), plan.offered_seconds)))
        for rate in plan.rates:
            for contender in contenders:
                if contender.name in self._slow:
                    continue
                await self._one(f"{rate:,}/s offered to {contender.title}", self._offering(contender, made, rate))
            self._probe(f"{rate:,}/s")

    def _offering(self, contender: Contender, made: list[Record], rate: int) -> Callable[[], Awaitable[str]]:
        async def one() -> str:
            found = await offer(self._engines, contender, made, rate, self._plan.offered_seconds, self._fresh_prefix(), self._logs)
            self.results.latencies.append(found)
            if found.wrong:
                raise RuntimeError("not exact: " + "; ".join(found.wrong))
            if not found.followed:
                # It won't follow a higher one either.
                self._slow.add(contender.name)
                return f"could not follow: {found.behind_events:,} events behind after {found.seconds:g} s"
            return ", ".join(f"{name} {value:,.0f} ms" for name, value in found.shares_ms.items())

        return one

    async def _fabric(self) -> None:
        for workers in (1, 2):

            async def one(workers: int = workers) -> str:
                drained = await drain_services(["decision_fabric"], self._plan.fabric_size, self._logs, workers=workers, profile=False)
                figures = drained[0].as_dict()
                found = Fabric(workers, figures["events"], figures["events_per_s"], figures["cpu_us_per_event"])
                self.results.fabric.append(found)
                return f"{found.events_per_s:,.0f} events/s"

            await self._one(f"decision fabric, {workers} worker{'s' * (workers > 1)}, the world's traffic and anchors", one)

    def _fresh_prefix(self) -> str:
        return f"bench{next(self._prefixes)}."

    async def _one(self, what: str, measure: Callable[[], Awaitable[str]]) -> None:
        if time.monotonic() - self._began > self._plan.minutes * 60:
            self.results.failures.append(Failure(what, f"not begun: the {self._plan.minutes:g} minutes of the run were over"))
            return
        try:
            self._say(f"{what}: {await measure()}")
        except Exception as error:  # whatever went wrong with one contender is that contender's figure, not the run's end
            self.results.failures.append(Failure(what, f"{type(error).__name__}: {error}"))
            self._say(f"{what}: NO FIGURE, {type(error).__name__}: {error}")
        self._keep()

    def _probe(self, after: str) -> None:
        fsync = probe_disk(self._engines.home)
        self.results.disk.append(Probe(after, round((time.monotonic() - self._began) / 60, 1), fsync))
        self._say(f"disk after {after}: fsync median {fsync.median_ms:.2f} ms, p99 {fsync.p99_ms:.2f} ms")

    def _keep(self) -> None:
        self.results.minutes = round((time.monotonic() - self._began) / 60, 1)
        save(self.results, self._path)

    def _say(self, text: str) -> None:
        seconds = int(time.monotonic() - self._began)
        say(f"{seconds // 60:3d}:{seconds % 60:02d}  {text}")


def say(text: str) -> None:
    """A line of progress."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(results: Results, path: Path) -> None:
    """Measure; `results` and the file at `path` hold what was found, also after an error."""
    asyncio.run(Run(results, path).all())
