"""The answer inlet on the stage: a call to an outside that says what the script says."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import asyncpg

from spine.deadline import Deadline
from spine.service import Cause, TaskResult
from spine.steps import Step
from testkit.model.invariants import Invariant, Violation
from testkit.model.moves import Move
from tests.model.stage import Stage

_ROW = "SELECT task_state, due, attempts FROM pending"


class Calls:
    """Plays the moves of the one call of a lane."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._said = "UNKNOWN"
        self.broken: list[Violation] = []
        stage.knows(
            {
                Step.TASK_RESERVED: self._reserve,
                Step.TASK_CALLED: self._call,
                Step.TASK_RESCHEDULED: self._reschedule,
            }
        )

    async def _outside(self, ref: str, request: bytes, cause: Cause, deadline: Deadline) -> TaskResult:
        return TaskResult("UNKNOWN" if self._said.startswith("UNKNOWN") else "ABSENT" if self._said == "ABSENT" else "DONE")

    async def _reserve(self, move: Move) -> None:
        player, tasks = await self._stage._player(move.actor), self._stage._seats[move.actor].worker.tasks
        known: dict[str, Any] = dict(tasks._tasks)
        tasks._tasks = {name: dataclasses.replace(task, submit=self._outside, lookup=self._outside) for name, task in known.items()}

        async def calls() -> None:
            await tasks._begin_some()
            await asyncio.gather(*tasks._calls.values())

        player.actor.begin(calls, Step.TASK_RESERVED)
        await player.actor.still(_never)

    async def _call(self, move: Move) -> None:
        self._said = move.detail
        actor = self._stage._players[move.actor].actor
        actor.go(Step.TASK_CALLED)
        await actor.still(_never)

    async def _reschedule(self, move: Move) -> None:
        stage = self._stage
        player, claim = stage._players[move.actor], stage._seats[move.actor].worker.claim
        before = await self._row()
        player.actor.go(None)
        await player.actor.result()
        (lane,) = await stage._rig.rows("SELECT epoch, token FROM lane WHERE lane = $1", claim.lane)
        if await self._row() != before and (lane["epoch"], bytes(lane["token"])) != (claim.epoch, claim.token):
            self.broken.append(Violation(Invariant.I7, "the pending row was written under a claim that was over"))

    async def _row(self) -> list[asyncpg.Record]:
        return await self._stage._rig.rows(_ROW)


async def _never() -> bool:
    return False
