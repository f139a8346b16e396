"""One event loop for the life of a Lambda sandbox: the next invocation finds clients and connections as they were (lesson L5)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Opened = TypeVar("Opened")
Said = TypeVar("Said")


class Warm(Generic[Opened]):
    """What an invocation works with; opened by the first one, and again by the next where opening it failed."""

    def __init__(self, open_it: Callable[[], Awaitable[Opened]]) -> None:
        self._open_it = open_it
        self._loop: asyncio.AbstractEventLoop | None = None
        self.opened: Opened | None = None

    def run(self, work: Callable[[Opened], Awaitable[Said]]) -> Said:
        """The answer of one invocation. Raises what opening or the work raises."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(self._run(work))

    async def _run(self, work: Callable[[Opened], Awaitable[Said]]) -> Said:
        if self.opened is None:
            self.opened = await self._open_it()
        return await work(self.opened)
