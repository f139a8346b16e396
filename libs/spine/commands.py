"""The command inlet: any replica applies a command under its lane's lock; those that wait together go in together (runtime.md)."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from laws.partition import partition_for
from laws.reasons import Reason
from laws.topics import KeyRecipe
from laws.verdicts import Verdict
from spine.db import Db
from spine.deadline import Deadline
from spine.faults import TRANSIENT_STORE
from spine.inputs import Input, Source
from spine.lanes import LaneSpec, group_topics, lane_specs
from spine.outcome import CommandAnswer, Doubt, Part, RefusedByStoreError, UnknownCommitError
from spine.runtime import Runtime
from spine.scheduled import Scheduled
from spine.service import Command
from spine.steps import Step, reached
from spine.transaction import Law, was_committed

_log = structlog.get_logger(__name__)

_TOGETHER = 200

# Key of a group that reads no topic.
_LOCAL_KEY = KeyRecipe("fp.key.local.v1", ())


class CommandUnavailableError(Exception):
    """The store can't be reached within the caller's budget: nothing is known to be written; send the same command again."""


class CommandDoor:
    """Takes the commands of one service."""

    def __init__(self, runtime: Runtime) -> None:
        self._rt = runtime
        self._specs = {(spec.group.name, spec.home): spec for spec in lane_specs(runtime.service)}
        self._commands: dict[str, tuple[Command, str, int]] = {}
        for group in runtime.service.groups:
            lanes = sum(1 for spec in self._specs.values() if spec.group.name == group.name)
            for command in group.commands:
                self._commands[command.event_type.name] = (command, group.name, lanes)
        self._waiting: dict[int, list[tuple[Input, asyncio.Future[CommandAnswer]]]] = {}
        self._appliers: dict[int, asyncio.Task[None]] = {}

    def home(self, event_type: str, body: Any) -> tuple[bytes, LaneSpec]:
        """The lane key and the home lane of a command's body: the same rule as for records of that key."""
        command, group_name, lanes = self._commands[event_type]
        group = next(group for group in self._rt.service.groups if group.name == group_name)
        topics = group_topics(group)
        values = list(command.key(body))
        recipe = topics[0].key if topics else _LOCAL_KEY
        key = recipe.key_of_values(values)
        return key, self._specs[(group_name, partition_for(key, lanes))]

    async def submit(self, source: Source, spec: LaneSpec, deadline: Deadline) -> CommandAnswer:
        """Apply a command; returns after commit. Raises CommandUnavailableError when the budget is spent first; ValueError for a
        source that is no lawful command."""
        item = self._rt.decoders[spec.group.name].command(source)
        reached(Step.COMMAND_RECEIVED)
        answer: asyncio.Future[CommandAnswer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(spec.lane, []).append((item, answer))
        if spec.lane not in self._appliers or self._appliers[spec.lane].done():
            self._appliers[spec.lane] = asyncio.create_task(self._drain(spec))
        try:
            async with asyncio.timeout(deadline.left):
                return await asyncio.shield(answer)
        except TimeoutError as error:
            raise CommandUnavailableError(f"not settled within {deadline.seconds:g} s") from error

    async def release(self, group: str, lane: int, key: bytes, deadline: Deadline) -> CommandAnswer | None:
        """Release the parked inputs of a key, in their order. None when nothing of the key is parked."""
        spec = next(spec for spec in self._specs.values() if spec.lane == lane and spec.group.name == group)
        notify = (self._rt.ownership.channel, f"outbox:{spec.lane}")
        async with asyncio.timeout(deadline.left), self._rt.pool.acquire() as connection:
            return await release_parked(self._rt.law, connection, spec, self._rt.scheduled[group], key, notify)

    async def _drain(self, spec: LaneSpec) -> None:
        while waiting := self._waiting.get(spec.lane):
            taken, self._waiting[spec.lane] = waiting[:_TOGETHER], waiting[_TOGETHER:]
            try:
                answers = await self._apply(spec, [item for item, _ in taken])
            except Exception as error:  # the callers are told, each of them, and decide for themselves
                _log.error("command.failed", lane=spec.lane, error=f"{type(error).__name__}: {error}")
                for _, future in taken:
                    if not future.done():
                        future.set_exception(CommandUnavailableError(f"{type(error).__name__}: {error}"))
                continue
            for (_, future), answer in zip(taken, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    async def _apply(self, spec: LaneSpec, inputs: Sequence[Input]) -> list[CommandAnswer]:
        pause = 0.05
        # Inputs that a transaction applied whose COMMIT was not answered, and which turned out to be in.
        applied_before: frozenset[int] = frozenset()
        in_doubt: Doubt | None = None
        deadline = Deadline(self._rt.settings.timeouts.lease)
        while True:
            try:
                async with self._rt.pool.acquire() as connection:
                    if in_doubt is not None:
                        if await was_committed(connection, spec.lane, in_doubt):
                            applied_before |= {i for i, verdict in enumerate(in_doubt.verdicts) if verdict is Verdict.NEW}
                        in_doubt = None
                        reached(Step.COMMIT_SETTLED)
                    notify = (self._rt.ownership.channel, f"outbox:{spec.lane}")
                    (applied,) = await self._rt.law.apply(connection, [Part(spec, None, inputs)], notify=notify)
            except RefusedByStoreError as error:
                if len(inputs) == 1:
                    return [CommandAnswer(Verdict.POISON, 0, b"", f"{Reason.STORE_REFUSED}: {error.detail}")]
                middle = len(inputs) // 2
                return [*await self._apply(spec, inputs[:middle]), *await self._apply(spec, inputs[middle:])]
            except UnknownCommitError as unknown:
                in_doubt = unknown.doubts[spec.lane]
                continue
            except TRANSIENT_STORE as error:
                if deadline.expired:
                    raise
                _log.warning("command.waits", lane=spec.lane, error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(pause)
                pause = min(1.0, pause * 2)
                continue
            reached(Step.COMMAND_COMMITTED)
            if applied is None:
                raise RuntimeError("a command batch was empty")
            self._rt.telemetry.applied(spec.group.name, inputs[0].inlet, applied, 0.0)
            # Applied again, what is in already answers DUPLICATE with its stored reply: for its caller it was new just now.
            return [
                answer._replace(verdict=Verdict.NEW) if i in applied_before and answer.verdict is Verdict.DUPLICATE else answer
                for i, answer in enumerate(applied.answers)
            ]


async def release_parked(
    law: Law, connection: Db, spec: LaneSpec, scheduled: Scheduled, key: bytes, notify: tuple[str, str] | None = None
) -> CommandAnswer | None:
    """Apply a key's parked inputs in their order, until one is poison again; the newest answer, None where nothing is parked."""

    async def some(limit: int | None) -> CommandAnswer | None:
        async def parked(locked: Db) -> Sequence[Input]:
            return (await scheduled.parked(locked, spec, key))[:limit]

        (applied,) = await law.apply(connection, [Part(spec, None, parked)], notify=notify)
        return applied.answers[-1] if applied else None

    try:
        return await some(None)
    except RefusedByStoreError:
        pass  # one of them is refused still: those before it need not wait for it; it, and what is behind it, stays parked
    last = None
    try:
        while (answer := await some(1)) is not None:
            last = answer
            if not answer.is_new:
                break
    except RefusedByStoreError as error:
        return CommandAnswer(Verdict.POISON, 0, b"", f"{Reason.STORE_REFUSED}: {error.detail}")
    return last
