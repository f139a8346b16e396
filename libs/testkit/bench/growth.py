"""`fp bench growth`: what an event costs a law service when its inbox has millions of rows, at several partitions and workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from laws.topics import FLOW_ANCHOR, TRAFFIC
from testkit.bench.draining import RUN, Drained, drain, install
from testkit.bench.filling import fill
from testkit.bench.inbox_rows import fill_inbox
from testkit.engines import EngineSet, borrowed
from testkit.harness import Site, new_site

_SERVICE = "decision_fabric"
# Of a cost at one size over the cost at the smallest: within this it does not grow.
_FLAT = 0.10

Say = Callable[[str], None]


@dataclass(frozen=True)
class GrowthOptions:
    """Options of `fp bench growth`."""

    rows: tuple[int, ...] = (0, 1_000_000, 10_000_000)
    partitions: tuple[int, ...] = (1, 2, 3, 6)
    workers: tuple[int, ...] = (1, 2, 4)
    size: int = 40_000
    """Events of the world of one drain; about six in ten are traffic and anchors."""
    rounds: int = 3
    out: Path = Path("runs/bench_growth")


class Cost(NamedTuple):
    """What an event cost at one point, medians of the rounds."""

    rows: int
    partitions: int
    workers: int
    events: int
    service_us: float
    """CPU of the workers."""
    store_us: float
    """CPU of the store's backends that worked for them."""
    wall_us: float
    batch: float
    """Events of one transaction: what a transaction costs by itself is shared by so many."""

    @property
    def cpu_us(self) -> float:
        """Both."""
        return self.service_us + self.store_us


async def measure(options: GrowthOptions, say: Say) -> list[Cost]:
    """Every point; a line each as it is known, and growth.json at the end."""
    found: list[Cost] = []
    with borrowed() as engines:
        bench = _Bench(engines, await new_site(engines.endpoints), options, say)
        await bench.begin()
        for rows in options.rows:
            await bench.grow(rows)
            found.append(await bench.point(rows, 6, 1))
            (options.out / "growth.json").write_text(json.dumps(as_dict(found), indent=2) + "\n", encoding="utf-8")
        rows = options.rows[-1]
        for partitions in options.partitions:
            if partitions != 6:
                found.append(await bench.point(rows, partitions, 1))
        for workers in options.workers:
            if workers != 1:
                found.append(await bench.point(rows, 6, workers))
    (options.out / "growth.json").write_text(json.dumps(as_dict(found), indent=2) + "\n", encoding="utf-8")
    for line in verdicts(found):
        say(line)
    return found


class _Bench:
    def __init__(self, engines: EngineSet, site: Site, options: GrowthOptions, say: Say) -> None:
        self._engines = engines
        self._site = site
        self._options = options
        self._say = say
        self._filled = 0
        self._seed = 0

    async def begin(self) -> None:
        await self._site.topics()
        await install(self._site, _SERVICE)
        # What the first worker of a schema meets alone: plans, the first pages of every table.
        await self._drain(6, 1)

    async def grow(self, rows: int) -> None:
        """Fill the inbox of the run up to so many rows."""
        async with self._site.store(_SERVICE) as store:
            run_no = await store.fetchval("SELECT run_no FROM run WHERE platform_run_id = $1", RUN.platform_run_id)
            await fill_inbox(store, run_no, self._filled, rows, self._say)
        self._filled = max(self._filled, rows)

    async def point(self, rows: int, partitions: int, workers: int) -> Cost:
        drains = [await self._drain(partitions, workers) for _ in range(self._options.rounds)]
        cost = Cost(
            rows,
            partitions,
            workers,
            drains[0].events,
            median(drained.us.get(_SERVICE, 0.0) for drained in drains),
            median(drained.us.get(f"postgres for {_SERVICE}", 0.0) for drained in drains),
            median(1e6 * drained.seconds / drained.events for drained in drains),
            median(drained.events / max(1, drained.transactions) for drained in drains),
        )
        self._say(line_of(cost))
        return cost

    async def _drain(self, partitions: int, workers: int) -> Drained:
        self._seed += 1
        # Fewer partitions hold fewer of a world's events: the drains are of one size all the same.
        size = self._options.size * 6 // partitions
        await fill(self._site, size, RUN, (TRAFFIC, FLOW_ANCHOR), seed=self._seed, partitions=range(partitions))
        return await drain(self._engines, self._site, _SERVICE, self._options.out, workers=workers)


def line_of(cost: Cost) -> str:
    """One point for the eye."""
    return (
        f"{cost.rows:>11,} rows, {cost.partitions} partitions, {cost.workers} workers: {cost.cpu_us:6.1f} us of CPU an event "
        f"({cost.service_us:.1f} service, {cost.store_us:.1f} store), {cost.wall_us:6.1f} us of time, {cost.batch:.0f} events a transaction"
    )


def verdicts(costs: Sequence[Cost]) -> list[str]:
    """For each axis, how far the dearest point is above the first one."""
    rows = [cost for cost in costs if cost.partitions == 6 and cost.workers == 1]
    largest = max((cost.rows for cost in costs), default=0)
    partitions = [cost for cost in costs if cost.rows == largest and cost.workers == 1]
    workers = [cost for cost in costs if cost.rows == largest and cost.partitions == 6]
    found = []
    for name, points in (("inbox rows", rows), ("partitions", partitions), ("workers", workers)):
        if len(points) < 2:
            continue
        base = min(points, key=lambda cost: (cost.rows, cost.partitions, cost.workers))
        growth = max(cost.cpu_us for cost in points) / base.cpu_us - 1
        found.append(
            f"{'flat  ' if growth <= _FLAT else 'GROWS '} CPU an event over {name}: at most {100 * growth:+.1f} % over {line_of(base)}"
        )
    return found


def as_dict(costs: Sequence[Cost]) -> dict[str, Any]:
    """For growth.json."""
    points = [{**cost._asdict(), "cpu_us": cost.cpu_us} for cost in costs]
    return {"points": points, "verdicts": verdicts(costs)}
