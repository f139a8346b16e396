"""One at a time for each key, within one process."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Turns:
    """Lets copies of one event in one array, or in requests at the same moment, come one after the other.

    It spares a producer the retry that the store's in-flight row would ask for; it is no guard: that is the row.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    def take(self, key: Hashable) -> bool:
        """Takes the turn of `key` if nobody has it. Who took it gives it back.

        An array takes what is free and comes back for the rest: two arrays that waited for each other's keys would wait for ever.
        """
        if key in self._waiting:
            return False
        self._waiting[key] = deque()
        return True

    def give(self, key: Hashable) -> None:
        """Gives the turn to who waited longest, or back."""
        waiting = self._waiting[key]
        while waiting:
            first = waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        del self._waiting[key]

    @asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[None]:
        """Waits until nobody else has the turn of `key`."""
        if not self.take(key):
            mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[key].append(mine)
            try:
                await mine
            except asyncio.CancelledError:
                if mine.done() and not mine.cancelled():
                    self.give(key)  # it was handed over in the moment in which its request ended
                raise
        try:
            yield
        finally:
            self.give(key)
