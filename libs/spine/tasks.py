"""Calls to the outside: RESERVED -> EXECUTING -> settled, each call between two transactions (runtime.md, Four inlets)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import asyncpg
import msgspec
import structlog

from spine.deadline import Deadline
from spine.faults import TRANSIENT_STORE
from spine.ownership import Claim
from spine.scheduled import decode_call
from spine.service import Answer, Attempt, Cause, Task, TaskRequest, TaskResult
from spine.steps import Step, reached

Outside = Callable[[str, bytes, Cause, Deadline], Awaitable[TaskResult]]
SubmitMany = Callable[[Sequence[TaskRequest], Deadline], AsyncIterator[tuple[str, TaskResult]]]

_log = structlog.get_logger(__name__)

# A row that is EXECUTING and not in this worker's hands was left by a dead owner or got no answer: it is asked about, not repeated.
# FOR SHARE on the lane: a zombie must not begin calls, and must not hold up the batch of the owner longer than this statement.
# What is picked is locked, and found again by where it stands: by its key it was looked up in an index that has all calls of a lane under
# one prefix, each time all of them.
_RESERVE = """
WITH mine AS (
    SELECT 1 FROM lane WHERE lane = $1 AND epoch = $2 AND token = $3 FOR SHARE
), picked AS (
    SELECT p.ctid FROM pending p, mine
    WHERE p.lane = $1 AND p.task_state IS NOT NULL AND p.due <= clock_timestamp()
      AND (p.task_state = 'RESERVED' OR (p.kind, p.ref) NOT IN (SELECT g.kind, g.ref FROM unnest($4::text[], $5::text[]) AS g(kind, ref)))
    ORDER BY p.due, p.ref LIMIT $6
    FOR UPDATE OF p SKIP LOCKED
)
UPDATE pending p SET task_state = CASE p.task_state WHEN 'RESERVED' THEN 'EXECUTING' ELSE 'ASKING' END,
                     attempt = p.attempt + CASE p.task_state WHEN 'RESERVED' THEN 1 ELSE 0 END,
                     epoch = $2
