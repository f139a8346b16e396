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
from benchmarks.edge.ground import Ground
from benchmarks.edge.measure import TABLES, cost, steps, wait
from benchmarks.edge.producer import Form
from benchmarks.ground import open_bus
from benchmarks.latency import needed, offer
from benchmarks.machine import probe_disk
from benchmarks.plan import Plan
from benchmarks.results import Fabric, Failure, Probe, Results, save
from benchmarks.roster import BY_NAME, Contender
from benchmarks.workload import Record, records
from testkit.bench.drain import measure as drain_services
from testkit.engines import EngineSet, Kind, start

# DynamoDB Local makes a few hundred writes a second: it gets so many times fewer events than the edge's own memory.
_EMULATED = 3
_WARM_UP = 2_000


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
            with self._own_engines(Kind.KAFKA, Kind.POSTGRES):
                self._probe("the start")
                if "drain" in self._plan.sections:
                    await self._drains([BY_NAME[name] for name in self._plan.contenders])
                if "latency" in self._plan.sections:
                    await self._latencies([BY_NAME[name] for name in self._plan.at_rates])
        if "fabric" in self._plan.sections:
            await self._fabric()
        if "edge" in self._plan.sections:
            with self._own_engines(Kind.KAFKA, Kind.DYNAMODB):
                self._probe("the fabric" if "fabric" in self._plan.sections else "the start of the edge")
                await self._edge()
        self._keep()

    @contextmanager
    def _own_engines(self, *kinds: Kind) -> Iterator[None]:
        # Of its own and new: nobody else's topics and tables are in the figures.
        self._say(f"starting {' and '.join(kinds)}")
        with start(kinds) as engines:
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
                        _exact(drained.wrong)
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
            _exact(found.wrong)
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

    async def _edge(self) -> None:
        plan, results = self._plan, self.results
        ground = Ground(self._engines, self._logs)
        await ground.make()
        # Its virtual machine compiles what it runs most: what comes first would wait for that.
        self._say(f"warming DynamoDB Local with {_WARM_UP:,} events")
        await cost(ground, "dynamodb", Form.SINGLE, _WARM_UP)
        for table, rate in itertools.product(TABLES, plan.edge_rates):

            async def at_rate(table: str = table, rate: int = rate) -> str:
                found = await wait(ground, table, rate, plan.edge_seconds)
                results.edge_waits.append(found)
                _exact(found.wrong)
                return ", ".join(f"{name} {value:,.1f} ms" for name, value in found.shares_ms.items())

            await self._one(f"edge, rows in {table}, {rate:,} requests/s", at_rate)
        for table, form in itertools.product(TABLES, Form):

            async def of_form(table: str = table, form: Form = form) -> str:
                found = await cost(ground, table, form, plan.edge_events // (1 if table == "memory" else _EMULATED))
                results.edge_costs.append(found)
                _exact(found.wrong)
                return f"{found.cpu_us['contender']:,.0f} us CPU an event"

            await self._one(f"edge, rows in {table}, {form}", of_form)
        for table, form in itertools.product(TABLES, (Form.SINGLE, Form.ARRAY)):

            async def by_step(table: str = table, form: Form = form) -> str:
                found = await steps(ground, table, form, plan.edge_events // (1 if table == "memory" else _EMULATED), self._logs)
                results.edge_steps.append(found)
                return ", ".join(f"{step} {us:,.1f} us" for step, us in list(found.us.items())[:3])

            await self._one(f"edge, rows in {table}, {form}, step by step", by_step)

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


def _exact(wrong: Sequence[str]) -> None:
    if wrong:
        raise RuntimeError("not exact: " + "; ".join(wrong))


def say(text: str) -> None:
    """A line of progress."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(results: Results, path: Path) -> None:
    """Measure; `results` and the file at `path` hold what was found, also after an error."""
    asyncio.run(Run(results, path).all())
