"""Engines of the run's own: a kill of a broker must hurt nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from testkit.engines import Endpoints, EngineSet, Handle

# For so long after an engine is back, a worker that started while it was away may still end because of it.
_AFTERMATH_SECONDS = 10.0


class EngineRoom:
    """Kills and restarts engines, one at a time."""

    def __init__(self, engines: EngineSet) -> None:
        self._engines = engines
        self._one_at_a_time = asyncio.Lock()
        self._trouble_until = 0.0

    @property
    def endpoints(self) -> Endpoints:
        """Where the engines are; the same after a restart."""
        return self._engines.endpoints

    @property
    def troubled(self) -> bool:
        """Whether an engine is or was down just now."""
        return self._one_at_a_time.locked() or time.monotonic() < self._trouble_until

    async def up(self) -> None:
        """Returns when no engine is down."""
        async with self._one_at_a_time:
            return

    async def kill_broker(self) -> None:
        """SIGKILL the broker, and start it again; returns when it answers."""
        await self._again(self._engines.kafka)

    @contextlib.asynccontextmanager
    async def without_broker(self) -> AsyncIterator[None]:
        """The broker is dead for as long as the block."""
        async with self._one_at_a_time:
            await asyncio.to_thread(self._engines.kafka.kill)
            try:
                yield
            finally:
                await asyncio.to_thread(self._engines.kafka.restart)

    async def kill_store(self) -> None:
        """SIGKILL PostgreSQL, and start it again; returns when it answers."""
        await self._again(self._engines.postgres)

    async def _again(self, engine: Handle) -> None:
        async with self._one_at_a_time:
            await asyncio.to_thread(engine.kill)
            await asyncio.to_thread(engine.restart)
            self._trouble_until = time.monotonic() + _AFTERMATH_SECONDS
