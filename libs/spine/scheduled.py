"""Timers and answers as inputs: pending rows that came due, and calls to the outside that are settled (runtime.md, Four inlets)."""

from collections.abc import Mapping

import asyncpg
import msgspec

from spine import sql
from spine.db import Db
from spine.inputs import SOURCE_DECODER, Decoder, Inlet, Input, Source
from spine.lanes import LaneSpec
from spine.service import Answer, Cause, Due, LaneGroup, Task, Timer

_ENCODER = msgspec.msgpack.Encoder()
_CALL = msgspec.msgpack.Decoder(tuple[Cause, bytes])
ANSWER_DECODER = msgspec.msgpack.Decoder(Answer)


class FiredTimer(msgspec.Struct, frozen=True, array_like=True):
    """A firing as it is recorded: enough to apply it again."""

    kind: str
    ref: str
    firing: int
    capped: bool
    source: Source


FIRED_DECODER = msgspec.msgpack.Decoder(FiredTimer)


def encode_call(cause: Cause, request: bytes) -> bytes:
    """The body of a pending call."""
    return _ENCODER.encode((cause, request))


def decode_call(body: bytes) -> tuple[Cause, bytes]:
    """Cause and request of a pending call."""
    return _CALL.decode(body)


class Scheduled:
    """Makes the inputs of the timers and answers of one lane group."""

    def __init__(self, group: LaneGroup, decoder: Decoder) -> None:
        self._timers: Mapping[str, Timer] = {timer.kind: timer for timer in group.timers}
        self._tasks: Mapping[str, Task] = {task.name: task for task in group.tasks}
        self._decoder = decoder

    async def due(self, connection: Db, spec: LaneSpec, limit: int) -> list[Input]:
        """The timers of a lane that are due, locked; oldest first."""
        rows = await connection.fetch(sql.DUE_TIMERS, spec.lane, limit)
        return [
            self.fired(
                FiredTimer(row["kind"], row["ref"], row["firing"] + 1, row["capped"], SOURCE_DECODER.decode(row["body"])),
                settles=True,
            )
            for row in rows
        ]

    def fired(self, fired: FiredTimer, *, settles: bool) -> Input:
        """The input of one firing. Raises KeyError for a kind that no timer of the group has."""
        timer = self._timers[fired.kind]
        event = self._decoder.any_event(fired.source)
        due = Due(event=event, firing=fired.firing, capped=fired.capped)
        return Input(
            Inlet.TIMER,
            fired.source.key,
            f"{fired.kind}/{fired.ref}#{fired.firing}",
            cause=event.cause,
            apply=lambda state: timer.apply(due, state),
            reads=lambda: timer.reads(due),
            name=fired.kind,
            body=_ENCODER.encode(fired),
            settles=(fired.kind, fired.ref) if settles else None,
        )

    async def answered(self, connection: Db, spec: LaneSpec, answers: list[tuple[str, Answer]]) -> list[Input]:
        """The inputs of settled calls whose pending rows are still there. One that is gone was applied before."""
        open_calls: set[tuple[str, str]] = set()
        for kind in {task for task, _ in answers}:
            rows = await connection.fetch(sql.OPEN_CALLS, spec.lane, kind, [answer.ref for task, answer in answers if task == kind])
            open_calls.update((kind, row["ref"]) for row in rows)
        return [self.answer(task, answer, settles=True) for task, answer in answers if (task, answer.ref) in open_calls]

    def answer(self, task_name: str, answer: Answer, *, settles: bool) -> Input:
        """The input of one settled call."""
        task = self._tasks[task_name]
        return Input(
            Inlet.ANSWER,
            answer.ref.encode(),
            f"{task_name}/{answer.ref}",
            cause=answer.cause,
            apply=lambda state: task.on_answer(answer, state),
            reads=lambda: task.reads(answer),
            name=task_name,
            body=_ENCODER.encode(answer),
            settles=(task_name, answer.ref) if settles else None,
        )

    async def parked(self, connection: Db, spec: LaneSpec, key: bytes) -> list[Input]:
        """The parked inputs of a key, locked, in their order."""
        rows = await connection.fetch(sql.PARKED_OF_KEY, spec.lane, key)
        return [self._again(row) for row in rows]

    def _again(self, row: asyncpg.Record) -> Input:
        body = bytes(row["source"])
        inlet = Inlet(row["inlet"])
        if inlet is Inlet.TIMER:
            item = self.fired(FIRED_DECODER.decode(body), settles=False)
        elif inlet is Inlet.ANSWER:
            item = self.answer(row["name"], ANSWER_DECODER.decode(body), settles=False)
        else:
            item = self._decoder.again(SOURCE_DECODER.decode(body))
        item.inlet = Inlet.COMMAND
        item.name = "parked.release"
        item.body = body
        item.parked_at = (row["lane_seq"], row["i"])
        item.identified = row["identified"]
        return item
