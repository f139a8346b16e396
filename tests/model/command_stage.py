"""The command inlet on the stage: a caller that sends the same command until it is told something."""

from __future__ import annotations

from laws.verdicts import Verdict
from rig import adjust
from spine.commands import CommandDoor
from spine.deadline import Deadline
from spine.outcome import CommandAnswer
from spine.steps import Step
from testkit.model.invariants import Invariant, Violation
from testkit.model.moves import Move
from tests.model.stage import Play, Stage

_PATIENCE = 60.0


class Commands:
    """Plays the moves of the one command, and keeps what its caller was told."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._was_in = False
        self.broken: list[Violation] = []
        stage.knows(
            {
                Step.COMMAND_RECEIVED: self._receive,
                Step.LANE_LOCKED: self._to(Step.LANE_LOCKED),
                Step.COMMITTED: self._to(Step.COMMITTED),
                Step.COMMIT_SETTLED: self._to(Step.COMMIT_SETTLED),
                Step.COMMAND_COMMITTED: self._tell,
            }
        )

    async def _receive(self, move: Move) -> None:
        player = await self._stage._player(move.actor)
        self._was_in = bool(await self._stage._rig.value("SELECT count(*)::int FROM inbox"))

        async def submit() -> CommandAnswer:
            door = CommandDoor(player.runtime)
            source, spec = adjust(door, "c1", self._stage._account, 1)
            return await door.submit(source, spec, Deadline(_PATIENCE))

        player.actor.begin(submit, Step.COMMAND_RECEIVED)
        await player.actor.still(_never)

    def _to(self, step: Step) -> Play:
        async def play(move: Move) -> None:
            actor = self._stage._players[move.actor].actor
            if actor.held:
                actor.go(step)
            await actor.still(_never)

        return play

    async def _tell(self, move: Move) -> None:
        actor = self._stage._players[move.actor].actor
        if actor.held:
            actor.go(None)
        answer: CommandAnswer = await actor.result()
        due = Verdict.DUPLICATE if self._was_in else Verdict.NEW
        if answer.verdict is not due:
            self.broken.append(Violation(Invariant.ANSWERED, f"told {answer.verdict}, it is {due}"))


async def _never() -> bool:
    return False
