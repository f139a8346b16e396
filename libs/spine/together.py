"""Lanes of a worker that have little to apply at the same time apply it in one transaction: what it costs by itself is shared."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from spine.contention import Contention
from spine.faults import CONNECTION_FAULTS
from spine.outcome import Applied, Part, UnknownCommitError
from spine.transaction import Law

# A transaction costs some 5 ms of CPU by itself and an input 0.1 ms: with fewer inputs than this waiting, it would be for the greater part
# its own cost, and they wait for the one that is under way and for whoever else comes meanwhile. From here on transactions go side by side.
_WORTH = 250
# Inputs that wait for nobody, by the longest rest of their lane: 250 where a decision waits behind them, and for those that may rest for a
# second as many as a transaction takes. Larger transactions of decisions cost less, and make those late that come meanwhile.
_ENOUGH_A_SECOND = 2500
# Less waits this share of its lane's longest rest for company on a full machine, less on one that has cores to spare, and not at all on
# an idle one. Lanes that went together come back within a few milliseconds of each other: without this the first of them would begin
# alone, and the others wait for its end. And lanes that came while those were under way would go without them for ever.
_COMPANY = 0.2


class Done(NamedTuple):
    """What became of a part."""

    applied: Applied | None
    seconds: float
    """What its transaction took, with all its parts."""


class _Waiting(NamedTuple):
    part: Part
    size: int
    until: float
    """The loop's time at which it waits for company no longer."""
    enough: float
    """With so many inputs nor does it."""
    done: asyncio.Future[Done]


class Together:
    """Applies the parts of a worker's lanes, a few transactions at a time."""

    def __init__(self, law: Law, pool: asyncpg.Pool, transactions: int, batch_max: int, contention: Contention) -> None:
        """At most `transactions` at a time: all at once would each hold their locks for the time of all. At most `batch_max` inputs in
        one of them, but for a part that has more by itself."""
        self._contention = contention
        self._company: asyncio.TimerHandle | None = None
        self._law = law
        self._pool = pool
        self._transactions = transactions
        self._batch_max = batch_max
        self._waiting: list[_Waiting] = []
        self._running: set[asyncio.Task[None]] = set()

    async def apply(self, part: Part, size: int, longest_rest: float) -> Done:
        """Apply a part of `size` inputs, at most; where it is small it may wait for company, by the longest rest (seconds) of its lane.

        Raises what `Law.apply` raises for this part alone, whoever it went in with.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _COMPANY * longest_rest * self._contention.fullness
        enough = min(_ENOUGH_A_SECOND * longest_rest, self._batch_max)
        waiting = _Waiting(part, size, until, enough, loop.create_future())
        self._waiting.append(waiting)
        self._begin()
        return await waiting.done

    async def close(self) -> None:
        """Let what is under way end; nothing may be submitted any more."""
        while self._running:
            await asyncio.wait(self._running)

    def _inputs(self) -> int:
        return sum(waiting.size for waiting in self._waiting)

    def _begin(self) -> None:
        if self._company is not None:
            self._company.cancel()
            self._company = None
        while len(self._running) < self._transactions:
            # Whoever waited may have been cancelled: its lane is over.
            self._waiting = [waiting for waiting in self._waiting if not waiting.done.done()]
            inputs = self._inputs()
            if not self._waiting or (self._running and inputs < _WORTH):
                return
            loop, until = asyncio.get_running_loop(), min(waiting.until for waiting in self._waiting)
            if until > loop.time() and inputs < min(waiting.enough for waiting in self._waiting):
                self._company = loop.call_at(until, self._begin)
                return
            task = asyncio.create_task(self._run(self._taken()))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._begin()

    def _taken(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        inputs = 0
        while self._waiting and (not taken or inputs + self._waiting[0].size <= self._batch_max):
            inputs += self._waiting[0].size
            taken.append(self._waiting.pop(0))
        return taken

    async def _run(self, taken: Sequence[_Waiting]) -> None:
        try:
            begun, applied = await self._transact([waiting.part for waiting in taken])
        except (UnknownCommitError, *CONNECTION_FAULTS) as error:
            _fail(taken, error)
        except asyncio.CancelledError:
            for waiting in taken:
                waiting.done.cancel()
            raise
        except Exception as error:  # of which part, only that part can tell: a lane is never held against another
            if len(taken) == 1:
                _fail(taken, error)
                return
            for waiting in taken:
                await self._run([waiting])
        else:
            seconds = time.perf_counter() - begun
            for waiting, each in zip(taken, applied, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(Done(each, seconds))

    async def _transact(self, parts: Sequence[Part]) -> tuple[float, list[Applied | None]]:
        async with self._pool.acquire() as connection:
            # From here on: a pool that is short of connections would look like slow transactions, and make batches smaller.
            begun = time.perf_counter()
            return begun, await self._law.apply(connection, parts)


def _fail(taken: Sequence[_Waiting], error: BaseException) -> None:
    for waiting in taken:
        if not waiting.done.done():
            waiting.done.set_exception(error)
