"""A contender that is not exact has no figure: the check finds what is missing, doubled or altered."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.ground import Ground, Seen, open_bus, open_ground
from benchmarks.roster import ALL, FLOOR, SERVICE, Contender
from benchmarks.workload import Expected, Kind, expected, records, stops_of
from spine.deadline import Deadline
from testkit.engines import EngineSet

# One on each kind of store; that they are exact is seen there as well.
_EACH_WRONG = (FLOOR, SERVICE)


class _Drained(NamedTuple):
    ground: Ground
    wanted: Expected
    outputs: list[Seen]


@contextlib.asynccontextmanager
async def _drained(engines: EngineSet, contender: Contender, folder: Path, *, killed: bool = False) -> AsyncIterator[_Drained]:
    """A part of the workload, drained by real processes that have ended by now; `killed` once on the way, and started again."""
    size = 600 if contender.slow else 3000
    made = list(records(size, seed=14))  # changed copies are among its first hundreds
    stops = stops_of(made, size)
    wanted = expected(made, stops)
    async with open_bus(engines, f"{secrets.token_hex(4)}.") as bus, open_ground(engines, contender, bus) as ground:
        ground.start(stops, folder)
        deadline = Deadline(90)
        if killed:
            await bus.fill(made[: size // 2])
            while await ground.applied() == 0:
                deadline.check("begin")
                await asyncio.sleep(0.01)
            ground.kill()
            await bus.fill(made[size // 2 :])
            ground.start(stops, folder)
        else:
            await bus.fill(made)
        while await ground.applied() < size or await ground.published() < len(wanted.event_ids):
            ground.complain()
            deadline.check(f"drain {size} records, {await ground.applied()} are")
            await asyncio.sleep(0.05)
        await ground.end()
        yield _Drained(ground, wanted, await bus.outputs(ground.starts))


@pytest.mark.parametrize("contender", [one for one in ALL if one not in _EACH_WRONG], ids=lambda contender: contender.name)
async def test_every_contender_is_exact(engines: EngineSet, contender: Contender, tmp_path: Path) -> None:
    """Duplicates and changed copies are in it, and everything is there once: what is measured is the same law."""
    async with _drained(engines, contender, tmp_path) as (ground, wanted, outputs):
        assert wanted.mismatches > 0 and wanted.records > len(wanted.event_ids)
        assert await ground.wrong(wanted, outputs) == []


async def test_the_floor_is_exact_when_it_is_killed(engines: EngineSet, tmp_path: Path) -> None:
    """The least code that does the law does all of it: what a dead process had committed is published by the next."""
    async with _drained(engines, FLOOR, tmp_path, killed=True) as (ground, wanted, outputs):
        assert await ground.wrong(wanted, outputs) == []


@pytest.mark.parametrize("contender", _EACH_WRONG, ids=lambda contender: contender.name)
async def test_one_of_anything_wrong_is_found(engines: EngineSet, contender: Contender, tmp_path: Path) -> None:
    """One payment, mismatch, output or byte more or less."""
    async with _drained(engines, contender, tmp_path) as found:
        await _each_wrong(*found)


async def _each_wrong(ground: Ground, wanted: Expected, outputs: list[Seen]) -> None:
    assert await ground.wrong(wanted, outputs) == []
    one = next(iter(wanted.event_ids))
    for wrong in (
        wanted._replace(event_ids=wanted.event_ids - {one}),
        wanted._replace(event_ids=wanted.event_ids | {"another"}),
        wanted._replace(amount_minor=wanted.amount_minor + 1),
        wanted._replace(mismatches=wanted.mismatches - 1),
    ):
        assert await ground.wrong(wrong, outputs)
    assert await ground.wrong(wanted, outputs[1:])
    assert not await ground.wrong(wanted, [*outputs, outputs[0]])  # a copy of the same bytes is lawful: the bus is at least once
    assert await ground.wrong(wanted, [*outputs, outputs[0]._replace(value=b"other")])
    assert await ground.wrong(wanted, [*outputs[1:], outputs[0]._replace(parent_event_id=outputs[1].parent_event_id)])


def test_the_workload_is_the_same_every_time() -> None:
    """And a longer one begins with a shorter one; every copy stands behind its first, in the same partition."""
    short, long = list(records(2000)), list(records(3000))
    assert long[:2000] == short
    firsts = {}
    for record in long:
        if record.kind is Kind.NEW:
            firsts[record.event_id] = record
        else:
            first = firsts[record.event_id]
            assert first.partition == record.partition
            assert (first.value == record.value) == (record.kind is Kind.DUPLICATE)
    kinds = [record.kind for record in long]
    assert 0.01 < kinds.count(Kind.DUPLICATE) / 3000 < 0.02
    assert 0 < kinds.count(Kind.MISMATCH) < 20


def test_what_is_expected_of_a_part_counts_nothing_beyond_it() -> None:
    """Slow contenders stop early."""
    made = list(records(3000))
    part = expected(made, stops_of(made, 1000))
    assert part == expected(made[:1000], dict.fromkeys(range(6), 10**9))
    assert part.records == 1000
