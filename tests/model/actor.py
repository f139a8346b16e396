"""A worker that moves only when it is told to: a thread with its own event loop, held by the steps of the spine."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from spine.deadline import Deadline
from spine.runtime import Runtime
from spine.steps import Step

_PATIENCE = 30.0


class DiedError(BaseException):
    """Not an Exception on purpose: nothing in the code under test may catch the death of its process."""


class Actor:
    """One worker. `begin` starts a job, `to` lets it run to a step; between two lines of a script it stands still."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.runtime: Runtime | None = None
        self.loop = asyncio.new_event_loop()
        self.at: Step | None = None
        """Where it is held, or was held last."""
        self._stop_at: Step | None = None
        self._held = threading.Event()
        self._go = threading.Event()
        self._dead = False
        self._job: concurrent.futures.Future[Any] | None = None
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        _ACTORS[threading.get_ident()] = self
        try:
            self.loop.run_forever()
        finally:
            del _ACTORS[threading.get_ident()]

    # --- in the actor's own thread ---

    def reached(self, step: Step) -> None:
        """The hook of every step that this thread reaches."""
        if step is not self._stop_at:
            return
        self._stop_at = None
        self.at = step
        self._go.clear()
        self._held.set()
        self._go.wait()
        if self._dead:
            self._cut()
            raise DiedError(self.name)

    def _cut(self) -> None:
        if self.runtime is not None:
            # No ROLLBACK is sent, as none is by a process that was killed: the server finds the connection gone.
            self.runtime.pool.terminate()

    # --- from the script's side ---

    @property
    def held(self) -> bool:
        """Whether it stands at a step."""
        return self._held.is_set()

    @property
    def busy(self) -> bool:
        """Whether a job is not done yet."""
        return self._job is not None and not self._job.done()

    @property
    def has_result(self) -> bool:
        """Whether what the last job came to has not been asked for."""
        return self._job is not None

    def begin(self, work: Callable[[], Coroutine[Any, Any, Any]], stop_at: Step | None) -> None:
        """Start a job, to be held where it reaches `stop_at`."""
        assert not self.busy, f"{self.name} is at work"
        self._stop_at = stop_at
        self._job = asyncio.run_coroutine_threadsafe(work(), self.loop)

    def go(self, stop_at: Step | None) -> None:
        """Let it go on, to be held again where it reaches `stop_at`."""
        self._stop_at = stop_at
        self._held.clear()
        self._go.set()

    async def still(self, or_else: Callable[[], Awaitable[bool]]) -> None:
        """Waits until it is held, its job is done, or what `or_else` asks for is so."""
        deadline = Deadline(_PATIENCE)
        while self.busy and not self.held and not await or_else():
            deadline.check(f"{self.name} to come to a step, to an end or to a wait")
            await asyncio.sleep(0.01)

    async def do(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """A job that no step holds."""
        self.begin(work, None)
        return await self.result()

    async def result(self) -> Any:
        """What the job came to; raises what it raised."""
        assert self._job is not None
        job, self._job = self._job, None
        return await asyncio.wrap_future(job)

    async def die(self) -> None:
        """End like a killed process: no clean-up, every connection cut."""
        self._dead = True
        if self.held:
            self.go(None)
        else:
            self.loop.call_soon_threadsafe(self._cut)
        if self._job is not None:
            if not self.held:
                self._job.cancel()
            await asyncio.wait([asyncio.ensure_future(_outcome(self._job))])
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_cancel_others(), self.loop))
        self.loop.call_soon_threadsafe(self.loop.stop)
        await asyncio.to_thread(self._thread.join)
        self.loop.close()


async def _cancel_others() -> None:
    """What the clients run in the background: their connections to the store are cut, so nothing that they still do can be seen."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _outcome(job: concurrent.futures.Future[Any]) -> None:
    try:
        await asyncio.wrap_future(job)
    except BaseException:
        # Whatever a dying process was about to say, nobody hears it.
        return


_ACTORS: dict[int, Actor] = {}


def hook(step: Step) -> None:
    """For `spine.steps.install`: steps of actors are theirs, those of other threads pass."""
    actor = _ACTORS.get(threading.get_ident())
    if actor is not None:
        actor.reached(step)
