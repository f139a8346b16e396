"""Calls that go out together: each is told of once, or asked about again; none is left in nobody's hands (runtime.md, Four inlets)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import asyncpg

from spine.deadline import Deadline
from spine.ownership import Claim
from spine.scheduled import encode_call
from spine.service import Answer, Task, TaskRequest, TaskResult
from spine.tasks import TaskRunner
from tests.services.fake_state import cause_of

CAUSE = cause_of("e1")


class SlowStore:
    """One reserved call; the first statement that puts it off is never answered, as on a machine that is full."""

    def __init__(self) -> None:
        self.reserved = [
            {
                "kind": "pay",
                "ref": "r1",
                "task_state": "EXECUTING",
                "attempt": 1,
                "attempts": b"",
                "body": encode_call(CAUSE, b"{}"),
                "late": False,
            }
        ]
        self.states: list[str] = []
        self.put_off = asyncio.Event()

    async def fetch(self, *_: Any) -> list[dict[str, Any]]:
        rows, self.reserved = self.reserved, []
        return rows

    async def execute(self, _: str, *arguments: Any) -> None:
        self.states.append(arguments[5])
        if len(self.states) == 1:
            await asyncio.Event().wait()
        self.put_off.set()


async def test_a_call_whose_time_runs_out_while_it_is_put_off_is_asked_about() -> None:
    async def submit_many(requests: Sequence[TaskRequest], _: Deadline) -> AsyncIterator[tuple[str, TaskResult]]:
        for request in requests:
            yield request.ref, TaskResult("RETRY", code="BUSY")

    async def single(*_: Any) -> TaskResult:
        raise AssertionError("calls that may go together do")

    store = SlowStore()
    task = Task("pay", single, single, lambda *_: (), lambda *_: (), call_seconds=0.05, submit_many=submit_many)
    settled: list[Answer] = []
    # A pool is asked two things here.
    pool = cast(asyncpg.Pool, store)
    runner = TaskRunner(pool, Claim(0, 1, b"t", 0), {"pay": task}, asyncio.Semaphore(1), lambda _, answer: settled.append(answer))
    running = asyncio.create_task(runner.run())
    try:
        async with asyncio.timeout(10):
            await store.put_off.wait()
            while runner.in_flight:
                await asyncio.sleep(0)
    finally:
        running.cancel()
    # RETRY would allow a second submission; after an answer that nobody knows to be written, only asking is safe.
    assert store.states == ["RESERVED", "EXECUTING"]
    assert settled == []
