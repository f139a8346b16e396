"""`fp bench growth`: what an event costs a law service when its inbox has millions of rows, at several partitions and workers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from laws.topics import FLOW_ANCHOR, TRAFFIC
from testkit.bench.draining import RUN, drain_put, install
from testkit.bench.filling import Made, records
from testkit.bench.growth_fit import Fit, Sample, Shape, as_dict, fit, line_of, sample_line, verdicts
from testkit.bench.inbox_rows import fill_inbox
from testkit.engines import EngineSet, borrowed
from testkit.harness import Site, new_site

_SERVICE = "decision_fabric"
_PARTITIONS = 6
# Small transactions beside those that the lanes choose: they tell what a transaction costs by itself.
_SMALL_BATCH = 60

Say = Callable[[str], None]


@dataclass(frozen=True)
class GrowthOptions:
    """Options of `fp bench growth`."""

    rows: tuple[int, ...] = (0, 1_000_000, 10_000_000)
    partitions: tuple[int, ...] = (1, 2, 3, 6)
    workers: tuple[int, ...] = (1, 2, 4)
    events: int = 15_000
    """Traffic and anchors of one drain."""
    rounds: int = 3
    out: Path = Path("runs/bench_growth")


class _Turn(NamedTuple):
    """One drain of a round."""

    shape: Shape
    batch_max: int | None


async def measure(options: GrowthOptions, say: Say) -> Fit:
    """Every shape, in rounds in which each takes its turn: what disturbs the machine for a minute disturbs all of them.

    Each number of rows has a database of its own. A line a drain as it is known, growth.json after each round.
    """
    began = time.monotonic()
    found: list[Sample] = []
    with borrowed() as engines:
        bench = _Bench(engines, options)
        for rows in options.rows:
            await bench.open(rows, say)
        turns = _turns(options)
        say(f"{time.monotonic() - began:4.0f} s  filled; {options.rounds} rounds of {len(turns)} drains of {options.events:,} events")
        for number in range(options.rounds):
            for turn in turns:
                found.append(await bench.drain(turn))
                say(f"{time.monotonic() - began:4.0f} s  round {number + 1}: {sample_line(found[-1])}")
            (options.out / "growth.json").write_text(json.dumps(_told(found), indent=2) + "\n", encoding="utf-8")
    fitted = fit(found)
    say(f"a transaction costs {fitted.transaction_us:,.0f} us of CPU by itself, service and store together")
    for point in fitted.points:
        say(line_of(point))
    for verdict in verdicts(fitted):
        say(verdict)
    return fitted


def _turns(options: GrowthOptions) -> list[_Turn]:
    largest = options.rows[-1]
    shapes = [Shape(rows, _PARTITIONS, 1) for rows in options.rows]
    turns = [_Turn(shape, batch_max) for shape in shapes for batch_max in (None, _SMALL_BATCH)]
    shapes = [Shape(largest, partitions, 1) for partitions in options.partitions if partitions != _PARTITIONS]
    shapes += [Shape(largest, _PARTITIONS, workers) for workers in options.workers if workers != 1]
    return turns + [_Turn(shape, None) for shape in shapes]


def _told(samples: Sequence[Sample]) -> dict[str, object]:
    drains = [{**sample._asdict(), "shape": sample.shape._asdict(), "batch": sample.batch} for sample in samples]
    return {**as_dict(fit(samples)), "drains": drains}


class _Bench:
    def __init__(self, engines: EngineSet, options: GrowthOptions) -> None:
        self._engines = engines
        self._options = options
        self._sites: dict[int, Site] = {}
        self._seed = 0

    async def open(self, rows: int, say: Say) -> None:
        """A site whose inbox has so many rows, and whose first worker has met what only the first one meets."""
        site = self._sites[rows] = await new_site(self._engines.endpoints)
        await site.topics()
        await install(site, _SERVICE)
        async with site.store(_SERVICE) as store:
            run_no = await store.fetchval("SELECT run_no FROM run WHERE platform_run_id = $1", RUN.platform_run_id)
            await fill_inbox(store, run_no, rows, say)
        await self.drain(_Turn(Shape(rows, _PARTITIONS, 1), None))

    async def drain(self, turn: _Turn) -> Sample:
        """One drain of events that no other has had."""
        shape, batch_max = turn
        environment = {} if batch_max is None else {"FP_BATCH_MAX": str(batch_max)}
        drained = await drain_put(
            self._engines,
            self._sites[shape.rows],
            _SERVICE,
            self._options.out,
            self._made(shape),
            workers=shape.workers,
            environment=environment,
        )
        us = drained.us
        store_us = us.get(f"postgres for {_SERVICE}", 0.0)
        return Sample(shape, batch_max is None, drained.events, drained.transactions, us.get(_SERVICE, 0.0), store_us)

    def _made(self, shape: Shape) -> list[Made]:
        self._seed += 1
        wanted = self._options.events
        # Six events in ten of a world are traffic and anchors; fewer partitions hold fewer of them.
        size = 2 * wanted * _PARTITIONS // shape.partitions
        made = records(self._sites[shape.rows], size, RUN, (TRAFFIC, FLOW_ANCHOR), seed=self._seed, partitions=range(shape.partitions))
        return list(islice(made, wanted))
