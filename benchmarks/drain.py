"""How fast a contender drains a topic that is full: rounds in which everybody takes a turn, and what each event cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.ground import Bus, Ground, Seen, open_ground
from benchmarks.machine import Meter, Spent
from benchmarks.roster import Contender
from benchmarks.workload import Record, expected, stops_of
from spine.deadline import Deadline
from testkit.engines import EngineSet

# The first share of the outputs is not counted: imports, connections, plans and small first batches are in it.
WARM_UP = 0.15
_LOOK_EVERY = 0.05
# No drain of these sizes takes as long on a machine that can be measured on.
_SECONDS = 120.0


class Drained(msgspec.Struct, frozen=True):
    """One drain, after its warm-up."""

    contender: str
    round: int
    events: int
    events_per_s: float
    cpu_us: dict[str, float]
    """CPU microseconds per event, by group of processes."""
    spent: Spent
    wrong: list[str]
    """What was not exact; a drain with anything here has no figure."""


async def drain(
    engines: EngineSet, contender: Contender, bus: Bus, made: Sequence[Record], size: int, folder: Path, number: int = 0
) -> Drained:
    """Drain the first `size` records of a filled topic. Raises DeadlineExceededError, or RuntimeError for one that ended by itself."""
    stops = stops_of(made, size)
    wanted = expected(made, stops)
    async with open_ground(engines, contender, bus) as ground:
        ground.start(stops, folder)
        deadline = Deadline(_SECONDS)
        begun = await _reached(ground, int(size * WARM_UP), deadline)
        meter = Meter(engines, ground.site.database, ground.pids)
        await _reached(ground, size, deadline)
        while await ground.published() < len(wanted.event_ids):
            ground.complain()
            deadline.check(f"{contender.name} to publish {len(wanted.event_ids)} outputs, it has {await ground.published()}")
            await asyncio.sleep(_LOOK_EVERY)
        spent = meter.spent()
        await ground.end()
        outputs = await bus.outputs(ground.starts)
        wrong = await ground.wrong(wanted, outputs)
    counted = size - begun
    cpu_us = {name: round(seconds / counted * 1e6, 1) for name, seconds in spent.cpu_s.items()}
    return Drained(contender.name, number, size, round(_rate(outputs, size), 1), cpu_us, spent, wrong)


async def _reached(ground: Ground, wanted: int, deadline: Deadline) -> int:
    while (applied := await ground.applied()) < wanted:
        ground.complain()
        deadline.check(f"{ground.contender.name} to apply {wanted} records, it has {applied}")
        await asyncio.sleep(_LOOK_EVERY)
    return applied


def _rate(outputs: Sequence[Seen], events: int) -> float:
    """Events per second between the instants at which the warm-up's last output and the very last one stood on the topic."""
    times = sorted(seen.at_ms for seen in outputs)
    first = times[int(len(times) * WARM_UP)]
    counted = sum(1 for at in times if at > first)
    return counted / len(times) * events / (times[-1] - first) * 1000