WHERE p.ctid = ANY(ARRAY(SELECT ctid FROM picked))
RETURNING p.kind, p.ref, p.task_state, p.attempt, p.attempts, p.body, p.cap <= clock_timestamp() AS late
"""

# Under the fence too: a zombie that woke up would put RESERVED over the new owner's EXECUTING, and a call would be made twice.
_AGAIN = """
WITH mine AS (
    SELECT 1 FROM lane WHERE lane = $1 AND epoch = $2 AND token = $3 FOR SHARE
)
UPDATE pending p SET task_state = $6, due = clock_timestamp() + make_interval(secs => $7), attempts = $8
FROM mine WHERE p.lane = $1 AND p.kind = $4 AND p.ref = $5
"""

_ATTEMPTS_ENCODER = msgspec.msgpack.Encoder()
_ATTEMPTS_DECODER = msgspec.msgpack.Decoder(tuple[Attempt, ...])

# How long the runner sleeps at most. A wake-up comes with new work and when a call of its own is due again: this bounds a lost one, and
# how late a call is looked at that a dead owner had put off.
_IDLE = 1.0

# Calls of one look: what a transaction asked for goes out together, and holds the lane's row for one short statement.
_AT_ONCE = 256


class TaskRunner:
    """Runs the calls of one lane while this worker owns it. Settled answers go to `settled`, to be applied in the lane's order."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        claim: Claim,
        tasks: Mapping[str, Task],
        slots: asyncio.Semaphore,
        settled: Callable[[str, Answer], None],
    ) -> None:
        self._pool = pool
        self._claim = claim
        self._tasks = tasks
        self._together = {name: task.submit_many for name, task in tasks.items() if task.submit_many is not None}
        self._slots = slots
        self._settled = settled
        self._wake = asyncio.Event()
        self._calls: dict[tuple[str, str], asyncio.Task[None]] = {}

    def wake(self) -> None:
        """There may be calls to make."""
        self._wake.set()

    def done(self, task: str, ref: str) -> None:
        """The answer is applied, or will never be: the row is free to be looked at again."""
        self._calls.pop((task, ref), None)

    @property
    def in_flight(self) -> int:
        """Calls begun whose answer is not applied."""
        return len(self._calls)

    async def run(self) -> None:
        """Make calls until cancelled."""
        self._wake.set()
        while True:
            self._wake.clear()
            try:
                while await self._begin_some():
                    pass
            except TRANSIENT_STORE as error:
                _log.warning("task.store_unavailable", lane=self._claim.lane, error=str(error))
            try:
                async with asyncio.timeout(_IDLE):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def close(self, deadline: Deadline) -> None:
        """Let running calls end within the deadline; the others stay EXECUTING and the next owner asks about them."""
        running = {call for call in self._calls.values() if not call.done()}
        if running:
            await asyncio.wait(running, timeout=deadline.left)
        for call in running:
            call.cancel()

    def _in_hand(self) -> tuple[list[str], list[str]]:
        """Kinds and refs of the calls that are begun and not applied."""
        return [kind for kind, _ in self._calls], [ref for _, ref in self._calls]

    async def _begin_some(self) -> bool:
        claim = self._claim
        rows = await self._pool.fetch(_RESERVE, claim.lane, claim.epoch, claim.token, *self._in_hand(), _AT_ONCE)
        if rows:
            reached(Step.TASK_RESERVED)
        together: dict[str, list[asyncpg.Record]] = {}
        for row in rows:
            if row["task_state"] == "EXECUTING" and row["kind"] in self._together:
                together.setdefault(row["kind"], []).append(row)
            else:
                self._calls[row["kind"], row["ref"]] = asyncio.create_task(self._call(row))
        for kind, some in together.items():
            call = asyncio.create_task(self._call_many(self._tasks[kind], self._together[kind], some))
            self._calls.update(((kind, row["ref"]), call) for row in some)
        return len(rows) == _AT_ONCE

    async def _call(self, row: asyncpg.Record) -> None:
        task = self._tasks[row["kind"]]
        cause, request = decode_call(row["body"])
        async with self._slots:
            call = task.submit if row["task_state"] == "EXECUTING" else task.lookup
            result = await _ask(call, row["ref"], request, cause, task.call_seconds)
        await self._said(task, row, request, cause, result)

    async def _call_many(self, task: Task, submit_many: SubmitMany, rows: list[asyncpg.Record]) -> None:
        asked = {row["ref"]: (row, *decode_call(row["body"])) for row in rows}
        requests = [TaskRequest(ref, request, cause) for ref, (_, cause, request) in asked.items()]
        code = "NO_ANSWER"
        async with self._slots:
            try:
                async with asyncio.timeout(task.call_seconds):
                    async for ref, result in submit_many(requests, Deadline(task.call_seconds)):
                        if ref in asked:
                            row, cause, request = asked[ref]
                            await self._said(task, row, request, cause, result)
                            # Not before: time that runs out while an answer is put off would leave a call that nobody has in hand.
                            del asked[ref]
            except Exception as error:  # whatever went wrong on the way, the outside may have done it
                code = type(error).__name__
        for row, cause, request in asked.values():
            await self._said(task, row, request, cause, TaskResult("UNKNOWN", code=code))

    async def _said(self, task: Task, row: asyncpg.Record, request: bytes, cause: Cause, result: TaskResult) -> None:
        reached(Step.TASK_CALLED)
        attempts = _ATTEMPTS_DECODER.decode(row["attempts"]) if row["attempts"] else ()
        attempts = (*attempts, Attempt(result.result, result.code))
        final = _final(task, result, row)
        if final is None:
            await self._later(task, row, result, attempts)
            return
        self._settled(
            task.name,
            Answer(ref=row["ref"], result=final, request=request, attempts=attempts, cause=cause, body=result.body, code=result.code),
        )

    async def _later(self, task: Task, row: asyncpg.Record, result: TaskResult, attempts: tuple[Attempt, ...]) -> None:
        # UNKNOWN stays EXECUTING: the next turn asks. ABSENT and RETRY are sure not to be done: the next turn may submit again.
        state = "EXECUTING" if result.result == "UNKNOWN" else "RESERVED"
        backoff = min(task.max_backoff, task.first_backoff * 2 ** max(0, len(attempts) - 1))
        try:
            fence = (self._claim.lane, self._claim.epoch, self._claim.token)
            await self._pool.execute(_AGAIN, *fence, row["kind"], row["ref"], state, backoff, _ATTEMPTS_ENCODER.encode(attempts))
            reached(Step.TASK_RESCHEDULED)
        except TRANSIENT_STORE as error:
            # The row stays EXECUTING: it will be asked about, which is always safe.
            _log.warning("task.not_rescheduled", lane=self._claim.lane, ref=row["ref"], error=str(error))
        self.done(row["kind"], row["ref"])
        # From here and not from the store's answer to "when is the next one due": that was a statement for every look.
        asyncio.get_running_loop().call_later(backoff, self._wake.set)


def _final(task: Task, result: TaskResult, row: asyncpg.Record) -> str | None:
    if result.result in ("DONE", "REFUSED"):
        return result.result
    if result.result == "UNKNOWN":
        return "UNCERTAIN" if row["late"] else None
    return "EXHAUSTED" if row["attempt"] >= task.attempts else None


async def _ask(call: Outside, ref: str, request: bytes, cause: Cause, seconds: float) -> TaskResult:
    deadline = Deadline(seconds)
    try:
        async with asyncio.timeout(seconds):
            return await call(ref, request, cause, deadline)
    except Exception as error:  # whatever went wrong on the way, the outside may have done it
        return TaskResult("UNKNOWN", code=type(error).__name__)
