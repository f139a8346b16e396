"""What workers of a service tell each other through the store (runtime.md, The lane)."""

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from spine.faults import TRANSIENT

_log = structlog.get_logger(__name__)

_RETRY_AFTER = 0.5


async def listen(dsn: str, channel: str, told: Callable[[str], None], missed: Callable[[], None]) -> None:
    """Call `told` with each payload until cancelled. `missed` is called whenever something may have been said while nobody listened."""
    while True:
        try:
            connection = await asyncpg.connect(dsn)
        except TRANSIENT as error:
            _log.warning("worker.listen_failed", error=str(error))
            await asyncio.sleep(_RETRY_AFTER)
            continue
        closed = asyncio.Event()
        connection.add_termination_listener(lambda _, closed=closed: closed.set())
        try:
            await connection.add_listener(channel, lambda *said: told(str(said[3])))
            missed()
            await closed.wait()
        except TRANSIENT as error:
            _log.warning("worker.listen_failed", error=str(error))
        finally:
            connection.terminate()
