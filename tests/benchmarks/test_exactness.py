"""A contender that is not exact has no figure: the check finds what is missing, doubled or altered."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from benchmarks.ground import Ground, Seen, open_bus, open_ground
from benchmarks.roster import FLOOR, SERVICE, Contender
from benchmarks.workload import Expected, Kind, expected, records, stops_of
from spine.deadline import Deadline
from testkit.engines import EngineSet

_SIZE = 3000


class _Drained(NamedTuple):
    ground: Ground
    wanted: Expected
    outputs: list[Seen]


@pytest.fixture(scope="module", params=[FLOOR, SERVICE], ids=lambda contender: contender.name)
async def drained(engines: EngineSet, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[_Drained]:
    """A part of the workload, drained by the real process of a contender that has ended by now."""
    contender: Contender = request.param
    made = list(records(_SIZE))
    # The service reads all that is there, so nothing is there that is not to be read.
    stops = stops_of(made, _SIZE)
    wanted = expected(made, stops)
    async with open_bus(engines, f"{secrets.token_hex(4)}.") as bus, open_ground(engines, contender, bus) as ground:
        await bus.fill(made)
        ground.start(stops, tmp_path_factory.mktemp("logs"))
        deadline = Deadline(60)
        while await ground.applied() < _SIZE or await ground.published() < len(wanted.event_ids):
            ground.complain()
            deadline.check("drain")
            await asyncio.sleep(0.05)
        await ground.end()
        yield _Drained(ground, wanted, await bus.outputs(ground.starts))


async def test_a_contender_is_exact(drained: _Drained) -> None:
    """Duplicates and changed copies are in it, and everything is there once."""
    assert drained.wanted.mismatches > 0 and drained.wanted.records > len(drained.wanted.event_ids)
    assert await drained.ground.wrong(drained.wanted, drained.outputs) == []


async def test_one_of_anything_wrong_is_found(drained: _Drained) -> None:
    """One payment, mismatch, output or byte more or less."""
    ground, wanted, outputs = drained
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
